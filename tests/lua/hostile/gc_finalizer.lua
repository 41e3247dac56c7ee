-- expect: __gc is not available
-- Hooks are off around finalizers.
setmetatable({}, { __gc = function () while true do end end })
