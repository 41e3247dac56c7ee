-- Money: the worked examples of domain 2.12 and 2.22, and the definitions that differ (domain 2.21).
local clinic = require "tests/clinic"

local function claim(t, patient, day, charge, more)
	local fields = {
		resourceType = "Claim", status = "active", use = "claim", patient = { reference = patient }, created = day,
		billablePeriod = { start = day, ["end"] = day }, provider = { reference = "Organization/test" },
		type = clinic.concept("http://terminology.hl7.org/CodeSystem/claim-type", "professional"),
		priority = clinic.concept("http://terminology.hl7.org/CodeSystem/processpriority", "normal"),
		insurer = { reference = "Organization/payer" }, total = { value = charge, currency = "USD" },
		insurance = { { sequence = 1, focal = true, coverage = { display = "plan" } } },
	}
	for name, value in pairs(more or {}) do
		fields[name] = value
	end
	return t:create(fields)
end

local function answer(t, patient, request, day, paid, sums, outcome)
	local totals
	for name, value in pairs(sums or {}) do
		totals = totals or {}
		totals[#totals + 1] = {
			category = clinic.concept("urn:careloop:adjudication", name), amount = { value = value, currency = "USD" },
		}
	end
	return t:create {
		resourceType = "ClaimResponse", status = "active", use = "claim", patient = { reference = patient }, created = day,
		type = clinic.concept("http://terminology.hl7.org/CodeSystem/claim-type", "professional"),
		insurer = { reference = "Organization/payer" }, outcome = outcome or "complete", request = { reference = request },
		total = totals,
		payment = paid and {
			type = clinic.concept("http://terminology.hl7.org/CodeSystem/ex-paymenttype", "complete"), date = day,
			amount = { value = paid, currency = "USD" },
		} or nil,
	}
end

test("adjusted collection: (500,000 - 14,000) / (850,000 - 350,000) = 97.2 % (domain 2.12)", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00")
	local patient = clinic.patient(t)
	local one = claim(t, patient, "2026-01-01", 500000)
	answer(t, patient, one, "2026-02-01", 300000, { contractual = 200000, credit = 14000 })
	local two = claim(t, patient, "2026-03-31", 350000)
	answer(t, patient, two, "2026-05-01", 200000, { contractual = 150000 })
	claim(t, patient, "2025-12-31", 99999)
	claim(t, patient, "2026-04-01", 99999)
	claim(t, patient, "2026-02-01", 99999, { status = "cancelled" })
	local counts = clinic.measure(t, "net_collection", "2026-Q1")
	t:near(counts.score, 97.2, 0.0001)
	t:equal(counts.report.group[1].stratifier[1].stratum[1].value.text, "Organization/payer")
end)

test("days in receivables: gross and net are two measures (domain 2.12, 2.21)", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00")
	local patient = clinic.patient(t)
	-- 90 days to March 31 begin on January 1. 90,000 charged, 30,000 contractual, 24,000 paid until then.
	local one = claim(t, patient, "2026-01-15", 90000)
	answer(t, patient, one, "2026-03-31", 24000, { contractual = 30000 })
	answer(t, patient, one, "2026-04-01", 36000)
	t:near(clinic.measure(t, "days_in_receivables", "2026-03").score, 36000 / (90000 / 90), 0.0001)
	t:near(clinic.measure(t, "days_in_receivables_net", "2026-03").score, 36000 / (60000 / 90), 0.0001)
	t:near(clinic.measure(t, "days_in_receivables", "2026-04").score, 0, 0.0001, "paid by now")
end)

test("denials by amount and by count (domain 2.12)", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00")
	local patient = clinic.patient(t)
	for i = 1, 9 do
		claim(t, patient, "2026-01-0" .. i, 100)
	end
	local partly = claim(t, patient, "2026-02-01", 500)
	answer(t, patient, partly, "2026-02-20", 400, { denied = 100 })
	local whole = claim(t, patient, "2026-02-01", 600)
	answer(t, patient, whole, "2026-02-20", nil, nil, "error")
	t:near(clinic.measure(t, "denial_dollars", "2026-Q1").score, 100 * 700 / 2000, 0.0001)
	t:near(clinic.measure(t, "denial_count", "2026-Q1").score, 100 * 2 / 11, 0.0001)
end)

local function member(t, first, last)
	local patient = clinic.patient(t)
	t:create {
		resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
		payor = { { reference = "Organization/payer" } }, period = { start = first, ["end"] = last },
	}
	return patient
end

local function benefit(t, patient, day, paid)
	t:create {
		resourceType = "ExplanationOfBenefit", status = "active", use = "claim", patient = { reference = patient },
			created = day,
		billablePeriod = { start = day, ["end"] = day }, provider = { reference = "Organization/test" }, outcome = "complete",
		type = clinic.concept("http://terminology.hl7.org/CodeSystem/claim-type", "professional"),
		insurer = { reference = "Organization/payer" },
		insurance = { { focal = true, coverage = { display = "plan" } } },
		payment = { amount = { value = paid, currency = "USD" } },
	}
end

test("cost per member and month by the mid-month rule (domain 2.10)", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00")
	local one = member(t, "2025-01-15", "2025-06-14") -- January 15 is in, June 15 is not: five months
	benefit(t, one, "2025-03-01", 1000)
	benefit(t, one, "2025-12-31", 250)
	benefit(t, one, "2026-01-01", 999)
	member(t, "2025-02-16", "2025-03-14") -- touches two months, has neither 15th
	local counts = clinic.measure(t, "pmpm", "2025")
	t:equal(counts.missing, nil)
	t:near(counts.score, 1250 / 5, 0.0001)
	t:equal(counts.initial, 1)
end)

test("cost per member and month by the any-day rule (domain 2.10)", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00", { settings = { measures = { member_month_rule = "any_day" } } })
	member(t, "2025-02-16", "2025-03-14")
	local two = member(t, "2025-01-31", "2025-03-01")
	benefit(t, two, "2025-03-01", 1000)
	t:near(clinic.measure(t, "pmpm", "2025").score, 1000 / 5, 0.0001)
end)

test("saved per patient, net of the programme's cost", function (t)
	clinic.open(t, "2026-04-10T09:00:00-05:00", { settings = { measures = {
		savings_months = 6, programme_cost_per_month = 50,
	} } })
	local function enrolled(from, start)
		local patient = member(t, from, "2026-12-31")
		t:create {
			resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
			managingOrganization = { reference = "Organization/test" }, period = { start = start },
		}
		return patient
	end
	local one = enrolled("2025-01-01", "2025-07-10")
	benefit(t, one, "2025-01-10", 3000)
	benefit(t, one, "2025-07-09", 1000)
	benefit(t, one, "2025-07-10", 500)
	benefit(t, one, "2026-01-09", 700)
	benefit(t, one, "2026-01-10", 9999)
	enrolled("2025-03-01", "2025-07-10")
	local counts = clinic.measure(t, "saved_per_patient", "2026-Q1")
	t:near(counts.score, 4000 - 1200 - 300, 0.0001)
	t:equal(counts["measure-population-exclusion"], 1, "not a member for six months before")
end)
