-- Partners that do not answer, partners that answer by phone, and patients who do not come.

-- A practice with the shipped clocks.
local function organization(t)
	t:organization {
		name = "Test Practice", zone = "America/Chicago",
		holidays = { "2026-11-11", "2026-11-26", "2026-12-25", "2027-01-01" },
		reference = "Organization/practice", model = "coordinated", services = { "referral" },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			coordinator = { kind = "person", roles = { "referral_coordinator" }, reference = "Practitioner/coordinator" },
		},
	}
end

local function practice(t, partner)
	t:at("2026-11-02T09:00:00-06:00")
	organization(t)
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		performer = { { reference = "Organization/" .. (partner or "fax-clinic") } },
	}
	local task = t:start("referral", { focus = request, patient = patient, party = "initiator", partner = partner })
	t:transition(task, "send", {})
	return task, request
end

local function number_of(t, type_name, query)
	return #t:search(type_name, query)
end

-- Messages to people about a Task (Communication.about has no search parameter).
local function told(t, task)
	local count = 0
	for _, communication in ipairs(t:search("Communication", { _count = 200 })) do
		for _, about in ipairs(communication.about or {}) do
			if about.reference == task then
				count = count + 1
			end
		end
	end
	return count
end

test("silence is escalated, the partner is reminded, and after four clocks the referral is closed here", function (t)
	local task, request = practice(t, "lakeside")
	t:equal(#t:outbox(), 1)
	t:advance("1 day")
	t:equal(number_of(t, "Task", { code = "escalation" }), 0)
	t:advance("1 business day")
	t:advance("2 hours")
	t:equal(number_of(t, "Task", { code = "escalation" }), 1, "after two business days the coordinator hears of it")
	t:advance("1 business day")
	t:ok(#t:outbox() > 1, "the partner was reminded")
	local rows = t:view("silent_partners")
	t:equal(rows[1].partner, "lakeside")
	t:equal(rows[1].overdue, 1)
	t:equal(t:state(task), "received")
	t:advance("6 business days")
	t:equal(t:state(task), "closed_unresponsive")
	t:equal(t:data(task).status, "failed")
	t:equal(t:data(task).businessStatus.coding[1].code, "closed_unresponsive")
	t:equal(t:data(request).status, "active", "the patient still needs a place")
	t:equal(t:view("coordinator_worklist")[1] ~= nil, true)
	local lost = t:metric("referrals_lost", "2026-11")
	t:equal(lost.numerator, 1)
	t:equal(lost.denominator, 1)
end)

test("a holiday is no business day: the clock waits", function (t)
	t:at("2026-11-25T10:00:00-06:00") -- Wednesday before Thanksgiving
	organization(t)
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		performer = { { reference = "Organization/fax-clinic" } },
	}
	local task = t:start("referral", { focus = request, patient = patient, party = "initiator" })
	t:transition(task, "send", {})
	t:at("2026-11-30T09:30:00-06:00") -- Monday, before ten
	t:equal(number_of(t, "Task", { code = "escalation" }), 0)
	t:at("2026-11-30T10:30:00-06:00")
	t:equal(number_of(t, "Task", { code = "escalation" }), 1)
	t:equal(t:state(task), "received")
end)

test("the recipient's own clock never closes: it escalates until somebody acts", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("lakeside")
	t:as("coordinator")
	t:receive("riverside", "referral.send", {
		{
			resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "riverside-t1" },
		},
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
		},
	})
	local task = "Task/" .. t:search("Task", { code = "referral" })[1].id
	t:advance("60 days")
	t:equal(t:state(task), "received")
	t:ok(number_of(t, "Task", { code = "escalation" }) >= 3)
	t:equal(t:transition(task, "accept", {}), "accepted")
end)

test("answers by phone and fax are recorded with their source and count", function (t)
	local task, request = practice(t)
	local function record(event, data, source)
		return t:transition(task, event, data, { on_behalf_of = "recipient", source = source })
	end
	t:refused(function ()
		t:transition(task, "accept", {})
	end)
	t:refused(function ()
		t:transition(task, "accept", {}, { on_behalf_of = "recipient" })
	end, "source")
	t:advance("1 business day")
	t:equal(record("accept", { minutes = 6 }, "phone"), "accepted")
	t:equal(record("schedule", { start = "2026-11-10T15:00:00Z" }, "phone"), "scheduled")
	t:at("2026-11-12T10:00:00-06:00")
	t:equal(record("outcome", { summary = "Letter of Nov 11: treated" }, "fax"), "completed")
	t:equal(t:data(request).status, "completed")
	local accept = t:metric("days_to_accept", "2026-11")
	t:equal(accept.n, 1)
	t:near(accept.value, 1, 0.01)
	t:equal(t:metric("loop_closed", "2026-11").numerator, 1)
end)

