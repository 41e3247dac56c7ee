-- expect: of memory
-- Many strings.
local kept = {}
for i = 1, 1 << 30 do
	kept[i] = string.rep("x", 1000) .. i
end
