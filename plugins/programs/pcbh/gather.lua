-- Measures of the program by GATHER: Generalist, Accessible, Team-based, High volume, Educator, Routine (Reiter,
-- Dobmeyer and Hunter 2018). `nil` where nothing can be said.
local dates = require "lib/dates"
local resources = require "lib/resources"
local same_day = require "lib/same_day"
local screens = require "lib/screens"
local visits = require "visits"

local gather = {}

local log_system = "urn:careloop:pcbh:log" -- Observation.code of what is counted by hand, and of sampled slots

local function rate(numerator, denominator)
	return denominator > 0 and { numerator = numerator, denominator = denominator } or nil
end

-- Share of a month's brief visits for which good(ctx, encounter, facts, patient, day) holds, of those where it says
-- anything.
local function share(good)
	return function (ctx, month)
		local numerator, denominator = 0, 0
		visits.each_of_month(ctx, month, function (encounter, facts, patient, day)
			local is = good(ctx, encounter, facts, patient, day)
			if is ~= nil then
				numerator, denominator = numerator + (is and 1 or 0), denominator + 1
			end
		end)
		return rate(numerator, denominator)
	end
end

-- ---- G ----

gather.general = share(function (ctx, _, facts)
	return resources.contains(ctx.setting.general_reasons, facts.reason)
end)

function gather.reasons_seen(ctx, month)
	local seen, count, total = {}, 0, 0
	visits.each_of_month(ctx, month, function (_, facts)
		total = total + 1
		if facts.reason and not seen[facts.reason] then
			seen[facts.reason] = true
			count = count + 1
		end
	end)
	return total > 0 and { value = count, n = total } or nil
end

-- ---- A ----

gather.first_same_day = share(function (ctx, encounter, facts, patient)
	if facts.number ~= 1 then
		return nil
	end
	local medical = encounter.partOf and ctx:read(encounter.partOf.reference)
	local start = encounter.period.start
	if medical and screens.start_of(medical) then
		return ctx:local_date(screens.start_of(medical)) == ctx:local_date(start)
	end
	return visits.medical_on(ctx, patient, start) ~= nil
end)

-- Requests of the month that became a visit on the same day.
function gather.requests_same_day(ctx, month)
	local met, asked = 0, 0
	resources.each_of_month(ctx, month, "Task", "authored-on", "code=pcbh", function (task)
		return task.authoredOn
	end, function (task)
		local first
		for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
			first = first or move.event == "visit" and ctx:local_date(move.at) or nil
		end
		asked = asked + 1
		met = met + (first == ctx:local_date(task.authoredOn) and 1 or 0)
	end)
	return rate(met, asked)
end

-- Days from today to the third free slot of the consultants, sampled every week on the same day.
function gather.sample_slots(ctx)
	local now = ctx:now()
	local slots = ctx:search("Slot", {
		status = "free", ["service-type"] = ctx.setting.consultant_slot, start = "ge" .. now, _sort = "start", _count = 3,
	})
	if slots[3] then
		ctx:create {
			resourceType = "Observation", status = "final", effectiveDateTime = now,
			code = resources.concept(log_system, "third-next-available", "Third next available slot"),
			valueInteger = dates.between(ctx:today(), ctx:local_date(slots[3].start)),
		}
	end
end

local function each_logged(ctx, month, code, fn)
	resources.each_of_month(ctx, month, "Observation", "date", "code=" .. log_system .. "|" .. code, function (observation)
		return observation.effectiveDateTime
	end, function (observation)
		if observation.status ~= "entered-in-error" then
			fn(tonumber(observation.valueInteger), observation)
		end
	end)
end

local function mean_logged(code)
	return function (ctx, month)
		local total, count = 0, 0
		each_logged(ctx, month, code, function (value)
			total, count = total + value, count + 1
		end)
		return count > 0 and { value = total / count, n = count } or nil
	end
end

gather.third_next_available = mean_logged "third-next-available"

-- ---- T ----

gather.provider_initiated = share(function (_, _, facts)
	if not facts.initiated then
		return nil
	end
	return facts.initiated == "warm handoff" or facts.initiated == "provider's request"
end)

