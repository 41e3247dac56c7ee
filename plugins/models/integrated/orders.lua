-- A repeat of a recent order is shown before it is placed: the same test for the same patient within a number of days
-- that depends on the test. A person who still wants it says why; a record system's order is kept and the repeat is
-- written down, since it may be done already.
local resources = require "lib/resources"

local orders = {}

orders.reason_url = "urn:careloop:order:repeat-reason"
orders.repeat_code = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "DUPTHPY" }

local function codes_of(request)
	local found = {}
	for _, coding in ipairs(request.code and request.code.coding or {}) do
		found[#found + 1] = (coding.system or "") .. "|" .. (coding.code or "")
	end
	return found
end

local function days_for(ctx, request)
	local days = ctx.setting.repeat_days
	for _, coding in ipairs(request.code and request.code.coding or {}) do
		if days[coding.code] then
			return tonumber(days[coding.code])
		end
	end
	return tonumber(days.default)
end

-- Orders and results of the same code within the days before; the newest first. `except` is the order itself.
function orders.recent(ctx, request, except)
	local patient = resources.reference(request.subject)
	local days = days_for(ctx, request)
	local found = {}
	if not patient or not days or days <= 0 then
		return found
	end
	local from = ctx:add(ctx:now(), "-" .. math.tointeger(days) .. " days")
	for _, code in ipairs(codes_of(request)) do
		for _, other in ipairs(ctx:search("ServiceRequest", {
			patient = patient, code = code, authored = "ge" .. from, status = "active,completed", _count = 20,
		})) do
			if resources.of(other) ~= except then
				found[#found + 1] = { reference = resources.of(other), at = other.authoredOn, what = "ordered" }
			end
		end
		for _, result in ipairs(ctx:search("Observation", {
			patient = patient, code = code, date = "ge" .. from, status = "final,amended,corrected", _count = 20,
		})) do
			local value = result.valueQuantity and tonumber(result.valueQuantity.value)
			found[#found + 1] = {
				reference = resources.of(result), at = result.effectiveDateTime or result.issued,
				what = value and "result " .. string.format("%g", value) .. " " .. (result.valueQuantity.unit or "") or "result",
			}
		end
	end
	table.sort(found, function (a, b)
		return (a.at or "") > (b.at or "")
	end)
	return found
end

local function described(ctx, one)
	return one.what .. " " .. (one.at and ctx:local_date(one.at) or "on an unknown day") .. " (" .. one.reference .. ")"
end

-- `operation "$repeat-check"`: POST /fhir/ServiceRequest/$repeat-check with the order that is about to be placed.
function orders.check(ctx, input)
	if not input or input.resourceType ~= "ServiceRequest" then
		ctx:refuse("$repeat-check takes the ServiceRequest that is about to be placed", "ServiceRequest")
	end
	local answer = { resourceType = "Parameters", parameter = {} }
	for _, one in ipairs(orders.recent(ctx, input)) do
		answer.parameter[#answer.parameter + 1] = {
			name = "recent", part = {
				{ name = "resource", valueReference = { reference = one.reference } },
				{ name = "summary", valueString = described(ctx, one) },
			},
		}
	end
	answer.parameter[#answer.parameter + 1] = { name = "repeat", valueBoolean = #answer.parameter > 0 }
	return answer
end

-- When an order is placed.
function orders.placed(ctx, change)
	local request = change.resource
	if request.status ~= "active" or request.intent ~= "order" then
		return
	end
	local recent = orders.recent(ctx, request, change.reference)
	local reason = resources.extension(request, orders.reason_url)
	if #recent == 0 or reason and reason.valueString and reason.valueString ~= "" then
		return
	end
	if ctx.actor.kind == "person" then
		ctx:refuse("repeat-of-recent-order: " .. described(ctx, recent[1])
			.. ". If it is still needed, say why in the extension " .. orders.reason_url .. " (valueString)",
			"ServiceRequest.code")
	end
	ctx:create {
		resourceType = "DetectedIssue", status = "final", severity = "low",
		patient = { reference = request.subject.reference },
		code = { coding = { orders.repeat_code }, text = "repeat-of-recent-order" }, identifiedDateTime = ctx:now(),
		implicated = { { reference = change.reference }, { reference = recent[1].reference } },
		detail = "The same was " .. described(ctx, recent[1]),
	}
end

return orders
