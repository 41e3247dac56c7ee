-- expect: ok
-- A __gc that comes after setmetatable is never called.
for _ = 1, 1000 do
	local class = {}
	setmetatable({}, class)
	class.__gc = function () while true do end end
end
local fill = {}
for i = 1, 20000 do
	fill[i] = { i }
end
