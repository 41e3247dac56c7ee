-- expect: more than
-- 2^53 moves in C.
table.move({}, 1, 1 << 53, 2)
