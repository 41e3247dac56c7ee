-- Readmission, emergency visits, length of stay, discharge, FUH and FUM: domain 2.9, 2.10, 2.13 and 2.22.
local clinic = require "tests/clinic"

local function mental(code)
	return { reasonCode = { clinic.concept(clinic.icd10, code or "F32.2") } }
end

local function stay(t, patient, first, last, more)
	local fields = clinic.class("IMP")
	for name, value in pairs(more or {}) do
		fields[name] = value
	end
	return clinic.visit(t, patient, first, last, fields)
end

local function seen(t, patient, day, code)
	return clinic.visit(t, patient, day, day, mental(code))
end

test("readmission within 30 days: windows, transfers, planned and same-day stays (domain 2.10)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function two(first, second, more, before)
		local patient = clinic.patient(t)
		stay(t, patient, "2025-03-01", first, before)
		stay(t, patient, second, "2025-06-20", more)
		return clinic.one(t, "readmission_30", "2025", patient)
	end
	t:equal(two("2025-03-05", "2025-04-04"), "22001", "on day 30; the second stay is an index, too")
	t:equal(two("2025-03-05", "2025-04-05"), "22000", "on day 31")
	t:equal(two("2025-03-05", "2025-03-05"), "22001", "admitted again on the day of discharge")
	t:equal(two("2025-03-05", "2025-03-06", nil, { hospitalization = { dischargeDisposition = clinic.concept(
		"http://terminology.hl7.org/CodeSystem/discharge-disposition", "other-hcf") } }), "11000", "a transfer is one stay")
	t:equal(two("2025-03-05", "2025-03-07", nil, { hospitalization = { dischargeDisposition = clinic.concept(
		"http://terminology.hl7.org/CodeSystem/discharge-disposition", "other-hcf") } }), "22001",
			"two days later it is none")
	t:equal(two("2025-03-05", "2025-03-20", mental("Z51.11")), "22000", "planned chemotherapy")
	t:equal(two("2025-03-01", "2025-03-20"), "22100", "a same-day stay is no index")
	t:equal(two("2025-03-05", "2025-03-20", nil, { hospitalization = { dischargeDisposition = clinic.concept(
		"http://terminology.hl7.org/CodeSystem/discharge-disposition", "exp") } }), "22100", "death")
	t:equal(two("2025-03-05", "2025-03-20", nil, mental("O80")), "22100", "pregnancy")
	for day, expected in pairs { ["2025-12-01"] = "11000", ["2025-12-02"] = "00000" } do
		local edge = clinic.patient(t)
		stay(t, edge, "2025-11-20", day)
		t:equal(clinic.one(t, "readmission_30", "2025", edge), expected, "discharged on " .. day)
	end
	t:equal(clinic.measure(t, "readmission_30", "2025").initial, 18, "discharges, not patients")
end)

test("the vendor's rule: a same-day readmission counts as planned (domain 2.21)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00", { settings = { measures = { readmission_same_day = "planned" } } })
	local patient = clinic.patient(t)
	stay(t, patient, "2025-03-01", "2025-03-05")
	stay(t, patient, "2025-03-05", "2025-03-20")
	t:equal(clinic.one(t, "readmission_30", "2025", patient), "22000")
end)

test("emergency visits per 1,000 member-years: 45 visits in 9,000 member-months are 60 (domain 2.22)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	-- The same proportion: 1 visit in 200 member-months.
	for i = 1, 20 do
		local patient = clinic.patient(t)
		t:create {
			resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
			payor = { { reference = "Organization/test" } }, period = { start = "2025-03-15", ["end"] = "2025-12-31" },
		}
		if i == 1 then
			clinic.visit(t, patient, "2025-06-01", nil, clinic.class("EMER"))
			clinic.visit(t, patient, "2024-06-01", nil, clinic.class("EMER"))
		elseif i == 2 then -- led to a stay: left out
			clinic.visit(t, patient, "2025-06-01", nil, clinic.class("EMER"))
			stay(t, patient, "2025-06-02", "2025-06-05")
		end
	end
	local counts = clinic.measure(t, "ed_per_1000", "2025")
	t:near(counts.score, 60, 0.0001)
	t:equal(counts.denominator, 20)
end)

