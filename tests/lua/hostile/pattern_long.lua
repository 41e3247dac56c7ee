-- expect: longer than
-- A pattern of megabytes.
return string.find("a", ("[a-z]"):rep(100000))
