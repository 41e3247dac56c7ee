-- Which way of care is for this patient? An organization runs several at once: most patients of a real clinic go
-- different ways (the Penn triage module sent 26 % of 6,124 referrals to collaborative care and 70 % to specialty
-- care). The rules are data, in order: the first that applies proposes the way, and says why. A person decides.
local resources = require "lib/resources"
local scores = require "lib/scores"

local triage = {}

-- ---- facts ----

local function last_score(ctx, patient, kind)
	local series = scores.series(ctx, patient, kind)
	return #series > 0 and series[#series].value or nil
end

-- Codes of the patient's active conditions, as written.
local function conditions_of(ctx, patient)
	local found = {}
	for _, condition in ipairs(ctx:search("Condition", {
		patient = patient, ["clinical-status"] = "active", _count = 200,
	})) do
		for _, coding in ipairs(condition.code and condition.code.coding or {}) do
			found[#found + 1] = coding.code
		end
	end
	return found
end

function triage.facts(ctx, patient, parameters)
	local facts = {
		phq9 = last_score(ctx, patient, "phq9"), gad7 = last_score(ctx, patient, "gad7"),
		conditions = conditions_of(ctx, patient),
		safety = #ctx:instances("safety", { patient = patient, live = true }) > 0,
		in_collaborative_care = triage.runs(ctx, "cocm") and #ctx:instances("cocm", { patient = patient, live = true }) > 0,
	}
	for _, parameter in ipairs(parameters and parameters.parameter or {}) do
		facts[parameter.name] = resources.parameter(parameters, parameter.name)
	end
	return facts
end

-- Does this organization have a workflow of that name?
function triage.runs(ctx, workflow)
	local known = pcall(ctx.instances, ctx, workflow, { live = true, patient = "Patient/-" })
	return known
end

-- ---- rules ----

local function begins_with(text, beginnings)
	for _, beginning in ipairs(beginnings) do
		if string.sub(text or "", 1, #beginning) == beginning then
			return true
		end
	end
	return false
end

-- A condition of a rule: true, false, or nil when the fact is not known.
local tests = {}

local function compared(facts, wanted, test)
	for name, value in pairs(wanted) do
		if facts[name] == nil then
			return nil
		elseif not test(tonumber(facts[name]), tonumber(value)) then
			return false
		end
	end
	return true
end

function tests.at_least(facts, wanted)
	return compared(facts, wanted, function (fact, value)
		return fact >= value
	end)
end

function tests.below(facts, wanted)
	return compared(facts, wanted, function (fact, value)
		return fact < value
	end)
end

function tests.is(facts, wanted)
	for name, value in pairs(wanted) do
		if facts[name] == nil then
			return nil
		elseif facts[name] ~= value then
			return false
		end
	end
	return true
end

-- Any active condition whose code begins so (ICD-10-CM chapters of codes, or whole SNOMED CT codes).
function tests.condition(facts, wanted)
	for _, code in ipairs(facts.conditions) do
		if begins_with(code, wanted) then
			return true
		end
	end
	return false
end

-- The first rule that applies, with what was not known on the way; nil when none does.
function triage.judge(rules, facts)
	local unknown = {}
	for number, rule in ipairs(rules) do
		local applies = true
		for kind, wanted in pairs(rule.when or {}) do
			if not tests[kind] then
				return nil, { "rule " .. number .. " has an unknown test: " .. kind }
			end
			local result = tests[kind](facts, wanted)
			if result == nil then
				unknown[#unknown + 1] = (rule.name or "rule " .. number) .. ": a fact is not known"
				applies = false
			elseif not result then
				applies = false
			end
			if not applies then
				break
			end
		end
		if applies then
			return rule, unknown
		end
	end
	return nil, unknown
end

-- ---- the operation and the machine ----

-- What the patient is in already: a second way beside it is what nobody wants.
function triage.under_way(ctx, patient)
	local found = {}
	for _, way in pairs(ctx.setting.ways) do
		if way.workflow and triage.runs(ctx, way.workflow) then
			for _, instance in ipairs(ctx:instances(way.workflow, { patient = patient, live = true })) do
				found[#found + 1] = { workflow = way.workflow, task = instance.task, state = instance.state }
			end
		end
	end
	table.sort(found, function (a, b)
		return a.task < b.task
	end)
	return found
end

-- `operation "$triage"`: POST /fhir/Patient/x/$triage, with what the patient and the clinician say as Parameters
-- (prefers_specialty, prior_treatment_failed, needs_medication_review ...). Starts a "triage" with a proposal.
function triage.run(ctx, input, target)
	if resources.parse(target) ~= "Patient" or not ctx:read(target) then
		ctx:refuse("$triage is asked of a patient: POST /fhir/Patient/[id]/$triage", "Patient")
	end
	local facts = triage.facts(ctx, target, input)
	local rule, unknown = triage.judge(ctx.setting.rules, facts)
	local way = rule and rule.way or ctx.setting.otherwise
	local why = rule and rule.because or "no rule applies"
	local told = {}
	for _, name in ipairs { "phq9", "gad7", "safety" } do
		if facts[name] ~= nil and facts[name] ~= false then
			told[#told + 1] = name .. " " .. tostring(facts[name])
		end
	end
	local beside = {}
	for _, one in ipairs(triage.under_way(ctx, target)) do
		beside[#beside + 1] = one.workflow .. " (" .. one.state .. ", " .. one.task .. ")"
	end
	local open = ctx:instances("triage", { patient = target, live = true })[1]
	local function words(list_of_words, separator)
		return #list_of_words > 0 and table.concat(list_of_words, separator) or nil
	end
	local data = {
		way = way, why = why, rule = rule and rule.name, facts = words(told, ", "), under_way = words(beside, "; "),
		unknown = words(unknown, "; "),
	}
	local reference
	if open then
		reference = open.task
		ctx:advance(reference, "propose", data)
	else
		reference = ctx:start("triage", { focus = target, patient = target, data = data })
	end
	local answer = {
		resourceType = "Parameters", parameter = { { name = "task", valueReference = { reference = reference } } },
	}
	for _, name in ipairs { "way", "why", "rule", "facts", "under_way", "unknown" } do
		if data[name] then
			answer.parameter[#answer.parameter + 1] = { name = name, valueString = data[name] }
		end
	end
	return answer
end

-- Guard of "decide": the way exists here, and the patient is not in another one unless somebody says why.
function triage.may_decide(ctx, task, data)
	local way = ctx.setting.ways[data.way]
	if not way then
		local known = {}
		for name in pairs(ctx.setting.ways) do
			known[#known + 1] = name
		end
		table.sort(known)
		return false, "'" .. tostring(data.way) .. "' is no way of care here; there are: " .. table.concat(known, ", ")
	end
	if way.workflow and not triage.runs(ctx, way.workflow) then
		return false, "this organization does not offer it: no plugin with the workflow '" .. way.workflow .. "' is in use"
	end
	local patient = resources.reference(task["for"])
	for _, one in ipairs(triage.under_way(ctx, patient)) do
		if not data.beside then
			return false, "double-care: the patient is already in " .. one.workflow .. " (" .. one.task .. ", " .. one.state
				.. "). End that first, or say in 'beside' why both are needed"
		end
	end
	return true
end

-- Effect of "decide": starts the way.
function triage.begin(ctx, task, data)
	local way = ctx.setting.ways[data.way]
	local patient = resources.reference(task["for"])
	if not way.workflow then
		return
	end
	local focus = patient
	if way.subject == "ServiceRequest" then
		focus = ctx:create {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
			priority = way.priority, authoredOn = ctx:now(), code = { text = way.code or way.title },
			category = way.category and { {
				coding = { { system = "urn:careloop:referral:variant", code = way.category } },
			} } or nil,
			reasonCode = { { text = data.why or "triage" } },
		}
	end
	ctx:start(way.workflow, { focus = focus, patient = patient, party = way.party })
end

function triage.workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local team = { "clinician", "care_manager", "behavioral_health_consultant", "referral_coordinator" }
	local proposal = {
		way = "string", why = "string", rule = { "string", optional = true }, facts = { "string", optional = true },
		under_way = { "string", optional = true }, unknown = { "string", optional = true },
	}
	return {
		summary = "Which way of care a patient takes", subject = "Patient", start = "proposed", single = true,
		proposed = {
			status = "requested", owner = "clinician", action = "Decide with the patient which way to take",
			within = setting "decide_within", overdue = escalate("manager"),
			on = {
				propose = { "proposed", by = team, needs = proposal, keep_clock = true, help = "The facts changed" },
				decide = {
					"decided", by = team, guard = triage.may_decide, effect = triage.begin,
					needs = {
						way = "string",
						why = { "string", optional = true, help = "When it is not what was proposed" },
						beside = { "string", optional = true, help = "Why the patient takes two ways at once" },
					},
				},
				decline = { "declined", by = team, needs = { "reason" }, help = "The patient wants none of it now" },
			},
		},
		decided = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
	}
end

-- Patients in two ways of care at once (double minutes, double outreach): one row each.
function triage.doubles(ctx)
	local by_patient, order = {}, {}
	for name, way in pairs(ctx.setting.ways) do
		if way.workflow and triage.runs(ctx, way.workflow) then
			for instance in ctx:each_instance(way.workflow, { live = true }) do
				local row = instance.patient and by_patient[instance.patient]
				if instance.patient and not row then
					row = { patient = instance.patient, ways = {}, tasks = {} }
					by_patient[instance.patient] = row
					order[#order + 1] = instance.patient
				end
				if row and not resources.contains(row.tasks, instance.task) then
					row.ways[#row.ways + 1] = name .. " (" .. instance.state .. ")"
					row.tasks[#row.tasks + 1] = instance.task
				end
			end
		end
	end
	table.sort(order)
	local rows = {}
	for _, patient in ipairs(order) do
		local row = by_patient[patient]
		if #row.tasks > 1 then
			local person = ctx:read(patient)
			rows[#rows + 1] = {
				patient = patient, patient_name = person and resources.name(person) or nil, ways = table.concat(row.ways, "; "),
				tasks = table.concat(row.tasks, " "),
			}
		end
	end
	return rows
end

return triage
