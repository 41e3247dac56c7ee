-- CMS159, CMS2 and the shape of DRR-E: the vectors of domain 2.22 and the edges of every window of domain 2.2.
local clinic = require "tests/clinic"

-- index, what comes later: { value, date }; period and what is expected of one patient.
local function follow(t, name, period, index, later, expected, note)
	local patient = clinic.depressed(t, index[2], index[1])
	for _, score in ipairs(later) do
		clinic.phq9(t, patient, score[1], score[2], score[3])
	end
	t:equal(clinic.one(t, name, period, patient), expected, note)
	return patient
end

test("CMS159: windows and edges of domain 2.22", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	-- Index 2024-02-29: the window is 2024-12-30 to 2025-04-29, both inclusive; the period 2025 identifies from
	-- 2023-11-01.
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2024-12-29" } }, "11000", "a day before the window")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2024-12-30" } }, "11001", "its first day")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-04-29" } }, "11001", "its last day")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-04-30" } }, "11000", "a day after")
	follow(t, "cms159", "2025", { 12, "2024-10-31" }, { { 4, "2025-09-01" } }, "11001", "index 2024-10-31, first day")
	follow(t, "cms159", "2025", { 12, "2024-10-31" }, { { 4, "2025-12-30" } }, "11001", "and last")
	follow(t, "cms159", "2025", { 12, "2024-10-31" }, { { 4, "2025-08-31" } }, "11000", "a day early")
	follow(t, "cms159", "2025", { 12, "2023-11-01" }, { { 4, "2024-11-01" } }, "11001", "first day of identification")
	follow(t, "cms159", "2025", { 12, "2023-10-31" }, { { 4, "2024-11-01" } }, "00000", "a day before it")
	follow(t, "cms159", "2025", { 12, "2024-11-01" }, { { 4, "2025-11-01" } }, "00000", "its end is exclusive")
	follow(t, "cms159", "2025", { 9, "2024-02-29" }, { { 3, "2025-02-28" } }, "00000", "9 is not above 9")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 10, "2025-02-28" } }, "11000", "12 then 10: no remission")
	follow(t, "cms159", "2025", { 10, "2024-02-29" }, { { 5, "2025-02-28" } }, "11000", "10 then 5: no remission")
	follow(t, "cms159", "2025", { 10, "2024-02-29" }, { { 4, "2025-02-28" } }, "11001", "10 then 4: remission")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-02-01" }, { 11, "2025-02-28" } }, "11000",
		"the last counts")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-02-01", { status = "preliminary" } } }, "11000",
		"a preliminary score does not count")
	follow(t, "cms159", "2025", { 12, "2024-02-29" },
		{ { 3, "2025-02-01", { extension = { { url = "urn:careloop:score:prorated", valueBoolean = true } } } } }, "11000",
		"a prorated total feeds no measure (domain 0 row 10)")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-04-30T04:59:00Z" } }, "11001",
		"a minute before midnight in Chicago: still April 29")
	follow(t, "cms159", "2025", { 12, "2024-02-29" }, { { 3, "2025-04-30T05:00:00Z" } }, "11000", "midnight: April 30")
end)

