-- expect: steps
-- Ran for minutes: hooks do not run in C.
string.find(("a"):rep(40), (".-"):rep(20) .. "b")
