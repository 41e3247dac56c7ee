-- What plugins/README.md says of digests and ceilings.
local function clinic(t, more)
	local config = {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "living" },
		principals = {
			ana = { kind = "person", roles = { "coordinator" } }, max = { kind = "person", roles = { "manager" } },
		},
	}
	for name, value in pairs(more) do
		config[name] = value
	end
	t:organization(config)
	t:at("2026-11-02T09:00:00-06:00") -- a Monday
	t:as("ana")
end

local function start(t, workflow, number)
	local patient = t:create { resourceType = "Patient", name = { { family = "P" .. number } } }
	return t:start(workflow, { focus = patient, patient = patient })
end

test("notices to a role wait for its time of day and come as one; what was undone is not told", function (t)
	clinic(t, { digests = { coordinator = "08:00" } })
	local visits = {}
	for i = 1, 3 do
		visits[i] = start(t, "visit", i)
		t:transition(visits[i], "arrive") -- a flag, of which the coordinator is told
	end
	t:equal(#t:search("Communication"), 0)
	t:as("max")
	t:undo(visits[3], "wrong patient") -- of which the coordinator is told, too
	t:as("ana")
	t:at("2026-11-03T07:59:00-06:00")
	t:equal(#t:search("Communication"), 0)
	t:at("2026-11-03T08:00:00-06:00")
	local digest = t:search("Communication")
	t:equal(#digest, 1)
	local lines = {}
	for i, each in ipairs(digest[1].payload) do
		lines[i] = each.contentString
	end
	t:equal(table.concat(lines, "; "), "A flag was set; A flag was set; Undone: arrived is planned; Still in the house; "
		.. "Still in the house")
	t:equal(digest[1].category[1].coding[1].code, "coordinator")
	t:equal(#digest[1].about, 5)
	t:at("2026-11-06T12:00:00-06:00")
	t:equal(#t:search("Communication"), 1, "nothing to tell, nothing told")
end)

test("beyond the ceiling escalations are one list for the day, from which who moves on is taken", function (t)
	clinic(t, { escalation_ceilings = { coordinator = 2 } })
	for i = 1, 5 do
		start(t, "plan", i)
	end
	t:at("2026-11-04T09:30:00-06:00")
	t:equal(#t:search("Task", { code = "urn:careloop:task|escalation" }), 2)
	local function list()
		return t:search("Task", { code = "urn:careloop:task|escalations" })
	end
	t:equal(#list(), 1)
	t:equal(list()[1].description, "3 more are overdue; the list is complete")
	t:equal(#list()[1].input, 3)
	t:equal(list()[1].performerType[1].coding[1].code, "coordinator")
	local listed = list()[1].input[1].valueReference.reference
	t:transition(listed, "start")
	t:equal(list()[1].description, "2 more are overdue; the list is complete")
	for _, input in ipairs(list()[1].input) do
		t:transition(input.valueReference.reference, "start")
	end
	t:equal(list()[1].status, "completed")
	for i = 6, 9 do
		start(t, "plan", i)
	end
	t:at("2026-11-06T10:00:00-06:00")
	t:equal(#list(), 2, "another day has its own list")
end)

test("a bad setting is refused when it loads", function (t)
	for _, more in ipairs { { digests = { coordinator = "8 am" } }, { escalation_ceilings = { coordinator = 0 } } } do
		t:refused(function ()
			clinic(t, more)
		end, "coordinator must be")
	end
end)