gather.feedback_same_day = share(function (ctx, encounter, _, _, day)
	for _, task in ipairs(ctx:search("Task", { focus = resources.of(encounter), code = "pcbh_visit", _count = 5 })) do
		for _, move in ipairs(ctx:transitions(resources.of(task))) do
			if move.event == "give_feedback" and ctx:local_date(move.at) == day then
				return true
			end
		end
	end
	return false
end)

function gather.huddles(ctx, month)
	local attended, held = 0, 0
	each_logged(ctx, month, "huddle", function (value)
		held, attended = held + 1, attended + value
	end)
	return rate(attended, held)
end

-- ---- H ----

-- Patients with a brief visit / patients with a medical visit in the month.
function gather.reach(ctx, month)
	local medical, brief = {}, {}
	local seen, reached = 0, 0
	visits.each_of_month(ctx, month, function (_, _, patient)
		brief[patient] = true
	end)
	screens.each_medical(ctx, month, function (_, patient)
		if not medical[patient] then
			medical[patient] = true
			seen, reached = seen + 1, reached + (brief[patient] and 1 or 0)
		end
	end)
	return rate(reached, seen)
end

-- Visits for each day on which a consultant saw anybody. Off unless the clinic asks for it: such targets are contested.
function gather.visits_a_day(ctx, month)
	if not ctx.setting.show_productivity then
		return nil
	end
	local days, count, total = {}, 0, 0
	visits.each_of_month(ctx, month, function (encounter, _, _, day)
		local who = encounter.participant and encounter.participant[1]
		local key = (who and resources.reference(who.individual) or "") .. " " .. day
		total = total + 1
		if not days[key] then
			days[key] = true
			count = count + 1
		end
	end)
	return rate(total, count)
end

-- ---- E ----

function gather.teaching(ctx, month)
	local count = 0
	for _, code in ipairs { "consult", "training" } do
		each_logged(ctx, month, code, function ()
			count = count + 1
		end)
	end
	return count > 0 and { value = count, n = count } or nil
end

gather.self_rating = mean_logged "self-rating"

local kinds = { huddle = { 0, 1 }, consult = { 1, 1 }, training = { 1, 1 }, ["self-rating"] = { 0, 10 } }

-- POST /fhir/$pcbh-log: kind, value (huddle: 1 attended, 0 not; self-rating of a provider: 0 to 10), optional note.
function gather.log(ctx, input)
	local kind, value = resources.parameter(input, "kind"), resources.parameter(input, "value")
	local range = kinds[kind or ""]
	value = math.tointeger(tonumber(value or 1))
	if not range then
		ctx:refuse("kind is huddle, consult, training or self-rating", "Parameters.parameter")
	elseif not value or value < range[1] or value > range[2] then
		ctx:refuse(string.format("the value of %s is a whole number from %d to %d (rule pcbh.log)", kind, range[1], range[2]),
			"Parameters.parameter")
	end
	local note = resources.parameter(input, "note")
	return plain(ctx:read(ctx:create {
		resourceType = "Observation", status = "final", effectiveDateTime = ctx:now(),
		code = resources.concept(log_system, kind, kind), valueInteger = value,
		performer = ctx.actor.reference and { { reference = ctx.actor.reference } } or nil,
		note = note and { resources.note(ctx, note) } or nil,
	}))
end

-- ---- R ----

gather.screened = screens.screened

function gather.positive_same_day(ctx, month)
	return screens.positive_contacted(ctx, month, { phq9 = ctx.setting.positive_phq9, phq2 = ctx.setting.positive_phq2 })
end

-- ---- outcome ----

