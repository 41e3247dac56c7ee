-- The fully integrated model: one team, one registry, one plan (domain.md sections 2.3, 3.3). The registry and its
-- flags are in registry.lua, the plan in plan.lua, the huddle in huddle.lua, the self-harm alert in lib/safety.lua.
local codes = require "lib/codes"
local resources = require "lib/resources"
local roles = require "lib/roles"
local safety = require "lib/safety"
local team = require "lib/team"
local conditions = require "conditions"
local huddle = require "huddle"
local orders = require "orders"
local plan = require "plan"
local registry = require "registry"
local review = require "review"
local strata = require "strata"

local on_alert = { model = "integrated", owner = "behavioral_health_consultant", backup = "care_manager" }
local declare = { setting = setting, escalate = escalate, fire = fire }

-- ---- handlers ----

local function screened(ctx, change)
	safety.screen(ctx, change.resource, on_alert)
end

local function form_deleted(ctx, change)
	safety.deleted(ctx, change, on_alert)
end

local function scored(ctx, change)
	local observation = change.resource
	safety.observed(ctx, observation, on_alert)
	if resources.has_code(observation.code, codes.loinc.phq9_total, codes.system.loinc) then
		registry.assess_patient(ctx, resources.reference(observation.subject))
		registry.refresh_ended(ctx, resources.reference(observation.subject))
	end
end

local function seen(ctx, change)
	if change.resource.status == "finished" then
		registry.assess_patient(ctx, resources.reference(change.resource.subject))
	end
end

local function alerted(ctx, change)
	if change.from ~= change.to then
		registry.assess_patient(ctx, ctx:instance(change.reference).patient)
	end
end

-- Somebody is enrolled, or their episode ends.
local function episode_changed(ctx, change)
	local episode = change.resource
	if not registry.is_episode(episode) or change.operation == "update" and change.status == change.former_status then
		return
	end
	local patient = resources.reference(episode.patient)
	if episode.status == "active" then
		team.join(ctx, patient, resources.reference(episode.careManager), "care manager")
		plan.ensure(ctx, patient)
		registry.assess(ctx, ctx:read(change.reference))
	elseif change.former_status == "active" then
		plan.finish(ctx, patient)
		registry.close(ctx, patient)
	end
end

-- ---- patients who were lost sight of ----

local function attempts_made(ctx, task)
	local tried = 0
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		tried = tried + (move.event == "attempt" and 1 or 0)
	end
	if tried < ctx.setting.outreach_attempts then
		return false, string.format("%d of %d attempts are recorded; try again first", tried, ctx.setting.outreach_attempts)
	end
	return true
end

-- Reaching the patient is a contact.
local function patient_reached(ctx, task)
	ctx:create {
		resourceType = "Encounter", status = "finished", subject = { reference = task["for"].reference },
		class = { system = codes.system.act_code, code = "VR" },
		type = { resources.concept(codes.system.encounter, "outreach", "Outreach contact") },
		period = { start = ctx:now(), ["end"] = ctx:now() },
	}
end

