-- The machines of the program: the episode, the next contact, the recommendation.
local codes = require "lib/codes"
local dates = require "lib/dates"
local instruments = require "lib/instruments"
local resources = require "lib/resources"
local scores = require "lib/scores"
local team = require "lib/team"
local ledger = require "ledger"

local episode = {}

episode.type = "collaborative-care"
local task_identifier = "urn:careloop:cocm:episode"
local contact_url = "urn:careloop:cocm:contact"

-- ---- reading ----

function episode.instance_of(ctx, patient)
	return ctx:instances("cocm", { patient = patient, live = true })[1]
end

-- The EpisodeOfCare of an instance, from enrolment on; else nil.
function episode.of_task(ctx, task)
	return ctx:search("EpisodeOfCare", {
		identifier = task_identifier .. "|" .. string.gsub(task, "^Task/", ""), _count = 1,
	})[1]
end

-- The rule "cocm_two_episodes".
function episode.is_only_one(ctx, resource)
	if resource.status == "finished" or resource.status == "cancelled" or resource.status == "entered-in-error" then
		return true
	end
	for _, other in ipairs(ctx:search("EpisodeOfCare", {
		patient = resource.patient.reference, type = codes.system.episode .. "|" .. episode.type,
		status = "active,onhold,waitlist,planned", _count = 10,
	})) do
		if other.id ~= resource.id then
			return "one is open already: " .. resources.of(other)
		end
	end
	return true
end

function episode.task_of(resource)
	local id = resources.identifier(resource, task_identifier)
	return id and "Task/" .. id
end

-- Target reached: PHQ-9 (or GAD-7) below 5, or halved and below 10.
function episode.at_target(index, value)
	return scores.is_remission(value) or scores.is_response(index, value) and value < 10
end

-- Forms on the same scale: a teenager's course goes on with the PHQ-9.
episode.scales = { phq9 = { also = { "phq9m" } } }

