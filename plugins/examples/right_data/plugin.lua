-- right_data: what a plugin can say of right data by `rule`. An example: plugins/README.md tells of it.
local loinc = "http://loinc.org|"

-- Whether two open periods share a moment; dateTimes of one zone compare as texts.
local function overlap(a, b)
	return a.start < b["end"] and b.start < a["end"]
end

return plugin {
	name = "right_data", api = 1, summary = "Rules of right data",

	roles = {
		desk = {
			summary = "Enters data",
			allow = {
				{ "read search create update delete", types = { "Patient", "Observation", "Encounter", "EpisodeOfCare", "Basic" } },
				{ "read search create transition", types = { "Task" } },
				{ "read search update", types = { "DetectedIssue" } },
			},
		},
		steward = {
			summary = "Looks after the data",
			allow = { { "read search create update", types = { "*" } } },
		},
	},

	-- Refused.
	rule "phq9_range" {
		of = "Observation?code=" .. loinc .. "44261-6",
		summary = "A PHQ-9 total is a whole number from 0 to 27", source = "PHQ-9 instrument",
		check = function (_, observation)
			local total = observation.valueInteger or observation.valueQuantity and observation.valueQuantity.value
			return total ~= nil and total >= 0 and total <= 27
		end,
	},

	rule "one_open_episode" {
		of = "EpisodeOfCare?status=active",
		summary = "A patient has one open episode of a kind",
		check = function (ctx, episode)
			for _, other in ipairs(ctx:search("EpisodeOfCare", { patient = episode.patient.reference, status = "active" })) do
				if other.id ~= episode.id then
					return "EpisodeOfCare/" .. other.id .. " is open already"
				end
			end
		end,
	},

	-- Taken in, and kept as a DetectedIssue until it is put right; `desk` gets a Task for it.
	rule "visit_before_birth" {
		of = "Encounter", summary = "A visit lies after the patient's birth", flag = "desk", severity = "high",
		check = function (ctx, encounter)
			local patient = encounter.subject and ctx:read(encounter.subject)
			local start = encounter.period and encounter.period.start
			if patient and patient.birthDate and start and ctx:local_date(start) < patient.birthDate then
				return "the visit on " .. ctx:local_date(start) .. " lies before the birth on " .. patient.birthDate
			end
		end,
	},

	rule "visits_overlap" {
		of = "Encounter", summary = "One patient is in one visit at a time", flag = true,
		check = function (ctx, encounter)
			local period = encounter.period
			if not period or not period.start or not period["end"] or not encounter.subject then
				return
			end
			for _, other in ipairs(ctx:search("Encounter", {
				patient = encounter.subject.reference, date = { "lt" .. period["end"], "gt" .. period.start },
			})) do
				if other.id ~= encounter.id and other.period["end"] and overlap(period, other.period) then
					return "it overlaps with Encounter/" .. other.id
				end
			end
		end,
	},

	-- Only this plugin's own functions, and a steward, write these.
	rule "score_is_computed" {
		of = "Observation?code=" .. loinc .. "69737-5", exclusive = { "steward" },
		summary = "The GAD-7 total is computed from the answers, never entered",
	},

	operation "$score" {
		summary = "Write a total", roles = { "desk" },
		run = function (ctx, _, target)
			ctx:create {
				resourceType = "Observation", status = "final", subject = { reference = target }, valueInteger = 7,
				code = { coding = { { system = "http://loinc.org", code = "69737-5" } } },
			}
		end,
	},
}
