-- No-show in its variants, third next available, I-SERV, referral funnel, CMS50: domain 2.2, 2.9, 2.21.
local clinic = require "tests/clinic"

local function appointment(t, patient, at, status, more)
	local fields = {
		resourceType = "Appointment", status = status, start = at, ["end"] = at:gsub("T(%d%d)", function (h)
			return string.format("T%02d", tonumber(h) + 1)
		end),
		participant = { { actor = { reference = patient }, status = "accepted" } },
	}
	for name, value in pairs(more or {}) do
		fields[name] = value
	end
	return t:create(fields)
end

test("no-show: out of booked, late cancellations in or out, or out of slots (domain 2.9, 2.21)", function (t)
	clinic.open(t, "2026-03-20T12:00:00-05:00")
	local patient = clinic.patient(t)
	for day = 2, 8 do
		appointment(t, patient, "2026-03-0" .. day .. "T09:00:00-06:00", "fulfilled")
	end
	appointment(t, patient, "2026-03-09T09:00:00-05:00", "noshow")
	appointment(t, patient, "2026-03-25T09:00:00-05:00", "booked")
	local function cancelled(at, reason)
		appointment(t, patient, "2026-03-10T09:00:00-05:00", "cancelled", {
			cancelationReason = clinic.concept("http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason", reason),
			extension = { { url = "urn:careloop:appointment:cancelled-at", valueDateTime = at } },
		})
	end
	cancelled("2026-03-09T09:00:00-05:00", "pat") -- 24 hours before: not late
	cancelled("2026-03-09T09:01:00-05:00", "pat-cpp") -- a minute less
	cancelled("2026-03-10T08:00:00-05:00", "prov") -- the clinic's doing
	t:near(clinic.measure(t, "no_show", "2026-03").score, 100 / 8, 0.001)
	t:near(clinic.measure(t, "no_show_with_late", "2026-03").score, 200 / 9, 0.001)
	local schedule = t:create {
		resourceType = "Schedule", active = true, actor = { { reference = "Practitioner/x", display = "Dr. X" } },
	}
	for hour = 8, 17 do
		local slot = t:create {
			resourceType = "Slot", schedule = { reference = schedule }, status = hour < 12 and "busy" or "free",
			start = string.format("2026-03-11T%02d:00:00-05:00", hour), ["end"] = string.format("2026-03-11T%02d:30:00-05:00",
				hour),
		}
		if hour == 8 then
			appointment(t, patient, "2026-03-11T08:00:00-05:00", "noshow", { slot = { { reference = slot } } })
		end
	end
	t:near(clinic.measure(t, "no_show_slots", "2026-03").score, 10, 0.001)
end)

test("third next available: the third open slot, held ones left out, weekends counted (domain 2.9)", function (t)
	clinic.open(t, "2026-03-20T12:00:00-05:00")
	local schedule = t:create {
		resourceType = "Schedule", active = true, actor = { { reference = "Practitioner/x", display = "Dr. X" } },
	}
	local function slot(day, status, held)
		t:create {
			resourceType = "Slot", schedule = { reference = schedule }, status = status, start = day .. "T09:00:00-05:00",
			["end"] = day .. "T09:30:00-05:00",
			extension = held and { { url = "urn:careloop:slot:held", valueBoolean = true } } or nil,
		}
	end
	slot("2026-03-20", "free") -- three hours ago
	slot("2026-03-21", "free")
	slot("2026-03-22", "busy")
	slot("2026-03-22", "free", true)
	slot("2026-03-23", "free")
	t:equal(clinic.measure(t, "third_next", "2026-03").score, nil, "two are no third")
	slot("2026-03-27", "free")
	slot("2026-03-30", "free")
	t:equal(clinic.measure(t, "third_next", "2026-03").score, 7)
	t:equal(clinic.one(t, "third_next", "2026-03", schedule), "11001", "a schedule is the subject")
end)

