-- expect: ms of CPU
-- The handler of an ordinary error runs after unwinding, where hooks run.
xpcall(function () error("x") end, function () while true do end end)
