-- expect: ms of CPU
-- The limit is met within a metamethod.
local trap = setmetatable({}, { __index = function () while true do end end })
return trap.x
