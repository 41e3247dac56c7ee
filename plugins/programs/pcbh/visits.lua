-- The machines of the program: an episode of brief consultation (0 to 4 visits), and what is owed after each visit. A
-- visit is a finished Encounter of the type "consultant-visit", whoever recorded it.
local codes = require "lib/codes"
local dates = require "lib/dates"
local minutes = require "lib/minutes"
local resources = require "lib/resources"
local team = require "lib/team"

local visits = {}

local consultant = "behavioral_health_consultant"
local visit_url = "urn:careloop:pcbh:visit" -- extension of the Encounter: reason, interventions, who began it
local charge = "urn:careloop:pcbh:charge"
local function_system = "urn:careloop:function"

-- ---- reading ----

-- Instances of a workflow that this organization may not have.
local function instances_if_any(ctx, workflow, options)
	local known, found = pcall(ctx.instances, ctx, workflow, options)
	return known and found or nil
end

-- What was said about a visit: { reason, intervention, initiated, number }, or nil when it is no visit of the program.
function visits.facts(encounter)
	local extension = resources.extension(encounter, visit_url)
	if not extension then
		return nil
	end
	local facts = {}
	for _, inner in ipairs(extension.extension or {}) do
		facts[inner.url] = inner.valueString or math.tointeger(tonumber(inner.valueInteger))
	end
	return facts
end

function visits.each_of_month(ctx, month, fn)
	resources.each_of_month(ctx, month, "Encounter", "date", "type=consultant-visit", function (encounter)
		return encounter.period and encounter.period.start
	end, function (encounter)
		local facts = encounter.status == "finished" and visits.facts(encounter)
		if facts then
			fn(encounter, facts, resources.reference(encounter.subject), ctx:local_date(encounter.period.start))
		end
	end)
end

-- Visits of an episode so far.
function visits.made(ctx, task)
	local count = 0
	for _, move in ipairs(ctx:transitions(task)) do
		count = count + (move.event == "visit" and 1 or 0)
	end
	return count
end

-- The patient's medical visit that ran on a local day: the latest one that began by then.
function visits.medical_on(ctx, patient, at)
	local day = ctx:local_date(at)
	for _, encounter in ipairs(ctx:search("Encounter", {
		patient = patient, class = "AMB", _sort = "-date", _count = 50,
		date = { "ge" .. dates.add_days(day, -1), "le" .. dates.add_days(day, 1) },
	})) do
		local began = encounter.period and encounter.period.start
		if began and ctx:local_date(began) == day and ctx:between(began, at, "minutes") >= 0
			and not resources.any_has_code(encounter.type, "consultant-visit", codes.system.encounter)
			and encounter.status ~= "cancelled" and encounter.status ~= "entered-in-error" and encounter.status ~= "planned" then
			return encounter
		end
	end
	return nil
end

-- ---- guards ----

local function refused(text, rule)
	return false, text .. " (rule pcbh." .. rule .. ")"
end

-- When the visit was: of a recorded Encounter its period, else what was said, else ending now.
local function times(ctx, data)
	local encounter = data.encounter and ctx:read(resources.text_of(data.encounter))
	local period = encounter and encounter.period
	if period and period.start and period["end"] then
		return period.start, period["end"]
	end
	local start = data.start and minutes.instant(ctx, data.start) or ctx:add(ctx:now(), -data.minutes .. " minutes")
	return start, ctx:add(start, data.minutes .. " minutes")
end

