-- expect: no text but a nil
-- Nothing as an error.
error(nil)
