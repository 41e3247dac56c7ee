-- The kinds of referral that differ in what they need, how fast they go and what closes them. Which one a referral is
-- stands in ServiceRequest.category (system urn:careloop:referral:variant, or a code or text that `means` lists);
-- without one it is "general", which asks for nothing more than the machine does. An organization changes single
-- values with the setting `variants`, e.g. { social = { clocks = { accept_within = "5 business days" } } }.
local resources = require "lib/resources"

local variants = {}

variants.system = "urn:careloop:referral:variant"

variants.shipped = {
	general = { clocks = {}, asks = {} },
	-- Mental health and substance use care. Closed by a visit that took place, not by a letter alone: half and more of
	-- these referrals end without one.
	behavioural = {
		means = { "behavioral", "behavioural", "3457005", "psychiatry", "therapy" }, clocks = {},
		asks = { "reason" }, closes = "seen",
	},
	-- A specialist's opinion. Closed by the consult report that reached the one who asked (CMS50, receipt of specialist
	-- report).
	specialty = {
		means = { "specialty", "consult", "11429006" }, clocks = { schedule_within = "10 business days" },
		asks = { "reason", "question" }, closes = "report",
	},
	-- Food, housing, a ride, legal help (Gravity SDOHCC). Closed when it is known whether the need was met; the partner
	-- is no clinic, so it learns no clinical record and only what of the request it needs.
	social = {
		means = { "social", "sdoh", "410606002" },
		clocks = { accept_within = "3 business days", visit_within = "10 business days", report_within = "10 business days" },
		asks = { "need", "contact" }, closes = "result", enclose = {},
		patient_fields = { "identifier", "name", "telecom", "address", "communication" },
		request_fields = {
			"resourceType", "id", "identifier", "status", "intent", "category", "priority", "code", "subject",
			"occurrencePeriod", "occurrenceDateTime", "patientInstruction",
		},
	},
}

variants.results = { "need met", "partly met", "not met", "patient declined" }

local function pick(concepts)
	for name, variant in pairs(variants.shipped) do
		for _, concept in ipairs(concepts or {}) do
			for _, coding in ipairs(concept.coding or {}) do
				if coding.system == variants.system and coding.code == name
					or resources.contains(variant.means, coding.code) then
					return name
				end
			end
			if concept.text and resources.contains(variant.means, string.lower(concept.text)) then
				return name
			end
		end
	end
	return "general"
end

-- Name and definition of a request's variant, with the organization's own values over the shipped ones.
function variants.of(ctx, request)
	local name = pick(request and request.category)
	local own = (ctx.setting.variants or {})[name]
	if not own then
		return name, variants.shipped[name]
	end
	local merged = {}
	for key, value in pairs(variants.shipped[name]) do
		merged[key] = value
	end
	for key, value in pairs(plain(own)) do
		merged[key] = value
	end
	merged.clocks = {}
	for key, value in pairs(variants.shipped[name].clocks) do
		merged.clocks[key] = value
	end
	for key, value in pairs(own.clocks or {}) do
		merged.clocks[key] = value
	end
	return name, merged
end

local function has_words(concepts)
	for _, concept in ipairs(concepts or {}) do
		if concept.text or concept.coding and #concept.coding > 0 then
			return true
		end
	end
	return false
end

local asks = {}

function asks.reason(request)
	if has_words(request.reasonCode) or request.reasonReference and #request.reasonReference > 0 then
		return true
	end
	return false, "why the patient is referred: ServiceRequest.reasonCode or reasonReference"
end

function asks.question(request)
	for _, note in ipairs(request.note or {}) do
		if note.text and note.text ~= "" then
			return true
		end
	end
	return false, "the question for the specialist: ServiceRequest.note"
end

function asks.need(request)
	if has_words(request.code and { request.code }) then
		return true
	end
	return false, "the need (food, housing, transport ...): ServiceRequest.code"
end

function asks.contact(_, patient)
	for _, telecom in ipairs(patient and patient.telecom or {}) do
		if telecom.value and telecom.value ~= "" then
			return true
		end
	end
	return false, "how the partner reaches the patient: Patient.telecom"
end

-- Is there what this variant must bring? true, or false and words.
function variants.complete(ctx, request, patient)
	local name, variant = variants.of(ctx, request)
	local missing = {}
	for _, what in ipairs(variant.asks) do
		local there, words = true, nil
		if asks[what] then
			there, words = asks[what](request, patient)
		end
		if not there then
			missing[#missing + 1] = words
		end
	end
	if #missing > 0 then
		return false, "a " .. name .. " referral needs " .. table.concat(missing, "; ")
	end
	return true
end

local closes = {}

-- Behavioural: somebody saw the patient. A visit on record, or the day of it in the outcome.
function closes.seen(ctx, task, data)
	if data.seen_on then
		return true
	end
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		if move.event == "interim" then
			return true
		end
	end
	return false, "no visit is recorded: give the day the patient was seen (seen_on), or decline with the reason"
end

function closes.report(_, _, data)
	if data.document then
		return true
	end
	return false, "the consult report is missing: give it as document (DocumentReference/...)"
end

function closes.result(_, _, data)
	if data.result then
		return true
	end
	return false, "say whether the need was met (result: " .. table.concat(variants.results, ", ") .. ")"
end

-- Guard of "outcome".
function variants.may_close(ctx, task, data)
	local request = task.focus and task.focus.reference and ctx:read(task.focus.reference)
	local _, variant = variants.of(ctx, request)
	local rule = variant.closes and closes[variant.closes]
	if not rule then
		return true
	end
	return rule(ctx, task, data or {})
end

return variants
