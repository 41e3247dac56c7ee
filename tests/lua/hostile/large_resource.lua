-- expect: too many
-- A resource of a million values.
local list = {}
for i = 1, 150000 do
	list[i] = "x"
end
ctx:create { resourceType = "Patient", name = list }