test("CMS159: who is in, and who is excluded (domain 2.2)", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local function one(change, birth)
		local patient = clinic.depressed(t, "2024-02-29", 15, birth)
		clinic.phq9(t, patient, 2, "2025-02-28")
		if change then
			change(patient)
		end
		return clinic.one(t, "cms159", "2025", patient), patient
	end
	t:equal(one(nil, "2012-02-29"), "11001", "12 on the day of the index")
	t:equal(one(nil, "2012-03-01"), "00000", "a day younger")
	t:equal(one(function (p) clinic.condition(t, p, "F31.9", "2025-04-29") end), "11100",
		"bipolar on the window's last day")
	t:equal(one(function (p) clinic.condition(t, p, "F31.9", "2025-04-30") end), "11001",
		"a day later it excludes no more")
	t:equal(one(function (p) clinic.condition(t, p, "F20.0", "2019-01-01") end), "11100", "schizophrenia")
	t:equal(one(function (p) clinic.condition(t, p, "F84.0", "2019-01-01") end), "11100", "developmental disorder")
	t:equal(one(function (p) clinic.condition(t, p, "F60.3", "2019-01-01") end), "11100", "personality disorder")
	t:equal(one(function (p) clinic.condition(t, p, "Z51.5", "2025-01-01") end), "11100", "palliative care")
	t:equal(one(function (p)
		t:create {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = p },
			authoredOn = "2024-06-01", code = clinic.concept(clinic.snomed, "385763009"),
		}
	end), "11100", "hospice ordered")
	t:equal(one(function (p)
		local patient = t:read(p)
		patient.deceasedDateTime = "2025-04-29"
		t:update(patient)
	end), "11100", "death on the window's last day")
	t:equal(one(function (p)
		local patient = t:read(p)
		patient.deceasedDateTime = "2025-04-30"
		t:update(patient)
	end), "11001", "death after it")
	local provisional = clinic.patient(t)
	clinic.condition(t, provisional, "F32.1", "2020-01-01", { verificationStatus = clinic.concept(
		"http://terminology.hl7.org/CodeSystem/condition-ver-status", "provisional") })
	clinic.visit(t, provisional, "2024-02-29")
	clinic.phq9(t, provisional, 15, "2024-02-29")
	t:equal(clinic.one(t, "cms159", "2025", provisional), "00000", "depression that is not confirmed")
	local teen = clinic.patient(t, "2009-01-01")
	clinic.condition(t, teen, "F32.1", "2023-01-01")
	clinic.visit(t, teen, "2024-02-29")
	clinic.value(t, teen, "89204-2", 15, "2024-02-29")
	clinic.value(t, teen, "44261-6", 3, "2025-02-28")
	t:equal(clinic.one(t, "cms159", "2025", teen), "11001", "a PHQ-9M counts as well")
	local early = clinic.patient(t)
	clinic.condition(t, early, "F33.1", "2020-01-01")
	clinic.visit(t, early, "2024-03-07")
	clinic.phq9(t, early, 15, "2024-02-29")
	t:equal(clinic.one(t, "cms159", "2025", early), "11000", "the score may be 7 days before the visit")
	local earlier = clinic.patient(t)
	clinic.condition(t, earlier, "F33.1", "2020-01-01")
	clinic.visit(t, earlier, "2024-03-08")
	clinic.phq9(t, earlier, 15, "2024-02-29")
	t:equal(clinic.one(t, "cms159", "2025", earlier), "00000", "but not 8")
	local counts = clinic.measure(t, "cms159", "2025")
	t:equal(counts.initial, 12)
	t:equal(counts.exclusion, 7)
	t:equal(counts.numerator, 4)
	t:near(counts.score, 80, 0.001)
	t:ok(clinic.facts(t, "cms159", "2025", earlier):find("no qualifying visit", 1, true), "it says why not")
end)

test("late, corrected and deleted data change the result", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local patient = clinic.depressed(t, "2024-02-29", 15)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000")
	local late = clinic.phq9(t, patient, 3, "2025-02-28")
	t:equal(clinic.one(t, "cms159", "2025", patient), "11001", "it arrived a year later")
	local observation = t:read(late)
	observation.status, observation.valueQuantity.value = "corrected", 8
	t:update(observation)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000", "it was corrected")
	observation.valueQuantity.value = 4
	t:update(observation)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11001")
	observation.status = "entered-in-error"
	t:update(observation)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000", "it was an error")
	t:delete(late)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000")
end)

test("the shape of DRR-E: response, remission and follow-up in 120 to 240 days (domain 2.22)", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	-- Index 2025-03-03: 2025-07-01 to 2025-10-29 inclusive.
	follow(t, "drr_follow_up", "2025", { 12, "2025-03-03" }, { { 9, "2025-06-30" } }, "11000", "a day early")
	follow(t, "drr_follow_up", "2025", { 12, "2025-03-03" }, { { 9, "2025-07-01" } }, "11001", "first day")
	follow(t, "drr_follow_up", "2025", { 12, "2025-03-03" }, { { 9, "2025-10-29" } }, "11001", "last day")
	follow(t, "drr_follow_up", "2025", { 12, "2025-03-03" }, { { 9, "2025-10-30" } }, "11000", "a day late")
	for _, case in ipairs { { 12, 10, "11000", "11000" }, { 10, 5, "11001", "11000" }, { 10, 4, "11001", "11001" } } do
		local patient = clinic.depressed(t, "2025-03-03", case[1])
		clinic.phq9(t, patient, case[2], "2025-08-01")
		t:equal(clinic.one(t, "drr_response", "2025", patient), case[3], case[1] .. " then " .. case[2])
		t:equal(clinic.one(t, "drr_remission", "2025", patient), case[4], case[1] .. " then " .. case[2])
	end
	follow(t, "drr_response", "2025", { 12, "2024-05-01" }, {}, "11000", "the intake's first day")
	follow(t, "drr_response", "2025", { 12, "2024-04-30" }, {}, "00000", "the day before")
	follow(t, "drr_response", "2025", { 12, "2025-04-30" }, {}, "11000", "the last day")
	follow(t, "drr_response", "2025", { 12, "2025-05-01" }, {}, "00000", "the day after")
end)

