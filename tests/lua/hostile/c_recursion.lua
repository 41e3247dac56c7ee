-- expect: overflow
-- Deep recursion through C.
local function deeper()
	return string.gsub("a", "a", deeper)
end
deeper()
