-- Lakeside Behavioral Health: receives referrals from primary care, and has primary care rooms of its own, where its
-- behavioral health consultants see patients by warm handoff (co-located model).
return {
	name = "Lakeside Behavioral Health",
	zone = "America/Chicago",
	hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
	-- Days without business, besides the weekend. Observed US federal holidays; change to yours.
	holidays = {
		"2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-07-03", "2026-09-07", "2026-10-12",
		"2026-11-11", "2026-11-26", "2026-12-25",
		"2027-01-01", "2027-01-18", "2027-02-15", "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-10-11",
		"2027-11-11", "2027-11-25", "2027-12-24",
	},
	reference = "Organization/lakeside",

	model = "colocated",
	programs = { "pcbh" },
	services = { "referral", "instruments" },
	plugins = { "waiting" }, -- own plugins, in config/orgs/lakeside/<name>/

	partners = {
		riverside = {
			name = "Riverside Family Practice",
			url = "https://riverside.localhost:8443",
			reference = "Organization/riverside",
			certificate = "urn:careloop:organization:riverside",
		},
	},

	-- Who may come in. A principal is a trust anchor and a name in its certificate; `anchor` defaults to the server's
	-- client authority. Lakeside is small: people have more than one role.
	principals = {
		ehr = { kind = "client", certificate = "urn:careloop:lakeside:client:ehr", roles = { "ehr" } },
		coordinator = {
			kind = "person", certificate = "urn:careloop:lakeside:person:coordinator",
			roles = { "referral_coordinator", "intake", "front_desk", "medical_assistant" },
			reference = "Practitioner/lakeside-coordinator",
		},
		clinician = {
			kind = "person", certificate = "urn:careloop:lakeside:person:clinician",
			roles = { "clinician", "behavioral_health_consultant" },
			reference = "Practitioner/lakeside-clinician",
		},
		manager = {
			kind = "person", certificate = "urn:careloop:lakeside:person:manager", roles = { "manager" },
			reference = "Practitioner/lakeside-manager",
		},
	},

	-- Values of plugin settings.
	settings = {
		colocated = {
			-- Whether a payer pays a medical and a behavioral health visit of the same day. Example values: put in your
			-- contracts' rules, with their source. A payer that is not listed is not counted as billable.
			same_day_rules = {
				["Organization/state-medicaid"] = {
					billable = true, modifier = "59", source = "example: one medical and one behavioral visit a day",
				},
				["Organization/commercial-plan"] = { billable = false, reason = "example: one visit a day" },
			},
		},
		pcbh = {
			-- The same for brief visits, by published shapes (see plugins/programs/pcbh/README.md). Examples.
			same_day_rules = {
				{ payer = "Organization/state-medicaid", like = "capped", from = "2026-01-01", source = "example" },
				{ payer = "Organization/commercial-plan", like = "single", from = "2026-01-01", source = "example" },
			},
		},
	},

	-- Baselines and targets of metrics, agreed before the pilot (numbers of an example clinic).
	metrics = {
		loop_closed = { baseline = 52, target = 80 },
		days_to_accept = { baseline = 4, target = 2 },
		handoff_minutes = { baseline = 38, target = 15 },
		handoff_same_day = { baseline = 45, target = 80 },
		screened_share = { baseline = 40, target = 85 },
		positive_same_day_contact = { baseline = 25, target = 60 },
	},
}
