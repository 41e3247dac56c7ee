-- expect: attempt to call a nil value
-- No bytecode is given out.
return string.dump(print)
