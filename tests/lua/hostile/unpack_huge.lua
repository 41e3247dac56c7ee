-- expect: more than
-- More values than the stack has.
return table.unpack({}, 1, 1 << 40)
