-- The way of a version: written, reviewed, approved by each owner, live, replaced. What was approved is one stored
-- version (meta.versionId): a change after an approval takes the approvals away.
local resources = require "lib/resources"

local approval = {}

approval.kind_system = "urn:careloop:governance:kind"

-- "protocol", "measure" or "budget" of a resource; nil when it is none of them.
function approval.kind_of(resource)
	if resource.resourceType == "PlanDefinition" then
		return "protocol"
	elseif resource.resourceType == "Measure" then
		return "measure"
	elseif resource.resourceType == "Basic" and resources.code(resource.code, approval.kind_system) == "budget" then
		return "budget"
	end
	return nil
end

function approval.owners(ctx, resource)
	local kind = approval.kind_of(resource)
	return kind and ctx.setting.owners[kind] or {}
end

-- Approvals: role -> { actor, at }. Of the version that is stored now; once it is live, those that it went live with.
function approval.given(ctx, task)
	local document = ctx:read(task.focus.reference)
	local moves = ctx:transitions("Task/" .. task.id)
	local version, given = document.meta.versionId, {}
	for number, move in ipairs(moves) do
		if move.event == "go_live" then
			version = moves[number - 1].data.version
		end
	end
	for _, move in ipairs(moves) do
		if move.event == "approve" and move.data and move.data.version == version then
			given[move.data.role] = { actor = move.actor, at = move.at }
		elseif move.event == "send_back" then
			given = {}
		end
	end
	return given, document
end

-- Guard of "approve": for a role that must approve, played by who approves, who has not approved for another role.
function approval.may_approve(ctx, task, data)
	local given, document = approval.given(ctx, task)
	local owners = plain(approval.owners(ctx, document))
	if not resources.contains(owners, data.role) then
		return false, "'" .. tostring(data.role) .. "' does not approve a " .. approval.kind_of(document) .. "; owners: "
			.. table.concat(owners, ", ")
	end
	if not resources.contains(ctx.actor.roles, data.role) then
		return false, "you do not play the role " .. data.role
	end
	if data.version ~= document.meta.versionId then
		return false, string.format("version %s is stored now, you read %s: read it again and decide anew",
			document.meta.versionId, tostring(data.version))
	end
	for role, one in pairs(given) do
		if one.actor == ctx.actor.name and role ~= data.role then
			return false, "you approved for " .. role .. " already: two owners are two people"
		end
	end
	return true
end

-- Guard of "go_live": every owner approved what is stored now.
function approval.complete(ctx, task)
	local given, document = approval.given(ctx, task)
	local missing = {}
	for _, role in ipairs(approval.owners(ctx, document)) do
		if not given[role] then
			missing[#missing + 1] = role
		end
	end
	if #missing > 0 then
		return false, "not approved yet by " .. table.concat(missing, ", ") .. " (version " .. document.meta.versionId .. ")"
	end
	return true
end

local function set_status(ctx, reference, status)
	local document = plain(ctx:read(reference))
	if document.resourceType == "Basic" then
		document.extension = resources.with_extension(document, {
			url = "urn:careloop:governance:status", valueCode = status,
		})
	else
		document.status = status
		if status == "active" then
			document.approvalDate = ctx:today()
		end
	end
	ctx:update(document)
	return document
end

-- Effect of "go_live": active from now on; the version before it, with the same url, is retired.
function approval.go_live(ctx, task)
	local document = set_status(ctx, task.focus.reference, "active")
	for _, other in ipairs(ctx:instances("approval", { state = "live" })) do
		if other.subject ~= task.focus.reference then
			local former = ctx:read(other.subject)
			if former and former.resourceType == document.resourceType and former.url ~= nil and former.url == document.url then
				ctx:advance(other.task, "replace", { by = task.focus.reference })
			end
		end
	end
end

function approval.retire(ctx, task)
	set_status(ctx, task.focus.reference, "retired")
end

return approval