test("length of stay: at least a day; a leap day counts (domain 2.10)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local patient = clinic.patient(t)
	stay(t, patient, "2024-02-28", "2024-03-01")
	stay(t, patient, "2024-05-01", "2024-05-01")
	stay(t, patient, "2023-12-30", "2024-01-02")
	t:near(clinic.measure(t, "average_stay", "2024").score, (2 + 1 + 3) / 3, 0.0001)
end)

test("hours from medically ready to departed (domain 2.9, 2.17)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local patient = clinic.patient(t)
	for i, hours in ipairs { "T10:00:00-06:00", "T15:30:00-06:00" } do
		local encounter = stay(t, patient, "2025-01-0" .. i .. "T08:00:00-06:00", "2025-01-1" .. i .. "T16:30:00-06:00")
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient },
				encounter = { reference = encounter },
			code = clinic.concept("urn:careloop:discharge", "medically-ready"), valueDateTime = "2025-01-1" .. i .. hours,
		}
	end
	stay(t, patient, "2025-02-01T08:00:00-06:00", "2025-02-03T16:30:00-06:00")
	local counts = clinic.measure(t, "discharge_hours", "2025-Q1")
	t:near(counts.score, (6.5 + 1) / 2, 0.0001)
	t:equal(counts["measure-population"], 3)
	t:equal(counts["measure-observation"], 2, "one was never written down")
end)

test("FUH: 1 to 7 and 30 days after a discharge; the day itself does not count (domain 2.13)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function one(visit_day, name, code)
		local patient = clinic.patient(t)
		stay(t, patient, "2025-03-01", "2025-03-10", mental())
		if visit_day then
			seen(t, patient, visit_day, code)
		end
		return clinic.one(t, name or "fuh_7", "2025", patient)
	end
	t:equal(one("2025-03-10"), "11000", "the day of discharge")
	t:equal(one("2025-03-11"), "11001")
	t:equal(one("2025-03-17"), "11001", "day 7")
	t:equal(one("2025-03-18"), "11000", "day 8")
	t:equal(one("2025-03-18", "fuh_30"), "11001")
	t:equal(one("2025-04-09", "fuh_30"), "11001", "day 30")
	t:equal(one("2025-04-10", "fuh_30"), "11000", "day 31")
	t:equal(one("2025-03-12", "fuh_7", "F41.1"), "11001", "anxiety is in (domain 0 row 11)")
	t:equal(one("2025-03-12", "fuh_7", "E11.9"), "11000", "a visit for something else")
	local again = clinic.patient(t)
	stay(t, again, "2025-03-01", "2025-03-10", mental())
	stay(t, again, "2025-04-09", "2025-04-12", mental())
	seen(t, again, "2025-04-13")
	t:equal(clinic.one(t, "fuh_7", "2025", again), "11001", "a readmission within 30 days: only the last discharge")
	local physical = clinic.patient(t)
	stay(t, physical, "2025-03-01", "2025-03-10", mental("I50.1"))
	t:equal(clinic.one(t, "fuh_7", "2025", physical), "00000")
end)

test("FUM: the day of the emergency visit counts (domain 2.13)", function (t)
	clinic.open(t, "2026-02-01T09:00:00-06:00")
	local function one(visit_day, birth)
		local patient = clinic.patient(t, birth)
		local fields = mental("F41.0")
		fields.class = clinic.class("EMER").class
		clinic.visit(t, patient, "2025-03-10", nil, fields)
		seen(t, patient, visit_day)
		return clinic.one(t, "fum_7", "2025", patient), patient
	end
	t:equal(one("2025-03-10"), "11001")
	t:equal(one("2025-03-17"), "11001", "day 7")
	t:equal(one("2025-03-18"), "11000", "day 8")
	t:equal(one("2025-03-12", "2019-03-10"), "11001", "six on the day")
	t:equal(one("2025-03-12", "2019-03-11"), "00000", "five")
	local _, admitted = one("2025-03-12")
	stay(t, admitted, "2025-03-11", "2025-03-15", mental())
	t:equal(clinic.one(t, "fum_7", "2025", admitted), "00000", "it ended in a stay")
end)
