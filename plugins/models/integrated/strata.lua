-- Who needs the most care: points for facts, a stratum for the sum. The formula is a setting, so that an organization
-- can state its own; every assessment keeps the facts that made it (RiskAssessment.prediction.rationale).
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local strata = {}

strata.method_system = "urn:careloop:strata"

-- Name of a factor -> its value for a patient on a day.
local factors = {}

local function count(ctx, type_name, query)
	query._count = 200
	return #ctx:search(type_name, query)
end

function factors.phq9_last(ctx, patient)
	local series = scores.series(ctx, patient, "phq9")
	return #series > 0 and series[#series].value or nil
end

function factors.emergency_visits_12_months(ctx, patient, today)
	return count(ctx, "Encounter", {
		patient = patient, class = codes.system.act_code .. "|EMER", date = "ge" .. dates.add_months(today, -12),
	})
end

function factors.admissions_12_months(ctx, patient, today)
	return count(ctx, "Encounter", {
		patient = patient, class = codes.system.act_code .. "|IMP", date = "ge" .. dates.add_months(today, -12),
	})
end

function factors.active_conditions(ctx, patient)
	return count(ctx, "Condition", { patient = patient, ["clinical-status"] = "active" })
end

local function last_quantity(ctx, patient, code)
	local found = ctx:search("Observation", {
		patient = patient, code = codes.system.loinc .. "|" .. code, status = "final,amended,corrected", _sort = "-date",
		_count = 1,
	})[1]
	return found and found.valueQuantity and tonumber(found.valueQuantity.value) or nil
end

function factors.a1c_last(ctx, patient) -- LOINC 4548-4, Hemoglobin A1c/Hemoglobin.total in Blood
	return last_quantity(ctx, patient, "4548-4")
end

function factors.missed_visits_6_months(ctx, patient, today)
	return count(ctx, "Appointment", { patient = patient, status = "noshow", date = "ge" .. dates.add_months(today, -6) })
end

function factors.safety_alerts_12_months(ctx, patient, today)
	local number = 0
	for _, instance in ipairs(ctx:instances("safety", { patient = patient })) do
		if ctx:local_date(instance.started) >= dates.add_months(today, -12) then
			number = number + 1
		end
	end
	return number
end

