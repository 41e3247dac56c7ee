-- expect: cannot be assigned
-- Libraries cannot be changed.
string.find = function () return "evil" end
