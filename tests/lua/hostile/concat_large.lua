-- expect: larger than
-- table.concat makes bounded texts.
local parts = {}
for i = 1, 50000 do
	parts[i] = ("x"):rep(100)
end
return table.concat(parts, ("y"):rep(1000))
