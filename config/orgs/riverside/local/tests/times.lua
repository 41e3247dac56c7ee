-- Riverside's one changed duration, in the house that ships.

test("a partner of Riverside has one business day to answer, not the shipped two", function (t)
	t:at("2026-11-05T09:00:00-06:00") -- Thursday
	t:organization("riverside")
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
	}
	local task = t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
	t:transition(task, "send", {})
	t:equal(string.sub(t:instance(task).due, 1, 10), "2026-11-06")
	t:equal(#t:search("Task", { code = "escalation", focus = task }), 0)
	t:advance("4 days")
	t:equal(#t:search("Task", { code = "escalation", focus = task }) > 0, true, "Friday ran out over the weekend")
end)
