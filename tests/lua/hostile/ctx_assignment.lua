-- expect: cannot be changed
-- ctx belongs to everyone.
ctx.read = nil
