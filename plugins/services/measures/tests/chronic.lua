-- CMS122 and CMS165: vectors of domain 2.22 and the edges of domain 2.11.
local clinic = require "tests/clinic"

local function diabetic(t, birth, more)
	local patient = clinic.patient(t, birth, more)
	clinic.condition(t, patient, "E11.9", "2015-01-01")
	clinic.visit(t, patient, "2025-06-01")
	return patient
end

local function hypertensive(t, birth, onset)
	local patient = clinic.patient(t, birth)
	clinic.condition(t, patient, "I10", onset or "2015-01-01")
	clinic.visit(t, patient, "2025-06-01")
	return patient
end

local function pressure(t, patient, systolic, diastolic, at, more)
	local function part(code, value)
		return { code = clinic.concept(clinic.loinc, code), valueQuantity = { value = value, unit = "mm[Hg]" } }
	end
	local observation = {
		resourceType = "Observation", status = "final", code = clinic.concept(clinic.loinc, "85354-9"),
		subject = { reference = patient }, effectiveDateTime = at,
		component = { part("8480-6", systolic), part("8462-4", diastolic) },
	}
	if not diastolic then
		observation.component = { part("8480-6", systolic) }
	end
	for name, value in pairs(more or {}) do
		observation[name] = value
	end
	return t:create(observation)
end

test("CMS122: the lowest value of the most recent day (domain 2.22)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function one(values, birth)
		local patient = diabetic(t, birth)
		for _, value in ipairs(values) do
			clinic.value(t, patient, value[3] or "4548-4", value[1], value[2])
		end
		return clinic.one(t, "cms122", "2025", patient)
	end
	t:equal(one { { 9.1, "2025-05-01" }, { 9.0, "2025-05-01" } }, "11000", "same day 9.1 and 9.0: 9.0, not poor")
	t:equal(one { { 9.1, "2025-05-01" } }, "11001")
	t:equal(one { { 9.0, "2025-05-01" } }, "11000", "9 is not above 9")
	t:equal(one { { 7, "2025-05-01" }, { 9.5, "2025-05-02" } }, "11001", "the most recent day")
	t:equal(one { { 9.5, "2025-05-01" }, { 7, "2025-05-02", "97506-0" } }, "11000", "a GMI counts alike")
	t:equal(one {}, "11001", "no test is poor")
	t:equal(one { { 7, "2024-12-31" } }, "11001", "a test before the period is none")
	t:equal(one { { 7, "2025-12-31" } }, "11000", "its last day")
	t:equal(one { { 7, "2026-01-01T05:59:00Z" } }, "11000", "a minute before midnight in Chicago")
	t:equal(one { { 7, "2026-01-01T06:00:00Z" } }, "11001", "midnight")
	local untold = diabetic(t)
	clinic.value(t, untold, "4548-4", 7, "2025-05-01")
	clinic.value(t, untold, "4548-4", nil, "2025-06-01", { valueQuantity = false, dataAbsentReason = clinic.concept(
		"http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown") })
	t:equal(clinic.one(t, "cms122", "2025", untold), "11001", "the latest has no result")
	t:equal(one({ { 7, "2025-05-01" } }, "2007-12-31"), "11000", "18 on the last day")
	t:equal(one({ { 7, "2025-05-01" } }, "2008-01-01"), "00000", "not yet 18")
	t:equal(one({ { 7, "2025-05-01" } }, "1950-01-01"), "11000", "75")
	t:equal(one({ { 7, "2025-05-01" } }, "1949-12-31"), "00000", "76")
end)

test("CMS122 and CMS165: exclusions (domain 2.11)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function one(name, birth, conditions)
		local patient = name == "cms122" and diabetic(t, birth) or hypertensive(t, birth)
		for _, condition in ipairs(conditions) do
			clinic.condition(t, patient, condition[1], condition[2])
		end
		return clinic.one(t, name, "2025", patient)
	end
	for _, name in ipairs { "cms122", "cms165" } do
		t:equal(one(name, "1970-01-01", { { "Z51.5", "2025-03-01" } }), "11100", "palliative care")
		t:equal(one(name, "1959-12-31", { { "R54", "2025-03-01" } }):sub(3, 3), "0", "frailty alone at 66")
		t:equal(one(name, "1959-12-31", { { "R54", "2025-03-01" }, { "I50.1", "2024-03-01" } }):sub(3, 3), "1",
			"with heart failure")
		t:equal(one(name, "1960-01-01", { { "R54", "2025-03-01" }, { "I50.1", "2024-03-01" } }):sub(3, 3), "0", "at 65 not")
	end
	t:equal(one("cms165", "1944-12-31", { { "R54", "2025-03-01" } }):sub(3, 3), "1", "from 81 frailty alone")
	t:equal(one("cms165", "1945-01-01", { { "R54", "2025-03-01" } }):sub(3, 3), "0", "80: not alone")
	t:equal(one("cms165", "1970-01-01", { { "N18.6", "2019-03-01" } }):sub(3, 3), "1", "end-stage kidney disease")
	t:equal(one("cms165", "1970-01-01", { { "N18.5", "2026-01-01" } }):sub(3, 3), "0", "after the period")
	t:equal(one("cms165", "1990-01-01", { { "O09.90", "2025-03-01" } }):sub(3, 3), "1", "pregnancy")
end)

test("CMS165: lowest systolic and lowest diastolic of the last day, each by itself (domain 2.22)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function one(readings, birth, onset)
		local patient = hypertensive(t, birth, onset)
		for _, reading in ipairs(readings) do
			pressure(t, patient, reading[1], reading[2], reading[3], reading[4] and reading[4](patient))
		end
		return clinic.one(t, "cms165", "2025", patient)
	end
	t:equal(one { { 150, 80, "2025-05-01" }, { 138, 95, "2025-05-01" } }, "11001", "138 and 80: controlled")
	t:equal(one { { 140, 80, "2025-05-01" } }, "11000", "140 is not below 140")
	t:equal(one { { 139, 90, "2025-05-01" } }, "11000", "90 is not below 90")
	t:equal(one { { 139, 89, "2025-05-01" } }, "11001")
	t:equal(one { { 120, 70, "2025-05-01" }, { 160, 95, "2025-06-01" } }, "11000", "the last day")
	t:equal(one { { 120, 70, "2025-05-01" }, { 160, nil, "2025-06-01" } }, "11001", "the last day that has both")
	t:equal(one {}, "11000", "no reading is not controlled")
	t:equal(one { { 120, 70, "2025-05-01" }, { 170, 100, "2025-06-01", function (patient)
		return { encounter = { reference = clinic.visit(t, patient, "2025-06-01", nil, clinic.class("EMER")) } }
	end } }, "11001", "the emergency department does not count")
	t:equal(one({ { 120, 70, "2025-05-01" } }, "1970-01-01", "2025-06-30"), "11001", "diagnosed on the last day of June")
	t:equal(one({ { 120, 70, "2025-05-01" } }, "1970-01-01", "2025-07-01"), "00000", "in July: not in the first half")
	t:equal(one({ { 120, 70, "2025-05-01" } }, "1940-01-01"), "11001", "85")
	t:equal(one({ { 120, 70, "2025-05-01" } }, "1939-12-31"), "00000", "86")
end)
