-- expect: too
-- More values than the stack has.
return utf8.codepoint(("x"):rep(1 << 21), 1, -1)
