-- The samples are what they say.
local folder = (string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/services/instruments/")
	.. "samples/"

test("the samples work as they are: a form goes out in Spanish, its answers score 11 and raise the alert", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/test", model = "integrated",
		services = { "instruments" },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			assistant = { kind = "person", roles = { "medical_assistant" }, reference = "Practitioner/assistant" },
		},
	}
	local function send(principal, method, target, name)
		local file = assert(io.open(folder .. name))
		local body = file:read("a")
		file:close()
		t:as(principal)
		local answer = t:request(method, target, body)
		t:ok(answer.status < 300, name .. ": " .. answer.status)
		return answer.body
	end
	send("ehr", "PUT", "/fhir/Patient/form-sample", "1-patient.json")
	local task = send("assistant", "POST", "/fhir/Patient/form-sample/$send-form", "2-send.json")
	t:as("ehr")
	t:equal(t:data(task.focus.reference).language, "es")
	send("ehr", "POST", "/fhir/QuestionnaireResponse", "3-answers.json")
	t:equal(t:state("Task/" .. task.id), "answered")
	local total = t:search("Observation", { patient = "Patient/form-sample", code = "44261-6" })[1]
	t:equal(t:data("Observation/" .. total.id).valueQuantity.value, 11)
	t:equal(#t:search("Task", { code = "safety" }), 1)
end)

test("the service loads beside each model", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	for number, model in ipairs { "coordinated", "colocated", "integrated" } do
		local other = (number == 1 and t.organization or t.also)(t, {
			name = model, zone = "America/Chicago", model = model, services = { "instruments" },
			principals = { ehr = { kind = "client", roles = { "ehr" } } },
		})
		other:as("ehr")
		t:ok(#other:operation("$publish-forms", { resourceType = "Parameters" }).parameter > 8, model)
	end
end)
