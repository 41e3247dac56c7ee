-- expect: steps
-- The budget holds for a whole gsub.
return (("ab"):rep(20000)):gsub("(.-)(.-)c", "%1")
