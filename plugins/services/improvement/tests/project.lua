-- The project and the work (domain 4): gates with evidence, the team, pilots, minutes, touchpoints, gaps, adoption.

local function clinic(t, more)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/clinic", model = "integrated",
		services = { "improvement" }, settings = { improvement = more or {} },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
			nurse = { kind = "person", roles = { "nurse" }, reference = "Practitioner/nurse" },
		},
	}
	t:as("ehr")
	t:request("PUT", "/fhir/Organization/clinic", { resourceType = "Organization", id = "clinic", name = "Clinic" })
	t:as("boss")
end

local function call(t, operation, values)
	local input = { resourceType = "Parameters", parameter = {} }
	local names = {}
	for name in pairs(values) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = values[name]
		local kind = type(value) == "number" and (math.tointeger(value) and "valueInteger" or "valueDecimal") or "valueString"
		input.parameter[#input.parameter + 1] = { name = name, [kind] = value }
	end
	return t:operation(operation, input).parameter
end

test("a site is added without code and passes each gate with evidence, a decision and a decider", function (t)
	clinic(t)
	local added = call(t, "$add-site", { name = "North" })
	local task = added[2].valueReference.reference
	t:equal(t:data(added[1].valueReference.reference).name, "North")
	local function pass()
		return t:transition(task, "pass", { decision = "go on", evidence = "see the views" })
	end
	t:refused(pass, "no touchpoint is recorded")
	call(t, "$record-touchpoint", {
		step = "referral faxed", from = "clinic", to = "partner", channel = "fax", volume = 40, failure_share = 30,
		wait_median_days = 9, wait_p90_days = 30, fails = "nobody knows whether it arrived",
	})
	t:near(t:view("touchpoint_map")[1].lost_a_month, 12, 1e-9)
	t:equal(pass(), "objectives")
	t:refused(pass, "no baseline is frozen")
	call(t, "$load-points", { source = "count", measure = "kept", period = "2026-09", numerator = 10, denominator = 40 })
	call(t, "$freeze-baseline", { measure = "kept", from = "2026-09", to = "2026-09" })
	t:refused(pass, "no objective is set")
	call(t, "$set-objective", { measure = "kept", target = 50, due = "2027-06-30", owner = "Practitioner/boss" })
	t:equal(pass(), "team")
	t:refused(pass, "lacks champion, project manager")
	local team = {
		resourceType = "CareTeam", status = "active", participant = {},
		category = { { coding = { { system = "urn:careloop:improvement:team", code = "implementation" } } } },
	}
	for _, role in ipairs {
		"champion", "project manager", "technical lead", "behavioral health", "coordination", "operations",
	} do
		team.participant[#team.participant + 1] = { role = { { text = role } }, member = { display = "Dr. " .. role } }
	end
	t:create(team)
	t:equal(t:view("implementation_team")[1].name, "Dr. champion")
	t:equal(pass(), "infrastructure")
	local barrier = t:start("barrier", { focus = added[1].valueReference.reference, data = { what = "no room" } })
	t:advance("20 business days")
	t:refused(pass, "1 barriers are overdue")
	t:transition(barrier, "remove", { how = "the store room is free" })
	t:equal(pass(), "pilot")
	t:refused(pass, "no pilot is finished")
	local moves = t:history(task)
	t:equal(moves[#moves].data.decision, "go on")
	t:ok(moves[#moves].actor ~= nil)
end)

test("an empty role is told on Mondays once a roll-out has begun", function (t)
	clinic(t)
	local function told()
		local count = 0
		for _, communication in ipairs(t:search("Communication", { _count = 100 })) do
			if string.find(communication.payload[1].contentString, "Nobody is named", 1, true) then
				count = count + 1
			end
		end
		return count
	end
	t:advance("8 days")
	t:equal(told(), 0)
	call(t, "$add-site", { name = "North" })
	t:advance("7 days")
	t:equal(told(), 1)
end)

test("a pilot keeps the arm that an episode began in, and lists what changed beside it", function (t)
	clinic(t)
	t:as("boss")
	local study = t:create { resourceType = "ResearchStudy", status = "active", title = "Huddles for seniors" }
	local pilot = t:start("pilot", { focus = study })
	t:transition(pilot, "start", {
		comparison = "patients under 65", stop_rules = "two missed alerts", ends = "2027-03-31", age_from = 65,
	})
	local function enrol(birth)
		t:as("ehr")
		local patient = t:create { resourceType = "Patient", active = true, birthDate = birth, name = { { family = "X" } } }
		t:create {
			resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient }, period = { start = t:now() },
			type = { { coding = { { system = "urn:careloop:episode", code = "depression-care" } } } },
		}
		t:as("boss")
		return patient
	end
	enrol("1961-11-02") -- 65 today
	enrol("1961-11-03") -- 65 tomorrow
	local twice = enrol("1950-01-01")
	t:as("ehr")
	t:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = twice }, period = { start = t:now() },
	}
	t:as("boss")
	t:transition(pilot, "change", { what = "a second care manager started" })
	local row = t:view("pilots")[1]
	t:equal(row.in_pilot, 2)
	t:equal(row.in_comparison, 1)
	t:ok(string.find(row.changes_beside, "second care manager", 1, true))
	t:equal(t:transition(pilot, "finish", { summary = "see run chart" }), "finished")
end)

test("minutes: impossible ones are refused, money only with a rate of that day", function (t)
	clinic(t, { rate_card = {
		{ role = "coordinator", per_hour = 30, from = "2026-01-01" },
			{ role = "coordinator", per_hour = 36, from = "2026-11-01" },
	} })
	t:as("nurse")
	for values, words in pairs {
		[{ role = "coordinator", activity = "call", minutes = 0 }] = "minutes-out-of-range",
		[{ role = "coordinator", activity = "call", minutes = 481 }] = "minutes-out-of-range",
		[{ role = "coordinator", activity = "napping", minutes = 10 }] = "is none of",
		[{ role = "coordinator", activity = "call", minutes = 10, date = "2026-11-03" }] = "future",
	} do
		t:refused(function ()
			call(t, "$log-activity", values)
		end, words)
	end
	call(t, "$log-activity", { role = "coordinator", activity = "call", minutes = 60, date = "2026-10-31" })
	call(t, "$log-activity", { role = "coordinator", activity = "call", minutes = 60, date = "2026-11-01" })
	call(t, "$log-activity", { role = "nurse", activity = "call", minutes = 15 })
	t:as("boss")
	local rows = t:view("coordination_minutes")
	t:equal(rows[1].minutes, 120)
	t:near(rows[1].cost, 66, 1e-9)
	t:equal(rows[2].cost, nil)
	t:equal(rows[2].cost_note, "no rate stated")
end)

test("a time study draws shifts, extrapolates, and says that it did", function (t)
	clinic(t)
	t:refused(function ()
		call(t, "$sample-shifts", { name = "study", from = "2026-11-02", to = "2026-11-06", shifts = 11 })
	end, "only 10 shifts")
	t:refused(function ()
		call(t, "$sample-shifts", { name = "study", from = "2026-11-02", to = "2026-11-06", shifts = 1 })
	end, "at least two")
	local drawn = call(t, "$sample-shifts", { name = "study", from = "2026-11-02", to = "2026-11-06", shifts = 4 })
	t:equal(#drawn, 4)
	local seen = {}
	for _, shift in ipairs(drawn) do
		t:ok(not seen[shift.valueString], "no shift twice")
		seen[shift.valueString] = true
	end
	t:refused(function ()
		call(t, "$log-activity", { role = "nurse", activity = "fax", minutes = 5, shift = "another" })
	end, "no shift of a sample")
	call(t, "$log-activity", { role = "nurse", activity = "fax", minutes = 20, shift = drawn[1].valueString })
	call(t, "$log-activity", { role = "nurse", activity = "fax", minutes = 40, shift = drawn[2].valueString })
	local row = t:view("coordination_minutes")[1]
	t:equal(row.minutes, 60)
	t:near(row.estimate, 150, 1e-9) -- 60 minutes in 4 of 10 shifts
	t:equal(row.basis, "sampled: 4 of 10 shifts")
	-- mean 15, squares 25 + 625 + 225 + 225 = 1100; 1.96 * 10 * sqrt(1100 / 3 / 4 * 0.6) = 145.4; not below what was seen
	t:equal(row.interval, "60 to 295")
end)

test("gaps are counted from the record; without a price there is no money, not zero", function (t)
	clinic(t, { gap_prices = { missed_visit = 120 } })
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", active = true, name = { { family = "X" } } }
	for number = 1, 2 do
		t:create {
			resourceType = "Appointment", status = "noshow", start = "2026-10-0" .. number .. "T15:00:00Z",
			["end"] = "2026-10-0" .. number .. "T16:00:00Z",
			participant = { { actor = { reference = patient }, status = "accepted" } },
		}
	end
	t:create {
		resourceType = "DetectedIssue", status = "final", patient = { reference = patient }, identifiedDateTime = t:now(),
		code = { text = "repeat-of-recent-order" },
	}
	t:as("boss")
	local rows = {}
	for _, row in ipairs(t:view("gap_costs")) do
		rows[row.gap] = row
	end
	t:equal(rows.missed_visit.count, 2)
	t:equal(rows.missed_visit.cost, 240)
	t:equal(rows.repeated_test.count, 1)
	t:equal(rows.repeated_test.cost, nil)
	t:ok(string.find(rows.repeated_test.note, "no price stated", 1, true))
end)

test("adoption by role: the share that goes back to paper, and the last reason", function (t)
	clinic(t)
	t:as("nurse")
	call(t, "$log-adoption", { role = "nurse", kind = "training" })
	call(t, "$log-adoption", { role = "nurse", kind = "use", count = 6 })
	call(t, "$log-adoption", { role = "nurse", kind = "bypass to paper", count = 2, note = "the screen was down" })
	t:refused(function ()
		call(t, "$log-adoption", { role = "nurse", kind = "grumbling" })
	end, "is none of")
	t:as("boss")
	local row = t:view("adoption")[1]
	t:equal(row.trained, 1)
	t:equal(row.bypass_share, 25)
	t:equal(row.of, 8)
	t:equal(row.last_reason, "the screen was down")
end)

test("meetings that are not held and milestones that slip are seen", function (t)
	clinic(t)
	local team = t:create { resourceType = "CareTeam", status = "active" }
	local meeting = t:start("meeting", { focus = team, data = { at = "2026-11-05T15:00:00Z" } })
	local site = call(t, "$add-site", { name = "North" })[1].valueReference.reference
	local milestone = t:start("milestone", { focus = site, data = { what = "staff trained", due = "2026-11-10" } })
	t:equal(string.sub(t:instance(milestone).due, 1, 10), "2026-11-10")
	t:advance("12 days")
	t:equal(t:state(meeting), "missed")
	t:equal(t:view("milestones")[1].overdue, true)
	t:transition(milestone, "move_date", { due = "2026-12-10", reason = "flu season" })
	t:equal(t:view("milestones")[1].overdue, false)
	t:transition(milestone, "reach", { evidence = "list of names" })
	t:equal(#t:view("milestones"), 0)
end)
