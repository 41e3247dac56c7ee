-- A referral between two organizations, each with its own copy.

local function both(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("riverside")
	local lakeside = t:also("lakeside")
	t:as("coordinator")
	lakeside:as("coordinator")
	return lakeside
end

local function refer(t, more)
	local patient = t:create {
		resourceType = "Patient", name = { { family = "Rivera", given = { "Ana" } } }, birthDate = "1980-05-01",
		identifier = { { system = "urn:test:mrn", value = "4711" } },
		telecom = { { system = "phone", value = "+1 555 0100" } },
		maritalStatus = { text = "private matter" },
	}
	local request = {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		code = { text = "Evaluation for depression" }, reasonCode = { { text = "PHQ-9 of 16" } },
	}
	for key, value in pairs(more or {}) do
		request[key] = value
	end
	local focus = t:create(request)
	local task = t:start("referral", { focus = focus, patient = patient, party = "initiator", partner = "lakeside" })
	return task, focus, patient
end

local function only_referral(side)
	local found = side:search("Task", { code = "referral" })
	return "Task/" .. found[#found].id
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

test("sent, accepted, scheduled, seen, reported: the loop closes on both sides", function (t)
	local lakeside = both(t)
	local task, request = refer(t)
	t:equal(t:state(task), "draft")
	t:equal(t:transition(task, "send", { minutes = 12 }), "received")
	t:equal(#t:outbox(), 1)
	t:deliver()

	local theirs = only_referral(lakeside)
	t:equal(lakeside:state(theirs), "received")
	t:equal(lakeside:data(theirs).requester.reference, "Organization/riverside")
	t:equal(lakeside:data(theirs).groupIdentifier.value, t:data(task).groupIdentifier.value, "the same identifier")
	local patient = lakeside:data(lakeside:data(theirs)["for"].reference)
	t:equal(patient.name[1].family, "Rivera")
	t:equal(patient.maritalStatus, nil, "the recipient learns only what it needs")
	t:equal(lakeside:data(lakeside:data(theirs).focus.reference).subject.reference, "Patient/" .. patient.id)

	lakeside:transition(theirs, "accept", {})
	t:deliver()
	t:equal(t:state(task), "accepted")
	lakeside:transition(theirs, "schedule", { start = "2026-11-09T15:00:00Z" })
	t:deliver()
	t:equal(t:state(task), "scheduled")

	t:advance("7 days")
	lakeside:transition(theirs, "interim", { summary = "Seen today, plan agreed" })
	t:advance("2 days")
	lakeside:transition(theirs, "outcome", { summary = "Sertraline 50 mg, six sessions; back to you", minutes = 5 })
	t:deliver()
	t:equal(t:state(task), "completed")
	t:equal(t:data(task).status, "completed")
	t:equal(t:data(request).status, "completed", "the request is done on both sides")
	t:equal(lakeside:data(lakeside:data(theirs).focus.reference).status, "completed")
	t:ok(t:data(task).output[1].valueString == "Seen today, plan agreed"
		or t:data(task).output[2].valueString == "Sertraline 50 mg, six sessions; back to you", "the report is on our Task")

	local closed = t:metric("loop_closed", "2026-11")
	t:equal(closed.numerator, 1)
	t:equal(closed.denominator, 1)
	t:equal(t:metric("days_to_accept", "2026-11").n, 1)
	-- 12 minutes of ours at Riverside's 42 an hour; their 5 minutes are on their copy
	t:near(t:metric("coordination_cost", "2026-11").value, 8.4, 0.01)
end)

test("the shipped organizations load, and Riverside's own plugin changes one duration", function (t)
	local lakeside = both(t)
	local task = refer(t)
	t:transition(task, "send", {})
	t:equal(string.sub(t:instance(task).due, 1, 10), "2026-11-03", "Riverside gives its partners one business day")
	t:deliver()
	local due = lakeside:instance(only_referral(lakeside)).due
	t:equal(string.sub(due, 1, 10), "2026-11-04", "Lakeside itself the shipped two")
end)

test("the boards show each side what is its own to move", function (t)
	local lakeside = both(t)
	local task = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	local sent = t:view("referral_board")
	t:equal(#sent, 1)
	t:equal(sent[1].patient_name, "Ana Rivera")
	t:equal(sent[1].state, "received")
	t:equal(sent[1].partner, "lakeside")
	t:equal(#lakeside:view("referral_board"), 0)
	t:equal(#lakeside:view("referral_inbox"), 1)
end)

test("a decline comes back with its reason, and the request stays open for another place", function (t)
	local lakeside = both(t)
	local task, request = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	lakeside:transition(only_referral(lakeside), "decline", { reason = "no capacity" })
	t:deliver()
	t:equal(t:state(task), "declined")
	t:equal(t:data(request).status, "active")
	local rows = t:view("coordinator_worklist")
	t:equal(rows[1].kind, "send elsewhere")
	t:equal(t:metric("loop_closed", "2026-11").numerator, 0)
end)

test("a message that comes twice, or late, changes nothing", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("riverside")
	t:as("coordinator")
	local task = refer(t)
	t:transition(task, "send", {})
	local identifier = t:data(task).groupIdentifier
	local function update(version, code, status)
		t:receive("lakeside", "referral.update", { {
			resourceType = "Task", id = "theirs", status = status, intent = "order", groupIdentifier = identifier,
			meta = { versionId = version }, businessStatus = { coding = { { code = code } } },
		} })
	end
	update("4", "5.1.1", "in-progress")
	t:equal(t:state(task), "scheduled")
	update("2", "3.0", "accepted")
	t:equal(t:state(task), "scheduled", "what is not newer is ignored")
	update("4", "5.1.1", "in-progress")
	t:equal(#t:history(task), 3, "draft, sent, scheduled")
	update("5", "5.1.4", "in-progress")
	t:equal(t:state(task), "visit_completed")
end)

test("a package that comes twice makes one referral", function (t)
	t:organization("lakeside")
	t:as("coordinator")
	local package = {
		{
			resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "riverside-t1" },
		},
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
			requester = { reference = "Practitioner/dr-who" },
		},
	}
	t:receive("riverside", "referral.send", package)
	t:receive("riverside", "referral.send", package)
	t:equal(#t:search("Task", { code = "referral" }), 1)
	t:equal(#t:search("Patient", {}), 1)
	local request = t:search("ServiceRequest", {})[1]
	t:equal(t:data("ServiceRequest/" .. request.id).requester.identifier.value, "Practitioner/dr-who",
		"references of the other house are kept as what they are")
	package[1].groupIdentifier = { value = "riverside-t2" }
	t:receive("riverside", "referral.send", package)
	t:equal(#t:search("Patient", {}), 1, "the same patient is known again by the identifier")
	t:equal(#t:search("Task", { code = "referral" }), 2)
end)

test("nobody else can move a referral between two", function (t)
	local lakeside = both(t)
	local task = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	lakeside:transition(only_referral(lakeside), "accept", {})
	local identifier = t:data(task).groupIdentifier
	t:refused(function ()
		lakeside:receive("hillside", "referral.request-cancel", { {
			resourceType = "Task", id = "x", status = "in-progress", intent = "order", groupIdentifier = identifier,
		} })
	end)
	t:equal(lakeside:state(only_referral(lakeside)), "accepted")
end)

test("cancelling: we ask, they confirm, both end cancelled and the request is revoked", function (t)
	local lakeside = both(t)
	local task, request = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	local theirs = only_referral(lakeside)
	lakeside:transition(theirs, "accept", {})
	t:deliver()
	t:equal(t:transition(task, "request_cancel", { reason = "moved away" }), "cancel_requested")
	t:deliver()
	t:equal(lakeside:state(theirs), "cancel_requested")
	lakeside:transition(theirs, "confirm_cancel", {})
	t:deliver()
	t:equal(t:state(task), "cancelled")
	t:equal(t:data(request).status, "revoked")
end)

test("revoking the request asks the partner to cancel", function (t)
	local lakeside = both(t)
	local task, request = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	local revoked = t:data(request)
	revoked.status = "revoked"
	t:update(revoked)
	t:equal(t:state(task), "cancel_requested")
	t:deliver()
	t:equal(lakeside:state(only_referral(lakeside)), "cancel_requested")
end)

-- Crossing messages: each is illegal at the other side when it arrives; the two copies must still come together.
local function crossing(name, before, theirs_event, theirs_data, after)
	test("crossing: our request to cancel meets their " .. name, function (t)
		local lakeside = both(t)
		local task = refer(t)
		t:transition(task, "send", {})
		t:deliver()
		local theirs = only_referral(lakeside)
		for _, step in ipairs(before) do
			lakeside:transition(theirs, step[1], step[2])
		end
		t:deliver()
		-- Both write before either has heard of the other.
		t:transition(task, "request_cancel", { reason = "patient moved" })
		lakeside:transition(theirs, theirs_event, theirs_data)
		t:deliver()
		t:deliver()
		t:equal(t:state(task), lakeside:state(theirs), "the copies agree")
		t:equal(t:state(task), after)
		if after == "cancel_requested" then
			lakeside:transition(theirs, "confirm_cancel", {})
			t:deliver()
			t:equal(t:state(task), "cancelled")
			t:equal(lakeside:state(theirs), "cancelled")
		end
	end)
end

local scheduled = { { "accept", {} }, { "schedule", { start = "2026-11-09T15:00:00Z" } } }
crossing("no-show", scheduled, "no_show", {}, "cancel_requested")
crossing("outcome", scheduled, "outcome", { summary = "seen and treated" }, "completed")
crossing("decline", scheduled, "decline", { reason = "patient declined" }, "declined")
crossing("appointment", { { "accept", {} } }, "schedule", { start = "2026-11-09T15:00:00Z" }, "cancel_requested")
crossing("acceptance", {}, "accept", {}, "cancel_requested")

test("crossing: their outcome is on its way when we close for silence; it is attached, the state stays", function (t)
	local lakeside = both(t)
	local task, request = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	local theirs = only_referral(lakeside)
	lakeside:transition(theirs, "accept", {})
	t:deliver()
	-- The line is cut: they work, nothing arrives.
	t:advance("60 days")
	t:equal(t:state(task), "closed_unresponsive")
	lakeside:transition(theirs, "outcome", { summary = "six sessions, remission" })
	t:deliver()
	t:equal(t:state(task), "closed_unresponsive")
	t:ok(string.find(t:data(task).note[#t:data(task).note].text, "Late answer", 1, true), "a note tells of it")
	t:equal(t:data(task).output[1].valueString, "six sessions, remission")
	t:equal(t:data(request).status, "active", "a person decides what follows")
end)

test("the recipient's appointment book moves the referral", function (t)
	local lakeside = both(t)
	local task = refer(t)
	t:transition(task, "send", {})
	t:deliver()
	local theirs = only_referral(lakeside)
	lakeside:transition(theirs, "accept", {})
	local about = lakeside:data(theirs)
	local appointment = lakeside:create {
		resourceType = "Appointment", status = "booked", start = "2026-11-05T15:00:00Z", ["end"] = "2026-11-05T16:00:00Z",
		basedOn = { { reference = about.focus.reference } },
		participant = { { actor = { reference = about["for"].reference }, status = "accepted" } },
	}
	t:equal(lakeside:state(theirs), "scheduled")
	local missed = lakeside:data(appointment)
	missed.status = "noshow"
	lakeside:update(missed)
	t:equal(lakeside:state(theirs), "no_show")
	t:deliver()
	t:equal(t:state(task), "no_show")
end)

test("an urgent referral is watched by its own clock", function (t)
	local lakeside = both(t)
	local task = refer(t, { priority = "urgent" })
	t:transition(task, "send", {})
	t:deliver()
	local theirs = only_referral(lakeside)
	local before, before_here = told(lakeside, theirs), told(t, task)
	t:advance("5 hours")
	t:ok(told(lakeside, theirs) > before, "their intake hears of it after four hours")
	t:ok(told(t, task) > before_here, "and so do we")
end)
