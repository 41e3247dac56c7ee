-- expect: ok
-- Indexes at the end of the integers.
assert(select("#", select(math.maxinteger, 1, 2)) == 0)
assert(not pcall(select, math.mininteger, 1))
