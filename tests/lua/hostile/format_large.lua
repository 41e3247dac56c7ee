-- expect: larger than
-- Format makes bounded texts.
local large = ("x"):rep(1 << 21)
return string.format("%s%s%s%s", large, large, large, large)
