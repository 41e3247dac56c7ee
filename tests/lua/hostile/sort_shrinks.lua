-- expect: ok
-- A comparison that empties the table.
local list = { 5, 4, 3, 2, 1 }
pcall(table.sort, list, function (a, b)
	for i = 1, 5 do
		list[i] = nil
	end
	return (a or 0) < (b or 0)
end)
