-- The demonstration: eight weeks of care of synthetic patients in three organizations, by `careloop demo --config FILE
-- scripts/demo.lua`. It acts as their people would, by requests with their access rights, under a virtual clock that
-- ends now.
-- Everything is made up by a generator of its own with a fixed seed; the names say so.
--   riverside  refers patients to lakeside and to a clinic without a connection (coordinated)
--   lakeside   answers, and hands patients over to its consultants during visits (co-located)
--   hillside   keeps a registry of patients in depression care, shared plans and huddles (integrated)
-- luacheck: read globals demo
local folder = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local riverside, lakeside, hillside = demo:organization("riverside"), demo:organization("lakeside"),
	demo:organization("hillside")
local tools = assert(loadfile(folder .. "/demo/tools.lua"))()

local function tell(story, ...)
	assert(loadfile(folder .. "/demo/" .. story .. ".lua"))(tools, ...)
end

tell("referrals", riverside, lakeside)
tell("handoffs", lakeside)
tell("registry", hillside)
tools.run()
demo:finish()
