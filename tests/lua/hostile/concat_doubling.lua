-- expect: of memory
-- s = s .. s until there is no more.
local s = "x"
while true do
	s = s .. s
end