-- Episodes that ended in the month with two scores of one kind or more: the last better than the first by the change
-- that counts for that kind.
function gather.function_improved(ctx, month)
	local improved, total = 0, 0
	for instance in ctx:each_instance("pcbh") do
		if instance.final and resources.in_month(ctx, month, instance.entered) then
			for name, kind in pairs(ctx.setting.functional_scores) do
				local found = ctx:search("Observation", {
					patient = instance.patient, code = (kind.system or "urn:careloop:function") .. "|" .. (kind.code or name),
					status = "final,amended,corrected", _sort = "date", _count = 50, -- from the day on: visits are written down later
					date = { "ge" .. ctx:add(instance.started, "-1 days"), "le" .. instance.entered },
				})
				local first, last = found[1], found[#found]
				if #found >= 2 then
					local change = tonumber(last.valueQuantity.value) - tonumber(first.valueQuantity.value)
					total = total + 1
					improved = improved + ((kind.better == "lower" and -change or change) >= kind.change and 1 or 0)
					break
				end
			end
		end
	end
	return rate(improved, total)
end

-- ---- same-day billing ----

local function payer_of(ctx, patient)
	for _, coverage in ipairs(ctx:search("Coverage", { beneficiary = patient, status = "active", _count = 20 })) do
		for _, payor in ipairs(coverage.payor or {}) do
			local name = payor.reference or payor.display
			if name then
				return ctx.setting.payer_names[name] or name
			end
		end
	end
	return nil
end

local function visit_of(encounter, category)
	local who = encounter.participant and encounter.participant[1]
	local where = encounter.location and encounter.location[1]
	local visit = {
		id = resources.of(encounter), category = category, provider = who and resources.reference(who.individual),
		location = where and resources.reference(where.location), diagnoses = {},
	}
	for _, concept in ipairs(encounter.reasonCode or {}) do
		visit.diagnoses[#visit.diagnoses + 1] = resources.code(concept) or concept.text
	end
	return visit
end

-- The medical visit of the same day: the one it is part of, else one of the patient's.
local function medical_of(ctx, encounter, patient, day)
	local medical = encounter.partOf and ctx:read(encounter.partOf.reference)
	local start = medical and screens.start_of(medical)
	if start and ctx:local_date(start) == day then
		return medical
	end
	return visits.medical_on(ctx, patient, encounter.period["end"] or encounter.period.start)
end

-- What the payer's rule says of the day of a brief visit: the medical visit of that day first, then the brief one.
-- `payers` (optional) remembers patients' payers between calls.
function gather.decide(ctx, encounter, patient, payers)
	local day = ctx:local_date(encounter.period.start)
	local medical = medical_of(ctx, encounter, patient, day)
	if not medical then
		return nil
	end
	local payer = payers and payers[patient] or payer_of(ctx, patient)
	if payers and payer then
		payers[patient] = payer
	end
	local facts = { payer = payer, state = ctx.setting.state, site = ctx.setting.site, date = day }
	local shape, why = same_day.find(ctx.setting.same_day_rules, facts)
	local result = same_day.decide(shape, { visit_of(medical, "medical"), visit_of(encounter, "behavioral") }, facts.site)
	local reference = resources.of(encounter)
	for _, each in ipairs(result.billable) do
		if each.id == reference then
			return { paid = true, modifier = each.modifier, note = each.note or result.review, payer = facts.payer, day = day }
		end
	end
	local denied = result.denied[1]
	return {
		paid = false, reason = denied and denied.reason or why, undecided = shape == nil, payer = facts.payer, day = day,
	}
end

function gather.same_day_paid(ctx, month)
	local paid, total, payers = 0, 0, {}
	visits.each_of_month(ctx, month, function (encounter, _, patient)
		local decision = gather.decide(ctx, encounter, patient, payers)
		if decision and not decision.undecided then
			paid, total = paid + (decision.paid and 1 or 0), total + 1
		end
	end)
	return rate(paid, total)
end

-- This month's brief visits on the day of a medical one: paid, with which modifier; or not, and why.
function gather.same_day_rows(ctx)
	local rows, payers = {}, {}
	visits.each_of_month(ctx, ctx:month(), function (encounter, facts, patient)
		local decision = gather.decide(ctx, encounter, patient, payers)
		if decision then
			rows[#rows + 1] = {
				day = decision.day, patient_name = resources.name(ctx:read(patient)), payer = decision.payer,
				decision = decision.paid and "paid" or decision.undecided and "no rule" or "not paid",
				modifier = decision.modifier, reason = decision.reason or decision.note, about = facts.reason,
				visit = resources.of(encounter),
			}
		end
	end)
	return rows
end

return gather
