-- The numbers of a protocol in force. A protocol is a PlanDefinition that went live with its owners' approval (service
-- "governance"); it carries its numbers as extensions `urn:careloop:protocol:value` with the parts `name` and `value`.
local resources = require "lib/resources"

local protocol = {}

protocol.value_url = "urn:careloop:protocol:value"

-- Values by name of the active version under `url`, and its version; an empty table when none is in force.
function protocol.in_force(ctx, url)
	local values = {}
	local found = ctx:search("PlanDefinition", { url = url, status = "active", _count = 1 })[1]
	for _, extension in ipairs(found and found.extension or {}) do
		if extension.url == protocol.value_url then
			local name, value = resources.extension(extension, "name"), resources.extension(extension, "value")
			if name and value then
				values[name.valueCode or name.valueString] = tonumber(value.valueInteger or value.valueDecimal)
			end
		end
	end
	return values, found and found.version
end

return protocol
