-- Protocols go live only with the recorded approval of their owners.

local function house(t, more)
	t:at("2026-11-02T09:00:00-08:00")
	t:organization {
		name = "Test House", zone = "America/Los_Angeles", reference = "Organization/house", model = "integrated",
		services = { "governance" }, settings = more,
		principals = {
			medical = { kind = "person", roles = { "clinical_lead" }, reference = "Practitioner/medical" },
			behavioral = { kind = "person", roles = { "behavioral_lead" }, reference = "Practitioner/behavioral" },
			both = { kind = "person", roles = { "clinical_lead", "behavioral_lead" }, reference = "Practitioner/both" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
	}
	t:as("medical")
end

local function protocol(version, status)
	return {
		resourceType = "PlanDefinition", url = "urn:careloop:protocol:depression", version = version,
		status = status or "draft", title = "Depression care",
	}
end

local function task_of(t, reference)
	return "Task/" .. t:search("Task", { code = "approval", focus = reference })[1].id
end

local function approve(t, name, task, role, reference)
	t:as(name)
	t:transition(task, "approve", { role = role, version = t:data(reference).meta.versionId })
end

test("nothing becomes active by being written", function (t)
	house(t)
	t:refused(function ()
		t:create(protocol("1", "active"))
	end, "by the approval of its owners")
	local draft = t:create(protocol("1"))
	local own = t:data(draft)
	own.status = "active"
	t:refused(function ()
		t:update(own)
	end, "by the approval of its owners")
	t:refused(function ()
		t:create { resourceType = "PlanDefinition", status = "draft" }
	end, "needs a url and a version")
end)

test("two owners, two people, the version they read; then it is live and the former one retired", function (t)
	house(t)
	local first = t:create(protocol("1"))
	local task = task_of(t, first)
	t:transition(task, "submit", {})
	t:refused(function ()
		t:transition(task, "go_live", {})
	end, "not approved yet by clinical_lead, behavioral_lead")
	t:refused(function ()
		approve(t, "medical", task, "behavioral_lead", first)
	end, "do not play the role")
	t:as("both")
	approve(t, "both", task, "clinical_lead", first)
	t:refused(function ()
		approve(t, "both", task, "behavioral_lead", first)
	end, "two owners are two people")
	approve(t, "behavioral", task, "behavioral_lead", first)

	-- A change after the approvals takes them away.
	t:as("medical")
	local changed = t:data(first)
	changed.title = "Depression care, changed"
	t:update(changed)
	t:refused(function ()
		t:transition(task, "go_live", {})
	end, "not approved yet by clinical_lead, behavioral_lead")
	approve(t, "medical", task, "clinical_lead", first)
	approve(t, "behavioral", task, "behavioral_lead", first)
	t:equal(t:transition(task, "go_live", {}), "live")
	t:equal(t:data(first).status, "active")
	t:equal(t:data(first).approvalDate, "2026-11-02")
	changed = t:data(first)
	changed.title = "Quietly another"
	t:refused(function ()
		t:update(changed)
	end, "write a new version")

	local second = t:create(protocol("2"))
	local next_task = task_of(t, second)
	t:transition(next_task, "submit", {})
	approve(t, "medical", next_task, "clinical_lead", second)
	approve(t, "behavioral", next_task, "behavioral_lead", second)
	t:transition(next_task, "go_live", {})
	t:equal(t:data(first).status, "retired")
	t:equal(t:state(task), "replaced")
	t:as("boss")
	local rows = t:view("in_force_and_waiting")
	t:equal(#rows, 1)
	t:equal(rows[1].version, "2")
	t:equal(rows[1].missing, "")
end)

test("owners who do not decide are escalated; sent back, all approvals are void", function (t)
	house(t)
	local draft = t:create(protocol("1"))
	local task = task_of(t, draft)
	t:transition(task, "submit", {})
	approve(t, "medical", task, "clinical_lead", draft)
	t:transition(task, "send_back", { reason = "dose table is missing" })
	t:transition(task, "submit", {})
	approve(t, "behavioral", task, "behavioral_lead", draft)
	t:refused(function ()
		t:transition(task, "go_live", {})
	end, "not approved yet by clinical_lead")
	t:advance("15 business days")
	t:as("boss")
	t:ok(#t:search("Task", { code = "escalation" }) > 0)
end)
