-- expect: ok
-- Ran for ever without making a byte.
assert((""):rep(1 << 62) == "")
assert((""):rep(math.maxinteger, "") == "")