test("an answer by phone is not undone by the partner's late acknowledgement", function (t)
	local task = practice(t, "lakeside")
	t:transition(task, "accept", {}, { on_behalf_of = "recipient", source = "phone" })
	t:receive("lakeside", "referral.update", { {
		resourceType = "Task", id = "theirs", status = "requested", intent = "order",
		groupIdentifier = t:data(task).groupIdentifier, meta = { versionId = "1" },
		businessStatus = { coding = { { code = "2.0" } } },
	} })
	t:equal(t:state(task), "accepted")
end)

test("a late answer by message is attached to what is closed", function (t)
	local task = practice(t, "lakeside")
	t:advance("30 days")
	t:equal(t:state(task), "closed_unresponsive")
	local before = told(t, task)
	t:receive("lakeside", "referral.update", { {
		resourceType = "Task", id = "theirs", status = "completed", intent = "order",
		groupIdentifier = t:data(task).groupIdentifier, meta = { versionId = "9" },
		businessStatus = { coding = { { code = "7.0" } } },
		output = { { type = { text = "outcome" }, valueString = "seen after all" } },
	} })
	t:equal(t:state(task), "closed_unresponsive")
	t:equal(t:data(task).output[1].valueString, "seen after all")
	t:ok(told(t, task) > before, "the coordinator is told")
end)

test("a request to cancel that nobody answers ends as well", function (t)
	local task = practice(t, "lakeside")
	t:transition(task, "request_cancel", { reason = "moved" })
	t:advance("30 days")
	t:equal(t:state(task), "closed_unresponsive")
end)

test("a visit far ahead is not closed for silence before it and its report are due", function (t)
	local task = practice(t)
	t:transition(task, "accept", {}, { on_behalf_of = "recipient", source = "phone" })
	t:transition(task, "schedule", { start = "2027-02-15T16:00:00Z" }, { on_behalf_of = "recipient", source = "phone" })
	t:advance("104 days") -- the day before
	t:equal(t:state(task), "scheduled")
	t:advance("76 days")
	t:equal(t:state(task), "closed_unresponsive")
end)

-- ---- patients who do not come ----

local function recipient(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("lakeside")
	t:as("coordinator")
	t:receive("riverside", "referral.send", {
		{
			resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "riverside-t1" },
		},
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
		},
	})
	local task = "Task/" .. t:search("Task", { code = "referral" })[1].id
	t:transition(task, "accept", {})
	return task
end

test("after a no-show a new time is due in two business days, and two new times are the most", function (t)
	local task = recipient(t)
	t:transition(task, "schedule", { start = "2026-11-04T15:00:00Z" })
	t:transition(task, "no_show", {})
	local due = t:instance(task).due
	t:ok(string.sub(due, 1, 10) == "2026-11-04", "two business days from Monday is Wednesday")
	t:equal(t:transition(task, "reschedule", { start = "2026-11-06T15:00:00Z" }), "scheduled")
	t:transition(task, "no_show", {})
	t:equal(t:transition(task, "reschedule", { start = "2026-11-10T15:00:00Z" }), "scheduled")
	t:transition(task, "no_show", {})
	t:refused(function ()
		t:transition(task, "reschedule", { start = "2026-11-12T15:00:00Z" })
	end, "repeated no-shows")
	t:equal(t:transition(task, "decline", { reason = "repeated no-shows" }), "declined")
end)

test("no detour around the limit", function (t)
	local task = recipient(t)
	t:transition(task, "schedule", { start = "2026-11-04T15:00:00Z" })
	for _ = 1, 2 do
		t:transition(task, "no_show", {})
		t:transition(task, "reschedule", { start = "2026-11-06T15:00:00Z" })
	end
	t:transition(task, "no_show", {})
	t:transition(task, "appointment_cancel", { cancelled_by = "clinic" })
	t:refused(function ()
		t:transition(task, "schedule", { start = "2026-11-12T15:00:00Z" })
	end, "repeated no-shows")
end)

test("unable to reach takes three attempts over ten business days", function (t)
	local task = recipient(t)
	local function attempt()
		t:transition(task, "contact_attempt", { channel = "phone", result = "no answer" })
	end
	t:refused(function ()
		t:transition(task, "unable_to_reach", {})
	end, "0 of 3")
	attempt()
	t:advance("3 business days")
	attempt()
	t:advance("3 business days")
	attempt()
	t:refused(function ()
		t:transition(task, "unable_to_reach", {})
	end, "business days")
	t:advance("4 business days")
	t:equal(t:transition(task, "unable_to_reach", {}), "declined")
end)
