-- The samples are what they say; and what nobody writes by hand.
local clinic = require "tests/clinic"
local folder = (string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/programs/collaborative_care/")
	.. "samples/"

test("the samples work as they are: enrolled, scored 16, treated, 25 minutes", function (t)
	local function send(principal, method, target, name)
		local file = assert(io.open(folder .. name))
		local body = file:read("a")
		file:close()
		t:as(principal)
		local answer = t:request(method, target, body)
		t:ok(answer.status < 300, name .. ": " .. answer.status)
	end
	clinic.open(t, "2026-11-02T09:00:00-08:00")
	local task = "Task/cocm-sample"
	send("ehr", "PUT", "/fhir/Patient/cocm-sample", "1-patient.json")
	send("care", "PUT", "/fhir/" .. task, "2-identify.json")
	for _, name in ipairs { "3-offer.json", "4-consent.json", "5-enrol.json" } do
		send("care", "POST", "/fhir/" .. task .. "/$transition", name)
	end
	send("ehr", "POST", "/fhir/QuestionnaireResponse", "6-answers.json")
	send("care", "POST", "/fhir/" .. task .. "/$transition", "7-activate.json")
	t:equal(t:state(task), "active")
	t:advance("30 minutes")
	send("care", "POST", "/fhir/Patient/cocm-sample/$minutes", "8-minutes.json")
	t:as("care")
	local row = clinic.row(t, "Noa Sample-Care")
	t:equal(row.first, 16)
	t:equal(clinic.row(t, "Noa Sample-Care", "cocm_minutes").minutes, 25)
end)

test("two open episodes, and minutes or months written by hand, are refused with the rule's name", function (t)
	clinic.open(t, "2026-11-02T09:00:00-08:00")
	local patient = clinic.enrol(t, "Rivera")
	t:advance("1 hour")
	t:as("care")
	clinic.minutes(t, patient, { action = "enter", minutes = 10, activity = "outreach" })
	t:as("ehr")
	t:refused(function ()
		t:create {
			resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
			type = { { coding = { { system = "urn:careloop:episode", code = "collaborative-care" } } } },
		}
	end, "cocm_two_episodes")
	for _, code in ipairs { "minutes", "month" } do
		local item = t:search("ChargeItem", { patient = patient, code = "urn:careloop:cocm:charge|" .. code })[1]
		item.quantity.value = 99
		t:refused(function ()
			t:update(item)
		end, "cocm_ledger")
		t:refused(function ()
			t:delete("ChargeItem/" .. item.id)
		end, "cocm_ledger")
	end
	t:as("care")
	t:equal(clinic.minutes(t, patient, { action = "show" }).minutes, 10)
end)
