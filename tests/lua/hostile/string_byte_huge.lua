-- expect: at once
-- More values than the stack has.
return string.byte(("x"):rep(1 << 20), 1, -1)
