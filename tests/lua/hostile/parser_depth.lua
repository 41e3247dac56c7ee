-- expect: levels
-- Depth of nesting is bounded while plugins load too; here a table of tables is built at run time.
local nested = {}
for _ = 1, 1000 do
	nested = { nested }
end
local function depth(t)
	return t[1] and 1 + depth(t[1]) or 0
end
assert(depth(nested) == 1000)
error("levels")
