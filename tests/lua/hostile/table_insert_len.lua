-- expect: ok
-- A length of 2^53 by __len: raw length counts.
local list = setmetatable({}, { __len = function () return 1 << 53 end })
table.insert(list, 1, "x")
assert(rawlen(list) == 1)
table.remove(list)
table.concat(list)
table.unpack(list)
