-- What goes between the two organizations. Each side has its own Task; both carry the same referral identifier
-- (Task.groupIdentifier). From the moment it has received the referral the recipient's Task is the authoritative one:
-- the initiator asks, the recipient moves and tells, the initiator's copy follows and ignores what is not newer
-- (pitfalls 20).
local codes = require "lib/codes"
local resources = require "lib/resources"
local consent = require "lib/consent"
local machine = require "machine"
local terms = require "terms"
local variants = require "variants"

local messages = {}

-- Extension on the initiator's Task: the last version followed.
messages.version_url = "urn:careloop:referral:partner-version"

-- ---- who is who ----

function messages.partner_reference(ctx, partner)
	local entry = ctx.organization.partners and ctx.organization.partners[partner]
	return entry and entry.reference or "Organization/" .. partner
end

-- The recipient of an outgoing referral: its partner id (nil for a partner without a connection) and its reference.
function messages.recipient(ctx, task)
	local instance = ctx:instance("Task/" .. task.id)
	if instance and instance.partner and instance.partner ~= "" then
		return instance.partner, messages.partner_reference(ctx, instance.partner)
	end
	local request = task.focus and task.focus.reference and ctx:read(task.focus.reference)
	for _, performer in ipairs(request and request.performer or {}) do
		if resources.parse(performer.reference) == "Organization" then
			return nil, performer.reference
		end
	end
	return nil, nil
end

function messages.identifier_of(ctx, task)
	if task.groupIdentifier and task.groupIdentifier.value then
		return { system = task.groupIdentifier.system, value = task.groupIdentifier.value }
	end
	return { system = codes.system.referral, value = ctx.organization.id .. "-" .. task.id }
end

local function find_by_identifier(ctx, identifier)
	if not identifier or not identifier.value then
		return nil
	end
	local found = ctx:search("Task", {
		["group-identifier"] = (identifier.system or "") .. "|" .. identifier.value, code = "referral", _count = 2,
	})
	return found[1]
end

function messages.first(list_of_resources, type_name)
	for _, resource in ipairs(list_of_resources or {}) do
		if resource.resourceType == type_name then
			return resource
		end
	end
	return nil
end

local function is_urgent(priority)
	return priority == "urgent" or priority == "asap" or priority == "stat"
end
messages.is_urgent = is_urgent

-- ---- initiator: the package ----

