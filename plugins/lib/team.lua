-- The patient's care team: who is in it may see the chart (grants with `where = "care team"`).
local resources = require "lib/resources"

local team = {}

-- Adds a practitioner to the patient's active team, which is made when there is none. Only real references count.
function team.join(ctx, patient, member, role)
	local type_name = resources.parse(member)
	if not patient or type_name ~= "Practitioner" and type_name ~= "PractitionerRole" then
		return
	end
	local teams = ctx:search("CareTeam", { patient = patient, status = "active", _count = 20 })
	for _, candidate in ipairs(teams) do
		for _, participant in ipairs(candidate.participant or {}) do
			if resources.reference(participant.member) == member then
				return
			end
		end
	end
	local participant = { member = { reference = member }, role = role and { { text = role } } or nil }
	if teams[1] then
		local changed = plain(teams[1])
		changed.participant = resources.with(changed.participant, participant)
		ctx:update(changed)
	else
		ctx:create {
			resourceType = "CareTeam", status = "active", name = "Care team", subject = { reference = patient },
			participant = { participant },
		}
	end
end

return team
