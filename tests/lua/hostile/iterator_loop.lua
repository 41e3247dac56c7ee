-- expect: ms of CPU
-- The limit is met within an iterator.
for _ in function () while true do end end do end