-- What would leave with the request: what it refers to as reason or supporting information, of the types that this
-- partner may see.
local function enclosures(ctx, request, types)
	local found = {}
	local function add(references)
		for _, reference in ipairs(references or {}) do
			local type_name = resources.parse(reference.reference)
			if type_name and resources.contains(types, type_name) then
				local resource = ctx:read(reference.reference)
				if resource then
					found[#found + 1] = resource
				end
			end
		end
	end
	add(request.reasonReference)
	add(request.supportingInfo)
	return found
end

-- Everything that the gate and the sending need; or nil and words for people.
local function prepare(ctx, task)
	local focus = task.focus and task.focus.reference
	local request = focus and ctx:read(focus)
	if not request or request.resourceType ~= "ServiceRequest" then
		return nil, "the referral has no ServiceRequest as its focus"
	end
	if request.status ~= "active" then
		return nil, focus .. " is " .. (request.status or "without status") .. "; only an active request can be sent"
	end
	local subject = task["for"] and task["for"].reference
	if not subject or resources.reference(request.subject) ~= subject then
		return nil, focus .. " is about another patient than the referral"
	end
	local patient = ctx:read(subject)
	if not patient then
		return nil, subject .. " does not exist here"
	end
	local partner, reference = messages.recipient(ctx, task)
	if not reference then
		return nil, "the referral names no recipient: neither a partner nor an Organization as ServiceRequest.performer"
	end
	local complete, missing = variants.complete(ctx, request, patient)
	if not complete then
		return nil, missing
	end
	local shown = terms.shown(ctx, request, patient, reference)
	return {
		request = request, patient = patient, partner = partner, recipient = reference, shown = shown,
		enclosed = enclosures(ctx, request, shown.enclose),
	}
end
messages.prepare = prepare

-- The request counts with its labels, however little of it is shown.
local function gate(ctx, prepared)
	local leaving = resources.with(prepared.enclosed, prepared.request)
	local organization = ctx:read(prepared.recipient)
	local kind = organization and organization.type and resources.code(organization.type[1])
	return consent.gate(ctx, leaving, {
		patient = resources.of(prepared.patient), recipient = prepared.recipient, purpose = ctx.setting.purpose,
		extra = ctx.setting.state_protected,
		always = kind and resources.contains(ctx.setting.consent_for_recipients, kind)
			and "your rule for recipients of the kind " .. kind or nil,
	})
end
messages.gate = gate

-- Guard of "send".
function messages.may_send(ctx, task)
	local prepared, why = prepare(ctx, task)
	if not prepared then
		return false, why
	end
	local allowed, consents = gate(ctx, prepared)
	if not allowed then
		return false, consents
	end
	return true
end

-- Effect of "send": the package leaves, with the consent it rests on and the notice that belongs to it.
function messages.send_package(ctx, task)
	local prepared = prepare(ctx, task)
	local _, consents, part2 = gate(ctx, prepared)
	local identifier = messages.identifier_of(ctx, task)
	local input, notes = nil, nil
	for _, document in ipairs(consents) do
		input = resources.with(input or task.input, {
			type = { text = "consent" }, valueReference = { reference = resources.of(document) },
		})
	end
	if part2 then
		-- 42 CFR 2.32: the notice, and a copy of the consent (it travels in the same message).
		notes = { { text = ctx.setting.part2_notice, time = ctx:now() } }
	end

	if prepared.partner then
		local sent = {
			resourceType = "Task", id = task.id, groupIdentifier = identifier, status = "requested",
			businessStatus = { coding = { machine.states.received.business } }, intent = "order",
			priority = prepared.request.priority,
			code = resources.concept(codes.system.workflow, "referral", "Referral"),
			focus = { reference = resources.of(prepared.request) }, ["for"] = { reference = resources.of(prepared.patient) },
			authoredOn = task.authoredOn or ctx:now(),
			requester = { reference = ctx.organization.reference, display = ctx.organization.name },
			owner = { reference = prepared.recipient }, note = notes,
		}
		local bundle = { sent, prepared.shown.patient, prepared.shown.request }
		for _, resource in ipairs(prepared.enclosed) do
			bundle[#bundle + 1] = resource
		end
		for _, document in ipairs(consents) do
			bundle[#bundle + 1] = document
		end
		ctx:send(prepared.partner, "referral.send", bundle)
	else
		ctx:notify {
			to = "referral_coordinator", about = "Task/" .. task.id,
			text = "This partner has no connection: print the sheet ($referral-sheet), send it by fax or letter, and type its "
				.. "answers with the sheet's code",
		}
	end

	local own = plain(task)
	own.groupIdentifier = identifier
	own.priority = prepared.request.priority
	own.input = input or own.input
	ctx:update(own)
end

-- Effect of "request_cancel" (and of closing on a silent partner): asks, decides nothing.
function messages.ask_to_cancel(ctx, reference, reason)
	local instance = ctx:instance(reference)
	if not instance or instance.party ~= "initiator" or not instance.partner or instance.partner == "" then
		return
	end
	local task = ctx:read(reference)
	ctx:send(instance.partner, "referral.request-cancel", { {
		resourceType = "Task", id = task.id, groupIdentifier = messages.identifier_of(ctx, task), intent = "order",
		status = "in-progress", businessStatus = { coding = { machine.states.cancel_requested.business } },
		code = resources.concept(codes.system.workflow, "referral", "Referral"),
		statusReason = { text = reason }, lastModified = ctx:now(),
	} })
end

function messages.remind(ctx, reference)
	local instance = ctx:instance(reference)
	local task = ctx:read(reference)
	ctx:send(instance.partner, "referral.reminder", { {
		resourceType = "Task", id = task.id, groupIdentifier = messages.identifier_of(ctx, task), intent = "order",
		status = task.status, businessStatus = plain(task.businessStatus),
		code = resources.concept(codes.system.workflow, "referral", "Referral"), lastModified = ctx:now(),
	} })
end

-- ---- recipient: telling ----

-- The state of the recipient's Task as a message. Sent after every move; also again when the other side shows that it
-- is behind.
function messages.publish(ctx, reference)
	local instance = ctx:instance(reference)
	if not instance or instance.party ~= "recipient" or not instance.partner or instance.partner == "" then
		return
	end
	local task = ctx:read(reference)
	local moves = ctx:transitions(reference)
	local last = moves[#moves] or {}
	local data = last.data or {}
	local state = machine.states[instance.state]
	local input = { { type = { text = "event" }, valueString = last.event or "start" } }
	if last.at then
		input[#input + 1] = { type = { text = "occurred" }, valueDateTime = last.at }
	end
	if data.start then
		input[#input + 1] = { type = { text = "start" }, valueDateTime = data.start }
	end
	local output, enclosed = nil, {}
	if data.summary then
		output = { { type = { text = last.event }, valueString = data.summary } }
	end
	local document_reference = resources.text_of(data.document)
	local document = document_reference and ctx:read(document_reference)
	if document then
		-- A report that is protected itself goes only with a consent naming the one who asked (section 2.18).
		local allowed, consents = consent.gate(ctx, { document }, {
			patient = instance.patient, recipient = messages.partner_reference(ctx, instance.partner),
			purpose = ctx.setting.purpose, extra = ctx.setting.state_protected,
		})
		if not allowed then
			ctx:refuse(consents, "Task.output")
		end
		enclosed[1] = document
		for _, rests_on in ipairs(consents) do
			enclosed[#enclosed + 1] = rests_on
		end
		output = resources.with(output, {
			type = { text = "document" }, valueReference = { reference = resources.of(document) },
		})
	end
	local reason = data.reason or (last.event == "unable_to_reach" and "unable to reach") or data.cancelled_by
	local resources_sent = { {
		resourceType = "Task", id = task.id, meta = { versionId = task.meta.versionId },
		groupIdentifier = messages.identifier_of(ctx, task), status = state.status, intent = "order",
		businessStatus = { coding = { state.business } }, statusReason = reason and { text = reason } or nil,
		code = resources.concept(codes.system.workflow, "referral", "Referral"), lastModified = ctx:now(),
		owner = { reference = ctx.organization.reference, display = ctx.organization.name },
		input = input, output = output,
	} }
	for _, resource in ipairs(enclosed) do
		resources_sent[#resources_sent + 1] = resource
	end
	ctx:send(instance.partner, "referral.update", resources_sent)
end

-- ---- taking in what a partner sent ----

local function is_node(value)
	return type(value) == "table" or type(value) == "userdata"
end

-- References of the sender's house become ours where we know the resource, else logical references that say whose
-- they are.
local function rewrite(node, map, sender, keep)
	local keys = {}
	for key in pairs(node) do
		keys[#keys + 1] = key
	end
	for _, key in ipairs(keys) do
		if is_node(node[key]) then
			rewrite(node[key], map, sender, keep)
		end
	end
	local reference = node.reference
	if type(reference) == "string" and not keep[reference] and not string.find(reference, "^https?:") then
		if map[reference] then
			node.reference = map[reference]
		elseif not string.find(reference, "^#") then
			node.reference = nil
			node.identifier = { system = "urn:careloop:organization:" .. sender, value = reference }
		end
	end
end

local function adopt(ctx, resource, map, sender)
	local former = resources.of(resource)
	local labels = resource.meta and resource.meta.security and plain(resource.meta.security) or nil
	local sender_identifier = { system = "urn:careloop:organization:" .. sender, value = former }
	local keep = { [messages.partner_reference(ctx, sender)] = true, [ctx.organization.reference] = true }
	rewrite(resource, map, sender, keep)
	resource.id = nil
	resource.meta = labels and { security = labels } or nil
	if resource.resourceType ~= "QuestionnaireResponse" then -- it has room for one identifier only
		resource.identifier = resources.with(resource.identifier and plain(resource.identifier), sender_identifier)
	end
	map[former] = ctx:create(resource)
	return map[former]
end

-- The patient by an identifier that both know, or that the sender used before; never by name and birth date alone.
local function take_patient(ctx, patient, sender)
	local identifiers = resources.with(patient.identifier, {
		system = "urn:careloop:organization:" .. sender, value = resources.of(patient),
	})
	for _, identifier in ipairs(identifiers) do
		if identifier.system and identifier.value then
			local found = ctx:search("Patient", { identifier = identifier.system .. "|" .. identifier.value, _count = 2 })
			if #found == 1 then
				return resources.of(found[1]), false
			end
		end
	end
	local family = patient.name and patient.name[1] and patient.name[1].family
	local alike = family and patient.birthDate
		and ctx:search("Patient", { family = family, birthdate = patient.birthDate, _count = 5 }) or {}
	local doubtful = #alike > 0
	return adopt(ctx, patient, {}, sender), doubtful
end

local accepted_types = {
	ServiceRequest = true, Observation = true, Condition = true, DocumentReference = true, QuestionnaireResponse = true,
	Consent = true,
}

-- "referral.send" at the recipient.
function messages.receive_package(ctx, message)
	local incoming = messages.first(message.resources, "Task")
	local request = messages.first(message.resources, "ServiceRequest")
	local patient = messages.first(message.resources, "Patient")
	if not incoming or not request or not patient then
		ctx:refuse("a referral needs a Task, a ServiceRequest and a Patient", "Bundle.entry")
	end
	local identifier = incoming.groupIdentifier
	if not identifier or not identifier.value then
		ctx:refuse("a referral needs an identifier that both sides share", "Task.groupIdentifier")
	end
	local known = find_by_identifier(ctx, identifier)
	if known then
		local instance = ctx:instance("Task/" .. known.id)
		if not instance or instance.partner ~= message.sender then
			ctx:refuse("this referral identifier belongs to another referral", "Task.groupIdentifier")
		end
		messages.publish(ctx, "Task/" .. known.id) -- delivered twice: the sender may have lost our answer
		return
	end

	local map = {}
	local former_patient = resources.of(patient)
	local local_patient, may_be_double = take_patient(ctx, patient, message.sender)
	map[former_patient] = local_patient
	local former_request = resources.of(request)
	-- What the request refers to comes first, so that its references can point to our copies.
	for _, resource in ipairs(message.resources) do
		if accepted_types[resource.resourceType] and resource.resourceType ~= "ServiceRequest" then
			adopt(ctx, resource, map, message.sender)
		end
	end
	local priority = request.priority
	adopt(ctx, request, map, message.sender)

	local reference = ctx:start("referral", {
		focus = map[former_request], patient = local_patient, party = "recipient", partner = message.sender,
		state = "received",
		requester = messages.partner_reference(ctx, message.sender),
		data = { referral = identifier.value, priority = priority },
	})
	local task = ctx:read(reference)
	task.groupIdentifier = plain(identifier)
	task.priority = priority
	if incoming.note then
		task.note = plain(incoming.note) -- the notice of 42 CFR 2.32 stays with the record
	end
	ctx:update(task)
	if may_be_double then
		ctx:notify {
			to = "intake", about = reference,
			text = "A patient with the same family name and birth date exists: check whether the records belong together",
		}
	end
end

local function find_for(ctx, message, party)
	local incoming = messages.first(message.resources, "Task")
	local task = incoming and find_by_identifier(ctx, incoming.groupIdentifier)
	if not task then
		ctx:refuse("no referral with this identifier; send it first", "Task.groupIdentifier")
	end
	local reference = "Task/" .. task.id
	local instance = ctx:instance(reference)
	if not instance or instance.partner ~= message.sender or instance.party ~= party then
		ctx:refuse("this referral is not between you and us in this direction", "Task.groupIdentifier")
	end
	return incoming, reference, instance
end

-- "referral.request-cancel" at the recipient. Legal in every live state; what is over stays over, and we say so.
function messages.receive_cancel_request(ctx, message)
	local incoming, reference, instance = find_for(ctx, message, "recipient")
	if instance.final or instance.state == "cancel_requested" then
		messages.publish(ctx, reference)
		return
	end
	ctx:advance(reference, "request_cancel", {
		reason = incoming.statusReason and incoming.statusReason.text or "not stated",
	}, { on_behalf_of = "initiator", source = "message" })
end

function messages.receive_reminder(ctx, message)
	local _, reference, instance = find_for(ctx, message, "recipient")
	messages.publish(ctx, reference)
	if not instance.final then
		ctx:notify { to = "intake", about = reference, text = "The referring organization waits for an answer" }
	end
end

local function input_value(incoming, kind, field)
	local item = resources.item(incoming.input, kind)
	return item and item[field] or nil
end

-- Puts the partner's version, outputs and a note on our copy.
local function attach(ctx, reference, version, outputs, note)
	local task = plain(ctx:read(reference))
	task.extension = resources.with_extension(task, { url = messages.version_url, valueInteger = version })
	for _, output in ipairs(outputs) do
		task.output = resources.with(task.output, output)
	end
	if note then
		task.note = resources.with(task.note, note)
	end
	ctx:update(task)
end

local repeats = { contact_attempt = true, reschedule = true, interim = true, progress = true }

-- "referral.update" at the initiator: the copy follows.
function messages.receive_update(ctx, message)
	local incoming, reference, instance = find_for(ctx, message, "initiator")
	local version = math.tointeger(tonumber(incoming.meta and incoming.meta.versionId))
	if not version then
		ctx:refuse("an update needs the version of the sender's Task", "Task.meta.versionId")
	end
	local state = machine.state_of(incoming.businessStatus)
	if not state then
		ctx:refuse("unknown businessStatus", "Task.businessStatus")
	end
	local seen = resources.extension(ctx:read(reference), messages.version_url)
	if seen and tonumber(seen.valueInteger) >= version then
		ctx:log("referral.update ignored: version " .. version .. " is not newer than " .. tonumber(seen.valueInteger))
		return
	end

	-- Reports that came along become ours.
	local map, outputs = { }, {}
	local patient_reference = instance.patient
	for _, resource in ipairs(message.resources) do
		if resource.resourceType == "DocumentReference" or resource.resourceType == "Consent" then
			local subject = resource.subject or resource.patient
			if subject and subject.reference then
				map[subject.reference] = patient_reference
			end
			adopt(ctx, resource, map, message.sender)
		end
	end
	for _, output in ipairs(incoming.output or {}) do
		local copy = plain(output)
		local document = copy.valueReference and copy.valueReference.reference
		if document then
			copy.valueReference = { reference = map[document] }
		end
		if not document or map[document] then
			outputs[#outputs + 1] = copy
		end
	end

	local event = input_value(incoming, "event", "valueString")
	local at = input_value(incoming, "occurred", "valueDateTime")
	if instance.final then
		local summary = outputs[1] and outputs[1].valueString
		attach(ctx, reference, version, outputs, resources.note(ctx,
			"Late answer of " .. message.sender .. " (its state: " .. state .. ")" .. (summary and ": " .. summary or "")))
		if state ~= instance.state then
			ctx:notify {
				to = "referral_coordinator", about = reference, priority = "urgent",
				text = "A late answer came to a referral that is closed here: read it and decide what follows",
			}
		end
		return
	end
	attach(ctx, reference, version, outputs)
	-- "received" only acknowledges: nothing ever goes back to it, and an answer by phone may be ahead of the message.
	if state == "received" or (state == instance.state and not repeats[event]) then
		return
	end
	local reason = incoming.statusReason and incoming.statusReason.text
	ctx:copy_state(reference, state, {
		event = event, at = at,
		data = {
			reason = reason, start = input_value(incoming, "start", "valueDateTime"), partner_version = version,
			summary = outputs[1] and outputs[1].valueString,
		},
	})
end

return messages
