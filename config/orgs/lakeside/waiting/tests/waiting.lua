-- Lakeside's waiting list and its own reason to decline, in the house that ships.

local function received(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("lakeside")
	t:as("coordinator")
	t:receive("riverside", "referral.send", {
		{ resourceType = "Task", id = "t1", status = "requested", intent = "order",
			groupIdentifier = { value = "riverside-t1" } },
		{ resourceType = "Patient", id = "p1", name = { { family = "Rivera" } } },
		{
			resourceType = "ServiceRequest", id = "s1", status = "active", intent = "order",
			subject = { reference = "Patient/p1" },
		},
	})
	return "Task/" .. t:search("Task", { code = "referral" })[1].id
end

test("an extra state: accepted, on the waiting list, scheduled; the sender sees no state it does not know", function (t)
	local task = received(t)
	t:transition(task, "accept", {})
	t:equal(t:transition(task, "wait", {}), "waiting")
	t:equal(#t:view("waiting_list"), 1)
	t:equal(string.sub(t:instance(task).due, 1, 10), "2026-12-02", "twenty business days, two of them holidays")
	t:equal(t:transition(task, "schedule", { start = "2026-11-20T15:00:00Z" }), "scheduled")
	t:equal(#t:view("waiting_list"), 0)
end)

test("nobody waits unseen: the clock of the waiting list escalates", function (t)
	local task = received(t)
	t:transition(task, "accept", {})
	t:transition(task, "wait", {})
	t:advance("30 days")
	t:as("ehr")
	t:ok(#t:search("Task", { code = "escalation", focus = task }) > 0)
end)

test("a reason of our own is accepted, another one is still refused", function (t)
	local task = received(t)
	t:refused(function ()
		t:transition(task, "decline", { reason = "did not like the letter" })
	end)
	t:equal(t:transition(task, "decline", { reason = "no clinician who speaks the language" }), "declined")
end)
