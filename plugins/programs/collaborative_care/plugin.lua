-- Collaborative care (CoCM): a care manager, a psychiatric consultant and the primary care provider treat depression
-- and anxiety to target. The machines are in episode.lua, flags and
-- weekly review in caseload.lua, minutes and months in ledger.lua, the payers' tables in payers.lua, measures in
-- measures.lua. Thoughts of self-harm (item 9) are answered by the model's workflow "safety".
local codes = require "lib/codes"
local resources = require "lib/resources"
local roles = require "lib/roles"
local caseload = require "caseload"
local episode = require "episode"
local ledger = require "ledger"
local measures = require "measures"
local payers = require "payers"

local declare = { setting = setting, escalate = escalate, fire = fire }
local staff = { "care_manager", "clinician", "psychiatric_consultant" }
local everyone = { "care_manager", "clinician", "psychiatric_consultant", "manager" }
local money = { "care_manager", "biller", "manager" }

local function scored(ctx, change)
	local code = change.resource.code
	if resources.has_code(code, codes.loinc.phq9_total, codes.system.loinc)
		or resources.has_code(code, codes.loinc.phq9m_total, codes.system.loinc)
		or resources.has_code(code, codes.loinc.gad7_total, codes.system.loinc) then
		caseload.assess_patient(ctx, resources.reference(change.resource.subject))
	end
end

local function score_deleted(ctx, change)
	if change.resource then
		scored(ctx, change)
	else
		caseload.assess_all(ctx) -- whose it was is not known any more
	end
end

local function look_again(ctx, change)
	if change.event ~= "overdue" then
		caseload.assess_patient(ctx, ctx:instance(change.reference).patient)
	end
end

local function episode_moved(ctx, change)
	episode.entered(ctx, change)
	if change.from ~= change.to and change.to ~= "disengaged" then
		look_again(ctx, change)
	end
end

local function decided(ctx, change)
	episode.decided(ctx, change)
	look_again(ctx, change)
end

