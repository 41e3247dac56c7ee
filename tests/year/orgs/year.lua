-- The organization of the synthetic year: fully integrated, with collaborative care and everything that measures.
return {
	name = "Year Clinic",
	zone = "America/Chicago",
	hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
	holidays = { "2025-01-01", "2025-01-20", "2025-05-26", "2025-06-19", "2025-07-04", "2025-09-01", "2025-11-27", "2025-12-25" },
	reference = "Organization/year",
	model = "integrated",
	programs = {},
	services = { "referral", "improvement", "pathways" },
	partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
	principals = {
		ehr = { kind = "client", roles = { "ehr" } },
		coordinator = {
			kind = "person", roles = { "care_manager", "referral_coordinator", "front_desk" }, reference = "Practitioner/coordinator",
		},
		clinician = {
			kind = "person", roles = { "clinician", "behavioral_health_consultant", "on_call" },
			reference = "Practitioner/clinician",
		},
		manager = { kind = "person", roles = { "manager" }, reference = "Practitioner/manager" },
	},
	settings = { integrated = { on_call = true } },
}
