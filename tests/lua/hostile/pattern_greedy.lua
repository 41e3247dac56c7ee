-- expect: steps
-- Nested greedy repeats.
return (("a"):rep(3000)):match("a*a*a*a*b")
