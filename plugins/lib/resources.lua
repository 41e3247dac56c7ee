-- Small helpers over FHIR resources. They read views and ordinary tables alike and change neither.
local resources = {}

-- "Patient/x" -> "Patient", "x"; versioned and absolute references count too.
function resources.parse(reference)
	local type_name, id = string.match(reference or "", "([A-Z][A-Za-z]+)/([A-Za-z0-9%-%.]+)$")
	if not type_name then
		type_name, id = string.match(reference or "", "([A-Z][A-Za-z]+)/([A-Za-z0-9%-%.]+)/_history/")
	end
	return type_name, id
end

-- The text of a Reference element, or nil.
function resources.reference(element)
	return element and element.reference or nil
end

-- A reference in an event's data: a Reference element (from Parameters) or its text (from a plugin).
function resources.text_of(value)
	if value == nil or type(value) == "string" then
		return value
	end
	return value.reference
end

function resources.of(resource)
	return resource.resourceType .. "/" .. resource.id
end

-- The first coding of a CodeableConcept in a code system (any system when nil).
function resources.coding(concept, system)
	for _, coding in ipairs(concept and concept.coding or {}) do
		if system == nil or coding.system == system then
			return coding
		end
	end
	return nil
end

function resources.code(concept, system)
	local coding = resources.coding(concept, system)
	return coding and coding.code or nil
end

function resources.has_code(concept, code, system)
	for _, coding in ipairs(concept and concept.coding or {}) do
		if coding.code == code and (system == nil or coding.system == system) then
			return true
		end
	end
	return false
end

-- Any of several CodeableConcepts has the code.
function resources.any_has_code(concepts, code, system)
	for _, concept in ipairs(concepts or {}) do
		if resources.has_code(concept, code, system) then
			return true
		end
	end
	return false
end

function resources.concept(system, code, display)
	return { coding = { { system = system, code = code, display = display } }, text = display }
end

function resources.identifier(resource, system)
	for _, identifier in ipairs(resource and resource.identifier or {}) do
		if identifier.system == system then
			return identifier.value
		end
	end
	return nil
end

-- "Ana Maria Rivera" from a Patient, Practitioner or RelatedPerson; the official name first.
function resources.name(person)
	local chosen
	for _, name in ipairs(person and person.name or {}) do
		if not chosen or name.use == "official" then
			chosen = name
		end
	end
	if not chosen then
		return "(no name)"
	end
	if chosen.text then
		return chosen.text
	end
	local parts = {}
	for _, given in ipairs(chosen.given or {}) do
		parts[#parts + 1] = given
	end
	if chosen.family then
		parts[#parts + 1] = chosen.family
	end
	return #parts > 0 and table.concat(parts, " ") or "(no name)"
end

-- Codes of the security labels of a resource.
function resources.labels(resource)
	local found = {}
	for _, label in ipairs(resource and resource.meta and resource.meta.security or {}) do
		found[#found + 1] = label.code
	end
	return found
end

function resources.contains(values, wanted)
	for _, value in ipairs(values or {}) do
		if value == wanted then
			return true
		end
	end
	return false
end

-- The value of a Parameters resource's parameter, whatever its type.
function resources.parameter(parameters, name)
	for _, parameter in ipairs(parameters and parameters.parameter or {}) do
		if parameter.name == name then
			for key, value in pairs(parameter) do
				if string.sub(key, 1, 5) == "value" then
					return value
				end
			end
		end
	end
	return nil
end

-- Task.input or Task.output of a kind: the whole element.
function resources.item(list_of_items, kind)
	for _, item in ipairs(list_of_items or {}) do
		if item.type and item.type.text == kind then
			return item
		end
	end
	return nil
end

function resources.extension(element, url)
	for _, extension in ipairs(element and element.extension or {}) do
		if extension.url == url then
			return extension
		end
	end
	return nil
end

-- The list of extensions with one put in place: for `resource.extension = resources.with_extension(resource, {...})`.
function resources.with_extension(element, wanted)
	local result = {}
	for _, extension in ipairs(element and element.extension or {}) do
		if extension.url ~= wanted.url then
			result[#result + 1] = extension
		end
	end
	result[#result + 1] = wanted
	return result
end

-- The list with one element more, whether it was there or not.
function resources.with(elements, added)
	local result = {}
	for _, element in ipairs(elements or {}) do
		result[#result + 1] = element
	end
	result[#result + 1] = added
	return result
end

function resources.note(ctx, text)
	return { text = text, time = ctx:now(), authorString = ctx.actor and ctx.actor.name or nil }
end

-- Is the moment inside a Period (either end may be open)? Times are compared by the engine, never as text.
function resources.in_period(ctx, period, at)
	if not period then
		return true
	end
	if period.start and ctx:between(period.start, at, "minutes") < 0 then
		return false
	end
	local finish = period["end"]
	if not finish then
		return true
	end
	if #finish == 10 then -- a date means the whole day
		return string.sub(at, 1, 10) <= finish or ctx:local_date(at) <= finish
	end
	return ctx:between(at, finish, "minutes") >= 0
end

-- Does a date or dateTime lie in the month (of a metric's function)?
function resources.in_month(ctx, month, at)
	if not at then
		return false
	end
	if #at == 10 then
		return at >= ctx:local_date(month.start) and at < ctx:local_date(month.finish)
	end
	return ctx:between(month.start, at, "minutes") >= 0 and ctx:between(at, month.finish, "minutes") > 0
end

-- Calls fn(resource) for every resource of a month, searched day by day, so that no search passes the limit of rows.
-- `parameter` is the date parameter, `query` the rest ("code=referral"), `at_of(resource)` the element that counts.
function resources.each_of_month(ctx, month, type_name, parameter, query, at_of, fn)
	local seen = {}
	local from = month.start
	while ctx:between(from, month.finish, "minutes") > 0 do
		local to = ctx:add(from, "1 day")
		local text = query .. (query ~= "" and "&" or "") .. parameter .. "=ge" .. from .. "&" .. parameter .. "=lt" .. to
		for _, resource in ipairs(ctx:search(type_name, text .. "&_count=1000")) do
			if not seen[resource.id] and resources.in_month(ctx, month, at_of(resource)) then
				seen[resource.id] = true
				fn(resource)
			end
		end
		from = to
	end
end

return resources
