-- How a partner keeps what it agreed to, from the moves of the referrals themselves.
local compact = require "lib/compact"

local resources = require "lib/resources"

local scorecard = {}

local no_connection = "(no connection)"

local function median(values)
	if #values == 0 then
		return nil
	end
	table.sort(values)
	local middle = #values // 2
	return #values % 2 == 1 and values[middle + 1] or (values[middle] + values[middle + 1]) / 2
end

local function share(part, whole)
	return whole > 0 and math.floor(1000 * part / whole + 0.5) / 10 or nil
end

-- One row for each partner with referrals sent in the last `days`: counts with their denominators, so that small
-- numbers show.
function scorecard.rows(ctx)
	local by_partner, order = {}, {}
	local from = ctx:add(ctx:now(), "-" .. ctx.setting.scorecard_days .. " days")
	for _, task in ipairs(ctx:search("Task", { code = "referral", ["authored-on"] = "ge" .. from, _count = 1000 })) do
		local instance = ctx:instance("Task/" .. task.id)
		if instance and instance.party == "initiator" and instance.state ~= "draft" and instance.state ~= "discarded" then
			local partner = instance.partner and instance.partner ~= "" and instance.partner
				or task.owner and resources.parse(task.owner.reference) == "Organization" and task.owner.reference or no_connection
			local row = by_partner[partner]
			if not row then
				row = {
					partner = partner, sent = 0, answered = 0, on_time = 0, accepted = 0, seen = 0, missed = 0, reported = 0,
					silent = 0, by_hand = 0, days = {},
				}
				local entry = ctx.organization.partners and ctx.organization.partners[partner]
				local terms = partner ~= no_connection and compact.current(ctx, entry and entry.reference or partner)
				row.terms = terms and terms.accept_within
				by_partner[partner] = row
				order[#order + 1] = partner
			end
			local sent_at, answered_at
			local did = {}
			for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
				if move.to == "received" and not sent_at then
					sent_at = move.at
				elseif sent_at and not answered_at and (move.to == "accepted" or move.to == "declined"
					or move.to == "scheduled" or move.to == "active") then
					answered_at = move.at
				end
				did[move.to] = true
				if move.event == "no_show" then
					did.missed = true
				end
				if move.on_behalf_of and move.on_behalf_of ~= "" then
					did.by_hand = true
				end
			end
			if sent_at then
				row.sent = row.sent + 1
				if answered_at then
					row.answered = row.answered + 1
					row.days[#row.days + 1] = ctx:between(sent_at, answered_at, "business days")
					local due = ctx:add(sent_at, row.terms or ctx.setting_of("referral", "accept_within") or "2 business days")
					if ctx:between(answered_at, due, "minutes") >= 0 then
						row.on_time = row.on_time + 1
					end
				end
				for column, state in pairs { accepted = "accepted", seen = "visit_completed", reported = "completed",
					silent = "closed_unresponsive", missed = "missed", by_hand = "by_hand" } do
					if did[state] or column == "seen" and did.completed then
						row[column] = row[column] + 1
					end
				end
			end
		end
	end
	table.sort(order)
	local rows = {}
	for _, partner in ipairs(order) do
		local row = by_partner[partner]
		if row.sent > 0 then
			row.median_days = median(row.days)
			row.answered_on_time = share(row.on_time, row.sent)
			row.loop_closed = share(row.reported, row.sent)
			row.answers_within = row.terms or "(no compact)"
			row.days, row.terms = nil, nil
			rows[#rows + 1] = row
		end
	end
	return rows
end

return scorecard
