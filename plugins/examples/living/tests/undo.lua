-- What plugins/README.md says of $undo.
local function clinic(t, more)
	local config = {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "living" },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ana = { kind = "person", roles = { "coordinator" } }, max = { kind = "person", roles = { "manager" } },
		},
	}
	for name, value in pairs(more or {}) do
		config[name] = value
	end
	t:organization(config)
	t:at("2026-11-02T09:00:00-06:00")
	t:as("ana")
	return t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
end

local function start(t, workflow, patient, data)
	return t:start(workflow, { focus = patient, patient = patient, data = data })
end

local function only(t, type, query)
	local found = t:search(type, query)
	t:equal(#found, 1)
	return found[1]
end

test("an undo needs a reason, a role that may, and the event that is meant", function (t)
	local visit = start(t, "visit", clinic(t, { hold_outgoing = "5 minutes" }))
	t:transition(visit, "arrive")
	t:refused(function ()
		t:undo(visit, "wrong patient")
	end, "may not undo events of")
	t:as("max")
	local bare = t:request("POST", "/fhir/" .. visit .. "/$undo", { resourceType = "Parameters" })
	t:equal(bare.status, 422)
	t:equal(bare.body.issue[1].diagnostics, "an undo needs its reason")
	t:refused(function ()
		t:undo(visit, "wrong patient", "leave")
	end, "the last event of " .. visit .. " is 'arrive', not 'leave'")
	t:equal(#t:undo(visit, "wrong patient", "arrive"), 0)
	t:equal(t:state(visit), "planned")
end)

test("what an event and its handlers did is reversed, and the clock goes on as it was promised", function (t)
	local patient = clinic(t, { hold_outgoing = "5 minutes" })
	local visit = start(t, "visit", patient, { room = "4" })
	local before, task = t:instance(visit), t:read(visit)
	t:advance("10 minutes")
	t:transition(visit, "arrive", { note = "came early" })
	t:equal(t:instance(visit).data.arrivals, 1)
	local call = only(t, "Task", { code = "urn:careloop:workflow|outreach" }).id
	t:equal(t:state(call), "calling", "a sub-instance was started")
	local flag = only(t, "Flag").id
	t:ok(t:read(patient).telecom, "the handler changed the patient")
	t:equal(#t:outbox(), 1)
	t:equal(#t:search("Communication"), 1)
	t:advance("3 minutes")
	t:as("max")
	t:equal(#t:undo(visit, "wrong patient"), 0, "nothing is left over")
	local after = t:instance(visit)
	t:equal(after.state, "planned")
	t:equal(after.due, before.due)
	t:equal(after.entered, before.entered)
	t:equal(after.data.arrivals, nil)
	t:equal(after.data.note, nil)
	t:equal(after.data.room, "4")
	local now = t:read(visit)
	t:equal(now.status, task.status)
	t:equal(now.note, nil)
	t:equal(now.restriction.period["end"], task.restriction.period["end"])
	t:equal(t:read("Flag/" .. flag).status, "entered-in-error")
	t:equal(t:read("Task/" .. call).status, "entered-in-error")
	t:equal(t:instance(call), nil, "what should not have begun is no instance")
	t:equal(t:read(patient).telecom, nil)
	t:equal(#t:outbox(), 0, "the message was withdrawn")
	t:as("ana")
	t:equal(#t:search("Communication", { status = "entered-in-error" }), 1)
	t:equal(#t:search("Communication", { status = "completed" }), 1, "what on \"visit.undo\" told")
	local history = t:history(visit)
	t:equal(history[2].event, "arrive")
	t:ok(history[2].undone)
	t:equal(history[3].event, "undo")
	t:equal(history[3].data.reason, "wrong patient")
	t:equal(history[3].actor, "max")
	t:as("max")
	t:equal(t:metric("arrived", "2026-11").numerator, 0)
	t:equal(t:metric("arrived", "2026-11").denominator, 1)
	t:as("ana")
	t:advance("2 hours")
	t:equal(#t:search("Communication", { status = "completed" }), 1, "the timer was taken back")
	t:transition(visit, "arrive")
	t:equal(t:metric("arrived", "2026-11").numerator, 1)
	t:advance("6 minutes")
	t:equal(#t:outbox(), 1, "held, then due")
end)

test("what cannot be reversed is named: a message that went out, a later change, a later move", function (t)
	local patient = clinic(t)
	local visit = start(t, "visit", patient)
	t:transition(visit, "arrive")
	local message = t:outbox()[1]
	t:equal(message.destination, "lakeside")
	t:delivered(message)
	local call = only(t, "Task", { code = "urn:careloop:workflow|outreach" }).id
	t:transition(call, "done")
	local changed = t:read(patient)
	changed.telecom[1].value = "elsewhere"
	t:update(changed)
	t:as("max")
	local left = t:undo(visit, "wrong patient")
	table.sort(left)
	t:equal(table.concat(left, "; "),
		patient .. " has been changed since; Task/" .. call .. " has moved on; "
		.. "a message to lakeside has gone out, or is on its way")
	t:equal(t:state(visit), "planned")
	t:equal(t:state(call), "done")
	t:equal(t:read(patient).telecom[1].value, "elsewhere")
end)

test("undone late, an event leaves the time that was left; again and again goes back past the start", function (t)
	local visit = start(t, "visit", clinic(t))
	t:advance("1 hour")
	t:transition(visit, "arrive")
	t:transition(visit, "leave")
	t:advance("2 days")
	t:as("max")
	t:undo(visit, "not she")
	t:equal(t:state(visit), "arrived")
	t:equal(t:instance(visit).due, "2026-11-04T17:00:00.000Z", "an hour was left")
	t:advance("90 minutes")
	t:equal(#t:search("Task", { code = "escalation", status = "requested" }), 1)
	t:undo(visit, "not she", "arrive")
	t:equal(t:state(visit), "planned")
	t:equal(t:instance(visit).due, "2026-11-04T20:30:00.000Z", "three hours were left")
	t:equal(#t:search("Task", { code = "escalation", status = "requested" }), 0, "what nobody has to look at any more")
	t:undo(visit, "should never have begun")
	t:equal(t:instance(visit), nil)
	t:equal(t:read(visit).status, "entered-in-error")
	t:equal(t:metric("arrived", "2026-11").denominator, 0)
	t:advance("5 days")
	t:equal(#t:search("Task", { code = "escalation", status = "requested" }), 0)
end)

test("an escalation that was open is open again with its clock, and a Task edited since keeps the edit", function (t)
	local visit = start(t, "visit", clinic(t))
	t:advance("5 hours")
	local escalation = only(t, "Task", { code = "escalation", status = "requested" }).id
	t:transition(visit, "arrive")
	t:equal(t:read("Task/" .. escalation).status, "completed")
	local edited = t:read(visit)
	edited.description = "wheelchair"
	t:update(edited)
	t:as("max")
	t:undo(visit, "wrong patient")
	t:equal(t:read("Task/" .. escalation).status, "requested")
	t:equal(t:read(visit).description, "wheelchair")
	t:equal(t:read(visit).status, "requested")
	t:as("ana")
	t:transition(visit, "drop")
	t:equal(t:read("Task/" .. escalation).status, "completed", "it still belongs to the instance")
end)
