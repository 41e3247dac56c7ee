-- A clinic and its people, for the other files of tests; no tests of its own.
local clinic = {}

local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }
local gad7 = { "69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7" }

function clinic.open(t, at, settings, model, more)
	t:at(at)
	local own = { default_payer = "medicare" }
	for name, value in pairs(settings or {}) do
		own[name] = value
	end
	local config = {
		name = "Test Clinic", zone = "America/Los_Angeles", reference = "Organization/test", model = model or "integrated",
		programs = { "collaborative_care" },
		hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
		holidays = { "2026-01-01", "2026-05-25", "2026-11-26", "2026-12-25" },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			care = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/care" },
			second = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/second" },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			psychiatrist = { kind = "person", roles = { "psychiatric_consultant" }, reference = "Practitioner/psychiatrist" },
			biller = { kind = "person", roles = { "biller" }, reference = "Practitioner/biller" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
		settings = { collaborative_care = own },
	}
	for name, value in pairs(more or {}) do
		config[name] = value
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

function clinic.identify(t, patient)
	t:as("care")
	return t:start("cocm", { focus = patient, patient = patient })
end

local function fill(t, patient, panel, items, total, last)
	local answers = {}
	for number = 1, last do
		local value = math.min(3, total)
		total = total - value
		answers[number] = { linkId = items[number], answer = { { valueInteger = value } } }
	end
	if panel == "44249-1" then
		answers[9] = { linkId = items[9], answer = { { valueInteger = 0 } } }
	end
	t:as("ehr")
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/" .. panel,
		subject = { reference = patient }, authored = t:now(), item = answers,
	}
end

function clinic.score(t, patient, total)
	fill(t, patient, "44249-1", phq9, total, 8)
end

function clinic.anxiety(t, patient, total)
	fill(t, patient, "69737-5", gad7, total, 7)
end

-- Identified, consented, enrolled, assessed with this PHQ-9: in treatment, all at this moment.
function clinic.enrol(t, family, total, more)
	local patient = clinic.patient(t, family)
	local task = clinic.identify(t, patient)
	t:transition(task, "offer", {})
	t:transition(task, "consent", { mode = "verbal" })
	local data = { treating = { reference = "Practitioner/doctor" }, seen_on = string.sub(t:now(), 1, 10) }
	for name, value in pairs(more or {}) do
		data[name] = value
	end
	t:transition(task, "enrol", data)
	clinic.score(t, patient, total or 16)
	t:as("care")
	t:transition(task, "activate", {})
	return patient, task
end

-- The live instance of a workflow of a patient.
function clinic.task(t, workflow, patient)
	local former = t.principal
	t:as("ehr")
	local found = t:search("Task", { code = workflow, _count = 200 })
	t:as(former)
	for _, task in ipairs(found) do
		local reference = "Task/" .. task.id
		if (not patient or task["for"] and task["for"].reference == patient) and not t:instance(reference).final then
			return reference
		end
	end
end

function clinic.contact(t, patient, data)
	local task = clinic.task(t, "cocm_contact", patient)
	t:as("care")
	data = data or {}
	data.channel = data.channel or "phone"
	return t:transition(task, "contact", data)
end

-- $minutes; the answer as a table: because is a text of all its lines.
function clinic.minutes(t, patient, fields)
	local parameters = {}
	local names = {}
	for name in pairs(fields) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = fields[name]
		local kind = math.type(value) == "integer" and "valueInteger" or "valueString"
		parameters[#parameters + 1] = { name = name, [kind] = value }
	end
	local answer = t:operation("$minutes", { resourceType = "Parameters", parameter = parameters }, patient)
	local found = { because = "" }
	for _, each in ipairs(answer.parameter) do
		local value = each.valueString or each.valueInteger
		if value == nil then
			value = each.valueBoolean
		end
		if each.name == "because" then
			found.because = found.because .. value .. "\n"
		else
			found[each.name] = value
		end
	end
	return found
end

function clinic.row(t, family, view)
	t:as("care")
	for _, row in ipairs(t:view(view or "cocm_registry")) do
		if row.patient_name == family then
			return row
		end
	end
end

-- Texts sent to a role.
function clinic.sent(t, role, words)
	t:as("ehr")
	local count = 0
	for _, communication in ipairs(t:search("Communication", { _count = 500 })) do
		for _, recipient in ipairs(communication.recipient or {}) do
			if recipient.identifier and recipient.identifier.value == role
				and string.find(communication.payload[1].contentString, words, 1, true) then
				count = count + 1
			end
		end
	end
	return count
end

return clinic
