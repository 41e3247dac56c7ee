-- May this record go to this recipient? The gate depends on the data's label, the recipient and the purpose, never on
-- its being a referral: for treatment HIPAA allows disclosure without consent (45 CFR 164.506(c)); domain.md section
-- 0 rows 1, 2.
local codes = require "lib/codes"
local resources = require "lib/resources"

local consent = {}

-- Labels (Resource.meta.security codes) and what they ask for. An organization may pass more (state rules) in `extra`.
-- "general": a consent for treatment, payment and operations that names the recipient is enough (42 CFR 2.31, 2.33).
-- "separate": needs a consent that names this class of record; a general one does not cover it (42 CFR 2.11, 2.31(b);
-- 45 CFR 164.508(a)(2)).
consent.protected = {
	["42CFRPart2"] = { rule = "42 CFR Part 2", kind = "general" },
	SUD = { rule = "42 CFR Part 2", kind = "general" },
	ETH = { rule = "42 CFR Part 2", kind = "general" },
	SUDNOTE = { rule = "42 CFR Part 2 (counselling notes)", kind = "separate" },
	PSYTHPN = { rule = "45 CFR 164.508 (psychotherapy notes)", kind = "separate" },
}

-- Purposes that a consent for "treatment, payment and operations" stands for (v3-ActReason).
local general_purposes = { TREAT = true, HPAYMT = true, HOPERAT = true, TPO = true }

-- The protected labels among a resource's: list of { label, rule, kind, resource }. `extra` maps further labels to
-- rules.
function consent.protections(resource, extra)
	local found = {}
	for _, label in ipairs(resources.labels(resource)) do
		local protection = consent.protected[label]
		local state_rule = extra and extra[label]
		if protection or state_rule then
			found[#found + 1] = {
				label = label, rule = protection and protection.rule or state_rule,
				kind = protection and protection.kind or "general",
				resource = resource.id and resources.of(resource) or resource.resourceType,
			}
		end
	end
	return found
end

local function names_recipient(provision, recipient)
	for _, actor in ipairs(provision.actor or {}) do
		if resources.reference(actor.reference) == recipient then
			return true
		end
	end
	return false
end

local function has_purpose(provision, purpose)
	if not provision.purpose or #provision.purpose == 0 then
		return false
	end
	for _, coding in ipairs(provision.purpose) do
		if coding.code == purpose or coding.code == "TPO" and general_purposes[purpose] then
			return true
		end
	end
	return false
end

local function names_label(provision, label)
	for _, coding in ipairs(provision.securityLabel or {}) do
		if coding.code == label then
			return true
		end
	end
	return false
end

-- A nested "deny" takes away what the outer provision gives when it speaks of this recipient, purpose or label.
local function denied(provision, wanted)
	for _, inner in ipairs(provision.provision or {}) do
		if inner.type == "deny" then
			local about_recipient = not inner.actor or #inner.actor == 0 or names_recipient(inner, wanted.recipient)
			local about_purpose = not inner.purpose or #inner.purpose == 0 or has_purpose(inner, wanted.purpose)
			local about_label = not inner.securityLabel or #inner.securityLabel == 0 or names_label(inner, wanted.label)
			if about_recipient and about_purpose and about_label then
				return true
			end
		end
	end
	return false
end

-- Does one Consent cover the disclosure? `wanted` = { recipient, purpose, label, kind }. Returns true, or false and
-- why not. Checked at the moment of disclosure: status and period then count (section 2.18).
function consent.covers(ctx, document, wanted)
	local provision = document.provision
	if document.status ~= "active" then
		return false, "the consent is " .. (document.status or "without status")
	end
	if not provision or provision.type == "deny" then
		return false, "the consent permits nothing"
	end
	if not resources.in_period(ctx, provision.period, ctx:now()) then
		return false, "the consent is not in force today"
	end
	if not names_recipient(provision, wanted.recipient) then
		return false, "the consent does not name " .. wanted.recipient
	end
	if not has_purpose(provision, wanted.purpose) then
		return false, "the consent is not for the purpose " .. wanted.purpose
	end
	if wanted.kind == "separate" and not names_label(provision, wanted.label) then
		return false, "the consent does not name records of the class " .. wanted.label .. ", which need their own"
	end
	if wanted.kind ~= "separate" and provision.securityLabel and #provision.securityLabel > 0
		and not names_label(provision, wanted.label) then
		return false, "the consent is limited to other records"
	end
	if denied(provision, wanted) then
		return false, "the consent excludes this disclosure"
	end
	return true
end

-- The gate. `package` is the list of resources that would leave; `wanted` = { patient, recipient, purpose, extra,
-- always }; `always` names a rule by which even unlabelled records need a consent that names the recipient. Returns
-- true, the list of consents it rests on (empty for plain records) and whether 42 CFR Part 2 records are among what
-- leaves (its notice then goes along); or false and words for people.
function consent.gate(ctx, package, wanted)
	local protections = {}
	for _, resource in ipairs(package) do
		for _, protection in ipairs(consent.protections(resource, wanted.extra)) do
			protections[#protections + 1] = protection
		end
	end
	if #protections == 0 and wanted.always then
		protections[1] = { label = "(any)", rule = wanted.always, kind = "general", resource = "the referral" }
	end
	if #protections == 0 then
		return true, {}
	end
	local documents = ctx:search("Consent", { patient = wanted.patient, _count = 200 })
	local used, seen = {}, {}
	for _, protection in ipairs(protections) do
		local covering, why
		for _, document in ipairs(documents) do
			local covers, reason = consent.covers(ctx, document, {
				recipient = wanted.recipient, purpose = wanted.purpose or "TREAT", label = protection.label,
				kind = protection.kind,
			})
			if covers then
				covering = document
				break
			elseif document.status == "active" then
				why = reason
			else
				why = why or reason
			end
		end
		if not covering then
			return false, string.format(
				"%s carries the label %s (%s). It may leave only with an active consent of the patient that names %s for %s: %s. "
					.. "Record the consent, or take the labelled record out, then send again.",
				protection.resource, protection.label, protection.rule, wanted.recipient, wanted.purpose or "TREAT",
				why or "there is no consent on file")
		end
		if not seen[covering.id] then
			seen[covering.id] = true
			used[#used + 1] = covering
		end
	end
	local part2 = false
	for _, protection in ipairs(protections) do
		part2 = part2 or string.find(protection.rule, "42 CFR Part 2", 1, true) == 1
	end
	return true, used, part2
end

-- A Consent resource as this library understands it; for tests, seeds and forms.
function consent.make(fields)
	local provision = {
		type = "permit", period = fields.period,
		actor = {}, purpose = {}, securityLabel = fields.labels and {} or nil,
	}
	for _, recipient in ipairs(fields.recipients) do
		provision.actor[#provision.actor + 1] = {
			role = resources.concept(codes.system.participation, "IRCP", "information recipient"),
			reference = { reference = recipient },
		}
	end
	for _, purpose in ipairs(fields.purposes or { "TREAT" }) do
		provision.purpose[#provision.purpose + 1] = { system = codes.system.act_reason, code = purpose }
	end
	for _, label in ipairs(fields.labels or {}) do
		provision.securityLabel[#provision.securityLabel + 1] = { system = codes.system.act_code, code = label }
	end
	return {
		resourceType = "Consent", status = fields.status or "active",
		scope = resources.concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy", "Privacy consent"),
		category = { resources.concept("http://loinc.org", "59284-0", "Patient consent") },
		patient = { reference = fields.patient }, dateTime = fields.at,
		policyRule = { text = fields.rule or "Consent of the patient to disclose" },
		provision = provision,
	}
end

return consent