test("I-SERV: business days skip weekends and holidays; a crisis counts in hours (domain 2.9)", function (t)
	clinic.open(t, "2027-01-02T12:00:00-06:00")
	local function contact(day, more)
		local patient = clinic.patient(t, more and more.birth)
		local categories = { clinic.concept("urn:careloop:contact", "first") }
		if more and more.crisis then
			categories[2] = clinic.concept("urn:careloop:contact", "crisis")
		end
		t:create {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
			authoredOn = day, category = categories, code = { text = "Wants care" },
		}
		return patient
	end
	local function served(patient, day, code)
		clinic.visit(t, patient, day, nil, { type = { clinic.concept("urn:careloop:encounter", code
			or "initial_evaluation") } })
	end
	-- Wednesday 2026-11-25; Thursday is a holiday; then a weekend.
	local one = contact("2026-11-25")
	served(one, "2026-11-30")
	t:equal(clinic.measure(t, "iserv_evaluation", "2026", "&subject=" .. one).score, 2)
	local two = contact("2026-11-20")
	served(two, "2026-11-20")
	t:equal(clinic.measure(t, "iserv_evaluation", "2026", "&subject=" .. two).score, 0)
	contact("2026-12-01")
	local counts = clinic.measure(t, "iserv_evaluation", "2026")
	t:equal(counts.score, 1)
	t:equal(counts["measure-population"], 3)
	t:equal(counts["measure-observation"], 2, "who still waits is shown, not averaged")
	local crisis = contact("2026-12-24T22:30:00-06:00", { crisis = true })
	served(crisis, "2026-12-25T01:00:00-06:00", "clinical_service")
	t:equal(clinic.measure(t, "iserv_crisis", "2026").score, 2.5)
	t:equal(clinic.measure(t, "iserv_evaluation", "2026")["measure-population"], 3, "a crisis is not in the days")
end)

test("CMS50: the first referral from January to October, and its report (domain 2.2)", function (t)
	clinic.open(t, "2027-01-02T12:00:00-06:00")
	local function referred(day, more)
		local patient = clinic.patient(t)
		local request = t:create {
			resourceType = "ServiceRequest", status = more and more.status or "active", intent = "order",
			subject = { reference = patient }, authoredOn = day, code = { text = "Referral" },
		}
		return patient, request
	end
	local function report(patient, request, ended, more)
		local task = {
			resourceType = "Task", status = "completed", intent = "order", ["for"] = { reference = patient },
			basedOn = { { reference = request } }, code = clinic.concept(clinic.snomed, "371530004"),
			executionPeriod = { start = ended, ["end"] = ended },
		}
		for name, value in pairs(more or {}) do
			task[name] = value
		end
		t:create(task)
	end
	local function one(day, ended, more, request_more)
		local patient, request = referred(day, request_more)
		if ended then
			report(patient, request, ended, more)
		end
		return clinic.one(t, "cms50", "2026", patient)
	end
	t:equal(one("2026-10-31", "2026-12-31T10:00:00-06:00"), "11001", "the last day of October")
	t:equal(one("2026-11-01", "2026-12-01T10:00:00-06:00"), "00000", "in November")
	t:equal(one("2025-12-31", "2026-12-01T10:00:00-06:00"), "00000", "in the year before")
	t:equal(one("2026-02-01", "2027-01-01T10:00:00-06:00"), "11000", "the report came after the period")
	t:equal(one("2026-02-01", "2026-01-31T10:00:00-06:00"), "11000", "before it was ordered")
	t:equal(one("2026-02-01", "2026-03-01T10:00:00-06:00", { status = "in-progress" }), "11000", "not completed")
	t:equal(one("2026-02-01", "2026-03-01T10:00:00-06:00", nil, { status = "revoked" }), "00000", "revoked")
	t:equal(one("2026-02-01"), "11000")
	local patient, request = referred("2026-02-01")
	local second = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		authoredOn = "2026-03-01", code = { text = "Another" },
	}
	report(patient, second, "2026-04-01T10:00:00-05:00")
	t:equal(clinic.one(t, "cms50", "2026", patient), "11000", "only the first one counts")
	report(patient, request, "2026-05-01T10:00:00-05:00")
	t:equal(clinic.one(t, "cms50", "2026", patient), "11001")
end)