return plugin {
	name = "collaborative_care", api = 1, summary = "Collaborative care: registry, case review, minutes and monthly codes",

	settings = {
		-- clocks of the episode
		offer_within = { type = "duration", default = "14 days", help = "Time to offer the program once identified" },
		consent_within = { type = "duration", default = "30 days", help = "Time for the patient to decide" },
		enrol_within = { type = "duration", default = "14 days", help = "Time from consent to enrolment" },
		assess_within = { type = "duration", default = "14 days", help = "Time from enrolment to the initial assessment" },
		episode_review_within = {
			type = "duration", default = "180 days", help = "After so long in treatment: is this still the right program?",
		},
		consult_within = {
			type = "duration", default = "28 days", source = "MHIP (Bao et al. 2016): weeks 8 to 12",
			help = "Time to have a patient who does not improve discussed by the psychiatric consultant",
		},
		advise_within = { type = "duration", default = "1 week", help = "Time for consultant and provider to decide" },
		decide_within = {
			type = "duration", default = "3 business days", help = "Time for the provider to answer a recommendation",
		},
		change_within = { type = "duration", default = "28 days", help = "Time given to a changed treatment" },
		maintenance_within = {
			type = "duration", default = "100 days", source = "own default: three monthly contacts",
			help = "Time in maintenance before graduation is due",
		},
		maintenance_contacts = {
			type = "integer", default = 3, source = "own default", help = "Contacts in maintenance before graduation",
		},
		pause_within = { type = "duration", default = "30 days", help = "Time that care may pause" },
		step_up_within = { type = "duration", default = "30 days", help = "Time for specialty care to begin" },
		outreach_within = { type = "duration", default = "1 week", help = "Time for each attempt to reach who disengaged" },
		discharge_reasons = {
			type = "list", source = "AIMS Center", help = "Why an episode may be closed",
			default = {
				"target met", "referred to specialty", "moved or left", "declined", "lost to follow-up", "died", "ineligible",
				"other",
			},
		},
		-- contacts by phase
		first_contact_within = {
			type = "duration", default = "4 weeks", source = "MHIP (Bao et al. 2016)",
			help = "First follow-up contact after the initial assessment",
		},
		contact_within = {
			type = "duration", default = "14 days", source = "common practice: every 1 to 2 weeks",
			help = "Contacts in treatment",
		},
		contact_by_severity = {
			type = "table", default = {},
			help = "The same by the latest score's band, where it differs: { severe = \"7 days\" }",
		},
		fresh_score_days = {
			type = "integer", default = 7, source = "common practice: a score at every contact",
			help = "At a contact the score is asked for again unless it is younger (with the service instruments)",
		},
		monthly_contact_within = {
			type = "duration", default = "30 days", source = "own default", help = "Contacts in maintenance",
		},
		held_contact_within = { type = "duration", default = "30 days", help = "Contacts while paused or stepped up" },
		-- flags
		new_days = { type = "integer", default = 14, help = "Days after enrolment that a patient counts as new" },
		stale_days = { type = "integer", default = 28, source = "own default", help = "Days without contact: yellow" },
		disengaged_days = {
			type = "integer", default = 60, source = "own default", help = "Days without contact: disengaged",
		},
		score_days = {
			type = "integer", default = 28, source = "common practice", help = "Days until the score is repeated",
		},
		early_days = {
			type = "integer", default = 28, source = "AIMS Center: early response",
			help = "From this day on little improvement is flagged",
		},
		response_days = {
			type = "integer", default = 56, source = "MHIP (Bao et al. 2016)", help = "From this day on no response is flagged",
		},
		consult_days = {
			type = "integer", default = 84, source = "MHIP (Bao et al. 2016)", help = "By this day the consultant has advised",
		},
		-- weekly review
		review_day = {
			type = "choice", default = "tuesday", choices = { "monday", "tuesday", "wednesday", "thursday", "friday" },
			help = "Day of the weekly caseload review; without business the next day that has",
		},
		review_within = { type = "duration", default = "2 business days", help = "Time to hold it" },
		caseload_capacity = { type = "integer", default = 60, help = "Patients that one care manager can carry" },
		-- minutes
		activities = {
			type = "list", source = "CPT: elements of 99492", help = "What minutes are spent on; counts = false is not paid for",
			default = {
				{ code = "outreach", title = "Outreach and engagement" }, { code = "assessment", title = "Assessment" },
				{ code = "registry", title = "Registry and tracking" }, { code = "review", title = "Caseload review" },
				{ code = "intervention", title = "Brief intervention" }, { code = "care_plan", title = "Care plan" },
				{ code = "coordination", title = "Coordination with the team and others" },
				{ code = "administration", title = "Administration", counts = false },
			},
		},
		counting_roles = {
			type = "list", default = { "care_manager" }, source = "CMS: behavioral health integration, clinical staff time",
			help = "Roles whose time is counted",
		},
		longest_entry = { type = "integer", default = 240, help = "Minutes that one entry may have" },
		timer_longest = { type = "duration", default = "4 hours", help = "A timer that runs longer was forgotten" },
		close_within = {
			type = "duration", default = "5 business days", source = "own default; no payer asks for a day",
			help = "By when a month is attested",
		},
		gap_months = {
			type = "integer", default = 6, source = "CMS: episode of care",
			help = "Whole months without service after which a first month begins again",
		},
		initiating_visit_days = {
			type = "integer", default = 365, source = "CMS: initiating visit, seen within a year",
			help = "How old the initiating visit may be",
		},
		reviews_a_month = {
			type = "integer", default = 1, help = "Caseload reviews that must have been held for a month to be billable",
		},
		elements = {
			type = "table", source = "CPT: elements of 99492",
			help = "What must be on record in a month, for each way of billing; else: not billable, and why",
			default = {
				collaborative = {
					"consent", "initiating_visit", "registry", "assessment", "review", "engagement", "intervention", "care_plan",
				},
				general = { "consent", "initiating_visit", "assessment", "care_plan" },
				own = { "consent", "initiating_visit", "assessment", "care_plan" },
			},
		},
		site = {
			type = "choice", default = "practice", choices = { "practice", "fqhc", "rhc" },
			help = "Kind of site; health centers and rural clinics had a code of their own until 2025",
		},
		payer_tables = {
			type = "list", default = payers.tables, source = "payers.lua", help = "Codes and thresholds, dated",
		},
		payer_exceptions = {
			type = "list", default = {}, source = "contracts",
			help = "Named payers' own rows, dated: { payer =, like = \"medicare\", from =, to =, source =, general = … }",
		},
		payer_names = {
			type = "table", default = {}, help = "Coverage.payor (reference or display) = payer in the tables",
		},
		default_payer = {
			type = "string", default = "",
			help = "Payer of patients without a Coverage on record; empty: not billable, and said",
		},
		warn_days = { type = "integer", default = 7, help = "Days before the month's end from which on is warned" },
		warn_minutes = { type = "integer", default = 15, help = "Minutes to the next code that are worth a warning" },
	},

	roles = {
		care_manager = {
			summary = "Behavioral health care manager: registry, contacts, minutes",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search history", types = roles.record },
				{ "read search", types = { "Task", "Communication", "List", "ChargeItem" } },
				{
					"create update", types = {
						"Task", "Encounter", "Observation", "Communication", "QuestionnaireResponse", "Consent", "CarePlan",
					},
				},
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		clinician = {
			summary = "Primary care provider: decides on recommendations",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "List" } },
				{ "create", types = { "Task" } },
				{ "transition", types = { "Task" } },
				{ "metrics", types = { "*" } },
			},
		},
		psychiatric_consultant = {
			summary = "Advises on the caseload; sees registry and charts, prescribes nothing",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search history", types = roles.record },
				{ "read search", types = { "Task", "Communication", "List" } },
				{ "transition", types = { "Task" }, workflow = "cocm" },
				{ "transition", types = { "Task" }, workflow = "cocm_recommendation" },
				{ "transition", types = { "Task" }, workflow = "cocm_review" },
				{ "metrics", types = { "*" } },
			},
		},
		biller = {
			summary = "Bills what is attested",
			allow = {
				{ "read search", types = { "Patient", "Coverage", "ChargeItem", "Task", "Communication" } },
				{ "transition", types = { "Task" }, workflow = "cocm_month" },
				{ "metrics", types = { "*" } },
			},
		},
		manager = {
			summary = "Sees how it goes: measures, worklists, no charts",
			allow = { { "transition", types = { "Task" }, workflow = "cocm_month" } },
		},
	},

	workflow "cocm" (episode.workflow(declare)),
	workflow "cocm_contact" (episode.contact_workflow(declare)),
	workflow "cocm_recommendation" (episode.recommendation_workflow(declare)),
	workflow "cocm_review" (caseload.review_workflow(declare)),
	workflow "cocm_timer" (ledger.timer_workflow(declare)),
	workflow "cocm_month" (ledger.month_workflow(declare)),

	rule "cocm_ledger" {
		of = "ChargeItem?code=urn:careloop:cocm:charge|minutes,urn:careloop:cocm:charge|month", exclusive = true,
		summary = "Minutes and months are written by $minutes and by closing the month, never by hand",
	},
	rule "cocm_two_episodes" {
		of = "EpisodeOfCare?type=" .. codes.system.episode .. "|" .. episode.type,
		summary = "A patient has one open episode of collaborative care", check = episode.is_only_one,
	},

	on "Observation.create" (scored),
	on "Observation.update" (scored),
	on "Observation.delete" (score_deleted),
	on "Encounter.create" (episode.seen),
	on "Encounter.update" (episode.seen),
	on "cocm.enrolled" (episode_moved),
	on "cocm.active" (episode_moved),
	on "cocm.not_improving" (episode_moved),
	on "cocm.consult" (episode_moved),
	on "cocm.changed" (episode_moved),
	on "cocm.maintenance" (episode_moved),
	on "cocm.paused" (episode_moved),
	on "cocm.stepped_up" (episode_moved),
	on "cocm.disengaged" (episode_moved),
	on "cocm.graduated" (episode.entered),
	on "cocm.closed" (episode.entered),
	on "cocm_contact.acute" (look_again),
	on "cocm_contact.monthly" (look_again),
	on "cocm_recommendation.accepted" (decided),
	on "cocm_recommendation.changed" (decided),
	on "cocm_recommendation.declined" (decided),
	on "cocm_recommendation.withdrawn" (decided),

	every("02:00", "daily", caseload.assess_all),
	timer "assess" (caseload.assess_batch),
	every("04:00", "daily", ledger.refresh_all),
	timer "months" (ledger.refresh_batch),
	every("06:00", "daily", caseload.prepare),
	every("00:30", "monthly", ledger.open_month),

	operation "$minutes" {
		summary = "Start or stop a timer, enter or void minutes, show a month and why it comes to its code",
		roles = { "care_manager", "psychiatric_consultant", "behavioral_health_consultant" }, run = ledger.operate,
	},

	metric "cocm_response" {
		summary = "Patients with a first PHQ-9 of 10 or more whose score was halved 120 to 240 days later",
		category = "outcomes", unit = "%", better = "higher", version = "1",
		source = "DRR-E's response rule; in the month of the 240th day", value = measures.response,
	},
	metric "cocm_remission" {
		summary = "The same patients, score below 5 at 120 to 240 days", category = "outcomes", unit = "%", better = "higher",
		version = "1", source = "DRR-E's remission rule", value = measures.remission,
	},
	metric "cocm_remission_12_months" {
		summary = "The same patients, score below 5 at twelve months, 60 days either way", category = "outcomes", unit = "%",
		better = "higher", version = "1", source = "CMS159's window, without its exclusions",
		value = measures.remission_12_months,
	},
	metric "cocm_improvement" {
		summary = "The same patients, below 10 or half by 24 weeks", category = "outcomes", unit = "%", better = "higher",
		version = "1", source = "MHIP (Bao et al. 2016)", value = measures.improvement,
	},
	metric "cocm_scored" {
		summary = "The same patients, with a PHQ-9 at 120 to 240 days at all (beside remission)", category = "outcomes",
		unit = "%", better = "higher", version = "1", source = "own definition", value = measures.scored,
	},
	metric "cocm_contacted_30_days" {
		summary = "Patients in care with a contact in the 30 days before the month's end", category = "operations",
		unit = "%", better = "higher", version = "1", source = "AIMS Center", value = measures.contacted,
	},
	metric "cocm_first_contact_4_weeks" {
		summary = "Patients with a follow-up contact within four weeks of the initial assessment", category = "operations",
		unit = "%", better = "higher", version = "1", source = "MHIP (Bao et al. 2016)",
		of = started "cocm_contact", counts = reached("acute", { within = "4 weeks" }),
	},
	metric "cocm_consult_on_time" {
		summary = "Non-responders of week 8 whom the psychiatric consultant advised on by week 12", category = "operations",
		unit = "%", better = "higher", version = "1", source = "MHIP (Bao et al. 2016)", value = measures.consult_on_time,
	},
	metric "cocm_phq_4_weeks" {
		summary = "Patients in care with a PHQ-9 in the four weeks before the month's end", category = "operations",
		unit = "%", better = "higher", version = "1", source = "AIMS Center", value = measures.phq_current,
	},
	metric "cocm_two_contacts" {
		summary = "Patients in care with two contacts or more in the month", category = "operations", unit = "%",
		better = "higher", version = "1", source = "AIMS Center: two contacts a month in treatment",
		value = measures.two_contacts,
	},
	metric "cocm_scored_contacts" {
		summary = "Contacts with a PHQ-9 or GAD-7 within three days of them", category = "operations", unit = "%",
		better = "higher", version = "1", source = "AIMS Center: a score at every contact", value = measures.scored_contacts,
	},
	metric "cocm_days_to_improvement" {
		summary = "Median days from the first score of 10 or more to below 10 or half, of those who got there in the month",
		category = "outcomes", unit = "days", better = "lower", version = "1", source = "MHIP (Bao et al. 2016)",
		value = measures.days_to_improvement,
	},
	metric "cocm_mean_change" {
		summary = "Mean change of the PHQ-9 since the first one, of patients in care with two or more", category = "outcomes",
		unit = "points", better = "lower", version = "1", source = "AIMS Center", value = measures.mean_change,
	},
	metric "cocm_recommendations_answered" {
		summary = "Psychiatric recommendations that the primary care provider answered in time", category = "operations",
		unit = "%", better = "higher", version = "1", source = "own definition; setting decide_within",
		of = started "cocm_recommendation",
		counts = reached({ "accepted", "changed", "declined" }, { within = setting "decide_within" }),
	},
	metric "cocm_lost" {
		summary = "Episodes that ended because the patient was lost to follow-up", category = "operations", unit = "%",
		better = "lower", version = "1", source = "own definition", value = measures.lost,
	},
	metric "cocm_billable_months" {
		summary = "Patient-months with a code that can be billed / patient-months with minutes", category = "finance",
		unit = "%", better = "higher", version = "1", source = "own definition", value = ledger.billable,
	},
	metric "cocm_minutes_per_patient" {
		summary = "Counted minutes for each patient-month that has any", category = "finance", unit = "minutes",
		better = "higher", version = "1", source = "own definition", value = ledger.minutes_each,
	},
	metric "cocm_unfunded_share" {
		summary = "Minutes that nobody pays for / minutes entered", category = "finance", unit = "%", better = "lower",
		version = "1", source = "own definition", value = ledger.unfunded,
	},

	view "cocm_registry" {
		summary = "Everybody in collaborative care, those to talk about first", rows = caseload.rows, roles = staff,
		columns = {
			"patient_name", "state", "measure", "first", "last", "delta", "weeks", "last_score", "last_contact", "last_consult",
			"flags", "patient", "task",
		},
	},
	view "cocm_caseload" {
		summary = "Statistics for each care manager", rows = caseload.statistics, roles = everyone,
		columns = {
			"care_manager", "patients", "capacity", "contacted_30_days", "consulted", "with_two_scores", "at_target",
			"mean_change",
		},
	},
	view "cocm_contacts" {
		summary = "Whom to contact, and by when", of = instances "cocm_contact",
		states = { "first", "acute", "monthly", "held" },
		columns = { "patient_name", "state", "action", "due", "overdue", "task" }, roles = staff,
	},
	view "cocm_recommendations" {
		summary = "Recommendations that wait for the primary care provider", of = instances "cocm_recommendation",
		states = { "open" },
		columns = { "patient_name", "data.recommendation", "owner", "due", "overdue", "age_days", "task" },
		roles = staff,
	},
	view "cocm_minutes" {
		summary = "This month: minutes, code so far, what is next", rows = ledger.this_month, roles = money,
		columns = {
			"patient_name", "minutes", "codes", "next", "missing", "days_left", "unfunded", "not_billable", "status", "patient",
		},
	},
	view "cocm_last_month" {
		summary = "Last month: what can be billed, what not and why", rows = ledger.last_month, roles = money,
		columns = {
			"patient_name", "month", "minutes", "codes", "status", "not_billable", "unfunded", "patient", "statement",
		},
	},
}
