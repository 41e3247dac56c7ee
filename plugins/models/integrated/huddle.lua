-- The daily huddle: at 07:00 local time on business days the open flags become a list and tasks for today (domain.md
-- section 3.3).
local codes = require "lib/codes"
local resources = require "lib/resources"
local registry = require "registry"
local review = require "review"

local huddle = {}

-- Patients with open flags, the most urgent first.
local function agenda(ctx)
	local order = {}
	registry.each(ctx, function (episode, _, names, rank)
		if #names > 0 then
			order[#order + 1] = { patient = episode.patient.reference, rank = rank, codes = names }
		end
	end)
	table.sort(order, function (a, b)
		if a.rank ~= b.rank then
			return a.rank < b.rank
		end
		return a.patient < b.patient
	end)
	return order
end

function huddle.prepare(ctx)
	local order = agenda(ctx)
	local entries, left = {}, 0
	for number, entry in ipairs(order) do
		if number <= ctx.setting.huddle_maximum then
			entries[#entries + 1] = {
				item = { reference = entry.patient }, flag = { text = table.concat(entry.codes, ", ") },
			}
		else
			left = left + 1
		end
	end
	local list_reference = ctx:create {
		resourceType = "List", status = "current", mode = "snapshot", title = "Huddle of " .. ctx:today(),
		code = resources.concept(codes.system.list, "huddle", "Daily huddle"), date = ctx:now(),
		entry = #entries > 0 and entries or nil,
		emptyReason = #entries == 0 and resources.concept(codes.system.list_empty, "nilknown", "Nil Known") or nil,
		note = left > 0 and { { text = left .. " more patients have flags: see the registry" } } or nil,
	}
	ctx:start("huddle", { focus = list_reference })
	for number, entry in ipairs(order) do
		if number <= ctx.setting.huddle_maximum
			and #ctx:instances("huddle_item", { patient = entry.patient, live = true }) == 0 then
			ctx:start("huddle_item", {
				focus = list_reference, patient = entry.patient, data = { flags = table.concat(entry.codes, ", ") },
			})
		end
	end
end

-- Closing writes down who was there.
local function close_list(ctx, task, data)
	local reference = resources.reference(task.focus)
	local list_resource = reference and ctx:read(reference)
	if list_resource and (data.present or data.note) then
		local changed = plain(list_resource)
		changed.note = resources.with(changed.note, {
			text = (data.present and "Present: " .. data.present .. ". " or "") .. (data.note or ""), time = ctx:now(),
		})
		ctx:update(changed)
	end
end

function huddle.workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local team = {
		"care_manager", "clinician", "behavioral_health_consultant", "nurse", "medical_assistant", "psychiatric_consultant",
	}
	local close = {
		"closed", by = team, effect = close_list,
		needs = {
			present = { "string", optional = true, help = "Who was there" }, note = { "string", optional = true },
		},
		help = "The list was gone through",
	}
	return {
		summary = "The team's daily talk about the patients who need it", subject = "List", start = "prepared",
		prepared = {
			status = "ready", owner = "care_manager", action = "Hold the huddle", within = setting "huddle_within",
			overdue = escalate("care_manager", { again = "3 hours", times = 2, finally = "not_held" }),
			on = {
				open = { "in_session", by = team, help = "The huddle begins" }, close = close,
				not_held = { "missed", by = { "care_manager", "clock" }, help = "There was no huddle today; the tasks stay" },
			},
		},
		in_session = {
			status = "in-progress", owner = "care_manager", action = "Go through the list and close it", within = "1 hour",
			overdue = escalate("care_manager", { again = "1 hour", times = 3, finally = "not_held" }),
			on = {
				close = close,
				decide = { "in_session", by = team, needs = review.decision, effect = review.decide, help = "Becomes a task" },
				not_held = { "missed", by = { "care_manager", "clock" } },
			},
		},
		closed = { status = "completed", final = true },
		missed = { status = "failed", final = true },
	}
end

function huddle.item_workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local team = {
		"care_manager", "clinician", "behavioral_health_consultant", "nurse", "medical_assistant", "psychiatric_consultant",
	}
	local done = { "done", by = team, needs = { result = "string" }, help = "What was done for the patient" }
	local drop = { "dropped", by = team, needs = { "reason" }, help = "Nothing is to be done, and why" }
	return {
		summary = "What the huddle decided to do for one patient", subject = "List", start = "open", single = true,
		open = {
			status = "requested", owner = "care_manager", action = "Do today what the huddle decided",
			within = setting "huddle_item_within",
			overdue = escalate("care_manager", { again = "1 business day" }),
			on = {
				assign = { "open", by = team, needs = { owner = "reference" }, help = "Somebody else does it" },
				carry_over = { "carried", by = team, needs = { "reason" }, help = "Not today, and why" },
				done = done, drop = drop,
			},
		},
		carried = {
			status = "on-hold", owner = "care_manager", action = "Do what was carried over", within = "1 business day",
			overdue = escalate("care_manager", { again = "1 business day" }),
			on = { resume = { "open", by = team }, done = done, drop = drop },
		},
		done = { status = "completed", final = true },
		dropped = { status = "cancelled", final = true },
	}
end

return huddle
