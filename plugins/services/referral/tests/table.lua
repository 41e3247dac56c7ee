-- Every (state, event, party): legal as BSeR says, or refused. The table below is written out a second time on
-- purpose, from domain.md section 2.8, so that a slip in machine.lua shows.

-- state: events of the initiator (I) and of the recipient (R) with the state they lead to.
local legal = {
	draft = { I = { send = "received", discard = "discarded" }, R = {} },
	received = { I = { request_cancel = "cancel_requested" }, R = { accept = "accepted", decline = "declined" } },
	accepted = {
		I = { request_cancel = "cancel_requested" },
		R = {
			decline = "declined", schedule = "scheduled", interim = "visit_completed", outcome = "completed", begin = "active",
			progress = "active", contact_attempt = "accepted",
		},
	},
	scheduled = {
		I = { request_cancel = "cancel_requested" },
		R = {
			decline = "declined", reschedule = "scheduled", no_show = "no_show", appointment_cancel = "appointment_cancelled",
			interim = "visit_completed", outcome = "completed",
		},
	},
	no_show = {
		I = { request_cancel = "cancel_requested" },
		R = {
			decline = "declined", reschedule = "scheduled", appointment_cancel = "appointment_cancelled",
			contact_attempt = "no_show",
		},
	},
	appointment_cancelled = {
		I = { request_cancel = "cancel_requested" },
		R = { schedule = "scheduled", decline = "declined", contact_attempt = "appointment_cancelled" },
	},
	visit_completed = {
		I = { request_cancel = "cancel_requested" },
		R = {
			decline = "declined", schedule = "scheduled", appointment_cancel = "appointment_cancelled",
			interim = "visit_completed", outcome = "completed",
		},
	},
	active = { I = { request_cancel = "cancel_requested" }, R = { decline = "declined", outcome = "completed" } },
	cancel_requested = { I = {}, R = { confirm_cancel = "cancelled", outcome = "completed" } },
	declined = { I = {}, R = {} }, cancelled = { I = {}, R = {} }, completed = { I = {}, R = {} },
}

-- unable_to_reach is legal in three states, but its guard wants attempts: it has its own test (no_show.lua).
local events = {
	"send", "discard", "accept", "decline", "schedule", "reschedule", "no_show", "appointment_cancel", "request_cancel",
	"confirm_cancel", "interim", "outcome", "begin", "progress", "contact_attempt", "partner_silent",
}

local states = {
	"draft", "received", "accepted", "scheduled", "no_show", "appointment_cancelled", "visit_completed", "active",
	"cancel_requested", "declined", "cancelled", "completed",
}

-- How to get there from draft: event and who fires it.
local ways = {
	draft = {}, received = { "I send" }, accepted = { "I send", "R accept" },
	scheduled = { "I send", "R accept", "R schedule" }, no_show = { "I send", "R accept", "R schedule", "R no_show" },
	appointment_cancelled = { "I send", "R accept", "R schedule", "R appointment_cancel" },
	visit_completed = { "I send", "R accept", "R interim" }, active = { "I send", "R accept", "R begin" },
	cancel_requested = { "I send", "I request_cancel" }, declined = { "I send", "R decline" },
	cancelled = { "I send", "I request_cancel", "R confirm_cancel" }, completed = { "I send", "R accept", "R outcome" },
}

local data_of = {
	discard = { reason = "mistake" }, decline = { reason = "no capacity" },
	schedule = { start = "2026-11-20T15:00:00Z" }, reschedule = { start = "2026-11-23T15:00:00Z" },
	appointment_cancel = { cancelled_by = "patient" }, request_cancel = { reason = "moved away" },
	interim = { summary = "first visit kept" }, outcome = { summary = "treated" },
	contact_attempt = { channel = "phone", result = "no answer" },
}

-- A practice that refers, to a partner without a connection: both sides' moves are made here, the partner's on its
-- behalf.
local function practice(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Practice", zone = "America/Chicago", model = "coordinated", services = { "referral" },
		reference = "Organization/practice",
		principals = {
			coordinator = { kind = "person", roles = { "referral_coordinator" }, reference = "Practitioner/coordinator" },
			nobody = { kind = "person", roles = { "front_desk" }, reference = "Practitioner/nobody" },
		},
	}
	t:as("coordinator")
end

local function draft(t, patient)
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		performer = { { reference = "Organization/fax-clinic", display = "Fax Clinic" } },
		code = { text = "Behavioral health evaluation" },
	}
	return t:start("referral", { focus = request, patient = patient, party = "initiator" })
end

local function fire(t, task, event, who)
	local options = who == "R" and { on_behalf_of = "recipient", source = "phone" } or nil
	return t:transition(task, event, data_of[event] or {}, options)
end

