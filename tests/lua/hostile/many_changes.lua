-- expect: ms of CPU
-- A loop that writes is stopped and leaves nothing.
while true do
	ctx:create { resourceType = "Basic", code = { text = "x" } }
end
