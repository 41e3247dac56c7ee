-- Where can this patient go? Every active service is weighed against the request: kind, credentials, payer, language,
-- free places, distance; those that fit are ranked, those that do not say why. A person chooses; the choice is
-- recorded on the request.
local compact = require "lib/compact"
local directory = require "directory"
local resources = require "lib/resources"

local routing = {}

local function any_of(values, wanted)
	for _, value in ipairs(wanted) do
		if resources.contains(values, value) then
			return true
		end
	end
	return false
end

local function words_of(concept)
	local words = {}
	for _, coding in ipairs(concept and concept.coding or {}) do
		words[#words + 1] = coding.code
	end
	words[#words + 1] = concept and concept.text
	return words
end

-- The patient's home for distances: Address.extension geolocation (HL7's standard extension).
local geolocation = "http://hl7.org/fhir/StructureDefinition/geolocation"

local function home_of(patient)
	for _, address in ipairs(patient.address or {}) do
		local place = resources.extension(address, geolocation)
		local latitude = place and resources.extension(place, "latitude")
		local longitude = place and resources.extension(place, "longitude")
		if latitude and longitude then
			return tonumber(latitude.valueDecimal), tonumber(longitude.valueDecimal)
		end
	end
	return nil
end

-- What the request asks of a service.
local function wishes(ctx, request, patient, parameters)
	local wanted = {
		kinds = words_of(resources.parameter(parameters, "kind") and { text = resources.parameter(parameters, "kind") }
			or request.code),
		languages = {}, payers = {}, on = ctx:today(),
		farthest = tonumber(resources.parameter(parameters, "farthest_km") or ctx.setting.farthest_km),
		urgent = request.priority == "urgent" or request.priority == "asap" or request.priority == "stat",
		state = patient.address and patient.address[1] and patient.address[1].state,
	}
	for _, spoken in ipairs(patient.communication or {}) do
		if spoken.preferred or #patient.communication == 1 then
			for _, word in ipairs(words_of(spoken.language)) do
				wanted.languages[#wanted.languages + 1] = word
			end
		end
	end
	for _, coverage in ipairs(ctx:search("Coverage", {
		beneficiary = resources.of(patient), status = "active", _count = 20,
	})) do
		for _, payor in ipairs(coverage.payor or {}) do
			wanted.payers[#wanted.payers + 1] = payor.reference
			wanted.payers[#wanted.payers + 1] = payor.display
		end
	end
	wanted.latitude, wanted.longitude = home_of(patient)
	return wanted
end

-- Referrals that went to an organization lately: rotation gives the next one to who got the fewest.
local function recent(ctx, organization)
	local from = ctx:add(ctx:now(), "-" .. ctx.setting.rotation_days .. " days")
	return #ctx:search("Task", { code = "referral", owner = organization, ["authored-on"] = "ge" .. from, _count = 200 })
end

-- One service against the wishes: fills `facts.because` (why not) and `facts.notes` (what to know).
local function weigh(ctx, facts, wanted)
	local because, notes = {}, {}
	if #wanted.kinds > 0 and not any_of(facts.kinds, wanted.kinds) and not any_of(facts.specialties, wanted.kinds) then
		because[#because + 1] = "does not offer " .. wanted.kinds[#wanted.kinds]
	end
	if #wanted.payers > 0 and #facts.payers > 0 and not any_of(facts.payers, wanted.payers) then
		because[#because + 1] = "does not take the patient's insurance"
	elseif #facts.payers == 0 then
		notes[#notes + 1] = "insurances not known: ask"
	end
	if #wanted.languages > 0 and #facts.languages > 0 and not any_of(facts.languages, wanted.languages) then
		because[#because + 1] = "speaks no " .. wanted.languages[#wanted.languages]
	end
	if facts.places and facts.places <= 0 then
		because[#because + 1] = "has no free place"
	end
	if facts.as_of and ctx:between(facts.as_of, wanted.on, "days") > ctx.setting.capacity_fresh_days then
		notes[#notes + 1] = "capacity is of " .. facts.as_of
	elseif not facts.as_of then
		notes[#notes + 1] = "capacity not known"
	end
	if wanted.latitude and facts.latitude then
		facts.distance = directory.distance(wanted.latitude, wanted.longitude, facts.latitude, facts.longitude)
		if wanted.farthest and wanted.farthest > 0 and facts.distance > wanted.farthest then
			because[#because + 1] = string.format("is %.0f km away, farther than %g km", facts.distance, wanted.farthest)
		end
	end
	if facts.organization then
		local verdict, words = directory.gate(ctx, facts.organization, {
			kinds = ctx.setting.required_credentials, state = wanted.state, on = wanted.on,
			warn_days = ctx.setting.credential_warn_days,
		})
		if verdict == "block" then
			because[#because + 1] = words
		elseif verdict == "warn" then
			notes[#notes + 1] = words
		end
		facts.recent = recent(ctx, facts.organization)
		local agreed = compact.current(ctx, facts.organization)
		facts.answer_within = agreed and (wanted.urgent and agreed.urgent_accept_within or agreed.accept_within)
		if not agreed then
			notes[#notes + 1] = "no care compact"
		end
	else
		because[#because + 1] = "names no organization (HealthcareService.providedBy)"
	end
	facts.because, facts.notes = because, notes
	return facts
end

-- Order of preference: shorter wait, fewer recent referrals (rotation), nearer, connected first, then by name so that
-- the order is the same every time.
local function before(a, b)
	local function compare(left, right)
		if left == right then
			return nil
		end
		return left < right
	end
	local known = compare(a.wait_days or 9999, b.wait_days or 9999)
	if known == nil then
		known = compare(a.recent or 0, b.recent or 0)
	end
	if known == nil then
		known = compare(a.distance or 99999, b.distance or 99999)
	end
	if known == nil then
		known = compare(a.partner and 0 or 1, b.partner and 0 or 1)
	end
	if known == nil then
		known = compare(a.service, b.service)
	end
	return known or false
end

-- Services that fit, best first, and those that do not.
function routing.rank(ctx, request, patient, parameters)
	local wanted = wishes(ctx, request, patient, parameters)
	local fitting, others = {}, {}
	for _, service in ipairs(ctx:search("HealthcareService", { active = "true", _count = 200 })) do
		local facts = weigh(ctx, directory.facts(ctx, service), wanted)
		if #facts.because == 0 then
			fitting[#fitting + 1] = facts
		else
			others[#others + 1] = facts
		end
	end
	table.sort(fitting, before)
	return fitting, others
end

local function described(facts, rank)
	local parts = {
		{ name = "service", valueReference = { reference = facts.service, display = facts.name } },
		{ name = "fits", valueBoolean = #facts.because == 0 },
	}
	local function add(name, field, value)
		if value ~= nil then
			parts[#parts + 1] = { name = name, [field] = value }
		end
	end
	add("rank", "valueInteger", rank)
	add("organization", "valueReference", facts.organization
		and { reference = facts.organization, display = facts.organization_name })
	add("partner", "valueString", facts.partner)
	add("wait-days", "valueInteger", facts.wait_days)
	add("places", "valueInteger", facts.places)
	add("recent-referrals", "valueInteger", facts.recent)
	add("distance-km", "valueDecimal", facts.distance and math.floor(facts.distance * 10 + 0.5) / 10)
	add("answers-within", "valueString", facts.answer_within)
	for _, words in ipairs(facts.because) do
		add("because", "valueString", words)
	end
	for _, words in ipairs(facts.notes) do
		add("note", "valueString", words)
	end
	return { name = #facts.because == 0 and "candidate" or "excluded", part = parts }
end

-- `operation "$route"`: POST /fhir/ServiceRequest/x/$route. Parameters, all optional: kind, farthest_km, choose (a
-- HealthcareService that the answer offered, valueString): writes it on the request, with its rank and the reasons at
-- that time.
function routing.run(ctx, input, target)
	local request = target and ctx:read(target)
	if not request or request.resourceType ~= "ServiceRequest" then
		ctx:refuse("$route is asked of a ServiceRequest: POST /fhir/ServiceRequest/[id]/$route", "Parameters")
	end
	local patient = request.subject and request.subject.reference and ctx:read(request.subject.reference)
	if not patient or patient.resourceType ~= "Patient" then
		ctx:refuse("the request names no patient that is known here", "ServiceRequest.subject")
	end
	local fitting, others = routing.rank(ctx, request, patient, input)
	local answer = { resourceType = "Parameters", parameter = {} }
	local chosen = resources.parameter(input, "choose")
	chosen = resources.text_of(chosen)
	for rank, facts in ipairs(fitting) do
		answer.parameter[#answer.parameter + 1] = described(facts, rank)
		if chosen == facts.service then
			local written = plain(request)
			written.performer = { { reference = facts.organization, display = facts.organization_name } }
			written.note = resources.with(written.note, resources.note(ctx, string.format(
				"Routed to %s (%s), number %d of %d that fit%s", facts.organization_name or facts.organization,
				facts.name or facts.service, rank, #fitting, #facts.notes > 0 and "; " .. table.concat(facts.notes, "; ") or "")))
			ctx:update(written)
			chosen = nil
		end
	end
	for _, facts in ipairs(others) do
		if chosen == facts.service then
			ctx:refuse("this service does not fit: " .. table.concat(facts.because, "; "), "Parameters.parameter")
		end
		answer.parameter[#answer.parameter + 1] = described(facts)
	end
	if chosen then
		ctx:refuse("'" .. chosen .. "' is no active service of the directory", "Parameters.parameter")
	end
	if #answer.parameter == 0 then
		answer.parameter = nil
	end
	return answer
end

return routing
