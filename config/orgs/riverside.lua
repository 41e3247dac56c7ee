-- Riverside Family Practice: a primary care practice that refers to partners (coordinated model).
return {
	name = "Riverside Family Practice",
	zone = "America/Chicago",
	hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
	-- Days without business, besides the weekend. Observed US federal holidays; change to yours.
	holidays = {
		"2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-07-03", "2026-09-07", "2026-10-12",
		"2026-11-11", "2026-11-26", "2026-12-25",
		"2027-01-01", "2027-01-18", "2027-02-15", "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-10-11",
		"2027-11-11", "2027-11-25", "2027-12-24",
	},
	reference = "Organization/riverside",

	model = "coordinated",
	programs = {},
	services = { "referral", "network" },
	plugins = { "local" }, -- own plugins, in config/orgs/riverside/<name>/

	partners = {
		lakeside = {
			name = "Lakeside Behavioral Health",
			url = "https://lakeside.localhost:8443",
			reference = "Organization/lakeside",
			certificate = "urn:careloop:organization:lakeside",
		},
	},

	-- Where notifications of FHIR Subscriptions may go: beginnings of addresses. http = true allows some without TLS,
	-- private_addresses = true those of this machine and its own network (as the example of core/courier/README.md
	-- needs), most how many there may be (1000).
	subscriptions = { destinations = { "https://localhost:9443" }, private_addresses = true },

	-- Who may come in. A principal is a trust anchor and a name in its certificate; `anchor` defaults to the server's
	-- client authority.
	principals = {
		-- A program without a certificate gets tokens at /oauth2/token, by assertions that it signs with one of these keys:
		-- registry = { kind = "client", roles = { "ehr" }, jwks_file = "riverside-registry.json", scopes = "system/*.rs" },
		ehr = { kind = "client", certificate = "urn:careloop:riverside:client:ehr", roles = { "ehr" } },
		coordinator = {
			kind = "person", certificate = "urn:careloop:riverside:person:coordinator", roles = { "referral_coordinator" },
			reference = "Practitioner/riverside-coordinator",
		},
		clinician = {
			kind = "person", certificate = "urn:careloop:riverside:person:clinician", roles = { "clinician" },
			reference = "Practitioner/riverside-clinician",
		},
		manager = {
			kind = "person", certificate = "urn:careloop:riverside:person:manager", roles = { "manager" },
			reference = "Practitioner/riverside-manager",
		},
	},

	-- Values of plugin settings: settings = { referral = { accept_within = "2 business days" } }
	settings = {
		referral = { coordinator_hourly_rate = 42 },
	},

	-- Baselines and targets of metrics, agreed before the pilot (numbers of an example clinic).
	metrics = {
		loop_closed = { baseline = 34, target = 70 },
		days_to_accept = { baseline = 5, target = 2 },
		referrals_lost = { baseline = 40, target = 15 },
		referral_visit_kept = { baseline = 45, target = 70 },
	},
}
