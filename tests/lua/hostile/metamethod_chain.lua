-- expect: chain
-- An __index that is its own table.
local trap = {}
setmetatable(trap, { __index = function (t, k) return t[k .. "x"] end })
local loop = {}
setmetatable(loop, { __index = loop })
return loop.x
