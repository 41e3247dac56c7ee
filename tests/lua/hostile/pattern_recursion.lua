-- expect: too complex
-- Deep recursion of the matcher.
return string.match("a", ("a?"):rep(125) .. "b")
