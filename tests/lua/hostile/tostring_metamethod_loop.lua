-- expect: ms of CPU
-- The limit is met within __tostring.
return tostring(setmetatable({}, { __tostring = function () while true do end end }))
