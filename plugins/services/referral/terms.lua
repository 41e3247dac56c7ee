-- What holds for one referral: the partner's care compact before the variant's values before the plugin's settings.
-- Clocks, and what the partner may see of the patient, field by field (minimum necessary, 45 CFR 164.502(b)).
local compact = require "lib/compact"
local resources = require "lib/resources"
local variants = require "variants"

local terms = {}

-- A duration: `name` is that of a clock setting ("accept_within").
function terms.duration(ctx, request, recipient, name)
	local agreed = compact.current(ctx, recipient)
	if agreed and agreed[name] then
		return agreed[name]
	end
	local _, variant = variants.of(ctx, request)
	return variant.clocks[name] or ctx.setting[name]
end

local function only(resource, fields)
	local kept = { resourceType = resource.resourceType, id = resource.id }
	for _, field in ipairs(fields) do
		local value = resource[field]
		if type(value) == "table" or type(value) == "userdata" then
			kept[field] = plain(value)
		else
			kept[field] = value
		end
	end
	return kept
end

-- What the recipient may see: { patient =, request =, enclose = { types }, compact = reference or nil, variant = name
-- }. Labels of the request stay on it whatever is shown.
function terms.shown(ctx, request, patient, recipient)
	local agreed, reference = compact.current(ctx, recipient)
	local name, variant = variants.of(ctx, request)
	local fields = agreed and agreed.patient_fields or variant.patient_fields or ctx.setting.patient_fields
	local shown = {
		patient = only(patient, fields), request = request, variant = name, compact = reference,
		enclose = agreed and agreed.enclose or variant.enclose or ctx.setting.enclose,
	}
	shown.patient.identifier = resources.with(shown.patient.identifier, {
		system = "urn:careloop:patient:" .. ctx.organization.id, value = patient.id,
	})
	if variant.request_fields then
		shown.request = only(request, variant.request_fields)
		shown.request.meta = request.meta and request.meta.security and { security = plain(request.meta.security) } or nil
	end
	return shown
end

return terms
