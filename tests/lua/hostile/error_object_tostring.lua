-- expect: no text but a table
-- The host must not ask it for its text.
error(setmetatable({}, { __tostring = function () while true do end end }))
