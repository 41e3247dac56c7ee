-- expect: ms of CPU
-- Long texts compared again and again.
local a, b = ("x"):rep(1 << 20) .. "a", ("x"):rep(1 << 20) .. "b"
while a < b do end
