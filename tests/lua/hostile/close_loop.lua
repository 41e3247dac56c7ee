-- expect: ms of CPU
-- Variables that are closed on the way out run the plugin again.
local trap <close> = setmetatable({}, { __close = function () while true do end end })
while true do end
