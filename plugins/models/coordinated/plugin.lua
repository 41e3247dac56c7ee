-- The coordinated model: separate organizations that refer to each other (domain.md section 3.1). The central story
-- is the service "referral"; this plugin says who is who, keeps the partner directory and the coordinator's worklist,
-- and scores the screens that the practice takes.
local resources = require "lib/resources"
local roles = require "lib/roles"
local safety = require "lib/safety"

local on_alert = { model = "coordinated", owner = "clinician", backup = "manager" }

local function screened(ctx, change)
	safety.screen(ctx, change.resource, on_alert)
end

local function observed(ctx, change)
	safety.observed(ctx, change.resource, on_alert)
end

local function form_deleted(ctx, change)
	safety.deleted(ctx, change, on_alert)
end

-- ---- worklists ----

-- Organizations we can refer to, with what their HealthcareServices offer.
local function partner_directory(ctx)
	local rows = {}
	for _, service in ipairs(ctx:search("HealthcareService", { active = "true", _count = 500 })) do
		local organization = service.providedBy and service.providedBy.reference and ctx:read(service.providedBy.reference)
		local connected
		for id, partner in pairs(ctx.organization.partners or {}) do
			if organization and type(partner) == "table" and partner.reference == resources.of(organization) then
				connected = id
			end
		end
		local kinds = {}
		for _, kind in ipairs(service.type or {}) do
			kinds[#kinds + 1] = kind.text or kind.coding and (kind.coding[1].display or kind.coding[1].code)
		end
		rows[#rows + 1] = {
			organization = organization and organization.name or service.providedBy and service.providedBy.display,
			service = service.name, kinds = table.concat(kinds, ", "), connected = connected or "no: fax or letter",
			appointment_required = service.appointmentRequired, note = service.comment or service.availabilityExceptions,
			reference = service.providedBy and service.providedBy.reference,
		}
	end
	table.sort(rows, function (a, b)
		return (a.organization or "") .. (a.service or "") < (b.organization or "") .. (b.service or "")
	end)
	return rows
end

-- Everything that waits for the coordinator: drafts, escalations, referrals to send elsewhere, unread messages.
local function coordinator_worklist(ctx)
	local rows = {}
	local function add(kind, reference, patient_reference, text, due)
		local patient = patient_reference and ctx:read(patient_reference)
		rows[#rows + 1] = {
			kind = kind, task = reference, patient_name = patient and resources.name(patient) or nil, action = text, due = due,
		}
	end
	for _, escalation in ipairs(ctx:search("Task", {
		code = "escalation", status = "requested,in-progress", _count = 200,
	})) do
		add("escalation", resources.of(escalation), resources.reference(escalation["for"]),
			escalation.description or escalation.code.text or "A clock ran out",
			escalation.restriction and escalation.restriction.period and escalation.restriction.period["end"])
	end
	for _, instance in ipairs(ctx:instances("referral", { state = "draft", live = true })) do
		add("draft", instance.task, instance.patient, "Complete the referral and send it", instance.due)
	end
	-- Declined, or closed on a silent partner, while the request still stands: the patient needs another place.
	for _, task in ipairs(ctx:search("Task", {
		code = "referral", status = "rejected,failed", _sort = "-_lastUpdated", _count = 200,
	})) do
		local request = task.focus and task.focus.reference and ctx:read(task.focus.reference)
		local instance = ctx:instance(resources.of(task))
		if request and request.status == "active" and instance and instance.party ~= "recipient" then
			local again = false
			for _, other in ipairs(ctx:search("Task", { focus = task.focus.reference, code = "referral", _count = 20 })) do
				local open = ctx:instance(resources.of(other))
				again = again or open ~= nil and not open.final
			end
			if not again then
				add("send elsewhere", resources.of(task), instance.patient, "Find another place for the patient")
			end
		end
	end
	table.sort(rows, function (a, b)
		return (a.due or "9") < (b.due or "9")
	end)
	return rows
end

return plugin {
	name = "coordinated", api = 1, summary = "Separate organizations that refer to each other",

	settings = safety.settings {},

	roles = {
		referral_coordinator = roles.referral_coordinator,
		intake = roles.intake,
		clinician = {
			summary = "Refers patients and reads what comes back; the chart only of patients in whose care team they are",
			allow = {
				{ "read search history", types = roles.directory },
				{ "read search", types = { "Task", "Communication" } },
				{
					"read search history create update", types = roles.record, where = "care team",
					except_labels = roles.beyond_treating,
				},
				{ "create update", types = { "Task", "Communication", "ServiceRequest", "QuestionnaireResponse", "Consent" } },
				{ "transition", types = { "Task" } },
				{ "events metrics", types = { "*" } },
			},
		},
		front_desk = {
			summary = "Registers patients, books appointments, hands out screens",
			allow = {
				{ "read search create update", types = { "Patient", "RelatedPerson", "Appointment", "Coverage",
					"QuestionnaireResponse" } },
				{ "read search", types = roles.directory },
			},
		},
		on_call = {
			summary = "Answers safety alerts outside staffed hours",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "QuestionnaireResponse", "Observation", "CarePlan" } },
				{ "transition", types = { "Task" }, workflow = "safety" },
			},
		},
		ehr = roles.ehr,
		manager = roles.manager,
		partner = roles.partner,
	},

	workflow "safety" (safety.workflow(on_alert, { setting = setting, escalate = escalate, fire = fire })),

	on "QuestionnaireResponse.create" (screened),
	on "QuestionnaireResponse.update" (screened),
	on "QuestionnaireResponse.delete" (form_deleted),
	on "Observation.create" (observed),
	on "Observation.update" (observed),

	view "partner_directory" {
		summary = "Where we can refer to, and how they are reached",
		columns = { "organization", "service", "kinds", "connected", "appointment_required", "note", "reference" },
		rows = partner_directory, roles = { "referral_coordinator", "clinician", "manager" },
	},
	view "coordinator_worklist" {
		summary = "What waits for the referral coordinator, the most urgent first",
		columns = { "kind", "patient_name", "action", "due", "task" },
		rows = coordinator_worklist, roles = { "referral_coordinator", "manager" },
	},
	view "safety_alerts" {
		shared = true, summary = "Open alerts about self-harm", of = instances "safety",
		columns = { "patient_name", "state", "action", "due", "overdue", "task" },
		roles = { "clinician", "manager", "on_call" },
	},
}
