-- expect: ms of CPU
-- The plain case.
while true do end
