-- expect: with a colon
-- ctx calls on something else.
ctx.read("Patient/x", "y")
