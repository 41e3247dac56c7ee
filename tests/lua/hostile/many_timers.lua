-- expect: ms of CPU
-- A loop that sets timers.
local i = 0
while true do
	i = i + 1
	ctx:set_timer("tick:" .. i, "1 day")
end
