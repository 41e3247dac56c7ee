-- Hillside Integrated Care: one team, one plan and one registry for each patient (fully integrated model).
return {
	name = "Hillside Integrated Care",
	zone = "America/Los_Angeles",
	hours = { opens = "08:00", closes = "18:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
	-- Days without business, besides the weekend. Observed US federal holidays; change to yours.
	holidays = {
		"2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-07-03", "2026-09-07", "2026-10-12",
		"2026-11-11", "2026-11-26", "2026-12-25",
		"2027-01-01", "2027-01-18", "2027-02-15", "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-10-11",
		"2027-11-11", "2027-11-25", "2027-12-24",
	},
	reference = "Organization/hillside",

	model = "integrated",
	programs = { "collaborative_care", "capitation" },
	services = { "governance", "pathways", "improvement", "instruments", "measures" },
	plugins = { "weekly" }, -- own plugins, in config/orgs/hillside/<name>/

	partners = {},

	-- Who may come in. A principal is a trust anchor and a name in its certificate; `anchor` defaults to the server's
	-- client authority.
	principals = {
		ehr = { kind = "client", certificate = "urn:careloop:hillside:client:ehr", roles = { "ehr" } },
		coordinator = {
			kind = "person", certificate = "urn:careloop:hillside:person:coordinator",
			roles = { "care_manager", "medical_assistant", "front_desk" },
			reference = "Practitioner/hillside-coordinator",
		},
		clinician = {
			kind = "person", certificate = "urn:careloop:hillside:person:clinician",
			roles = { "clinician", "behavioral_health_consultant", "on_call" },
			reference = "Practitioner/hillside-clinician",
		},
		manager = {
			kind = "person", certificate = "urn:careloop:hillside:person:manager", roles = { "manager", "population_manager" },
			reference = "Practitioner/hillside-manager",
		},
	},

	-- Values of plugin settings.
	settings = {
		integrated = {
			staffed_until = "18:00",
			on_call = true, -- a clinician is on call at night and on weekends
		},
		capitation = {
			contracts = { -- numbers of an example
				["advantage-2026"] = {
					name = "Medicare Advantage 2026", from = "2026-01-01", to = "2026-12-31", pmpm = 420, benchmark = 410,
					withhold = 0.03, share = 0.5, loss_share = 0.25, minimum_saving = 0.02,
					gates = { cms122 = { at_most = 25 }, cms165 = { at_least = 60 } },
					pools = { professional = 0.45, institutional = 0.40, pharmacy = 0.15 },
				},
			},
		},
	},

	-- Baselines and targets of metrics, agreed before the pilot (numbers of an example clinic).
	metrics = {
		phq9_response = { baseline = 28, target = 50 },
		phq9_remission = { baseline = 12, target = 30 },
		contacted_30_days = { baseline = 55, target = 85 },
		plan_reviewed_on_time = { baseline = 40, target = 90 },
		cost_pmpm = { baseline = 410, target = 390 },
	},
}
