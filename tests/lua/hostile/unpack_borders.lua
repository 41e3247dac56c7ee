-- expect: more than
-- Borders at the ends of the integers.
return table.unpack({}, math.mininteger, math.maxinteger)