-- Points and the facts behind them. A rule is { factor =, at_least =, points =, text = }; of several rules about one
-- factor the one with the most points counts.
function strata.score(ctx, patient, rules)
	local today = ctx:today()
	local known, best = {}, {}
	for _, rule in ipairs(rules) do
		if not factors[rule.factor] then
			ctx:refuse("the setting strata_rules names an unknown factor: " .. tostring(rule.factor), "strata_rules")
		end
		if known[rule.factor] == nil then
			known[rule.factor] = factors[rule.factor](ctx, patient, today) or false
		end
		local value = known[rule.factor]
		if value and value >= tonumber(rule.at_least)
			and (not best[rule.factor] or tonumber(rule.points) > best[rule.factor].points) then
			best[rule.factor] = { points = tonumber(rule.points), text = string.format("%s: %g (%+g)", rule.text or rule.factor,
				value, tonumber(rule.points)) }
		end
	end
	local total, facts = 0, {}
	for _, rule in ipairs(rules) do
		local one = best[rule.factor]
		if one and not one.told then
			one.told = true
			total = total + one.points
			facts[#facts + 1] = one.text
		end
	end
	return total, facts
end

-- The stratum of a sum: thresholds are { { name =, from = }, ... }, the highest that is reached.
function strata.of(total, thresholds)
	local name, from
	for _, threshold in ipairs(thresholds) do
		if total >= tonumber(threshold.from) and (not from or tonumber(threshold.from) > from) then
			name, from = threshold.name, tonumber(threshold.from)
		end
	end
	return name
end

function strata.current(ctx, patient)
	local found = ctx:search("RiskAssessment", {
		patient = patient, method = strata.method_system .. "|points", _sort = "-date", _count = 1,
	})[1]
	local prediction = found and found.prediction and found.prediction[1]
	return prediction and resources.code(prediction.qualitativeRisk, strata.method_system), found
end

-- Looks at one patient; a new RiskAssessment only when stratum or facts changed. Returns the stratum and whether it
-- changed.
function strata.assess(ctx, patient)
	local total, facts = strata.score(ctx, patient, ctx.setting.strata_rules)
	local stratum = strata.of(total, ctx.setting.strata) or "none"
	local former, document = strata.current(ctx, patient)
	local rationale = #facts > 0 and table.concat(facts, "; ") or "no factor applies"
	if document and former == stratum and document.prediction[1].rationale == rationale then
		return stratum, false
	end
	ctx:create {
		resourceType = "RiskAssessment", status = "final", subject = { reference = patient }, occurrenceDateTime = ctx:now(),
		method = resources.concept(strata.method_system, "points", "Sum of points"),
		prediction = { {
			qualitativeRisk = resources.concept(strata.method_system, stratum, stratum), relativeRisk = total,
			rationale = rationale,
		} },
	}
	return stratum, former ~= stratum, former
end

local batch = 20 -- patients in one call: well within a call's time

-- Everybody, in batches, a minute apart.
function strata.begin(ctx)
	local group, number = {}, 0
	local function send()
		if #group > 0 then
			number = number + 1
			ctx:set_timer("strata:" .. number, number .. " minutes", { patients = group })
			group = {}
		end
	end
	for patient in ctx:each("Patient", { active = "true" }) do
		group[#group + 1] = resources.of(patient)
		if #group == batch then
			send()
		end
	end
	send()
end

function strata.assess_batch(ctx, data)
	for _, patient in ipairs(data.patients) do
		if ctx:read(patient) then
			local stratum, changed, former = strata.assess(ctx, patient)
			if changed and former then
				ctx:notify {
					to = "care_manager", about = patient,
					text = "The risk stratum changed from " .. former .. " to " .. stratum,
				}
			end
		end
	end
end

-- Panels: for each general practitioner the patients by stratum, their minutes a month by the setting, and what is
-- overdue. Load is minutes, not heads.
function strata.panels(ctx)
	local by_owner, order = {}, {}
	local stratum_of, overdue = {}, {}
	for assessment in ctx:each("RiskAssessment", { method = strata.method_system .. "|points" }) do
		local patient = resources.reference(assessment.subject)
		local known = stratum_of[patient]
		if not known or known.at <= assessment.occurrenceDateTime then
			stratum_of[patient] = {
				at = assessment.occurrenceDateTime,
				name = resources.code(assessment.prediction[1].qualitativeRisk, strata.method_system),
			}
		end
	end
	for instance in ctx:each_instance("plan_review", { state = "due", live = true }) do
		overdue[instance.patient] = true
	end
	for patient in ctx:each("Patient", { active = "true" }) do
		local owner = patient.generalPractitioner and patient.generalPractitioner[1]
			and patient.generalPractitioner[1].reference or "(nobody)"
		local row = by_owner[owner]
		if not row then
			row = { panel = owner, patients = 0, minutes = 0, not_assessed = 0, plans_overdue = 0 }
			by_owner[owner] = row
			order[#order + 1] = owner
		end
		local stratum = stratum_of[resources.of(patient)]
		stratum = stratum and stratum.name
		row.patients = row.patients + 1
		if stratum then
			row[stratum] = (row[stratum] or 0) + 1
			row.minutes = row.minutes + (tonumber(ctx.setting.strata_minutes[stratum]) or 0)
		else
			row.not_assessed = row.not_assessed + 1
		end
		if overdue[resources.of(patient)] then
			row.plans_overdue = row.plans_overdue + 1
		end
	end
	local rows = {}
	table.sort(order)
	for _, owner in ipairs(order) do
		local row = by_owner[owner]
		local person = owner ~= "(nobody)" and ctx:read(owner)
		row.name = person and resources.name(person) or owner
		row.over_capacity = row.minutes > tonumber(ctx.setting.panel_minutes)
		rows[#rows + 1] = row
	end
	return rows
end

return strata