return plugin {
	name = "integrated", api = 1, summary = "One team, one registry, one shared plan",

	settings = safety.settings {
		new_days = { type = "integer", default = 14, help = "Days after enrolment that a patient counts as new" },
		stale_days = { type = "integer", default = 28, source = "domain.md 2.3 [d]", help = "Days without contact: yellow" },
		disengaged_days = {
			type = "integer", default = 60, source = "domain.md 2.3 [d]", help = "Days without contact: outreach begins",
		},
		first_score_days = {
			type = "integer", default = 7, help = "Days after enrolment within which a PHQ-9 must be there",
		},
		score_days = {
			type = "integer", default = 28, source = "domain.md 2.3 [k]", help = "Days after which the PHQ-9 is repeated",
		},
		early_days = {
			type = "integer", default = 28, source = "domain.md 0 row 8",
			help = "From this day after the first score on, little improvement is flagged",
		},
		response_days = {
			type = "integer", default = 56, source = "domain.md 2.3 [S65]",
			help = "From this day on, no response is flagged",
		},
		outreach_within = {
			type = "duration", default = "2 business days", help = "Time for the next attempt to reach a patient",
		},
		outreach_attempts = { type = "integer", default = 3, help = "Attempts before a patient counts as lost to follow-up" },
		plan_review_within = {
			type = "duration", default = "90 days", source = "domain.md 3.3 [d]", help = "Time between reviews of the plan",
		},
		plan_review_high_risk_within = {
			type = "duration", default = "30 days", source = "domain.md 3.3 [d]", help = "The same at high risk",
		},
		plan_sections = {
			type = "list", help = "Sections of the shared plan and the role that owns each",
			default = {
				{ name = "goals", title = "What matters to the patient", owner = "care_manager" },
				{ name = "medication", title = "Medication", owner = "clinician" },
				{ name = "behavioral", title = "Behavioral treatment", owner = "behavioral_health_consultant" },
				{ name = "physical", title = "Physical health", owner = "nurse" },
				{ name = "safety", title = "Safety", owner = "behavioral_health_consultant" },
				{ name = "relapse", title = "Staying well: triggers, warning signs, skills, supports", owner = "care_manager" },
			},
		},
		huddle_maximum = { type = "integer", default = 20, help = "Patients on one day's list" },
		huddle_within = { type = "duration", default = "3 hours", help = "Time after 07:00 to hold the huddle" },
		huddle_item_within = {
			type = "duration", default = "10 hours", source = "domain.md 3.3: the same day",
			help = "Time to do what was decided",
		},
		strata_rules = {
			type = "list",
			help = "Points for risk: factor, at_least, points, text. This formula has no outside authority",
			default = {
				{ factor = "phq9_last", at_least = 15, points = 2, text = "PHQ-9" },
				{ factor = "phq9_last", at_least = 20, points = 3, text = "PHQ-9" },
				{ factor = "safety_alerts_12_months", at_least = 1, points = 3, text = "self-harm alerts in 12 months" },
				{ factor = "emergency_visits_12_months", at_least = 2, points = 2, text = "emergency visits in 12 months" },
				{ factor = "admissions_12_months", at_least = 1, points = 3, text = "admissions in 12 months" },
				{ factor = "active_conditions", at_least = 3, points = 1, text = "active conditions" },
				{ factor = "a1c_last", at_least = 9, points = 1, text = "HbA1c" },
				{ factor = "missed_visits_6_months", at_least = 2, points = 1, text = "missed visits in 6 months" },
			},
		},
		strata = {
			type = "list", help = "Strata and the sum from which they begin",
			default = { { name = "low", from = 0 }, { name = "rising", from = 2 }, { name = "high", from = 5 } },
		},
		strata_minutes = {
			type = "table", default = { low = 5, rising = 30, high = 90 },
			help = "Minutes of care management a month that a patient of the stratum is planned with",
		},
		panel_minutes = { type = "integer", default = 4800, help = "Minutes a month that one panel can carry" },
		repeat_days = {
			type = "table", default = { default = 30, ["4548-4"] = 90, ["24331-1"] = 180 }, -- HbA1c, lipids
			help = "Days in which the same order counts as a repeat, by code; 0: never. The default goes for all other codes",
		},
		registries = {
			type = "list", default = conditions.shipped, source = "CMS122, CMS165",
			help = "Registries of conditions: name, codes, test (LOINC), unit, due_days, poor_above",
		},
		case_review_plan_within = { type = "duration", default = "3 business days", help = "Time to find a day" },
		case_review_within = { type = "duration", default = "10 business days", help = "Time to hold it" },
		decision_within = { type = "duration", default = "5 business days", help = "Time to do what was decided" },
		reference_day = {
			type = "integer", default = 15, source = "domain.md 2.10 [k]",
			help = "Day of the month on which a member must be covered to count",
		},
		capitation_pmpm = {
			type = "number", default = 0, help = "Capitation received for each member month; 0: not computed",
		},
	},

	roles = {
		care_manager = {
			summary = "Keeps the registry, contacts patients, leads the huddle",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search history", types = roles.record },
				{ "read search", types = { "Task", "Communication", "List", "ChargeItem" } },
				{
					"create update", types = {
						"Patient", "CareTeam", "EpisodeOfCare", "Encounter", "Observation", "Communication", "Task",
						"QuestionnaireResponse", "Goal", "Consent",
					},
				},
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		clinician = {
			summary = "Primary care clinician; charts of the patients in whose team they are",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "List" } },
				{
					"read search history", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Encounter", "Observation", "Condition", "MedicationRequest", "Communication", "Goal",
					"ServiceRequest", "QuestionnaireResponse" }, where = "care team" },
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		behavioral_health_consultant = {
			summary = "Treats, assesses risk, owns the behavioral and safety sections",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "List" } },
				{
					"read search history", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Encounter", "Observation", "Communication", "Goal", "QuestionnaireResponse" },
					where = "care team" },
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		psychiatric_consultant = {
			summary = "Advises on patients who do not improve; sees the registry and the flagged charts",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search history", types = roles.record },
				{ "read search", types = { "Task", "Communication", "List" } },
				{ "create update", types = { "Communication" } },
				{ "transition", types = { "Task" }, workflow = "huddle_item" },
				{ "transition", types = { "Task" }, workflow = "huddle" },
				{ "events metrics", types = { "*" } },
			},
		},
		nurse = {
			summary = "Owns the physical health section",
			allow = {
				{ "read search", types = roles.directory },
				{
					"read search history", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "read search", types = { "Task", "Communication", "List" } },
				{ "create update", types = { "Encounter", "Observation", "Communication" }, where = "care team" },
				{ "transition", types = { "Task" }, workflow = "huddle_item" },
				{ "transition", types = { "Task" }, workflow = "huddle" },
				{ "events", types = { "*" } },
			},
		},
		medical_assistant = {
			summary = "Rooms patients, hands out PHQ-9 forms",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "List", "QuestionnaireResponse" } },
				{ "create update", types = { "QuestionnaireResponse", "Encounter", "Communication" } },
				{ "transition", types = { "Task" }, workflow = "huddle_item" },
				{ "transition", types = { "Task" }, workflow = "huddle" },
				{ "events", types = { "*" } },
			},
		},
		front_desk = {
			summary = "Registers patients, books appointments",
			allow = {
				{ "read search create update", types = { "Patient", "RelatedPerson", "Appointment", "Slot", "Coverage" } },
				{ "read search", types = roles.directory },
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

	workflow "safety" (safety.workflow(on_alert, declare)),
	workflow "plan_review" (plan.workflow(declare)),
	workflow "huddle" (huddle.workflow(declare)),
	workflow "huddle_item" (huddle.item_workflow(declare)),
	workflow "case_review" (review.workflow(declare)),
	workflow "team_task" (review.task_workflow(declare)),
	workflow "outreach" {
		summary = "Reaching a patient who was not seen for long", subject = "EpisodeOfCare", start = "due", single = true,
		due = {
			status = "requested", owner = "care_manager", action = "Try to reach the patient",
			within = setting "outreach_within",
			overdue = escalate("manager"),
			on = {
				attempt = {
					"due", needs = {
						channel = { "choice", "phone", "text", "letter", "portal", "in person" }, note = { "string", optional = true },
					},
					help = "Tried; not reached",
				},
				reached = { "reached", effect = patient_reached, needs = { note = { "string", optional = true } } },
				give_up = {
					"lost", guard = attempts_made, help = "Lost to follow-up: the episode can be finished with this reason",
				},
				stop = { "stopped", needs = { "reason" }, help = "No longer needed" },
			},
		},
		reached = { status = "completed", final = true },
		lost = { status = "failed", final = true },
		stopped = { status = "cancelled", final = true },
	},

	on "QuestionnaireResponse.create" (screened),
	on "QuestionnaireResponse.update" (screened),
	on "QuestionnaireResponse.delete" (form_deleted),
	on "Observation.create" (scored),
	on "Observation.update" (scored),
	on "Encounter.create" (seen),
	on "Encounter.update" (seen),
	on "EpisodeOfCare.create" (episode_changed),
	on "EpisodeOfCare.update" (episode_changed),
	on "safety.alert" (alerted),
	on "safety.on_call" (alerted),
	on "safety.waiting" (alerted),
	on "safety.known_risk" (alerted),
	on "safety.closed" (alerted),

	every("05:30", "daily", registry.assess_all),
	timer "assess" (registry.assess_batch),
	every("04:00", "monthly", strata.begin),
	timer "strata" (strata.assess_batch),
	on "ServiceRequest.create" (orders.placed),
	every("07:00", "business days", huddle.prepare),

	operation "$edit-section" {
		summary = "Edit one section of a shared plan",
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "nurse", "psychiatric_consultant" },
		run = plan.edit,
	},

	operation "$repeat-check" {
		summary = "Recent orders and results of the same kind, before an order is placed",
		roles = { "clinician", "care_manager", "behavioral_health_consultant", "nurse", "ehr" }, run = orders.check,
	},
	operation "$stratify" {
		summary = "The risk stratum of one patient now, with the facts behind it", roles = { "care_manager", "clinician" },
		run = function (ctx, _, target)
			if resources.parse(target) ~= "Patient" or not ctx:read(target) then
				ctx:refuse("$stratify is asked of a patient: POST /fhir/Patient/[id]/$stratify", "Patient")
			end
			strata.assess(ctx, target)
			local _, document = strata.current(ctx, target)
			return plain(document)
		end,
	},

	metric "phq9_response" {
		summary = "Patients with a first PHQ-9 of 10 or more whose score was halved 120 to 240 days later",
		category = "outcomes", unit = "%", better = "higher", version = "1",
		source = "DRR-E's response rule; reported in the month of the 240th day; no later score counts as no response",
		value = registry.response,
	},
	metric "phq9_remission" {
		summary = "Patients with a first PHQ-9 of 10 or more whose score was below 5 at 120 to 240 days",
		category = "outcomes", unit = "%", better = "higher", version = "1",
		source = "DRR-E's remission rule; reported in the month of the 240th day; no later score counts as none",
		value = registry.remission,
	},
	metric "phq9_five_points_9_weeks" {
		summary = "Patients at least 5 points better between week 4 and week 9 (an early look, no published measure)",
		category = "outcomes", unit = "%", better = "higher", source = "domain.md 2.1: 5-point change [k]", version = "1",
		value = registry.five_points,
	},
	metric "contacted_30_days" {
		summary = "Patients in care with a contact in the last 30 days of the month", category = "operations", unit = "%",
		better = "higher", source = "domain.md 2.3 [S14]", version = "1", value = registry.contacted,
	},
	metric "plan_reviewed_on_time" {
		summary = "Patients in care whose shared plan is not overdue for review at the month's end", category = "operations",
		unit = "%", better = "higher", source = "domain.md 3.3", version = "1", value = registry.plans_on_time,
	},
	metric "cost_pmpm" {
		summary = "Cost per member and month, from ChargeItem and Coverage", category = "finance", unit = "USD",
		better = "lower",
		source = "domain.md 2.10 [S109]; not risk-adjusted", version = "1", value = registry.pmpm,
	},
	metric "capitation_margin_pmpm" {
		summary = "Capitation less cost per member and month", category = "finance", unit = "USD", better = "higher",
		source = "domain.md 2.10; setting capitation_pmpm", version = "1", value = registry.margin,
	},

	view "registry" {
		summary = "Everybody in depression care, those to talk about first",
		columns = { "patient_name", "first", "last", "delta", "weeks", "last_score", "last_contact", "flags", "patient" },
		rows = registry.rows,
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "psychiatric_consultant" },
	},
	view "panels" {
		summary = "Each panel: patients by stratum, planned minutes, overdue plans",
		columns = {
			"name", "patients", "low", "rising", "high", "not_assessed", "minutes", "over_capacity", "plans_overdue", "panel",
		},
		rows = strata.panels, roles = { "care_manager", "clinician", "manager" },
	},
	view "condition_registries" {
		summary = "Patients with long-term conditions: poor control and what is due first",
		columns = { "registry", "patient_name", "last", "unit", "last_date", "poor_control", "due", "patient" },
		rows = conditions.rows, roles = { "care_manager", "clinician", "nurse" },
	},
	view "case_reviews" {
		summary = "Joint reviews: to plan, to hold, to close", of = instances "case_review",
		columns = { "patient_name", "data.why", "state", "action", "due", "overdue", "task" },
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "psychiatric_consultant", "nurse" },
	},
	view "team_tasks" {
		summary = "What the team decided and is still to do", of = instances "team_task",
		columns = { "patient_name", "data.text", "owner", "due", "overdue", "task" },
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "psychiatric_consultant", "nurse",
			"medical_assistant" },
	},
	view "huddle_today" {
		summary = "What the huddles decided and is still to do", of = instances "huddle_item",
		columns = { "patient_name", "data.flags", "state", "action", "owner", "due", "overdue", "task" },
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "nurse", "medical_assistant",
			"psychiatric_consultant" },
	},
	view "plans_due" {
		summary = "Shared plans whose review is overdue", of = instances "plan_review", states = { "due" },
		columns = { "patient_name", "due", "age_days", "task" }, roles = { "care_manager", "clinician", "manager" },
	},
	view "safety_alerts" {
		shared = true, summary = "Open alerts about self-harm", of = instances "safety",
		columns = { "patient_name", "state", "action", "due", "overdue", "task" },
		roles = { "care_manager", "clinician", "behavioral_health_consultant", "manager", "on_call" },
	},
}
