-- expect: is empty
-- A range without numbers.
math.random(5, 1)