test("CMS2: the latest screen up to 14 days before a visit, and a plan within two days (domain 2.2)", function (t)
	clinic.open(t, "2026-01-10T09:00:00-06:00")
	local function screened(day, positive, follow_up, more)
		local patient = clinic.patient(t, more and more.birth)
		clinic.visit(t, patient, "2025-03-20")
		clinic.value(t, patient, more and more.code or "73832-8", nil, day, {
			valueQuantity = false,
			valueCodeableConcept = clinic.concept(clinic.snomed, positive and "428181000124104" or "428171000124102"),
		})
		if follow_up then
			t:create {
				resourceType = "ServiceRequest", status = more and more.status or "active", intent = "order",
				subject = { reference = patient }, authoredOn = follow_up,
				code = clinic.concept("urn:careloop:service", "behavioral_health"),
			}
		end
		return clinic.one(t, "cms2", "2025", patient), patient
	end
	t:equal(screened("2025-03-20", false), "11001", "negative on the day")
	t:equal(screened("2025-03-06", false), "11001", "14 days before")
	t:equal(screened("2025-03-05", false), "11000", "15 days before")
	t:equal(screened("2025-03-21", false), "11000", "after the visit")
	t:equal(screened("2025-03-20", true), "11000", "positive without a plan")
	t:equal(screened("2025-03-20", true, "2025-03-22"), "11001", "a plan two days after")
	t:equal(screened("2025-03-20", true, "2025-03-23"), "11000", "three days after")
	t:equal(screened("2025-03-20", true, "2025-03-19"), "11000", "before the visit")
	t:equal(screened("2025-03-20", true, "2025-03-20", { status = "revoked" }), "11000", "a plan that was revoked")
	t:equal(screened("2025-03-20", false, nil, { birth = "2013-01-01" }), "11000", "the adult tool at twelve")
	t:equal(screened("2025-03-20", false, nil, { birth = "2013-01-01", code = "73831-0" }), "11001",
		"the adolescent tool at 12")
	t:equal(screened("2025-03-20", false, nil, { birth = "2013-01-02" }), "00000", "eleven when the year begins")
	t:equal(screened("2025-03-20", false, nil, { birth = "2008-01-01", code = "73831-0" }), "11001", "17: either tool")
	t:equal(screened("2025-03-20", false, nil, { birth = "2008-01-01" }), "11001", "17: either tool")
	t:equal(screened("2025-03-20", false, nil, { birth = "2007-01-01", code = "73831-0" }), "11000", "18: the adult one")
	local _, latest = screened("2025-03-10", true)
	clinic.value(t, latest, "55758-7", 1, "2025-03-15")
	t:equal(clinic.one(t, "cms2", "2025", latest), "11001", "only the latest screen counts")
	local bipolar = clinic.patient(t)
	clinic.visit(t, bipolar, "2025-03-20")
	clinic.condition(t, bipolar, "F31.9", "2025-03-20")
	t:equal(clinic.one(t, "cms2", "2025", bipolar), "11100", "bipolar disorder")
	local refused = clinic.patient(t)
	clinic.visit(t, refused, "2025-03-20")
	clinic.value(t, refused, "73832-8", nil, "2025-03-20", {
		valueQuantity = false, dataAbsentReason = clinic.concept(clinic.snomed, "720834000"),
	})
	t:equal(clinic.one(t, "cms2", "2025", refused), "11010", "refused")
end)
