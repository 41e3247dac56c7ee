-- The co-located model: behavioral health consultants work in the primary care rooms (domain.md sections 2.7, 3.2).
-- Screen, offer, warm handoff within minutes, brief visit, feedback the same day. The machine is in handoff.lua.
local resources = require "lib/resources"
local roles = require "lib/roles"
local safety = require "lib/safety"
local handoff = require "handoff"
local scrub = require "scrub"

local on_alert = { model = "colocated", owner = "behavioral_health_consultant", backup = "clinician" }

-- A screen came in: score it, raise the alarm for item 9, offer a handoff when it is positive.
local function screened(ctx, change)
	local response = change.resource
	local patient = resources.reference(response.subject)
	for _, score in ipairs(safety.screen(ctx, response, on_alert)) do
		local cut = score.instrument == "phq9" and ctx.setting.offer_at_phq9
			or score.instrument == "phq2" and ctx.setting.offer_at_phq2 or nil
		if score.new and cut and score.total >= cut then
			if score.instrument == "phq2" then
				-- The longer form follows, with the two answers carried over [S57].
				ctx:notify {
					to = "medical_assistant", about = resources.of(response), text = "PHQ-2 is positive: hand out the PHQ-9",
				}
			end
			if #ctx:instances("handoff", { patient = patient, live = true }) == 0 then
				local encounter = resources.reference(response.encounter)
				local task = ctx:start("handoff", {
					focus = encounter or resources.of(response), patient = patient, state = "offered",
					data = { reason = "positive screen", instrument = score.instrument, score = score.total },
				})
				ctx:notify { to = "clinician", about = task, text = "The screen is positive: offer a meeting with the consultant" }
			end
		end
	end
end

local function observed(ctx, change)
	safety.observed(ctx, change.resource, on_alert)
end

local function form_deleted(ctx, change)
	safety.deleted(ctx, change, on_alert)
end

-- POST /fhir/Encounter/<id>/$handoff: the clinician asks in one step.
local function ask_for_handoff(ctx, input, target)
	local encounter = target and ctx:read(target)
	if not encounter or encounter.resourceType ~= "Encounter" then
		ctx:refuse("ask on the visit at hand: POST /fhir/Encounter/<id>/$handoff", "Encounter")
	end
	local patient = resources.reference(encounter.subject)
	local reason = resources.parameter(input, "reason")
	local live = ctx:instances("handoff", { patient = patient, live = true })[1]
	local task
	if live and live.state ~= "offered" then
		ctx:refuse("a handoff of this patient is under way already: " .. live.task, "Encounter.subject")
	end
	task = live and live.task or ctx:start("handoff", {
		focus = target, patient = patient, requester = ctx.actor.reference, state = "offered", data = { reason = reason },
	})
	ctx:advance(task, "request", { reason = reason })
	return plain(ctx:read(task))
end

local function availability(ctx)
	local rows = {}
	local now = ctx:now()
	for _, slot in ipairs(ctx:search("Slot", {
		["service-type"] = ctx.setting.consultant_slot, start = "ge" .. ctx:add(now, "-60 minutes"), _sort = "start",
		_count = 200,
	})) do
		if ctx:local_date(slot.start) == ctx:today() and ctx:between(now, slot["end"], "minutes") > 0 then
			local schedule = slot.schedule and slot.schedule.reference and ctx:read(slot.schedule.reference)
			local actor = schedule and schedule.actor and schedule.actor[1]
			rows[#rows + 1] = {
				consultant = actor and (actor.display or actor.reference), from = ctx:local_time(slot.start),
				until_time = ctx:local_time(slot["end"]), status = slot.status, slot = resources.of(slot),
			}
		end
	end
	return rows
end

-- Handlers that act when a state is entered, not when its clock starts again.
local function entering(fn)
	return function (ctx, change)
		if change.from ~= change.to then
			fn(ctx, change)
		end
	end
end

