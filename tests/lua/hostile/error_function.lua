-- expect: no text but a function
-- A function as an error.
error(print)