local function score_is_possible(ctx, data)
	if data.score == nil or data.score_kind == nil then
		if data.no_score then
			return true
		end
		return refused("a visit has a functional score: score_kind and score, or no_score and why", "score")
	end
	local known, names = ctx.setting.functional_scores[data.score_kind], {}
	for name in pairs(ctx.setting.functional_scores) do
		names[#names + 1] = name
	end
	table.sort(names)
	if not known then
		return refused("score_kind is one of " .. table.concat(names, ", "), "score")
	elseif data.score < known.minimum or data.score > known.maximum then
		return refused(string.format("%s lies between %d and %d, not %s", known.title, known.minimum, known.maximum,
			tostring(data.score)), "score")
	end
	return true
end

local function time_is_possible(ctx, patient, person, data)
	local longest = ctx.setting.visit_longest
	if not data.minutes or data.minutes < 1 or data.minutes > longest then
		return refused(string.format("a visit has 1 to %d minutes", longest), "minutes")
	end
	local start, finish = times(ctx, data)
	local day, who = ctx:local_date(start), ctx:read(patient)
	if minutes.seconds(ctx, finish, ctx:now()) < -60 then
		return refused("the visit lies in the future", "future")
	elseif who.birthDate and day < who.birthDate then
		return refused("the visit lies before the patient's birth", "birth")
	elseif who.deceasedDateTime and ctx:between(who.deceasedDateTime, start, "minutes") > 0 then
		return refused("the visit lies after the patient's death", "death")
	end
	local _, words = minutes.overlap(ctx, person or "Practitioner/nobody", start, finish)
	return words == nil, words
end

-- A visit that can have been, and that is one of few.
function visits.is_possible(ctx, task, data)
	local patient = task["for"].reference
	local fine, why = score_is_possible(ctx, data)
	if fine then
		fine, why = time_is_possible(ctx, patient, ctx.actor.reference, data)
	end
	if not fine then
		return false, why
	end
	local most = ctx.setting.visits_maximum
	if not data.more and visits.made(ctx, "Task/" .. task.id) >= most then
		return refused(string.format("%d brief visits were made: step up, or back to primary care; or say why one more in "
			.. "`more`", most), "visits")
	end
	return true
end

-- ---- effects ----

local function inner(facts)
	local list = {}
	for _, name in ipairs { "reason", "intervention", "initiated" } do
		if facts[name] then
			list[#list + 1] = { url = name, valueString = facts[name] }
		end
	end
	list[#list + 1] = { url = "number", valueInteger = facts.number }
	return { url = visit_url, extension = list }
end

local function describe(encounter, data, number)
	encounter.extension = resources.with_extension(encounter, inner {
		reason = data.reason, intervention = data.intervention, initiated = data.initiated, number = number,
	})
	encounter.reasonCode = { { text = data.reason } }
	return encounter
end

local function write_encounter(ctx, patient, data, number, start, finish)
	local known = data.encounter and ctx:read(resources.text_of(data.encounter))
	if known then
		return ctx:update(describe(plain(known), data, number))
	end
	local medical = resources.text_of(data.medical)
	local found = not medical and visits.medical_on(ctx, patient, start)
	medical = medical or found and resources.of(found)
	return ctx:create(describe({
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = codes.system.act_code, code = data.mode == "in the room" and "AMB" or "VR" },
		type = { resources.concept(codes.system.encounter, "consultant-visit", "Behavioral health consultant visit") },
		period = { start = start, ["end"] = finish }, partOf = medical and { reference = medical } or nil,
		participant = ctx.actor.reference and { { individual = { reference = ctx.actor.reference } } } or nil,
	}, data, number))
end

local function write_score(ctx, patient, data, encounter, at)
	if not data.score then
		return
	end
	local known = ctx.setting.functional_scores[data.score_kind]
	ctx:create {
		resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = at,
		category = { resources.concept(codes.system.observation_category, "survey", "Survey") },
		code = { coding = { { system = known.system or function_system, code = known.code or data.score_kind } },
			text = known.title },
		valueQuantity = { value = data.score, unit = "score", system = "http://unitsofmeasure.org", code = "{score}" },
		encounter = { reference = encounter },
	}
end

-- The consultant's time, so that no other program counts it again. The visit itself is billed by the record system.
local function write_minutes(ctx, patient, encounter, start, finish)
	if ctx.actor.reference then
		ctx:create {
			resourceType = "ChargeItem", status = "not-billable",
			code = resources.concept(charge, "visit", "Time of a brief visit"), subject = { reference = patient },
			performer = { { actor = { reference = ctx.actor.reference } } },
			occurrencePeriod = { start = start, ["end"] = finish }, context = { reference = encounter },
			quantity = { value = minutes.seconds(ctx, start, finish) // 60, unit = "min" }, enteredDate = ctx:now(),
		}
	end
end

function visits.record(ctx, task, data)
	local patient, reference = task["for"].reference, "Task/" .. task.id
	local start, finish = times(ctx, data)
	local number = visits.made(ctx, reference) -- this one is among them
	local encounter = write_encounter(ctx, patient, data, number, start, finish)
	write_score(ctx, patient, data, encounter, start)
	write_minutes(ctx, patient, encounter, start, finish)
	team.join(ctx, patient, ctx.actor.reference, "behavioral health consultant")
	if number >= ctx.setting.visits_maximum then
		ctx:notify {
			to = consultant, about = reference,
			text = string.format("Visit %d of %d: step up, or back to primary care", number, ctx.setting.visits_maximum),
		}
	end
	if not data.documented then
		local owed = ctx:start("pcbh_visit", {
			focus = encounter, patient = patient, requester = resources.reference(task.requester), state = "feedback",
			data = { reason = data.reason, number = number },
		})
		if data.summary then
			ctx:advance(owed, "give_feedback", { summary = data.summary })
		end
	end
end

-- Who asked gets it: the requester when a person, else everybody in the role.
local function tell_provider(ctx, reference, requester, text)
	local type_name = resources.parse(requester)
	local person = type_name == "Practitioner" or type_name == "PractitionerRole"
	ctx:notify { to = person and requester or "clinician", about = reference, text = text }
end

local function told(ctx, task, data)
	if data.summary ~= "by the warm handoff" then
		tell_provider(ctx, "Task/" .. task.id, resources.reference(task.requester),
			"Feedback of the consultant: " .. data.summary)
	end
end

local function advised(ctx, task, data)
	tell_provider(ctx, "Task/" .. task.id, resources.reference(task.requester),
		"The consultant advises without a visit: " .. data.advice)
end

local function ended(ctx, task, data)
	tell_provider(ctx, "Task/" .. task.id, resources.reference(task.requester),
		"Brief consultation has ended: " .. (data.goal or data.reason or "over"))
end

-- To collaborative care when this organization has it, else a request for a referral that the coordinators see.
local function step_up(ctx, task, data)
	local patient = task["for"].reference
	tell_provider(ctx, "Task/" .. task.id, resources.reference(task.requester),
		"Stepped up to " .. data.to .. ": " .. data.why)
	local program = data.to == "collaborative care" and instances_if_any(ctx, "cocm", { patient = patient, live = true })
	if program then
		if #program == 0 then
			ctx:start("cocm", { focus = patient, patient = patient, requester = ctx.actor.reference })
		end
		return
	end
	local request = ctx:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		code = { text = data.to }, reasonCode = { { text = data.why } }, authoredOn = ctx:now(),
		requester = ctx.actor.reference and { reference = ctx.actor.reference } or nil,
	}
	if instances_if_any(ctx, "referral", { patient = patient }) then
		ctx:start("referral", { focus = request, patient = patient, requester = ctx.actor.reference })
	end
end

-- ---- clocks ----

-- Feedback is due the same day: until `feedback_until`; after that time within the hour.
function visits.feedback_due(ctx)
	local until_then = minutes.instant(ctx, ctx:today() .. "T" .. ctx.setting.feedback_until .. ":00")
	return ctx:between(ctx:now(), until_then, "minutes") > 0 and until_then or "1 hour"
end

-- ---- what others record ----

-- A consultant's visit that came from elsewhere (a warm handoff, the record system): what it was about is asked for.
function visits.seen(ctx, change)
	local encounter = change.resource
	local patient = resources.reference(encounter.subject)
	if encounter.status ~= "finished" or change.former_status == "finished" or not patient
		or not resources.any_has_code(encounter.type, "consultant-visit", codes.system.encounter)
		or visits.facts(encounter) then
		return
	end
	ctx:start("pcbh_visit", { focus = change.reference, patient = patient })
end

-- What was written down becomes a visit of the episode, which begins with it if there is none.
local function documented(ctx, task, data)
	local patient = task["for"].reference
	local live = ctx:instances("pcbh", { patient = patient, live = true })[1]
	local episode = live and live.task
		or ctx:start("pcbh", { focus = patient, patient = patient, requester = resources.reference(task.requester) })
	local given = {}
	for name, value in pairs(data) do
		given[name] = value
	end
	given.encounter, given.documented = task.focus.reference, true
	ctx:advance(episode, "visit", given)
end

-- Feedback by a warm handoff of today is feedback.
local function handoff_told(ctx, patient)
	for _, handoff in ipairs(instances_if_any(ctx, "handoff", { patient = patient }) or {}) do
		for _, move in ipairs(ctx:transitions(handoff.task)) do
			if move.event == "give_feedback" and ctx:local_date(move.at) == ctx:today() then
				return true
			end
		end
	end
	return false
end

function visits.feedback_owed(ctx, change)
	if change.from ~= change.to and handoff_told(ctx, ctx:instance(change.reference).patient) then
		ctx:advance(change.reference, "give_feedback", { summary = "by the warm handoff" })
	end
end

-- Before closing: what is owed today is said once more.
function visits.before_closing(ctx)
	for _, instance in ipairs(ctx:instances("pcbh_visit", { state = "feedback", live = true })) do
		if handoff_told(ctx, instance.patient) then
			ctx:advance(instance.task, "give_feedback", { summary = "by the warm handoff" })
		else
			ctx:notify {
				to = consultant, about = instance.task, priority = "urgent",
				text = "Feedback to the primary care provider is due today",
			}
		end
	end
end

function visits.asked(ctx, change)
	if change.from ~= change.to then
		ctx:notify {
			to = consultant, about = change.reference, priority = "urgent", text = "A patient is to be seen, today if possible",
		}
	end
end

-- ---- the machines ----

local clinic = { "clinician", consultant, "medical_assistant", "front_desk" }

function visits.needs(setting)
	return {
		reason = { "choice", setting "reasons", help = "What the visit was about" },
		intervention = { "choice", setting "interventions", help = "What was done" },
		minutes = "integer",
		score_kind = { "string", optional = true, help = "Which functional score (setting functional_scores)" },
		score = { "number", optional = true }, no_score = { "string", optional = true, help = "Why there is none" },
		mode = { "choice", "in the room", "video", "phone", optional = true },
		initiated = { "choice", setting "initiated_by", optional = true, help = "Who began it" },
		start = { "dateTime", optional = true, help = "When it began; if not said it has just ended" },
		medical = { "reference", optional = true, help = "The medical visit; if not said, today's" },
		encounter = { "reference", optional = true, help = "When the visit is on record already" },
		summary = { "string", optional = true, help = "Feedback to the primary care provider, when given at once" },
		more = { "string", optional = true, help = "Why one visit more than the maximum" },
		documented = { "boolean", optional = true },
	}
end

function visits.workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local visit = {
		"active", by = consultant, needs = visits.needs(setting), guard = visits.is_possible, effect = visits.record,
		help = "A brief visit took place",
	}
	local decline = { "declined", by = clinic, needs = { reason = { "string", optional = true } }, effect = ended }
	local up = {
		"stepped_up", by = consultant, effect = step_up,
		needs = { to = { "choice", setting "step_up_to" }, why = { "string", help = "Why brief visits are not enough" } },
	}
	local function no_show(state)
		return {
			state, by = clinic, keep_clock = true, needs = { note = { "string", optional = true } }, help = "Did not come",
		}
	end
	return {
		summary = "Brief consultation in primary care: 0 to 4 visits, then back or a step up", subject = "Patient",
		start = "asked", single = true,
		asked = {
			status = "requested", owner = consultant, action = "See the patient, today if possible",
			within = setting "first_visit_within",
			overdue = escalate(consultant, { again = "1 business day", times = 4, finally = "lapse" }),
			on = {
				visit = visit, decline = decline, step_up = up, no_show = no_show "asked",
				advise = {
					"returned", by = consultant, needs = { "advice" }, effect = advised,
					help = "The provider was advised; no visit is needed",
				},
				withdraw = { "withdrawn", by = clinic, needs = { "reason" } },
				lapse = { "unreached", by = "clock", effect = ended, help = "Nobody saw the patient" },
			},
		},
		active = {
			status = "in-progress", owner = consultant, action = "Next brief visit, or back to primary care",
			within = setting "next_visit_within",
			overdue = escalate(consultant, { again = "1 week", times = 3, finally = "lapse" }),
			on = {
				visit = visit, decline = decline, step_up = up, no_show = no_show "active",
				back = {
					"returned", by = { consultant, "clinician" }, effect = ended,
					needs = {
						goal = { "choice", "goal met", "goal partly met", "goal not met", "patient's wish" },
						note = { "string", optional = true },
					},
					help = "Back to primary care",
				},
				lapse = { "returned", by = "clock", effect = ended, help = "No further visit came about" },
			},
		},
		returned = { status = "completed", final = true },
		stepped_up = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
		withdrawn = { status = "cancelled", final = true },
		unreached = { status = "failed", final = true },
	}
end

function visits.visit_workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	return {
		summary = "What is owed after a brief visit", subject = "Encounter", start = "document",
		document = {
			status = "in-progress", owner = consultant, action = "Write down reason, intervention and functional score",
			within = setting "document_within", overdue = escalate(consultant, { again = "1 business day" }),
			on = {
				document = {
					"feedback", by = consultant, needs = visits.needs(setting), effect = documented,
					help = "It becomes a visit of the patient's episode",
				},
				no_visit = { "void", by = consultant, needs = { "reason" }, help = "This was no brief visit" },
			},
		},
		feedback = {
			status = "in-progress", owner = consultant, action = "Tell the primary care provider today",
			within = visits.feedback_due, overdue = escalate("clinician", { again = "1 business day" }),
			on = {
				give_feedback = {
					"told", by = consultant, effect = told,
					needs = { summary = { "string", help = "What was found and agreed, for the primary care provider" } },
				},
			},
		},
		told = { status = "completed", final = true },
		void = { status = "cancelled", final = true },
	}
end

return visits
