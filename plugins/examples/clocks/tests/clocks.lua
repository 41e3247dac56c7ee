-- What plugins/README.md says of clocks, choices, data, periods and going through many.
local function clinic(t, when)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "clocks" },
		principals = { desk = { kind = "person", roles = { "desk" } } },
		settings = { clocks = { decline_reasons = { "wrong number", "called already" } } },
	}
	t:at(when or "2026-11-02T09:00:00-06:00")
	t:as("desk")
	return t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
end

local function start(t, workflow, patient, data)
	return t:start(workflow, { focus = patient, patient = patient, data = data })
end

test("a clock by tier takes its time from the data, and `otherwise` when they say nothing of it", function (t)
	local patient = clinic(t)
	t:equal(t:instance(start(t, "callback", patient, { urgency = "urgent" })).due, "2026-11-02T19:00:00.000Z")
	t:equal(t:instance(start(t, "callback", patient, { urgency = "emergent" })).due, "2026-11-02T15:15:00.000Z")
	t:equal(t:instance(start(t, "callback", patient, { urgency = "whenever" })).due, "2026-11-04T15:00:00.000Z")
	t:equal(t:instance(start(t, "callback", patient)).due, "2026-11-04T15:00:00.000Z")
end)

test("a clock by a field ends before what the field says; a date is its local midnight", function (t)
	local patient = clinic(t)
	local at = start(t, "visit_reminder", patient, { visit_at = "2026-11-10T10:30:00-06:00" })
	t:equal(t:instance(at).due, "2026-11-09T16:30:00.000Z")
	t:equal(t:instance(start(t, "visit_reminder", patient, { visit_at = "2026-11-10" })).due, "2026-11-09T06:00:00.000Z")
	t:equal(t:instance(start(t, "visit_reminder", patient)).due, "2026-11-05T15:00:00.000Z")
	t:equal(t:instance(start(t, "visit_reminder", patient, { visit_at = "soon" })).due, "2026-11-05T15:00:00.000Z")
	local past = start(t, "visit_reminder", patient, { visit_at = "2026-11-01" })
	t:advance("1 minute")
	t:equal(t:state(past), "done", "a time that has passed runs out at once")
end)

test("a clock by a function: a duration or a moment; a moment that has passed does not come again at once", function (t)
	local patient = clinic(t)
	local task = start(t, "follow_up", patient, { on_month_end = "yes" })
	t:equal(t:instance(task).due, "2026-12-01T06:00:00.000Z")
	t:equal(t:instance(start(t, "follow_up", patient)).due, "2026-11-09T15:00:00.000Z")
	t:at("2026-12-01T08:00:00-06:00")
	t:equal(t:instance(task).due, "2027-01-01T06:00:00.000Z", "the function is asked again")
	t:equal(#t:search("Task", { code = "escalation", focus = task }), 1)
end)

test("keep_clock: an attempt gives no more time, and what effects learn stays with the instance", function (t)
	local patient = clinic(t)
	local task = start(t, "callback", patient, { urgency = "urgent" })
	local before = t:instance(task)
	t:advance("30 minutes")
	t:transition(task, "attempt", { note = "no answer" })
	t:transition(task, "attempt")
	local after = t:instance(task)
	t:equal(after.due, before.due)
	t:equal(after.entered, before.entered, "the state was not entered anew")
	t:equal(after.data.attempts, 2)
	t:equal(t:read(task).restriction.period["end"], "2026-11-02T13:00:00-06:00")
	t:advance("5 hours")
	t:equal(t:state(task), "unreached", "after an hour it pressed, with the clock of before")
	local events = {}
	for _, each in ipairs(t:history(task)) do
		events[#events + 1] = each.event .. "@" .. each.at
	end
	t:equal(table.concat(events, " "), "start@2026-11-02T15:00:00.000Z attempt@2026-11-02T15:30:00.000Z "
		.. "attempt@2026-11-02T15:30:00.000Z hurry@2026-11-02T16:00:00.000Z give_up@2026-11-02T19:00:00.000Z")
	t:equal(#t:search("Communication"), 1, "the words after ten minutes")
	t:ok(t:search("Communication")[1].payload[1].contentString:find("Ten minutes have passed", 1, true))
end)

test("choices come from a setting, which the organization may change", function (t)
	local task = start(t, "callback", clinic(t))
	t:refused(function ()
		t:transition(task, "decline", { reason = "moved away" })
	end, "wrong number, called already")
	t:equal(t:transition(task, "decline", { reason = "called already" }), "declined")
end)

test("weeks beside months, and more than a thousand rows", function (t)
	local patient = clinic(t)
	local entries = {}
	for i = 1, 1100 do
		entries[i] = {
			resource = { resourceType = "Patient", name = { { family = "Many" .. i } } },
			request = { method = "POST", url = "Patient" },
		}
	end
	local answer = t:request("POST", "/fhir", { resourceType = "Bundle", type = "transaction", entry = entries })
	t:equal(answer.status, 200)
	start(t, "callback", patient)
	local said = {}
	for _, each in ipairs(t:operation("$count-patients").parameter) do
		said[each.name] = each.valueInteger or each.valueString
	end
	t:equal(said.patients, 1101)
	t:equal(said.open, 1)
	t:equal(said.week, "2026-W45")
	t:equal(said.last, "2026-10-31")
	t:equal(t:metric("callbacks", "2026-W45").value, 1)
	t:equal(t:metric("callbacks", "2026-W44").value, 0)
	t:equal(t:metric("callbacks", "2026-11").value, 1)
	local weeks = t:request("GET", "/metrics/callbacks?weeks=2").body.metrics[1].weeks
	t:equal(weeks[1].week, "2026-W44")
	t:equal(weeks[2].value, 1)
	t:equal(t:request("GET", "/metrics/callbacks?weeks=0").status, 400)
end)
