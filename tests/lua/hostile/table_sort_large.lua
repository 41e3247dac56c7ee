-- expect: can be sorted
-- 500,000 numbers, in C, without a hook.
local list = {}
for i = 1, 150000 do
	list[i] = -i
end
table.sort(list)