local function bring(t, state, patient)
	local task = draft(t, patient)
	for _, step in ipairs(ways[state]) do
		local who, event = string.match(step, "^(%u) (.+)$")
		fire(t, task, event, who)
	end
	t:equal(t:state(task), state, "on the way to " .. state)
	return task
end

for _, state in ipairs(states) do
	test("from " .. state .. " only what BSeR allows, by whom it allows it", function (t)
		practice(t)
		local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
		local task = bring(t, state, patient)
		for _, event in ipairs(events) do
			for _, who in ipairs { "I", "R" } do
				local target = legal[state][who][event]
				if target then
					local other = bring(t, state, patient)
					t:equal(fire(t, other, event, who), target, who .. " " .. event .. " in " .. state)
				else
					t:refused(function ()
						fire(t, task, event, who)
					end)
					t:equal(t:state(task), state, who .. " " .. event .. " must change nothing in " .. state)
				end
			end
		end
	end)
end

-- The other side: at the recipient the recipient's moves are its own, the initiator's are not.
local recipient_moves = {
	received = "accept", accepted = "schedule", scheduled = "interim", visit_completed = "outcome",
}

test("at the recipient the intake moves what is the recipient's, and not what is the initiator's", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Specialty", zone = "America/Chicago", model = "coordinated", services = { "referral" },
		reference = "Organization/specialty",
		partners = { practice = { name = "Practice", reference = "Organization/practice" } },
		principals = { desk = { kind = "person", roles = { "intake" }, reference = "Practitioner/desk" } },
	}
	t:as("desk")
	t:receive("practice", "referral.send", {
		{
			resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "practice-t1" },
		},
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
		},
	})
	local task = "Task/" .. t:search("Task", { code = "referral" })[1].id
	for _ = 1, 4 do
		local state = t:state(task)
		t:refused(function ()
			t:transition(task, "request_cancel", { reason = "x" })
		end)
		t:refused(function ()
			t:transition(task, "send", {})
		end)
		t:transition(task, recipient_moves[state], data_of[recipient_moves[state]] or {})
	end
	t:equal(t:state(task), "completed")
	t:refused(function ()
		t:transition(task, "outcome", { summary = "again" })
	end)
end)

test("the request to cancel by phone is recorded by the intake on the initiator's behalf, with its source", function (t)
	t:organization {
		name = "Specialty", zone = "America/Chicago", model = "coordinated", services = { "referral" },
		reference = "Organization/specialty",
		partners = { practice = { name = "Practice", reference = "Organization/practice" } },
		principals = { desk = { kind = "person", roles = { "intake" }, reference = "Practitioner/desk" } },
	}
	t:as("desk")
	t:receive("practice", "referral.send", {
		{
			resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "practice-t1" },
		},
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
		},
	})
	local task = "Task/" .. t:search("Task", { code = "referral" })[1].id
	t:refused(function ()
		t:transition(task, "request_cancel", { reason = "moved" }, { on_behalf_of = "initiator" })
	end, "source")
	t:equal(t:transition(task, "request_cancel", { reason = "moved" }, { on_behalf_of = "initiator", source = "phone" }),
		"cancel_requested")
	t:equal(t:transition(task, "confirm_cancel", {}), "cancelled")
end)

test("who has no part in referrals can do nothing", function (t)
	practice(t)
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local task = bring(t, "received", patient)
	t:as("nobody")
	t:refused(function ()
		t:transition(task, "request_cancel", { reason = "x" })
	end)
	t:refused(function ()
		t:transition(task, "accept", {}, { on_behalf_of = "recipient", source = "phone" })
	end)
end)

test("what an event needs is asked for by name", function (t)
	practice(t)
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local task = bring(t, "received", patient)
	t:refused(function ()
		t:transition(task, "decline", {}, { on_behalf_of = "recipient", source = "fax" })
	end, "reason")
	t:refused(function ()
		t:transition(task, "decline", { reason = "do not like it" }, { on_behalf_of = "recipient", source = "fax" })
	end, "reason")
	t:refused(function ()
		t:transition(task, "request_cancel", {})
	end, "reason")
end)

test("codes of the first edition of BSeR are understood in messages", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("riverside")
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
	}
	local task = t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
	t:transition(task, "send", {})
	local identifier = t:data(task).groupIdentifier
	local function update(version, code)
		t:receive("lakeside", "referral.update", { {
			resourceType = "Task", id = "theirs", status = "in-progress", intent = "order", groupIdentifier = identifier,
			meta = { versionId = version },
			businessStatus = { coding = { { code = code } } },
		} })
	end
	update("2", "3.0")
	t:equal(t:state(task), "accepted")
	update("3", "5.x")
	t:equal(t:state(task), "active")
	update("4", "5.4")
	t:equal(t:state(task), "cancel_requested")
	update("5", "7.0")
	t:equal(t:state(task), "completed")
end)
