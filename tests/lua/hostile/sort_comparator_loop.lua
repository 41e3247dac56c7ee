-- expect: ms of CPU
-- The limit is met within a comparison.
local list = {}
for i = 1, 1000 do
	list[i] = i % 7
end
table.sort(list, function () while true do end end)
