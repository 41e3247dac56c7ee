-- expect: ms of CPU
-- The limit is met within a callback.
string.gsub("abc", ".", function () while true do end end)
