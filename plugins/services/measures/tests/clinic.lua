-- A clinic, short ways to write its charts, and reading its measures, for the other files of tests; no tests of its
-- own.
local clinic = {}

function clinic.open(t, at, options)
	options = options or {}
	t:at(at)
	t:organization {
		name = "Test Clinic", zone = options.zone or "America/Chicago", reference = "Organization/test", model = "integrated",
		services = { "measures" }, programs = options.programs,
		hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
		holidays = { "2026-01-01", "2026-05-25", "2026-11-26", "2026-12-25" },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			manager = { kind = "person", roles = { "manager" } },
		},
		settings = options.settings,
	}
	t:as("ehr")
end

local function concept(system, code)
	return { coding = { { system = system, code = code } } }
end

clinic.concept = concept
clinic.icd10 = "http://hl7.org/fhir/sid/icd-10-cm"
clinic.loinc = "http://loinc.org"
clinic.snomed = "http://snomed.info/sct"

function clinic.patient(t, birth, more)
	local patient = {
		resourceType = "Patient", name = { { family = "Sample" } }, birthDate = birth or "1980-05-01", gender = "female",
	}
	for name, value in pairs(more or {}) do
		patient[name] = value
	end
	return t:create(patient)
end

function clinic.condition(t, patient, code, onset, more)
	local condition = {
		resourceType = "Condition", subject = { reference = patient }, code = concept(clinic.icd10, code),
			onsetDateTime = onset,
		clinicalStatus = concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
		verificationStatus = concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
	}
	for name, value in pairs(more or {}) do
		condition[name] = value
	end
	return t:create(condition)
end

function clinic.visit(t, patient, first, last, more)
	local visit = {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
		period = { start = first, ["end"] = last or first },
	}
	for name, value in pairs(more or {}) do
		visit[name] = value
	end
	return t:create(visit)
end

function clinic.class(code)
	return { class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = code } }
end

function clinic.value(t, patient, code, value, at, more)
	local observation = {
		resourceType = "Observation", status = "final", code = concept(clinic.loinc, code), subject = { reference = patient },
		effectiveDateTime = at, valueQuantity = { value = value, unit = "1" },
	}
	for name, each in pairs(more or {}) do
		observation[name] = each or nil
	end
	return t:create(observation)
end

function clinic.phq9(t, patient, value, at, more)
	return clinic.value(t, patient, "44261-6", value, at, more)
end

-- Depressed since before `day`, seen on that day with a score.
function clinic.depressed(t, day, value, birth)
	local patient = clinic.patient(t, birth)
	clinic.condition(t, patient, "F32.1", "2020-01-01")
	clinic.visit(t, patient, day)
	clinic.phq9(t, patient, value, day)
	return patient
end

-- The counts of the report's first group by population, its score, and the report.
function clinic.measure(t, name, period, query)
	local answer = t:request("GET", "/fhir/Measure/" .. name:gsub("_", "-") .. "/$evaluate-measure?period=" .. period
		.. (query or ""))
	if answer.status ~= 200 then
		error(name .. ": " .. answer.status .. " " .. tostring(answer.body and answer.body.issue
			and answer.body.issue[1].diagnostics), 2)
	end
	local counts = {}
	local group = answer.body.group and answer.body.group[1] or {}
	for _, population in ipairs(group.population or {}) do
		counts[population.code.coding[1].code] = population.count
	end
	counts.score = group.measureScore and tonumber(group.measureScore.value)
	counts.report = answer.body
	counts.initial, counts.exclusion = counts["initial-population"], counts["denominator-exclusion"]
	counts.exception = counts["denominator-exception"]
	for _, extension in ipairs(answer.body.extension or {}) do
		if extension.url == "urn:careloop:measure:not-computable" then
			counts.missing = extension.valueString
		end
	end
	return counts
end

-- "initial/denominator/exclusion/exception/numerator" of one patient, as text: compact to compare.
function clinic.one(t, name, period, patient)
	local counts = clinic.measure(t, name, period, "&subject=" .. patient)
	return string.format("%d%d%d%d%d", counts.initial or 0, counts.denominator or counts["measure-population"] or 0,
		counts.exclusion or counts["measure-population-exclusion"] or 0, counts.exception or 0,
		counts.numerator or counts["measure-observation"] or 0)
end

-- The facts of an individual report, one text.
function clinic.facts(t, name, period, patient)
	local report = clinic.measure(t, name, period, "&subject=" .. patient).report
	local words = {}
	for _, case in ipairs(report.extension or {}) do
		for _, fact in ipairs(case.url == "urn:careloop:measure:case" and case.extension or {}) do
			for _, part in ipairs(fact.extension or {}) do
				words[#words + 1] = part.valueString
			end
		end
	end
	return table.concat(words, "\n")
end

return clinic
