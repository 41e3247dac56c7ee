-- expect: ok
-- Deep recursion through pcall.
local depth = 0
local function deeper()
	depth = depth + 1
	return pcall(deeper)
end
deeper()
assert(depth < 1000)
