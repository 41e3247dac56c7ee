-- expect: no text but a table
-- Errors while errors are handled.
xpcall(error, function (e) error(setmetatable({}, { __tostring = function () error(e) end })) end, {})
