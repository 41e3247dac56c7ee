-- expect: of memory
-- Memory errors are not for plugins to catch.
while true do
	pcall(function ()
		local list = {}
		for i = 1, 1 << 40 do
			list[i] = string.rep("x", 100000) .. i
		end
	end)
end