-- The instrument that the patient is treated by, and its scores from 14 days before the start: PHQ-9 when it began at
-- 10 or more or there is no GAD-7 that did.
function episode.course(ctx, patient, start)
	local courses = {}
	for _, kind in ipairs { "phq9", "gad7" } do
		local course = { kind = kind }
		for _, entry in ipairs(scores.series(ctx, patient, kind, episode.scales[kind])) do
			if entry.date >= dates.add_days(start, -14) then
				course[#course + 1] = entry
			end
		end
		courses[#courses + 1] = course
	end
	local phq9, gad7 = courses[1], courses[2]
	if gad7[1] and gad7[1].value >= 10 and not (phq9[1] and phq9[1].value >= 10) then
		return gad7
	end
	return phq9[1] and phq9 or gad7
end

-- ---- guards ----

local function consent_is_dated(ctx, _, data)
	if data.given and ctx:between(data.given, ctx:now(), "minutes") < 0 then
		return false, "the consent lies in the future"
	end
	return true
end

local function assessed(ctx, task)
	local patient = task["for"].reference
	local started = ctx:instance("Task/" .. task.id).started
	if episode.course(ctx, patient, ctx:local_date(started))[1] then
		return true
	end
	return false, "the initial assessment needs a validated scale: record a PHQ-9 or GAD-7 first"
end

-- On two scores in a row.
local function target_held(ctx, task, data)
	if data.override then
		return true
	end
	local found = episode.of_task(ctx, "Task/" .. task.id)
	local course = episode.course(ctx, task["for"].reference, dates.local_date(ctx, found.period.start))
	local count = #course
	if count >= 3 and episode.at_target(course[1].value, course[count].value)
		and episode.at_target(course[1].value, course[count - 1].value) then
		return true
	end
	return false, "the target (below 5, or half and below 10) is not reached on two scores in a row; "
		.. "say `override` and why"
end

local function enough_contacts(ctx, task, data)
	if data.override then
		return true
	end
	local since
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		since = move.to == "maintenance" and move.from ~= move.to and move.at or since
	end
	local count, wanted = 0, ctx.setting.maintenance_contacts
	for _, contact in ipairs(ctx:instances("cocm_contact", { patient = task["for"].reference })) do
		for _, move in ipairs(ctx:transitions(contact.task)) do
			count = count + (move.event == "contact" and ctx:between(since, move.at, "minutes") > 0 and 1 or 0)
		end
	end
	if count < wanted then
		return false, string.format("%d of %d monthly contacts of relapse prevention were made; say `override` and why",
			count, wanted)
	end
	return true
end

local function known_reason(ctx, _, data)
	if data.reason == "expired" or resources.contains(ctx.setting.discharge_reasons, data.reason) then
		return true
	end
	return false, "the reason is one of: " .. table.concat(ctx.setting.discharge_reasons, ", ")
end

-- ---- effects ----

-- Documented consent, spoken or written: what the person was told is the practice's text, who recorded it and when is
-- here.
local function record_consent(ctx, task, data)
	ctx:create {
		resourceType = "Consent", status = "active", patient = { reference = task["for"].reference },
		scope = resources.concept("http://terminology.hl7.org/CodeSystem/consentscope", "treatment", "Treatment"),
		category = { resources.concept(codes.system.episode, episode.type, "Collaborative care") },
		dateTime = data.given or ctx:now(), policyRule = { text = "Consent to collaborative care, " .. data.mode },
		performer = ctx.actor.reference and { { reference = ctx.actor.reference } } or nil,
		provision = { type = "permit" },
	}
end

local function end_consent(ctx, task)
	local query = { patient = task["for"].reference, status = "active", _count = 100 }
	for _, consent in ipairs(ctx:search("Consent", query)) do
		if resources.any_has_code(consent.category, episode.type, codes.system.episode) then
			local changed = plain(consent)
			changed.status = "inactive"
			ctx:update(changed)
		end
	end
end

local function enrol(ctx, task, data)
	local patient = task["for"].reference
	local manager = data.care_manager or ctx.actor.reference
	ctx:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
		identifier = { { system = task_identifier, value = task.id } },
		type = { resources.concept(codes.system.episode, episode.type, "Collaborative care") },
		careManager = manager and { reference = manager } or nil, period = { start = ctx:now() },
	}
	team.join(ctx, patient, manager, "care manager")
	team.join(ctx, patient, data.treating, "treating practitioner")
end

-- The score is asked for at every contact: where forms are handed out by the service "instruments", one is due, unless
-- there is one already or the last score is fresh.
local function ask_for_score(ctx, patient)
	local used, live = pcall(ctx.instances, ctx, "form", { patient = patient, live = true })
	if not used then
		return
	end
	local instance = episode.instance_of(ctx, patient)
	local course = episode.course(ctx, patient, ctx:local_date(instance.started))
	local last = course[#course]
	for _, form in ipairs(live) do
		if form.data.instrument == course.kind then
			return
		end
	end
	if not last or dates.between(last.date, ctx:today()) >= ctx.setting.fresh_score_days then
		local instrument = instruments.all(ctx)[course.kind]
		ctx:start("form", {
			focus = instruments.publish(ctx, instrument, "en"), patient = patient,
			data = { instrument = course.kind, channel = "in person" },
		})
	end
end

-- How soon the next contact is due in treatment: by the severity of the latest score, where the clinic says so.
local function contact_clock(ctx, task)
	local patient = task["for"].reference
	local instance = episode.instance_of(ctx, patient)
	local course = instance and episode.course(ctx, patient, ctx:local_date(instance.started)) or {}
	local severity = #course > 0 and scores.severity(course.kind, course[#course].value)
	return severity and ctx.setting.contact_by_severity[severity] or ctx.setting.contact_within
end

-- A contact is a finished Encounter; minutes said with it go into the ledger.
local function contacted(ctx, task, data)
	local patient, encounter = task["for"].reference, data.encounter
	if not encounter then
		local classes = { phone = "VR", video = "VR", ["in person"] = "AMB", portal = "VR" }
		encounter = ctx:create {
			resourceType = "Encounter", status = "finished", subject = { reference = patient },
			class = { system = codes.system.act_code, code = classes[data.channel] },
			type = { resources.concept(codes.system.encounter, episode.type, "Collaborative care contact") },
			period = { start = ctx:now(), ["end"] = ctx:now() },
			extension = { { url = contact_url, valueString = data.channel } },
		}
	end
	if data.minutes then
		local month = ledger.add(ctx, {
			patient = patient, person = ctx.actor.reference, role = ledger.own_role(ctx),
			activity = data.activity or "intervention", start = ctx:add(ctx:now(), -data.minutes .. " minutes"),
			finish = ctx:now(), contact = encounter,
		})
		ledger.refresh(ctx, patient, month)
	end
	ask_for_score(ctx, patient)
end

local function recommend(ctx, task, data)
	local found = episode.of_task(ctx, "Task/" .. task.id)
	ctx:start("cocm_recommendation", {
		focus = resources.of(found), patient = task["for"].reference, requester = ctx.actor.reference,
		owner = ctx:instance("Task/" .. task.id).data.treating, data = { recommendation = data.recommendation },
	})
end

-- Relapse prevention: triggers, warning signs, coping skills, supports.
local function plan_relapse_prevention(ctx, task, data)
	local activity = {}
	for _, part in ipairs { "triggers", "warning_signs", "coping_skills", "supports" } do
		activity[#activity + 1] = {
			detail = {
				status = "in-progress", code = { text = string.gsub(part, "_", " ") .. "" }, description = data[part],
			},
		}
	end
	ctx:create {
		resourceType = "CarePlan", status = "active", intent = "plan", title = "Relapse prevention plan",
		category = { resources.concept(codes.system.plan, "relapse-prevention", "Relapse prevention") },
		subject = { reference = task["for"].reference }, created = ctx:now(), activity = activity,
	}
end

-- ---- what follows from a state ----

local phases = {
	maintenance = "to_monthly", active = "to_acute", paused = "hold", stepped_up = "hold", disengaged = "hold",
}
local statuses = { paused = "onhold", stepped_up = "onhold" }

-- Heard when an episode comes into a state: contact clock and EpisodeOfCare follow.
function episode.entered(ctx, change)
	if change.from == change.to then
		return
	end
	local instance = ctx:instance(change.reference)
	local patient = instance.patient
	local contact = ctx:instances("cocm_contact", { patient = patient, live = true })[1]
	if change.to == "active" and not contact then
		ctx:start("cocm_contact", { focus = patient, patient = patient })
	elseif contact and instance.final then
		ctx:advance(contact.task, "stop")
	elseif contact and phases[change.to] and not (change.to == "active" and contact.state == "first") then
		ctx:advance(contact.task, phases[change.to])
	end
	local found = episode.of_task(ctx, change.reference)
	local status = instance.final and "finished" or statuses[change.to] or "active"
	if found and found.status ~= status then
		local changed = plain(found)
		changed.status = status
		changed.period["end"] = instance.final and ctx:now() or nil
		ctx:update(changed)
	end
	if instance.final then
		for _, open in ipairs(ctx:instances("cocm_recommendation", { patient = patient, live = true })) do
			ctx:advance(open.task, "withdraw", { reason = "the episode ended" })
		end
	end
end

-- The primary care provider decided: back to the episode.
function episode.decided(ctx, change)
	local patient = ctx:instance(change.reference).patient
	local instance = episode.instance_of(ctx, patient)
	if change.from == change.to or not instance or instance.state ~= "consult"
		or #ctx:instances("cocm_recommendation", { patient = patient, live = true }) > 0 then
		return
	end
	local carried = change.to == "accepted" or change.to == "changed"
	ctx:advance(instance.task, carried and "treatment_changed" or "not_changed")
end

-- A finished Encounter of the program that somebody else recorded is a contact.
function episode.seen(ctx, change)
	local encounter = change.resource
	local patient = resources.reference(encounter.subject)
	if encounter.status ~= "finished" or change.former_status == "finished" or not patient
		or not resources.any_has_code(encounter.type, episode.type, codes.system.encounter)
		or resources.extension(encounter, contact_url) then
		return
	end
	local contact = ctx:instances("cocm_contact", { patient = patient, live = true })[1]
	if contact then
		ctx:advance(contact.task, "contact", {
			channel = resources.code({ coding = { encounter.class } }) == "AMB" and "in person" or "phone",
			encounter = change.reference,
		})
	end
end

-- ---- the machines ----

local people = { "care_manager", "clinician", "psychiatric_consultant" }

function episode.workflow(declare)
	local setting, escalate, fire = declare.setting, declare.escalate, declare.fire
	local close = {
		"closed", by = people, guard = known_reason,
		needs = { reason = "string", note = { "string", optional = true } },
		help = "The episode ends; reasons are the setting discharge_reasons",
	}
	local lapse = { "closed", by = "clock", needs = { "reason" }, help = "Nobody acted; closed as expired" }
	local function with(more)
		local events = {
			close = close,
			withdraw_consent = {
				"closed", by = people, needs = { "reason" }, effect = end_consent, help = "No minute counts after",
			},
			pause = { "paused", by = people, needs = { "reason" } },
			step_up = { "stepped_up", by = people, needs = { to = { "string", help = "Where specialty care will be" } } },
			lose = { "disengaged", by = people, help = "No contact for too long (setting disengaged_days)" },
			recommend = {
				"consult", by = { "psychiatric_consultant", "care_manager" }, effect = recommend,
				needs = { recommendation = { "string", help = "What the psychiatric consultant advises" } },
				help = "Stays open until the primary care provider accepts, changes or declines it",
			},
		}
		for event, transition in pairs(more) do
			events[event] = transition or nil
		end
		return events
	end
	local ask = {
		"consult", by = people, needs = { question = { "string", optional = true } }, help = "Ask the psychiatric consultant",
	}
	local maintain = {
		"maintenance", by = "care_manager", guard = target_held, effect = plan_relapse_prevention,
		needs = {
			triggers = "string", warning_signs = "string", coping_skills = "string", supports = "string",
			override = { "string", optional = true, help = "Why, when the scores do not show it" },
		},
		help = "Target reached on two scores: write the relapse prevention plan with the patient",
	}
	return {
		summary = "An episode of collaborative care", subject = "Patient", start = "identified", single = true,
		conflicts = {
			cocm_two_programs = {
				with = "pcbh", action = "warn", tell = "care_manager", states = { "active", "not_improving", "maintenance" },
				summary = "In collaborative care and in brief consultation: agree who contacts the patient",
			},
			cocm_double_outreach = {
				with = "outreach", action = "warn", tell = "care_manager", states = { "active", "not_improving", "disengaged" },
				summary = "Two programs try to reach the patient: agree who does",
			},
		},
		identified = {
			status = "requested", owner = "care_manager", action = "Offer collaborative care", within = setting "offer_within",
			overdue = escalate("care_manager", { again = "1 week", times = 3, finally = "lapse" }),
			on = {
				offer = { "offered", by = people, needs = { note = { "string", optional = true } } },
				close = close, lapse = lapse,
			},
		},
		offered = {
			status = "requested", owner = "care_manager", action = "Ask for the patient's consent",
			within = setting "consent_within",
			overdue = escalate("care_manager", { again = "1 week", times = 3, finally = "lapse" }),
			on = {
				consent = {
					"consented", by = people, guard = consent_is_dated, effect = record_consent,
					needs = {
						mode = { "choice", "verbal", "written" },
						given = { "dateTime", optional = true, help = "When; now, if not said" },
					},
					help = "Documented verbal or written consent; minutes count from then on",
				},
				decline = { "declined", by = people, needs = { reason = { "string", optional = true } } },
				close = close, lapse = lapse,
			},
		},
		declined = { status = "rejected", final = true },
		consented = {
			status = "accepted", owner = "care_manager", action = "Enrol in the registry", within = setting "enrol_within",
			overdue = escalate("manager", { again = "1 week" }),
			on = {
				enrol = {
					"enrolled", by = people, effect = enrol,
					needs = {
						treating = { "reference", help = "The primary care provider, who bills" },
						care_manager = { "reference", optional = true },
						seen_on = { "date", optional = true, help = "The initiating visit" },
						pathway = { "choice", "collaborative", "general", "own", optional = true, help = "What is billed by" },
					},
				},
				close = close,
				withdraw_consent = { "closed", by = people, needs = { "reason" }, effect = end_consent },
			},
		},
		enrolled = {
			status = "in-progress", owner = "care_manager", action = "Initial assessment with PHQ-9 or GAD-7",
			within = setting "assess_within", overdue = escalate("manager", { again = "1 week" }),
			on = with {
				activate = {
					"active", by = people, guard = assessed,
					needs = { diagnosis = { "string", optional = true, help = "Provisional diagnosis" } },
					help = "Assessed: treatment begins",
				},
			},
		},
		active = {
			status = "in-progress", owner = "care_manager", action = "Treat to target", within = setting "episode_review_within",
			overdue = escalate("care_manager", { again = "4 weeks" }),
			on = with {
				flag_not_improving = { "not_improving", by = people, help = "By the registry's rules" },
				ask_consult = ask, maintain = maintain,
			},
		},
		not_improving = {
			status = "in-progress", owner = "care_manager",
			action = "Discuss in the case review; ask the psychiatric consultant", within = setting "consult_within",
			overdue = escalate("manager", { again = "1 week" }),
			on = with { ask_consult = ask, improved = { "active", by = people }, maintain = maintain },
		},
		consult = {
			status = "in-progress", owner = "psychiatric_consultant", action = "Advise; then the primary care provider decides",
			within = setting "advise_within", overdue = escalate("care_manager", { again = "1 week" }),
			on = with {
				treatment_changed = { "changed", by = people, help = "Accepted, or changed, by the primary care provider" },
				not_changed = { "not_improving", by = people, help = "Declined or withdrawn: another way is needed" },
				improved = { "active", by = people },
			},
		},
		changed = {
			status = "in-progress", owner = "care_manager", action = "Watch the response to the change",
			within = setting "change_within", overdue = fire "observed",
			on = with {
				observed = { "active", by = { "clock", "care_manager" } }, ask_consult = ask, maintain = maintain,
			},
		},
		maintenance = {
			status = "in-progress", owner = "care_manager", action = "Monthly contacts, then graduate",
			within = setting "maintenance_within", overdue = escalate("care_manager", { again = "4 weeks" }),
			on = with {
				graduate = {
					"graduated", by = people, guard = enough_contacts, needs = { override = { "string", optional = true } },
				},
				relapse = { "active", by = people, help = "Treatment is needed again" },
			},
		},
		paused = {
			status = "on-hold", owner = "care_manager", action = "Ask whether to go on", within = setting "pause_within",
			overdue = escalate("care_manager", { again = "1 week", times = 4, finally = "lose" }),
			on = with { pause = false, recommend = false, resume = { "active", by = people } },
		},
		stepped_up = {
			status = "on-hold", owner = "care_manager", action = "Confirm that specialty care has begun",
			within = setting "step_up_within", overdue = escalate("manager", { again = "1 week" }),
			on = with { step_up = false, resume = { "active", by = people, help = "Came back" } },
		},
		disengaged = {
			status = "on-hold", owner = "care_manager", action = "Try to reach the patient", within = setting "outreach_within",
			overdue = escalate("care_manager", { again = "1 week", times = 8, finally = "lapse" }),
			on = with {
				lose = false, recommend = false, lapse = lapse,
				reengage = { "active", by = people, help = "Reached; wants to go on" },
			},
		},
		graduated = { status = "completed", final = true },
		closed = { status = "completed", final = true },
	}
end

function episode.contact_workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local needs = {
		channel = { "choice", "phone", "video", "in person", "portal" }, note = { "string", optional = true },
		encounter = { "reference", optional = true, help = "When it is on record already" },
		minutes = { "integer", optional = true, help = "Goes into the ledger, ending now" },
		activity = { "string", optional = true },
	}
	local function state(action, clock, contact_to, own)
		local on = {
			contact = { contact_to, by = people, needs = needs, effect = contacted, help = "Reached; ask for PHQ-9 or GAD-7" },
			to_acute = { "acute", by = people }, to_monthly = { "monthly", by = people }, hold = { "held", by = people },
			stop = { "stopped", by = people },
		}
		if own then
			on[own] = nil
		end
		return {
			status = "requested", owner = "care_manager", action = action,
			within = type(clock) == "function" and clock or setting(clock),
			overdue = escalate("care_manager", { again = "2 business days" }), on = on,
		}
	end
	return {
		summary = "The next contact with a patient in collaborative care", subject = "Patient", start = "first",
		single = true,
		first = state("First follow-up contact", "first_contact_within", "acute"),
		acute = state("Contact the patient", contact_clock, "acute"),
		monthly = state("Monthly contact", "monthly_contact_within", "monthly"),
		held = state("Ask how it goes", "held_contact_within", "held"),
		stopped = { status = "completed", final = true },
	}
end

function episode.recommendation_workflow(declare)
	local deciders = { "clinician" }
	return {
		summary = "A psychiatric recommendation waits for the primary care provider", subject = "EpisodeOfCare",
		start = "open",
		open = {
			status = "requested", owner = "clinician", action = "Accept, change or decline the recommendation",
			within = declare.setting "decide_within",
			overdue = declare.escalate("clinician", { again = "2 business days" }), -- without end: it stays open
			on = {
				accept = { "accepted", by = deciders, needs = { note = { "string", optional = true } } },
				change = { "changed", by = deciders, needs = { change = { "string", help = "What is done instead" } } },
				decline = { "declined", by = deciders, needs = { "reason" } },
				withdraw = { "withdrawn", by = { "psychiatric_consultant", "care_manager" }, needs = { "reason" } },
			},
		},
		accepted = { status = "completed", final = true },
		changed = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
		withdrawn = { status = "cancelled", final = true },
	}
end

return episode
