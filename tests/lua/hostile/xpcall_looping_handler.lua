-- expect: ms of CPU
-- Lua turns hooks off while a message handler runs.
xpcall(function () while true do end end, function () while true do end end)
