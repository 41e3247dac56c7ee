-- expect: steps
-- Catching it does not help: the request fails.
pcall(string.find, ("a"):rep(3000), "a*a*a*a*b")
return true
