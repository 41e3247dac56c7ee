-- expect: ok
-- A comparison that contradicts itself ends, and loses no element.
local list = {}
for i = 1, 5000 do
	list[i] = i
end
table.sort(list, function () return true end)
local seen = {}
for _, value in ipairs(list) do
	assert(not seen[value])
	seen[value] = true
end
assert(#list == 5000)
