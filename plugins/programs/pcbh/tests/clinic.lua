-- A health center and its people, for the other files of tests; no tests of its own.
local clinic = {}

function clinic.open(t, at, settings, more)
	t:at(at)
	local config = {
		name = "Test Health Center", zone = "America/Chicago", reference = "Organization/test", model = "colocated",
		programs = { "pcbh" }, holidays = { "2026-11-26" },
		hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
			desk = { kind = "person", roles = { "front_desk" }, reference = "Practitioner/desk" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
		settings = { pcbh = settings or {} },
	}
	for name, value in pairs(more or {}) do
		config[name] = value
	end
	if #config.programs > 1 then
		config.principals.care = {
			kind = "person", roles = { "care_manager", "behavioral_health_consultant" }, reference = "Practitioner/consultant",
		}
	end
	t:organization(config)
end

function clinic.patient(t, family, more)
	t:as("ehr")
	local resource = { resourceType = "Patient", name = { { family = family } } }
	for name, value in pairs(more or {}) do
		resource[name] = value
	end
	return t:create(resource)
end

-- A medical visit that begins now.
function clinic.medical(t, patient, more)
	t:as("ehr")
	local resource = {
		resourceType = "Encounter", status = "in-progress", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
		period = { start = t:now() }, participant = { { individual = { reference = "Practitioner/doctor" } } },
	}
	for name, value in pairs(more or {}) do
		resource[name] = value
	end
	return t:create(resource)
end

function clinic.ask(t, patient)
	t:as("doctor")
	return t:start("pcbh", { focus = patient, patient = patient, requester = "Practitioner/doctor" })
end

-- A brief visit that has just ended.
function clinic.visit(t, task, more)
	t:as("consultant")
	local data = {
		reason = "sleep", intervention = "sleep habits", minutes = 20, score_kind = "function_0_10", score = 5,
		mode = "in the room", initiated = "warm handoff",
	}
	for name, value in pairs(more or {}) do
		data[name] = value ~= "none" and value or nil
	end
	return t:transition(task, "visit", data)
end

-- The latest Task of a workflow about a patient.
function clinic.task(t, workflow, patient)
	t:as("ehr")
	local found = t:search("Task", { code = workflow, patient = patient, _sort = "-authored-on" })
	for _, task in ipairs(found) do
		if not t:instance("Task/" .. task.id).final then
			return "Task/" .. task.id
		end
	end
	return found[1] and "Task/" .. found[1].id
end

function clinic.sent(t, whom, words)
	t:as("ehr")
	local count = 0
	for _, communication in ipairs(t:search("Communication", { _count = 500 })) do
		for _, recipient in ipairs(communication.recipient or {}) do
			if (recipient.reference == whom or recipient.identifier and recipient.identifier.value == whom)
				and string.find(communication.payload[1].contentString, words, 1, true) then
				count = count + 1
			end
		end
	end
	return count
end

return clinic
