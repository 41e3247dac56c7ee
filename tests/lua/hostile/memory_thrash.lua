-- expect: ms of CPU
-- Near the limit each allocation collects garbage.
local kept = {}
for i = 1, 60000 do
	kept[i] = { i, i + 0.5 }
end
while true do
	local _ = { {}, {}, {} }
end
