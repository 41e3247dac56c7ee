-- Governance as data: a protocol (PlanDefinition), a measure (Measure) or a budget (Basic) takes effect only with the
-- recorded approval of its owners. Which roles own what is a setting.
local approval = require "approval"
local resources = require "lib/resources"

local team = { "manager", "clinical_lead", "behavioral_lead", "quality_lead", "finance_lead" }

-- A new draft starts its way by itself; nothing becomes active beside it.
local function written(ctx, change)
	local document = change.resource
	local kind = approval.kind_of(document)
	if not kind then
		return
	end
	local status = document.status
	if kind == "budget" then
		local extension = resources.extension(document, "urn:careloop:governance:status")
		status = extension and extension.valueCode or "draft"
	end
	local live
	for _, instance in ipairs(ctx:instances("approval", { live = true })) do
		if instance.subject == change.reference then
			live = instance
		end
	end
	if status == "active" and not (live and live.state == "live") then
		ctx:refuse("a " .. kind .. " becomes active by the approval of its owners, not by being written: store it as a draft",
			document.resourceType .. ".status")
	end
	if not live and status == "draft" then
		if kind ~= "budget" and (not document.url or not document.version) then
			ctx:refuse("a " .. kind .. " needs a url and a version, so that the next version can replace it",
				document.resourceType .. ".url")
		end
		ctx:start("approval", { focus = change.reference, data = { kind = kind } })
	elseif live and live.state == "live" and change.operation == "update" and change.status == change.former_status
		and kind ~= "budget" then
		ctx:refuse("this version is in force; write a new version with the same url", document.resourceType)
	end
end

local function rows(ctx)
	local found = {}
	for _, instance in ipairs(ctx:instances("approval", { live = true })) do
		local document = ctx:read(instance.subject)
		local given = approval.given(ctx, ctx:read(instance.task))
		local words, missing = {}, {}
		for _, role in ipairs(approval.owners(ctx, document)) do
			if given[role] then
				words[#words + 1] = role .. ": " .. given[role].actor .. " " .. ctx:local_date(given[role].at)
			else
				missing[#missing + 1] = role
			end
		end
		found[#found + 1] = {
			kind = approval.kind_of(document), title = document.title or document.name or instance.subject,
			version = document.version or document.meta.versionId, state = instance.state,
			approved = table.concat(words, "; "), missing = table.concat(missing, ", "), due = instance.due,
			task = instance.task,
		}
	end
	return found
end

return plugin {
	name = "governance", api = 1, summary = "Protocols, measures and budgets go live with their owners' approval",

	settings = {
		owners = {
			type = "table", help = "Roles that must approve, each by a person of its own",
			default = {
				protocol = { "clinical_lead", "behavioral_lead" }, measure = { "quality_lead", "clinical_lead" },
				budget = { "finance_lead", "manager" },
			},
		},
		decide_within = { type = "duration", default = "10 business days", help = "Time for the owners to decide" },
		review_within = { type = "duration", default = "12 months", help = "When what is in force is looked at" },
	},

	roles = {
		clinical_lead = {
			summary = "Owns clinical protocols",
			allow = {
				{ "read search history create update", types = { "PlanDefinition", "Measure", "Basic" } },
				{ "read search", types = { "Task", "MeasureReport" } },
				{ "transition", types = { "Task" }, workflow = "approval" },
				{ "metrics events", types = { "*" } },
			},
		},
		behavioral_lead = {
			summary = "Owns behavioral health protocols",
			allow = {
				{ "read search history create update", types = { "PlanDefinition", "Measure", "Basic" } },
				{ "read search", types = { "Task", "MeasureReport" } },
				{ "transition", types = { "Task" }, workflow = "approval" },
				{ "metrics events", types = { "*" } },
			},
		},
		quality_lead = {
			summary = "Owns the measures",
			allow = {
				{ "read search history create update", types = { "PlanDefinition", "Measure", "Basic" } },
				{ "read search", types = { "Task", "MeasureReport" } },
				{ "transition", types = { "Task" }, workflow = "approval" },
				{ "metrics events", types = { "*" } },
			},
		},
		finance_lead = {
			summary = "Owns the budget",
			allow = {
				{ "read search history create update", types = { "Basic", "Measure" } },
				{ "read search", types = { "Task", "MeasureReport" } },
				{ "transition", types = { "Task" }, workflow = "approval" },
				{ "metrics events", types = { "*" } },
			},
		},
		manager = {
			summary = "Sees what is in force and what waits",
			allow = {
				{ "read search history create update", types = { "PlanDefinition", "Measure", "Basic" } },
				{ "transition", types = { "Task" }, workflow = "approval" },
			},
		},
	},

	workflow "approval" {
		summary = "A version of a protocol, measure or budget", start = "draft",
		draft = {
			status = "draft", owner = "manager", action = "Finish the draft and submit it", within = "30 days",
			on = {
				submit = { "review", by = team, help = "The owners are asked" },
				withdraw = { "withdrawn", by = team, needs = { "reason" }, effect = approval.retire },
			},
		},
		review = {
			status = "in-progress", owner = "manager", action = "Get the owners' decisions", within = setting "decide_within",
			on = {
				approve = {
					"review", by = team, guard = approval.may_approve,
					needs = {
						role = { "string", help = "The role that you approve for" },
						version = { "string", help = "meta.versionId of what you read" },
						note = { "string", optional = true },
					},
				},
				send_back = { "draft", by = team, needs = { "reason" }, help = "Not like this; all approvals are void" },
				go_live = { "live", by = team, guard = approval.complete, effect = approval.go_live },
				withdraw = { "withdrawn", by = team, needs = { "reason" }, effect = approval.retire },
			},
		},
		live = {
			status = "ready", owner = "manager", action = "Look at it again", within = setting "review_within",
			on = {
				confirm = { "live", by = team, needs = { "note" }, help = "Looked at; it stays in force" },
				replace = { "replaced", by = team, needs = { by = "string" }, effect = approval.retire },
				retire = { "withdrawn", by = team, needs = { "reason" }, effect = approval.retire },
			},
		},
		replaced = { status = "completed", final = true },
		withdrawn = { status = "cancelled", final = true },
	},

	on "PlanDefinition.create" (written), on "PlanDefinition.update" (written),
	on "Measure.create" (written), on "Measure.update" (written),
	on "Basic.create" (written), on "Basic.update" (written),

	view "in_force_and_waiting" {
		summary = "Protocols, measures and budgets: what is in force, who approved it, who is missing",
		columns = { "kind", "title", "version", "state", "approved", "missing", "due", "task" },
		roles = team, rows = rows,
	},
}
