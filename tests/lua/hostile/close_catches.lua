-- expect: ms of CPU
-- A __close that catches what happens to it.
local function trap()
	return setmetatable({}, { __close = function () while true do pcall(function () while true do end end) end end })
end
while true do
	pcall(function ()
		local one <close> = trap()
		local two <close> = trap()
		while true do end
	end)
end
