-- expect: of memory
-- Many long strings.
local kept = {}
for i = 1, 1 << 30 do
	kept[i] = string.rep("x", 100000) .. i
end
