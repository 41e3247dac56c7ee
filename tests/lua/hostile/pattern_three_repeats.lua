-- expect: steps
-- Three lazy repeats over 2,500 characters did not end in 59 s.
local text = ("a"):rep(2500)
return text:find("(.-)(.-)(.-)b")
