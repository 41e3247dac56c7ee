-- expect: steps
-- Many decisions, each of which may be taken back.
return string.match(("a"):rep(250), ("a?"):rep(125) .. "b")
