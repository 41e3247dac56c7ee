-- expect: ms of CPU
-- A plain pcall would swallow the limit and go on.
while true do
	pcall(function () while true do end end)
end
