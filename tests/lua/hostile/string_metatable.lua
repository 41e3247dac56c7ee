-- expect: attempt to index a boolean
-- Would poison every string.
getmetatable("").__index = function () return "evil" end
