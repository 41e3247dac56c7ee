-- Primary care behavioral health (PCBH): a consultant in the primary care team sees patients briefly and for anything,
-- tells the provider the same day, and hands back or steps up after a few visits. The machines are in visits.lua, the
-- GATHER measures in gather.lua. The warm handoff is the co-located model's; its visits become visits of this program.
local roles = require "lib/roles"
local gather = require "gather"
local visits = require "visits"

local declare = { setting = setting, escalate = escalate }
local staff = { "behavioral_health_consultant", "clinician", "medical_assistant", "front_desk", "manager" }

return plugin {
	name = "pcbh", api = 1, summary = "Brief behavioral health visits in primary care, for any reason",

	settings = {
		reasons = {
			type = "list", help = "What a visit can be about",
			default = {
				"anxiety", "depression", "stress", "grief", "trauma", "relationships", "parenting", "attention", "sleep", "pain",
				"headache", "diabetes", "hypertension", "weight", "tobacco", "alcohol", "other substances", "medication taking",
				"chronic illness", "other",
			},
		},
		general_reasons = {
			type = "list", help = "Those of them that are no mental health problem (letter G: the consultant is a generalist)",
			default = {
				"sleep", "pain", "headache", "diabetes", "hypertension", "weight", "tobacco", "medication taking",
				"chronic illness",
			},
		},
		interventions = {
			type = "list", help = "What was done",
			default = {
				"assessment", "education", "goal setting", "behavioral activation", "relaxation", "sleep habits",
				"problem solving", "motivational interviewing", "thinking skills", "mindfulness", "pain self-management",
				"tobacco cessation", "medication taking", "safety planning", "linking to resources", "other",
			},
		},
		initiated_by = {
			type = "list", help = "Who began a visit; the first two are the provider (letter T)",
			default = { "warm handoff", "provider's request", "screening", "huddle", "patient", "follow-up" },
		},
		functional_scores = {
			type = "table",
			help = "Scores of functioning: title, minimum, maximum, what is better, the change that counts, optional code and "
				.. "system",
			default = {
				function_0_10 = { title = "Functioning, 0 to 10", minimum = 0, maximum = 10, better = "higher", change = 2 },
				duke = { title = "Duke Health Profile, general", minimum = 0, maximum = 100, better = "higher", change = 10 },
				interference = {
					title = "How much the problem interferes, 0 to 10", minimum = 0, maximum = 10, better = "lower", change = 2,
				},
			},
		},
		visits_maximum = { type = "integer", default = 4, help = "Brief visits of an episode; one more needs a reason" },
		visit_longest = { type = "integer", default = 60, help = "Minutes that a brief visit can have; 15 to 30 are meant" },
		first_visit_within = {
			type = "duration", default = "1 business day", help = "Time to see the patient; the same day is meant",
		},
		next_visit_within = { type = "duration", default = "28 days", help = "Time until the next visit or the way back" },
		document_within = {
			type = "duration", default = "4 hours", help = "Time to write down what a visit was about that came from elsewhere",
		},
		feedback_until = {
			type = "string", default = "17:00", help = "Local time by which the provider is told, the same day",
		},
		step_up_to = {
			type = "list", default = { "collaborative care", "specialty behavioral health", "psychiatry", "social support" },
			help = "Where patients go who need more; collaborative care starts that program when it is there",
		},
		consultant_slot = {
			type = "code", default = "bhc", help = "Code of Slot.serviceType that marks the consultants' slots",
		},
		positive_phq9 = { type = "integer", default = 10, help = "From this PHQ-9 total on a screen is positive" },
		positive_phq2 = { type = "integer", default = 3, help = "From this PHQ-2 total on a screen is positive" },
		show_productivity = {
			type = "boolean", default = false, help = "Visits a day as a measure; such targets are contested: off",
		},
		site = { type = "choice", default = "practice", choices = { "practice", "fqhc", "rhc" }, help = "Kind of site" },
		state = { type = "string", default = "", help = "State of the site, for payers' rules" },
		payer_names = { type = "table", default = {}, help = "Coverage.payor (reference or display) = payer in the rules" },
		same_day_rules = {
			type = "list", default = {},
			help = "Which visits of one day a payer pays: { payer =, state =, site =, from =, to =, source =, like = \"federal\""
				.. " | \"one_each\" | \"capped\" | \"distinct\" | \"single\" | \"by_service\" }; without a rule: not decided",
		},
	},

	roles = {
		behavioral_health_consultant = {
			summary = "Sees patients briefly, tells the provider the same day",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "ChargeItem" } },
				{
					"read search history", types = roles.record, where = "care team", except_labels = roles.beyond_treating,
				},
				{ "create", types = { "Task" } },
				{ "transition", types = { "Task" }, workflow = "pcbh" },
				{ "transition", types = { "Task" }, workflow = "pcbh_visit" },
				{ "events metrics", types = { "*" } },
			},
		},
		clinician = {
			summary = "Asks for brief visits and gets the feedback",
			allow = {
				{ "read search", types = roles.directory }, { "read search", types = { "Task", "Communication" } },
				{ "create", types = { "Task" } },
				{ "transition", types = { "Task" }, workflow = "pcbh" },
			},
		},
		medical_assistant = {
			summary = "Rooms patients",
			allow = { { "read search", types = { "Task" } }, { "transition", types = { "Task" }, workflow = "pcbh" } },
		},
		front_desk = {
			summary = "Books visits",
			allow = { { "read search", types = { "Task" } }, { "transition", types = { "Task" }, workflow = "pcbh" } },
		},
	},

	workflow "pcbh" (visits.workflow(declare)),
	workflow "pcbh_visit" (visits.visit_workflow(declare)),

	rule "pcbh_minutes" {
		of = "ChargeItem?code=urn:careloop:pcbh:charge|visit", exclusive = true,
		summary = "A consultant's time is written with the visit, never by hand",
	},

	on "pcbh.asked" (visits.asked),
	on "pcbh_visit.feedback" (visits.feedback_owed),
	on "Encounter.create" (visits.seen),
	on "Encounter.update" (visits.seen),
	every("16:30", "business days", visits.before_closing),
	every("08:00", "monday", gather.sample_slots),

	operation "$pcbh-log" {
		summary = "Count what has no record of its own: huddles, consults with providers, trainings, providers' self-rating",
		roles = { "behavioral_health_consultant", "clinician", "manager" }, run = gather.log,
	},

	metric "pcbh_function_improved" {
		summary = "Ended episodes with two functional scores whose last is better by the change that counts",
		category = "outcomes", unit = "%", better = "higher", version = "1", source = "setting functional_scores",
		value = gather.function_improved,
	},
	metric "pcbh_general" {
		summary = "G: brief visits that are not about a mental health problem", category = "operations", unit = "%",
		better = "higher", version = "1", source = "GATHER", value = gather.general,
	},
	metric "pcbh_reasons_seen" {
		summary = "G: different reasons seen in the month", category = "operations", unit = "reasons", better = "higher",
		version = "1", source = "GATHER", value = gather.reasons_seen,
	},
	metric "pcbh_first_same_day" {
		summary = "A: first brief visits on the day of a medical visit", category = "operations", unit = "%",
		better = "higher", version = "1", source = "GATHER", value = gather.first_same_day,
	},
	metric "pcbh_requests_same_day" {
		summary = "A: requests that became a visit on the same day", category = "operations", unit = "%", better = "higher",
		version = "1", source = "GATHER", value = gather.requests_same_day,
	},
	metric "pcbh_minutes_to_visit" {
		summary = "A: median minutes from the request to the end of the first visit", category = "operations",
		unit = "minutes", better = "lower", version = "1", source = "GATHER",
		of = started "pcbh", measure = elapsed("asked", "active", "minutes"), show = "median",
	},
	metric "pcbh_minutes_to_visit_p90" {
		summary = "A: the same, nine of ten", category = "operations", unit = "minutes", better = "lower", version = "1",
		source = "GATHER", of = started "pcbh", measure = elapsed("asked", "active", "minutes"), show = "p90",
	},
	metric "pcbh_third_next_available" {
		summary = "A: days to the consultants' third free slot, sampled on Mondays", category = "operations", unit = "days",
		better = "lower", version = "1", source = "GATHER; IHI third next available", value = gather.third_next_available,
	},
	metric "pcbh_provider_initiated" {
		summary = "T: brief visits that the primary care provider began", category = "operations", unit = "%",
		better = "higher", version = "1", source = "GATHER", value = gather.provider_initiated,
	},
	metric "pcbh_feedback_same_day" {
		summary = "T: brief visits whose feedback reached the provider the same day", category = "operations", unit = "%",
		better = "higher", version = "1", source = "GATHER", value = gather.feedback_same_day,
	},
	metric "pcbh_huddles_attended" {
		summary = "T: huddles that a consultant took part in", category = "operations", unit = "%", better = "higher",
		version = "1", source = "GATHER", value = gather.huddles,
	},
	metric "pcbh_reach" {
		summary = "H: patients with a medical visit who had a brief one too", category = "operations", unit = "%",
		better = "higher", version = "1", source = "GATHER", value = gather.reach,
	},
	metric "pcbh_visits_a_day" {
		summary = "H: brief visits for each consultant's day (off unless show_productivity)", category = "operations",
		unit = "visits", better = "higher", version = "1", source = "GATHER", value = gather.visits_a_day,
	},
	metric "pcbh_teaching" {
		summary = "E: consults with providers and trainings in the month", category = "operations", unit = "times",
		better = "higher", version = "1", source = "GATHER", value = gather.teaching,
	},
	metric "pcbh_self_rating" {
		summary = "E: providers' mean rating of their own skills, 0 to 10", category = "operations", unit = "points",
		better = "higher", version = "1", source = "GATHER", value = gather.self_rating,
	},
	metric "pcbh_screened" {
		summary = "R: medical visits with a depression screen that day or in the 14 days before", category = "operations",
		unit = "%", better = "higher", version = "1", source = "GATHER; the 14 days are CMS2's", value = gather.screened,
	},
	metric "pcbh_positive_same_day" {
		summary = "R: positive screens whose patient had contact with a consultant the same day", category = "operations",
		unit = "%", better = "higher", version = "1", source = "GATHER", value = gather.positive_same_day,
	},
	metric "pcbh_same_day_paid" {
		summary = "Brief visits on the day of a medical one that the payer's rule pays, of those a rule speaks of",
		category = "finance", unit = "%", better = "higher", version = "1", source = "setting same_day_rules",
		value = gather.same_day_paid,
	},

	view "pcbh_patients" {
		summary = "Who is to be seen, and who is in brief care", of = instances "pcbh", states = { "asked", "active" },
		columns = { "patient_name", "state", "action", "due", "overdue", "started", "task" }, roles = staff,
	},
	view "pcbh_owed" {
		summary = "What is owed after visits: words about them, feedback today", of = instances "pcbh_visit",
		states = { "document", "feedback" },
		columns = { "patient_name", "state", "action", "data.reason", "due", "overdue", "task" }, roles = staff,
	},
	view "pcbh_same_day" {
		summary = "This month's brief visits on the day of a medical one: paid, or why not", rows = gather.same_day_rows,
		columns = { "day", "patient_name", "payer", "decision", "modifier", "reason", "about", "visit" },
		roles = { "behavioral_health_consultant", "manager", "biller" },
	},
}
