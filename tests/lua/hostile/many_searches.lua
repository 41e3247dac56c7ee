-- expect: ms of CPU
-- A loop that searches.
while true do
	ctx:search("Patient", { name = "x" })
end
