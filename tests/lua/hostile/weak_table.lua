-- expect: __mode
-- What a weak table holds depends on when memory is collected.
setmetatable({}, { __mode = "k" })
