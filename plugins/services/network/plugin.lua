-- The network: who our partners are, what they agreed to, whom we may send a patient to, and how well that goes.
local compact = require "lib/compact"
local directory = require "directory"
local resources = require "lib/resources"
local routing = require "routing"
local scorecard = require "scorecard"

-- A filled-in compact is checked when it is written: its values become clocks.
local function compact_written(ctx, change)
	local response = change.resource
	if response.questionnaire ~= compact.questionnaire
		or response.status ~= "completed" and response.status ~= "amended" then
		return
	end
	local subject = resources.reference(response.subject)
	if resources.parse(subject) ~= "Organization" or not ctx:read(subject) then
		ctx:refuse("a care compact is about a partner: name an Organization of the directory",
			"QuestionnaireResponse.subject")
	end
	local values, why, place = compact.read(ctx, response)
	if not values then
		ctx:refuse(why, place)
	end
end

-- Every morning: credentials that end in 60, 30 or 7 days, or ended yesterday, and capacity that nobody refreshed.
local function watch(ctx)
	local today = ctx:today()
	for _, service in ipairs(ctx:search("HealthcareService", { active = "true", _count = 500 })) do
		local facts = directory.facts(ctx, service)
		if facts.as_of and ctx:between(facts.as_of, today, "days") == ctx.setting.capacity_fresh_days + 1 then
			ctx:notify {
				to = "referral_coordinator", about = facts.service,
				text = "The capacity of " .. (facts.name or facts.service) .. " is of " .. facts.as_of .. ": ask again",
			}
		end
	end
	for _, organization in ipairs(ctx:search("Organization", { active = "true", _count = 500 })) do
		for _, credential in ipairs(directory.credentials(ctx, resources.of(organization))) do
			if credential.expires and credential.status == "validated" then
				local left = ctx:between(today, credential.expires, "days")
				for _, days in ipairs(ctx.setting.credential_notices) do
					if left == tonumber(days) or days == 7 and left == -1 then
						ctx:notify {
							to = "referral_coordinator", about = resources.of(organization), priority = left < 0 and "urgent" or nil,
							text = string.format("%s: the %s %s on %s", organization.name or resources.of(organization),
								credential.kind or "credential", left < 0 and "ended" or "ends", credential.expires),
						}
					end
				end
			end
		end
	end
end

local function directory_rows(ctx)
	local rows = {}
	for _, service in ipairs(ctx:search("HealthcareService", { active = "true", _count = 500 })) do
		local facts = directory.facts(ctx, service)
		local verdict, words = "block", "names no organization"
		if facts.organization then
			verdict, words = directory.gate(ctx, facts.organization, {
				kinds = ctx.setting.required_credentials, on = ctx:today(), warn_days = ctx.setting.credential_warn_days,
			})
		end
		local terms = compact.current(ctx, facts.organization)
		rows[#rows + 1] = {
			organization = facts.organization_name, service = facts.name, kinds = table.concat(facts.kinds, ", "),
			places = facts.places, wait_days = facts.wait_days, as_of = facts.as_of,
			payers = table.concat(facts.payers, ", "), languages = table.concat(facts.languages, ", "),
			channel = terms and terms.channel or facts.partner and "connected" or "fax or letter",
			answers_within = terms and terms.accept_within or "(no compact)", answers_by = terms and terms.answers_by,
			credentials = verdict == "allow" and "valid" or words, reference = facts.service,
		}
	end
	table.sort(rows, function (a, b)
		return (a.organization or "") .. (a.service or "") < (b.organization or "") .. (b.service or "")
	end)
	return rows
end

return plugin {
	name = "network", api = 1, summary = "Partners: directory, care compacts, routing, scorecards",

	settings = {
		required_credentials = {
			type = "list", default = {},
			help = "Kinds of credential (VerificationResult.validationType) that a partner must hold on the day, e.g. license",
		},
		credential_warn_days = { type = "integer", default = 30, help = "Warn when a credential ends within so many days" },
		credential_notices = { type = "list", default = { 60, 30, 7 }, help = "People are told so many days before" },
		capacity_fresh_days = { type = "integer", default = 14, help = "After so many days a stated capacity is old" },
		rotation_days = { type = "integer", default = 30, help = "Referrals of so many days count for the rotation" },
		farthest_km = { type = "number", default = 0, help = "Services farther away do not fit; 0: distance only ranks" },
		scorecard_days = { type = "integer", default = 90, help = "Referrals of this many days are on the scorecard" },
	},

	roles = {
		referral_coordinator = {
			summary = "Keeps the directory and the compacts",
			allow = {
				{ "create update", types = { "VerificationResult", "QuestionnaireResponse", "Location", "HealthcareService" } },
				{ "read search", types = { "VerificationResult", "Coverage" } },
				{ "read search", types = { "QuestionnaireResponse" }, where = "questionnaire=" .. compact.questionnaire },
			},
		},
	},

	operation "$route" {
		summary = "Which services fit this request, best first, and why the others do not",
		roles = { "referral_coordinator", "clinician" }, run = routing.run,
	},

	operation "$care-compact-form" {
		summary = "The form of a care compact (Questionnaire)", roles = { "referral_coordinator", "manager" },
		run = function ()
			return compact.form()
		end,
	},

	on "QuestionnaireResponse.create" (compact_written),
	on "QuestionnaireResponse.update" (compact_written),
	every("07:00", "daily", watch),

	view "network_directory" {
		summary = "Where we can send a patient: capacity, insurance, languages, credentials, compact",
		columns = {
			"organization", "service", "kinds", "places", "wait_days", "as_of", "payers", "languages", "channel",
			"answers_within", "answers_by", "credentials", "reference",
		},
		roles = { "referral_coordinator", "clinician", "manager" }, rows = directory_rows,
	},
	view "partner_scorecard" {
		summary = "How partners kept what they agreed to, with counts",
		columns = {
			"partner", "sent", "answered", "on_time", "answered_on_time", "answers_within", "median_days", "accepted", "seen",
			"missed", "reported", "loop_closed", "silent", "by_hand",
		},
		roles = { "referral_coordinator", "manager" }, rows = scorecard.rows,
	},
}
