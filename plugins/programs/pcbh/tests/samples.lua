-- The samples are what they say: sent in order they make an episode and end it.
local clinic = require "tests/clinic"
local folder = (string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/programs/pcbh/") .. "samples/"

test("the samples work as they are", function (t)
	local function send(principal, method, target, name)
		local file = assert(io.open(folder .. name))
		local body = file:read("a")
		file:close()
		t:as(principal)
		local answer = t:request(method, target, body)
		t:ok(answer.status < 300, name .. ": " .. answer.status)
	end
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	send("ehr", "PUT", "/fhir/Patient/pcbh-sample", "1-patient.json")
	send("doctor", "PUT", "/fhir/Task/pcbh-sample", "2-ask.json")
	send("consultant", "POST", "/fhir/Task/pcbh-sample/$transition", "3-visit.json")
	t:equal(t:state("Task/pcbh-sample"), "active")
	send("consultant", "POST", "/fhir/Task/pcbh-sample/$transition", "4-back.json")
	t:equal(t:state("Task/pcbh-sample"), "returned")
	send("consultant", "POST", "/fhir/$pcbh-log", "log-huddle.json")
	t:equal(t:metric("pcbh_huddles_attended", "2026-11").numerator, 1)
end)
