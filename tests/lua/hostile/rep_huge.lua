-- expect: larger than
-- One call, 1 GB.
return ("x"):rep(1000000000)
