-- What plugins/README.md says of taking over instances that began elsewhere.
local function clinic(t)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "living" }, import_spread = "5 business days",
		principals = {
			ana = { kind = "person", roles = { "coordinator" } }, max = { kind = "person", roles = { "manager" } },
		},
	}
	t:at("2026-11-02T09:00:00-06:00") -- a Monday
	t:as("max")
end

local function old_plan(t, number, state, authored, modified)
	local patient = t:create { resourceType = "Patient", name = { { family = "Old" .. number } } }
	return {
		resource = {
			resourceType = "Task", id = "old-" .. number, status = "requested", intent = "order",
			code = { coding = { { system = "urn:careloop:workflow", code = "plan" } } },
			businessStatus = { coding = { { system = "urn:careloop:plan", code = state } } },
			focus = { reference = patient }, ["for"] = { reference = patient },
			authoredOn = authored, lastModified = modified,
		},
	}
end

local function import(t, entries)
	return t:request("POST", "/fhir/Task/$import", { resourceType = "Bundle", type = "collection", entry = entries })
end

test("what is taken over is not overdue all at once; its dates and measures are the true ones", function (t)
	clinic(t)
	local entries = {}
	for i = 1, 40 do
		entries[i] = old_plan(t, i, "draft", "2026-08-03T09:00:00-05:00", "2026-08-03T09:00:00-05:00")
	end
	entries[41] = old_plan(t, 41, "active", "2026-09-01T09:00:00-05:00", "2026-10-05T09:00:00-05:00")
	local answer = import(t, entries)
	t:equal(answer.status, 200)
	t:equal(answer.body.parameter[1].valueInteger, 41)
	local days = {}
	for i = 1, 40 do
		local due = t:instance("old-" .. i).due
		t:ok(due > "2026-11-02T15:00" and due <= "2026-11-09T16", due)
		days[due] = (days[due] or 0) + 1
	end
	local count = 0
	for _, n in pairs(days) do
		count = count + 1
		t:ok(n < 20, "no day has half of them")
	end
	t:equal(count, 5, "over five business days")
	local active = t:instance("old-41")
	t:equal(active.state, "active")
	t:equal(active.started, "2026-09-01T14:00:00.000Z")
	t:equal(active.due, "2027-01-03T15:00:00.000Z", "ninety days after it really came into its state")
	t:equal(t:history("old-41")[1].to, "draft")
	t:equal(t:history("old-41")[2].event, "import")
	t:equal(t:history("old-41")[2].source, "import")
	local task = t:read("Task/old-41")
	t:equal(task.meta.tag[1].code, "imported")
	t:equal(task.authoredOn, "2026-09-01T09:00:00-05:00")
	t:equal(t:metric("plans", "2026-08").value, 40)
	t:equal(t:metric("plans", "2026-09").value, 1)
	t:equal(t:metric("plans", "2026-11").value, 0)
	t:equal(t:metric("plan_active", "2026-09").value, 34)
	t:advance("1 day")
	t:ok(#t:search("Task", { code = "escalation", _count = 100 }) < 20, "the first day stays bearable")
end)

test("a bad one is named by its place, and none is taken over", function (t)
	clinic(t)
	local good = old_plan(t, 1, "draft", "2026-08-03T09:00:00-05:00", "2026-08-03T09:00:00-05:00")
	local function refused(bad, words)
		local answer = import(t, { good, bad })
		t:equal(answer.status, 422)
		local issue = answer.body.issue[1]
		t:ok(issue.diagnostics:find(words, 1, true), issue.diagnostics)
		t:ok(issue.expression[1]:find("Bundle.entry[1]", 1, true), issue.expression[1])
		t:equal(t:read("Task/old-1"), nil)
	end
	refused(old_plan(t, 2, "elsewhere", "2026-08-03", "2026-08-03"), "'elsewhere' is no state of plan")
	refused(old_plan(t, 3, "draft", nil, "2026-08-03"), "says when it began")
	refused(old_plan(t, 4, "draft", "2026-08-04", "2026-08-03"), "began (started) before")
	refused(old_plan(t, 5, "draft", "2026-08-04", "2027-08-03"), "in the future")
	t:as("ana")
	t:equal(import(t, { good }).status, 403)
end)
