-- What the engine does with every measure: code lists, reports, small numbers, periods, access.
local clinic = require "tests/clinic"

local function value_set(t, url, codes)
	local concepts = {}
	for i, code in ipairs(codes) do
		concepts[i] = { code = code }
	end
	return t:create {
		resourceType = "ValueSet", status = "active", url = url,
		compose = { include = { { system = "http://www.ama-assn.org/go/cpt", concept = concepts } } },
	}
end

test("a list that the organization loads replaces what is shipped", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local patient = clinic.depressed(t, "2024-02-29", 15)
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000", "by the visit's class")
	value_set(t, "urn:careloop:codes:qualifying_visits", { "99213" })
	t:equal(clinic.one(t, "cms159", "2025", patient), "00000", "by its type, which the visit has not")
	clinic.visit(t, patient, "2024-02-29", nil,
		{ type = { clinic.concept("http://www.ama-assn.org/go/cpt", "99213") } })
	t:equal(clinic.one(t, "cms159", "2025", patient), "11000")
end)

test("a list that cannot be used makes a measure not computable, never zero (domain 0 row 11)", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	clinic.depressed(t, "2024-02-29", 15)
	t:create {
		resourceType = "ValueSet", status = "active", url = "urn:careloop:codes:hospice",
		compose = { include = { { system = "http://snomed.info/sct" } } },
	}
	local counts = clinic.measure(t, "cms159", "2025")
	t:equal(counts.report.status, "error")
	t:equal(counts.initial, nil)
	t:ok(counts.missing:find("'hospice'", 1, true) and counts.missing:find("load its expansion", 1, true), counts.missing)
	local row
	for _, metric in ipairs(t:request("GET", "/metrics/cms159?months=1").body.metrics) do
		row = metric.periods[1]
	end
	t:equal(row.value, nil)
	t:ok(row.not_computable:find("hospice", 1, true))
end)