return plugin {
	name = "colocated", api = 1, summary = "Behavioral health consultants in the primary care rooms",

	settings = safety.settings {
		offer_at_phq9 = {
			type = "integer", default = 10, source = "domain.md 2.1 [S54]",
			help = "From this PHQ-9 total on a handoff is offered",
		},
		offer_at_phq2 = {
			type = "integer", default = 3, source = "domain.md 2.1 [S57]",
			help = "From this PHQ-2 total on a handoff is offered",
		},
		offer_within = {
			type = "duration", default = "30 minutes", help = "Time to offer the handoff after a positive screen",
		},
		acknowledge_within = {
			type = "duration", default = "5 minutes", source = "domain.md 2.7 [d]", help = "Time for a consultant to answer",
		},
		arrive_within = {
			type = "duration", default = "15 minutes", source = "domain.md 2.7 [d]",
			help = "Time for the consultant to be with the patient",
		},
		introduce_within = { type = "duration", default = "15 minutes", help = "Time for the introduction" },
		visit_within = {
			type = "duration", default = "30 minutes", source = "domain.md 2.7 [d]", help = "Length of a brief visit",
		},
		feedback_within = {
			type = "duration", default = "4 hours", source = "domain.md 2.7: the same day [d]",
			help = "Time for feedback to the primary care clinician; a reminder comes half an hour before closing",
		},
		follow_up_within = { type = "duration", default = "2 business days", help = "Time to book what was agreed" },
		fallback_within = {
			type = "duration", default = "15 minutes", help = "Time to offer another way when nobody is free",
		},
		slot_within = { type = "duration", default = "10 hours", help = "A slot of the same day: after this it was missed" },
		phone_within = {
			type = "duration", default = "24 hours", source = "domain.md 2.7 [d]", help = "Time to call the patient",
		},
		phone_attempts = { type = "integer", default = 3, help = "Calls before somebody may give up by hand" },
		offer_at_conditions = {
			type = "list", default = { "F32", "F33", "F41", "370143000", "35489007", "197480006" },
			help = "Codes with which a diagnosis begins that makes the consultant's visit offered whenever a visit begins",
		},
		offer_again_days = {
			type = "integer", default = 90, help = "Days after a handoff in which a diagnosis alone offers no further one",
		},
		screen_every_days = {
			type = "integer", default = 365, source = "CMS2: screened once in the year",
			help = "Days after which the scrub asks for a PHQ-2 again",
		},
		telehealth_slot = {
			type = "code", default = "bhc-video",
			help = "Code of Slot.serviceType of consultants who join by video when nobody in the house is free",
		},
		consultant_slot = {
			type = "code", default = "bhc",
			help = "Code of Slot.serviceType that marks the consultants' slots (15 minutes each)",
		},
		same_day_rules = {
			type = "table", default = {}, source = "domain.md 2.6: a rule per payer",
			help = "Payer (Coverage.payor) = { billable =, modifier =, reason =, source = } for a consultant visit on the day "
				.. "of a medical one",
		},
	},

	roles = {
		clinician = {
			summary = "Offers handoffs, gets the feedback; charts of the patients in whose care team they are",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication" } },
				{
					"read search history create update", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Task", "Communication", "Encounter", "ServiceRequest", "QuestionnaireResponse" } },
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		behavioral_health_consultant = {
			summary = "Comes to the room, sees patients briefly, gives feedback",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication" } },
				{
					"read search history create update", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Task", "Communication", "Encounter", "QuestionnaireResponse", "Slot" } },
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		medical_assistant = {
			summary = "Rooms patients, hands out screens",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "QuestionnaireResponse", "Encounter" } },
				{ "create update", types = { "QuestionnaireResponse", "Encounter", "Communication" } },
				{ "transition", types = { "Task" }, workflow = "handoff" },
				{ "events", types = { "*" } },
			},
		},
		front_desk = {
			summary = "Registers patients, books slots and appointments",
			allow = {
				{ "read search create update", types = { "Patient", "RelatedPerson", "Appointment", "Slot", "Coverage" } },
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication" } },
				{ "create update", types = { "Communication" } },
				{ "transition", types = { "Task" }, workflow = "handoff" },
				{ "events", types = { "*" } },
			},
		},
		referral_coordinator = {
			summary = "Follows referrals, those sent and those received",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search history", types = { "Task", "Communication", "ServiceRequest", "DocumentReference", "Consent" } },
				{ "create update", types = { "Task", "Communication", "ServiceRequest", "DocumentReference", "Consent",
					"Appointment", "Patient" } },
				{ "transition", types = { "Task" }, workflow = "referral" },
				{ "transition", types = { "Task" }, workflow = "escalation" },
				{ "events metrics", types = { "*" } },
			},
		},
		intake = {
			summary = "Answers the referrals that partners send; sees what came with them, Part 2 records included",
			allow = {
				{ "read search history", types = roles.directory, except_labels = roles.beyond_treating },
				{
					"read search", types = {
						"Task", "Communication", "ServiceRequest", "Consent", "DocumentReference", "Observation", "Condition",
					},
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Task", "Communication", "Appointment", "Patient", "DocumentReference" } },
				{ "transition", types = { "Task" }, workflow = "referral" },
				{ "events metrics", types = { "*" } },
			},
		},
		on_call = {
			summary = "Answers safety alerts outside staffed hours",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "QuestionnaireResponse", "Observation", "CarePlan" } },
				{ "transition", types = { "Task" }, workflow = "safety" },
			},
		},
		ehr = roles.ehr,
		manager = roles.manager,
		partner = roles.partner,
	},

	workflow "handoff" (handoff.workflow { setting = setting, escalate = escalate, fire = fire }),
	workflow "safety" (safety.workflow(on_alert, { setting = setting, escalate = escalate, fire = fire })),

	on "Encounter.create" (scrub.visit_begins),
	on "Encounter.update" (scrub.visit_begins),
	on "QuestionnaireResponse.create" (screened),
	on "QuestionnaireResponse.update" (screened),
	on "QuestionnaireResponse.delete" (form_deleted),
	on "Observation.create" (observed),
	on "Observation.update" (observed),
	on "handoff.requested" (entering(handoff.requested)),
	on "handoff.acknowledged" (entering(handoff.acknowledged)),
	on "handoff.fallback" (entering(handoff.fallback)),
	on "handoff.slot_booked" (entering(handoff.slot_booked)),
	on "handoff.phone_due" (entering(handoff.phone_due)),
	on "handoff.visit" (entering(handoff.visit_started)),
	on "handoff.feedback" (entering(handoff.visit_ended)),
	on "handoff.follow_up" (entering(handoff.feedback_given)),
	on "handoff.declined" (entering(handoff.over)),
	on "handoff.withdrawn" (entering(handoff.over)),
	on "handoff.unreached" (entering(handoff.over)),
	every("16:30", "business days", handoff.feedback_before_closing),

	operation "$handoff" {
		summary = "Ask for a warm handoff during a visit", roles = { "clinician", "medical_assistant", "ehr" },
		run = ask_for_handoff,
	},

	metric "handoff_minutes" {
		summary = "Median minutes from asking for a consultant to the consultant being there", category = "operations",
		unit = "minutes", better = "lower", source = "domain.md 2.7, letter A", version = "1",
		of = entered("handoff", "requested"), measure = elapsed("requested", "arrived", "minutes"), show = "median",
	},
	metric "handoff_same_day" {
		summary = "Handoffs asked for that became a consultant visit on the same day", category = "operations", unit = "%",
		better = "higher", source = "domain.md 3.2", version = "1", value = handoff.same_day,
	},
	metric "screened_share" {
		summary = "Medical visits with a depression screen that day or in the 14 days before", category = "operations",
		unit = "%", better = "higher", source = "domain.md 2.7, letter R", version = "1", value = handoff.screened,
	},
	metric "positive_same_day_contact" {
		summary = "Positive screens whose patient had contact with a consultant the same day (a proxy: access, not health)",
		category = "outcomes", unit = "%", better = "higher", source = "domain.md 2.7, letter R", version = "1",
		value = handoff.positive_contacted,
	},
	metric "same_day_billable" {
		summary = "Consultant visits on the day of a medical visit that the payer's rule pays", category = "finance",
		unit = "%", better = "higher", source = "setting same_day_rules", version = "1", value = handoff.billable,
	},

	view "handoff_board" {
		summary = "Handoffs under way, what is next and how long it may take", of = instances "handoff",
		columns = {
			"patient_name", "state", "data.room", "data.by_video", "action", "owner", "due", "overdue", "started", "data.reason",
			"task",
		},
		roles = { "clinician", "behavioral_health_consultant", "medical_assistant", "front_desk", "manager" },
	},
	view "scrub_today" {
		summary = "Today's visits: which screen to hand out, whom to offer the consultant",
		columns = {
			"time", "patient_name", "hand_out", "offer", "last_score", "last_date", "appointment", "patient",
		},
		rows = scrub.rows, roles = { "medical_assistant", "clinician", "behavioral_health_consultant" },
	},
	view "consultant_availability" {
		summary = "The consultants' slots of today",
		columns = { "consultant", "from", "until_time", "status", "slot" }, rows = availability,
		roles = { "clinician", "behavioral_health_consultant", "medical_assistant", "front_desk" },
	},
	view "safety_alerts" {
		shared = true, summary = "Open alerts about self-harm", of = instances "safety",
		columns = { "patient_name", "state", "action", "due", "overdue", "task" },
		roles = { "clinician", "behavioral_health_consultant", "manager", "on_call" },
	},
}
