-- What the directory knows of a partner's service: FHIR's own elements where there are some (HealthcareService type,
-- specialty, communication, coverageArea; Location.position), extensions for what R4 has no element for: free places,
-- the wait, payers. Licences and insurances of a partner are VerificationResult resources with the day of their
-- expiry.
local resources = require "lib/resources"

local directory = {}

directory.capacity_url = "urn:careloop:network:capacity" -- places, wait_days, as_of
directory.payer_url = "urn:careloop:network:payer" -- valueString, one each
directory.credential_system = "urn:careloop:network:credential"
-- On VerificationResult: the period in which the credential is valid, the US state it is for, its number.
directory.validity_url = "urn:careloop:network:validity"
directory.state_url = "urn:careloop:network:state"
directory.number_url = "urn:careloop:network:number"

local function part(extension, name, field)
	local found = resources.extension(extension, name)
	return found and found[field] or nil
end

local function words_of(concepts)
	local words = {}
	for _, concept in ipairs(concepts or {}) do
		for _, coding in ipairs(concept.coding or {}) do
			words[#words + 1] = coding.code
		end
		words[#words + 1] = concept.text
	end
	return words
end

-- Facts about one HealthcareService.
function directory.facts(ctx, service)
	local capacity = resources.extension(service, directory.capacity_url)
	local facts = {
		service = "HealthcareService/" .. service.id, name = service.name,
		organization = resources.reference(service.providedBy), kinds = words_of(service.type),
		specialties = words_of(service.specialty), languages = words_of(service.communication), payers = {},
		places = capacity and tonumber(part(capacity, "places", "valueInteger")),
		wait_days = capacity and tonumber(part(capacity, "wait_days", "valueInteger")),
		as_of = capacity and part(capacity, "as_of", "valueDate"),
	}
	for _, extension in ipairs(service.extension or {}) do
		if extension.url == directory.payer_url then
			facts.payers[#facts.payers + 1] = extension.valueString
		end
	end
	local organization = facts.organization and ctx:read(facts.organization)
	facts.organization_name = organization and organization.name or service.providedBy and service.providedBy.display
	facts.organization_type = organization and organization.type and resources.code(organization.type[1])
	for id, partner in pairs(ctx.organization.partners or {}) do
		if type(partner) == "table" and partner.reference == facts.organization then
			facts.partner = id
		end
	end
	local place = service.location and service.location[1] and ctx:read(service.location[1].reference)
	if place and place.position then
		facts.latitude, facts.longitude = tonumber(place.position.latitude), tonumber(place.position.longitude)
	end
	return facts
end

-- Credentials of an organization: list of { kind, number, state, expires, status, reference }. `expires` is the last
-- valid day.
function directory.credentials(ctx, organization)
	local found = {}
	for _, result in ipairs(ctx:search("VerificationResult", { target = organization, _count = 100 })) do
		local period = resources.extension(result, directory.validity_url)
		found[#found + 1] = {
			kind = resources.code(result.validationType, directory.credential_system),
			state = part(result, directory.state_url, "valueCode"), number = part(result, directory.number_url, "valueString"),
			expires = period and period.valuePeriod and period.valuePeriod["end"] or nil, status = result.status,
			reference = "VerificationResult/" .. result.id,
		}
	end
	return found
end

-- May this organization serve on that day? Every credential kind that is asked for must be valid then (in the
-- patient's state, when the credential names one): "allow", or "block" with the rule and words, or "warn" when it ends
-- within `warn_days`.
function directory.gate(ctx, organization, wanted)
	local held = directory.credentials(ctx, organization)
	local verdict, words = "allow", nil
	for _, kind in ipairs(wanted.kinds or {}) do
		local best
		for _, credential in ipairs(held) do
			if credential.kind == kind and credential.status == "validated"
				and (not credential.state or not wanted.state or credential.state == wanted.state)
				and (not best or (credential.expires or "9999") > (best.expires or "9999")) then
				best = credential
			end
		end
		if not best then
			return "block", "credential-missing: no validated " .. kind .. (wanted.state and " for " .. wanted.state or "")
		end
		if best.expires and best.expires < wanted.on then
			return "block", "credential-expired: the " .. kind .. " ended on " .. best.expires
		end
		if best.expires and ctx:between(wanted.on, best.expires, "days") <= wanted.warn_days then
			verdict, words = "warn", "credential-ends: the " .. kind .. " ends on " .. best.expires
		end
	end
	return verdict, words
end

-- Great-circle distance in kilometres (haversine, mean radius of the earth 6,371.0 km).
function directory.distance(latitude, longitude, other_latitude, other_longitude)
	local function half(degrees)
		local sine = math.sin(math.rad(degrees) / 2)
		return sine * sine
	end
	local value = half(other_latitude - latitude)
		+ math.cos(math.rad(latitude)) * math.cos(math.rad(other_latitude)) * half(other_longitude - longitude)
	return 2 * 6371.0 * math.asin(math.sqrt(math.min(1, value)))
end

return directory
