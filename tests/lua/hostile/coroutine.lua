-- expect: there is no 'coroutine'
-- A coroutine made before the hook would run without it.
local thread = coroutine.create(function () while true do end end)
coroutine.resume(thread)
