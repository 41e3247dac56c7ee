-- Enrolment files with retroactive changes, member-months first and restated, positions, gates, pools, gaps in care and
-- wrong
-- data: domain 2.10, 3.3.
local contract = {
	name = "Medicare Advantage 2026", from = "2026-01-01", to = "2026-12-31", pmpm = 400, benchmark = 380, withhold = 0.05,
	share = 0.5, loss_share = 0.25, minimum_saving = 0.02, gates = { cms122 = { at_most = 50 } },
	pools = { professional = 0.4, pharmacy = 0.2 },
}

local function open(t, at, more)
	t:at(at)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/test", model = "integrated",
		services = { "measures" }, programs = { "capitation" },
		hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr", "population_manager", "manager", "care_manager" } },
			care = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/care" },
		},
		settings = { capitation = { contracts = { ["ma-2026"] = more or contract }, gap_measures = { "cms122" } } },
	}
	t:as("ehr")
end

local function member(t, number, birth)
	return t:create {
		resourceType = "Patient", name = { { family = "Member" } }, birthDate = birth or "1970-01-01",
		identifier = { { system = "urn:careloop:member", value = number } },
	}
end

local function load(t, text)
	local file = t:operation("$enrolment-file", { resourceType = "Parameters", parameter = {
		{ name = "text", valueString = text }, { name = "contract", valueString = "ma-2026" },
	} })
	t:advance("1 minutes")
	local result = t:search("Basic", { code = "urn:careloop:capitation|enrolment-result",
		identifier = "urn:careloop:capitation|Basic/" .. file.id })[1]
	local values = { problems = {} }
	for _, extension in ipairs(result.extension) do
		local name = extension.url:match(":([^:]+)$")
		if name == "problem" then
			values.problems[#values.problems + 1] = extension.extension[2].valueCode
		else
			values[name] = tonumber(extension.valueDecimal) or extension.valueString or extension.valueDate
		end
	end
	return values
end

local function months(t)
	local found = {}
	for _, row in ipairs(t:view("member_months")) do
		found[row.month] = row
	end
	return found
end

test("an enrolment file makes members, and its member-months are counted", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	local one = member(t, "1")
	member(t, "2")
	local done = load(t, "member,first,last,practitioner\r\n"
		.. "1,2026-01-01,,Practitioner/ana\r\n\"2\",2026-01-16,2026-03-14,\r\n")
	t:equal(done.state, "done")
	t:equal(done.taken, 2)
	t:equal(#done.problems, 0)
	t:equal(t:read(one).generalPractitioner[1].reference, "Practitioner/ana")
	local found = months(t)
	t:equal(found["2026-01"].first, 1, "enrolled on the 16th: not in January by the mid-month rule")
	t:equal(found["2026-02"].first, 2)
	t:equal(found["2026-03"].first, 1, "left on the 14th")
	t:equal(found["2026-04"].first, 1)
	t:equal(found["2026-02"].capitation, 800)
	local again = load(t, "member,first,last\n1,2026-01-01,\n")
	t:equal(again.taken, 0)
	t:equal(again.unchanged, 1)
end)

test("a retroactive change restates months beside the first count", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	for i = 1, 3 do
		member(t, tostring(i))
	end
	load(t, "member,first,last\n1,2026-01-01,\n2,2026-01-01,\n3,2026-01-01,\n")
	t:advance("7 days")
	load(t, "member,action,first,last\n2,end,2026-01-01,2026-02-28\n3,void,2026-01-01,\n")
	local found = months(t)
	t:equal(found["2026-01"].first, 3)
	t:equal(found["2026-01"].restated, 2)
	t:equal(found["2026-01"].difference, -1)
	t:equal(found["2026-03"].restated, 1)
	t:equal(found["2026-03"].restatements, 1)
	t:equal(#t:search("Basic", { code = "urn:careloop:capitation|enrolment-entry" }), 5, "every row stays in the ledger")
end)

test("wrong rows are refused by the name of the rule; the rest of the file is taken", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	member(t, "1", "2026-02-01")
	member(t, "2")
	local done = load(t, table.concat({
		"member,contract,action,first,last", "1,,,2026-01-01,", "1,,,2026-02-01,", "1,,,2026-03-01,2026-03-31",
			"9,,,2026-01-01,",
		"2,other,,2026-01-01,", "2,,,2026-02-30,", "2,,,2026-03-01,2026-02-01", "2,,leave,2026-03-01,2026-03-31",
		"2,,end,2026-01-01,2026-03-31", "2,2026-01-01", "\"2,x", "2,,,2026-01-01,2026-01-31", "2,,,2026-02-01,",
	}, "\n"))
	t:equal(table.concat(done.problems, " "), "member_before_birth overlapping_enrolment unknown_member unknown_contract "
		.. "bad_date reversed_dates bad_action no_enrolment bad_line bad_line")
	t:equal(done.taken, 3)
	local function refused(text, words)
		t:refused(function ()
			t:operation("$enrolment-file", { resourceType = "Parameters", parameter = { { name = "text",
				valueString = text } } })
		end, words)
	end
	refused("member,weight\n", "unknown column")
	refused("member,member,first\n", "stands twice")
	refused("first,last\n", "'member' is missing")
end)

test("a file of many rows is worked through in pieces", function (t)
	open(t, "2026-02-10T09:00:00-06:00")
	local rows = { "member,first,last" }
	for i = 1, 130 do
		member(t, tostring(i))
		rows[#rows + 1] = i .. ",2026-01-01,"
	end
	t:equal(load(t, table.concat(rows, "\n")).taken, 130)
	t:equal(months(t)["2026-01"].first, 130)
end)

local function spend(t, patient, day, amount, kind)
	t:create {
		resourceType = "ExplanationOfBenefit", status = "active", use = "claim", patient = { reference = patient },
			created = day,
		billablePeriod = { start = day }, provider = { display = "clinic" }, insurer = { display = "plan" },
			outcome = "complete",
		type = { coding = { { system = "http://terminology.hl7.org/CodeSystem/claim-type", code = kind
			or "professional" } } },
		insurance = { { focal = true, coverage = { display = "plan" } } },
		payment = { amount = { value = amount, currency = "USD" } },
	}
end

local function receive(t, day, amount)
	return t:request("POST", "/fhir/PaymentReconciliation", {
		resourceType = "PaymentReconciliation", status = "active", created = day, paymentDate = day,
		identifier = { { system = "urn:careloop:capitation", value = "ma-2026" } },
		paymentAmount = { value = amount, currency = "USD" },
	})
end

test("the position of a contract: savings are shared when the gates are met", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	local one, two = member(t, "1"), member(t, "2")
	load(t, "member,first,last\n1,2026-01-01,\n2,2026-01-01,2026-02-28\n")
	-- Until April 10: January to March of one, January and February of two: 5 months; 400 less 5 % is paid.
	spend(t, one, "2026-01-15", 900)
	spend(t, one, "2026-02-15", 300, "pharmacy")
	spend(t, two, "2026-02-28", 200)
	spend(t, two, "2026-03-01", 5000) -- no member any more
	t:equal(receive(t, "2026-02-01", 1900).status, 201)
	t:equal(receive(t, "2026-02-02", -5).status, 422, "negative_payment")
	t:operation("$contract-positions", nil)
	t:advance("1 minutes")
	local row = t:view("contract_positions")[1]
	t:equal(row.member_months, 5)
	t:equal(row.cost, 1400)
	t:near(row.cost_pmpm, 280, 0.001)
	t:equal(row.saving, 5 * 380 - 1400)
	t:equal(row.gates, "cms122 unknown")
	t:equal(row.shared, 0, "nothing is shared while a gate is unknown")
	t:equal(row.withheld, 100)
	t:equal(row.withhold_due, 0)
	for _, patient in ipairs { one, two } do
		t:create {
			resourceType = "Condition", subject = { reference = patient }, onsetDateTime = "2020-01-01",
			code = { coding = { { system = "http://hl7.org/fhir/sid/icd-10-cm", code = "E11.9" } } },
		}
		t:create {
			resourceType = "Encounter", status = "finished", subject = { reference = patient },
			class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
			period = { start = "2026-03-01", ["end"] = "2026-03-01" },
		}
	end
	t:create {
		resourceType = "Observation", status = "final", subject = { reference = one }, effectiveDateTime = "2026-03-01",
		code = { coding = { { system = "http://loinc.org", code = "4548-4" } } }, valueQuantity = { value = 7, unit = "%" },
	}
	t:operation("$contract-positions", nil)
	t:advance("1 minutes")
	row = t:view("contract_positions")[1]
	t:equal(row.gates, "cms122 met (50.0)")
	t:equal(row.shared, 250)
	t:equal(row.withhold_due, 100)
	t:equal(row.margin, 1900 + 250 - 1400)
	local pools = t:view("budget_pools")
	t:equal(pools[1].pool, "pharmacy")
	t:equal(pools[1].spent, 300)
	t:near(pools[1].left, 1900 * 0.2 - 300, 0.001)
	t:equal(pools[2].spent, 1100)
end)

test("gaps in care open, close with evidence, and end with the year", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	local patients = {}
	for i = 1, 30 do
		patients[i] = member(t, tostring(i))
		t:create {
			resourceType = "Condition", subject = { reference = patients[i] }, onsetDateTime = "2020-01-01",
			code = { coding = { { system = "http://hl7.org/fhir/sid/icd-10-cm", code = "E11.9" } } },
		}
		t:create {
			resourceType = "Encounter", status = "finished", subject = { reference = patients[i] },
			class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
			period = { start = "2026-03-01", ["end"] = "2026-03-01" },
		}
	end
	local function test_of(patient, value)
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = "2026-04-01",
			code = { coding = { { system = "http://loinc.org", code = "4548-4" } } }, valueQuantity = { value = value,
				unit = "%" },
		}
	end
	test_of(patients[1], 7)
	t:operation("$find-gaps", nil)
	t:advance("1 minutes")
	t:equal(#t:view("care_gaps"), 29, "all but the one who is controlled")
	test_of(patients[2], 8)
	t:operation("$find-gaps", nil)
	t:advance("1 minutes")
	t:equal(#t:view("care_gaps"), 28)
	local task = t:view("care_gaps")[1].task
	t:as("care")
	t:equal(t:transition(task, "reached"), "contacted")
	t:equal(t:transition(task, "decline", { reason = "done elsewhere" }), "declined")
	t:as("ehr")
	t:advance("270 days")
	t:equal(#t:view("care_gaps"), 0, "the year is over")
end)

test("wrong data are refused by name, whoever writes them", function (t)
	open(t, "2026-04-10T09:00:00-05:00")
	local one = member(t, "1", "2026-02-01")
	local function coverage(first, last)
		return t:request("POST", "/fhir/Coverage", {
			resourceType = "Coverage", status = "active", beneficiary = { reference = one }, payor = { { display = "plan" } },
			class = { { type = { coding = { {
				system = "http://terminology.hl7.org/CodeSystem/coverage-class", code = "group",
			} } }, value = "ma-2026" } },
			period = { start = first, ["end"] = last },
		})
	end
	local function refused(answer, rule)
		t:equal(answer.status, 422)
		t:ok(answer.body.issue[1].diagnostics:find(rule, 1, true), answer.body.issue[1].diagnostics)
	end
	refused(coverage("2026-01-31", "2026-02-28"), "member_before_birth")
	t:equal(coverage("2026-02-01", "2026-02-28").status, 201)
	refused(coverage("2026-02-28", "2026-03-31"), "overlapping_enrolment")
	t:equal(coverage("2026-03-01").status, 201)
	refused(receive(t, "2026-04-01", -1), "negative_payment")
	spend(t, one, "2026-03-15", -20)
	t:equal(#t:search("DetectedIssue", { patient = one }), 1, "negative_benefit is flagged")
end)
