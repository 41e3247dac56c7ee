-- expect: ms of CPU
-- Catching it does not save the changes.
while true do
	pcall(function ()
		while true do
			ctx:create { resourceType = "Basic", code = { text = "x" } }
		end
	end)
end
