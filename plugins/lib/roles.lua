-- Roles that every model has alike. A model puts them into its `roles` and adds its own.
local roles = {}

-- A partner organization: sends messages, and sees the Tasks it asked for or has to answer. Nothing else.
roles.partner = {
	summary = "Another organization",
	allow = {
		{ "message", types = { "*" } },
		{ "read search", types = { "Task" }, where = "requester=@self" },
		{ "read search", types = { "Task" }, where = "owner=@self" },
	},
}

-- The record system of the house: everything, labelled records included; it has its own access control for its users.
roles.ehr = {
	summary = "The organization's record system",
	allow = {
		{ "read search history create update delete transition events metrics", types = { "*" }, except_labels = {} },
	},
}

roles.manager = {
	summary = "Sees how it goes: measures, worklists, no charts",
	allow = {
		{ "metrics events", types = { "*" } },
		{
			"read search",
			types = { "Task", "Organization", "HealthcareService", "Measure", "MeasureReport", "Communication" },
		},
	},
}

-- What people may look up to do their work at all: demographics and the directory, no clinical record.
roles.directory = {
	"Patient", "RelatedPerson", "Practitioner", "PractitionerRole", "Organization", "HealthcareService", "Location",
	"CareTeam",
	"Schedule", "Slot", "Appointment", "Coverage", "Questionnaire",
}

-- Labels that even the treating team does not see without a grant of its own: notes of counselling and psychotherapy,
-- and what is very restricted. Part 2 and other restricted records it does see (grants with the condition "care team").
roles.beyond_treating = { "PSYTHPN", "SUDNOTE", "V" }

-- The clinical record; models give it under the condition "care team".
roles.record = {
	"AllergyIntolerance", "CarePlan", "Condition", "Consent", "DocumentReference", "Encounter", "EpisodeOfCare",
	"Flag", "Goal",
	"MedicationRequest", "MedicationStatement", "Observation", "Procedure", "QuestionnaireResponse", "ServiceRequest",
}

local everyday = {
	"Task", "Communication", "ServiceRequest", "DocumentReference", "Consent", "Organization", "HealthcareService",
}

-- The two sides of a referral; the service "referral" brings them along, whatever the model.
roles.referral_coordinator = {
	summary = "Sends referrals, follows them, records what partners say by phone or fax",
	allow = {
		{ "read search history", types = roles.directory },
		{ "read search history", types = everyday },
		{
			"create update", types = {
				"Task", "Communication", "ServiceRequest", "DocumentReference", "Consent", "Appointment", "Patient",
				"HealthcareService", "Organization",
			},
		},
		{ "transition", types = { "Task" } },
		{ "events metrics", types = { "*" } },
	},
}

roles.intake = {
	summary = "Answers the referrals that partners send us",
	allow = {
		{ "read search history", types = roles.directory, except_labels = roles.beyond_treating },
		{
			"read search", types = {
				"Task", "Communication", "ServiceRequest", "Consent", "DocumentReference", "Observation", "Condition",
			},
			except_labels = roles.beyond_treating,
		},
		{ "create update", types = { "Task", "Communication", "Appointment", "Patient", "DocumentReference" } },
		{ "transition", types = { "Task" } },
		{ "events metrics", types = { "*" } },
	},
}

return roles
