-- expect: cannot be changed
-- Not by rawset either.
rawset(string, "find", function () return "evil" end)
