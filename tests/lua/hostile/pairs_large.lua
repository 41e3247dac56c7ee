-- expect: ms of CPU
-- Sorting keys in C looks at the budget.
local large = {}
for i = 1, 40000 do
	large["key" .. (i * 7919 % 40009)] = i
end
while true do
	for _ in pairs(large) do
		break
	end
end
