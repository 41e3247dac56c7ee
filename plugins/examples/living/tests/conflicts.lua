-- What plugins/README.md says of `conflicts`.
local function clinic(t)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "living" },
		principals = { ana = { kind = "person", roles = { "coordinator" } } },
	}
	t:at("2026-11-02T09:00:00-06:00")
	t:as("ana")
	return t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
end

local function start(t, workflow, patient, data)
	return t:start(workflow, { focus = patient, patient = patient, data = data })
end

test("two plans are refused while one lives; another patient's plan is not", function (t)
	local patient = clinic(t)
	local first = start(t, "plan", patient)
	t:refused(function ()
		start(t, "plan", patient)
	end, "409 conflict two_plans with " .. first .. " (plan in state draft): A patient has one plan")
	start(t, "plan", t:create { resourceType = "Patient", name = { { family = "Sato" } } })
	t:transition(first, "drop", { reason = "moved away" })
	start(t, "plan", patient)
end)

test("a warning: somebody is asked, whichever of the two came first, until one ends", function (t)
	local patient = clinic(t)
	local plan, call = start(t, "plan", patient), start(t, "outreach", patient)
	t:equal(#t:search("DetectedIssue"), 0, "a draft is at odds with nothing")
	t:transition(plan, "start")
	local issue = t:search("DetectedIssue")[1]
	t:equal(issue.code.coding[1].code, "outreach_twice")
	t:equal(issue.status, "preliminary")
	t:equal(#issue.implicated, 2)
	local task = t:search("Task", { code = "conflict" })[1]
	t:equal(task.performerType[1].coding[1].code, "coordinator")
	t:transition(call, "done")
	t:equal(t:read("DetectedIssue/" .. issue.id).status, "final")
	start(t, "outreach", patient) -- the other way round
	local open = 0
	for _, each in ipairs(t:search("DetectedIssue")) do
		open = open + (each.status == "preliminary" and 1 or 0)
	end
	t:equal(open, 1)
end)

test("what asks goes on with a reason, which is kept; `when` decides what is one", function (t)
	local patient = clinic(t)
	start(t, "team_plan", patient, { team = "north" })
	t:refused(function ()
		start(t, "plan", patient, { team = "south" })
	end, "say why in `override` [data.override]")
	local plan = start(t, "plan", patient, { team = "south", override = "agreed with the other team" })
	t:equal(t:history(plan)[1].data.override, "agreed with the other team")
	local issue = t:search("DetectedIssue")[1]
	t:equal(issue.status, "final")
	t:equal(issue.mitigation[1].action.text, "agreed with the other team")
	local other = t:create { resourceType = "Patient", name = { { family = "Sato" } } }
	start(t, "plan", other, { team = "north" })
	start(t, "team_plan", other, { team = "north" })
	t:equal(#t:search("DetectedIssue"), 1, "one team is not at odds with itself")
end)
