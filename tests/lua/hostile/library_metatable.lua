-- expect: protected
-- Nor by another metatable.
setmetatable(string, { __index = function () return "evil" end })
