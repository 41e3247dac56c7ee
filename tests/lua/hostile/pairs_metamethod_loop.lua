-- expect: ms of CPU
-- The limit is met within __pairs.
for _ in pairs(setmetatable({}, { __pairs = function () while true do end end })) do end
