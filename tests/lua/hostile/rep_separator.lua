-- expect: larger than
-- The separator counts.
return (""):rep(1 << 40, "x")
