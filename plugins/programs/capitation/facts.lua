-- Small records of the programme as FHIR Basic resources: a code, an identifier to be found by, and named values.
local facts = {}

facts.system = "urn:careloop:capitation"

local kinds = {
	text = "valueString", number = "valueDecimal", date = "valueDate", at = "valueDateTime", reference = "valueReference",
}

-- `values`: { name = { "kind", value } }; nil values are left out.
function facts.make(code, key, subject, values)
	local names, extensions = {}, {}
	for name in pairs(values) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local kind, value = values[name][1], values[name][2]
		if value ~= nil then
			extensions[#extensions + 1] = {
				url = facts.system .. ":" .. name,
				[kinds[kind]] = kind == "reference" and { reference = value } or value,
			}
		end
	end
	return {
		resourceType = "Basic", code = { coding = { { system = facts.system, code = code } } },
		identifier = key and { { system = facts.system, value = key } } or nil,
		subject = subject and { reference = subject } or nil, extension = extensions,
	}
end

-- The values of a record, by name; numbers as numbers, references as text.
function facts.values(basic)
	local found = {}
	for _, extension in ipairs(basic.extension or {}) do
		local name = string.match(extension.url, "^" .. facts.system .. ":(.+)$")
		if name then
			found[name] = extension.valueString or tonumber(extension.valueDecimal) or extension.valueDate
				or extension.valueDateTime or extension.valueReference and extension.valueReference.reference
		end
	end
	return found
end

-- Records of a code with that key, in the order in which they were made.
function facts.of(ctx, code, key)
	local found = {}
	for _, basic in ipairs(ctx:search("Basic", {
		code = facts.system .. "|" .. code, identifier = facts.system .. "|" .. key, _count = 1000,
	})) do
		found[#found + 1] = { id = basic.id, resource = basic, values = facts.values(basic) }
	end
	return found
end

return facts