test("reports are valid FHIR, in three types", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local one = clinic.depressed(t, "2024-02-29", 15)
	local two = clinic.depressed(t, "2024-02-29", 15, "2010-01-01")
	clinic.phq9(t, one, 3, "2025-02-28")
	for _, query in ipairs { "", "&reportType=subject-list", "&subject=" .. one, "&shared=true" } do
		local report = clinic.measure(t, "cms159", "2025", query).report
		local checked = t:request("POST", "/fhir/MeasureReport/$validate", report)
		t:equal(checked.status, 200)
		for _, issue in ipairs(checked.body.issue or {}) do
			t:ok(issue.severity ~= "error" and issue.severity ~= "fatal", issue.diagnostics)
		end
	end
	local list = clinic.measure(t, "cms159", "2025", "&reportType=subject-list").report
	t:equal(#list.contained[1].entry, 2)
	t:equal(list.group[1].stratifier[1].stratum[1].value.text, "12 to 17 years")
	local individual = clinic.measure(t, "cms159", "2025", "&subject=" .. one).report
	t:equal(individual.type, "individual")
	t:ok(#individual.evaluatedResource >= 4, "what it rests on")
	local posted = t:request("POST", "/fhir/Measure/$evaluate-measure", {
		resourceType = "Parameters", parameter = {
			{ name = "measure", valueString = "cms159" }, { name = "periodStart", valueDate = "2025-01-01" },
			{ name = "periodEnd", valueDate = "2025-12-31" }, { name = "subject", valueString = two },
			{ name = "reportType", valueCode = "subject" },
		},
	})
	t:equal(posted.status, 200)
	t:equal(posted.body.subject.reference, two)
	t:equal(posted.body.period["end"], "2025-12-31")
	local definition = t:request("GET", "/fhir/Measure/cms159")
	t:equal(definition.status, 200)
	t:equal(definition.body.version, "13")
	local checked = t:request("POST", "/fhir/Measure/$validate", definition.body)
	for _, issue in ipairs(checked.body.issue or {}) do
		t:ok(issue.severity ~= "error" and issue.severity ~= "fatal", issue.diagnostics)
	end
end)

test("what is asked wrongly is refused with the place", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local patient = clinic.patient(t)
	local function refused(query, status, words)
		local answer = t:request("GET", "/fhir/Measure/cms159/$evaluate-measure?" .. query)
		t:equal(answer.status, status, query)
		t:ok(answer.body.issue[1].diagnostics:find(words, 1, true), answer.body.issue[1].diagnostics)
	end
	refused("period=2025-13", 400, "is no period")
	refused("periodStart=2025-02-01&periodEnd=2025-01-01", 400, "not after the last")
	refused("reportType=subject", 400, "needs a subject")
	refused("subject=Practitioner/x", 400, "Patient/x")
	refused("subject=Patient/nobody", 404, "not known")
	refused("lastReceivedOn=2025-01-01", 400, "does not know")
	refused("period=2025&shared=true&subject=" .. patient, 422, "names nobody")
	t:equal(t:request("GET", "/fhir/Measure/nothing/$evaluate-measure").status, 404)
	t:as("manager")
	t:equal(t:request("GET", "/fhir/Measure/cms159/$evaluate-measure?period=2025").status, 200,
		"numbers are the manager's")
	t:equal(t:request("GET", "/fhir/Measure/cms159/$evaluate-measure?period=2025&subject=" .. patient).status, 403,
		"charts are not")
end)

test("small numbers do not leave the team (domain 4)", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	for i = 1, 24 do
		local patient = clinic.depressed(t, "2024-02-29", 15, i <= 3 and "2010-01-01" or nil)
		if i <= 12 then
			clinic.phq9(t, patient, 3, "2025-02-28")
		end
		if i == 19 then
			local inside, outside = clinic.measure(t, "cms159", "2025"), clinic.measure(t, "cms159", "2025", "&shared=true")
			t:equal(inside.numerator, 12, "inside the team n/N always shows")
			t:equal(outside.denominator, 19)
			t:equal(outside.score, nil, "no rate of fewer than 20")
			t:equal(outside.numerator, nil, "seven who were not in it could be worked out")
		end
	end
	local outside = clinic.measure(t, "cms159", "2025", "&shared=true")
	t:equal(outside.denominator, 24)
	t:equal(outside.numerator, 12)
	t:equal(outside.score, 50)
	t:equal(outside.report.group[1].stratifier, nil, "three adolescents could be worked out from the rest")
	local body = t:request("GET", "/metrics/cms159?months=24&shared=true").body
	t:equal(body.metrics[1].periods[1].denominator, 24)
	t:equal(body.metrics[1].periods[1].strata, nil)
	t:equal(body.metrics[1].periods[2].denominator, 0)
end)

test("one list of three categories, with the state of each definition", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local last, seen = 0, {}
	local order = { outcomes = 1, operations = 2, finance = 3 }
	for _, metric in ipairs(t:request("GET", "/metrics").body.metrics) do
		t:ok(order[metric.category] >= last, metric.name)
		last = order[metric.category]
		seen[metric.name] = metric
	end
	t:equal(#seen.cms159.definition, 64)
	t:equal(seen.cms159.periods[1].provisional, true)
	t:equal(seen.cms159.periods[1].period, "2026")
	t:ok(seen.cms159.definition ~= seen.cms2.definition)
end)

local function pending(name, more)
	local report = {
		resourceType = "MeasureReport", status = "pending", type = "summary", measure = "urn:careloop:measure:" .. name,
		period = { start = "2025-01-01", ["end"] = "2025-12-31" },
		identifier = { { system = "urn:test", value = "baseline" } },
	}
	for field, value in pairs(more or {}) do
		report[field] = value
	end
	return report
end

test("a MeasureReport created as pending is filled in, and keeps what was written in it", function (t)
	clinic.open(t, "2026-06-01T09:00:00-05:00")
	local one, two = clinic.depressed(t, "2024-02-29", 15), clinic.depressed(t, "2024-02-29", 15)
	clinic.phq9(t, one, 3, "2025-02-28")
	local report = t:read(t:create(pending("cms159")))
	t:equal(report.status, "complete")
	t:equal(report.identifier[1].value, "baseline")
	t:equal(report.group[1].population[1].count, 2)
	t:equal(tostring(report.group[1].measureScore.value), "50")
	t:equal(report.meta.versionId, "2")
	local group = t:create {
		resourceType = "Group", type = "person", actual = true,
		member = { { entity = { reference = one } }, { entity = { reference = two }, inactive = true } },
	}
	report = t:read(t:create(pending("cms159", { subject = { reference = group }, type = "subject-list" })))
	t:equal(report.status, "complete")
	t:equal(report.group[1].population[1].count, 1, "the members of the group alone")
	t:equal(report.contained[1].entry[1].item.reference, one)
	t:equal(report.meta.security[1].code, "R", "names are not for everybody who may see numbers")
	t:as("manager")
	t:equal(t:request("GET", "/fhir/MeasureReport/" .. report.id).status, 403)
	t:as("ehr")
	t:equal(t:read(t:create(pending("cms159", { subject = { reference = "Group/nobody" } }))).status, "error")
	t:equal(t:read(t:create(pending("nothing"))).status, "error")
	t:equal(t:read(t:create(pending("cms159", { type = "individual", subject = { reference = one } }))).status, "error")
end)
