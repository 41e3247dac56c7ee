-- Paper: when a partner has no connection, or the line is down, a referral goes out as a sheet with a code. Whoever
-- gets the answer back by fax, letter or phone types the code; the answer then drives the same machine, in the
-- partner's name.
local resources = require "lib/resources"

local paper = {}

paper.system = "urn:careloop:referral:paper-code"

-- Luhn's check digit (ISO/IEC 7812-1, annex B): finds every single wrong digit and nearly every swap of two neighbours.
local function check_digit(digits)
	local sum = 0
	for place = 1, #digits do
		local value = string.byte(digits, #digits - place + 1) - 48
		if place % 2 == 1 then
			value = value * 2
			if value > 9 then
				value = value - 9
			end
		end
		sum = sum + value
	end
	return tostring((10 - sum % 10) % 10)
end
paper.check_digit = check_digit

local function with_code(ctx, code)
	return ctx:search("Task", { identifier = paper.system .. "|" .. code, _count = 2 })
end

-- The code of a referral: seven random digits and a check digit, "4821-9137". Made once, kept on the Task.
function paper.code(ctx, task)
	local known = resources.identifier(task, paper.system)
	if known then
		return known
	end
	local digits
	repeat
		digits = string.format("%07d", math.random(0, 9999999))
		digits = digits .. check_digit(digits)
	until #with_code(ctx, digits) == 0
	local own = plain(task)
	own.identifier = resources.with(own.identifier, { system = paper.system, value = digits })
	ctx:update(own)
	return digits
end

-- `operation "$referral-sheet"`: the sheet as text. It says what the package would say, no more; `seen` = what may be
-- shown.
function paper.sheet(ctx, task, seen)
	local code = paper.code(ctx, task)
	local lines = {
		"REFERRAL from " .. ctx.organization.name,
		"Code for your answer: " .. string.sub(code, 1, 4) .. "-" .. string.sub(code, 5),
		"",
	}
	local function add(label, value)
		if value and value ~= "" then
			lines[#lines + 1] = label .. ": " .. value
		end
	end
	local patient, request = seen.patient, seen.request
	add("Patient", patient.name and resources.name(patient))
	add("Born", patient.birthDate)
	for _, telecom in ipairs(patient.telecom or {}) do
		add("Reach by " .. (telecom.system or "phone"), telecom.value)
	end
	for _, address in ipairs(patient.address or {}) do
		local parts = address.line and plain(address.line) or {}
		for _, field in ipairs { "city", "state", "postalCode" } do
			parts[#parts + 1] = address[field]
		end
		add("Address", address.text or table.concat(parts, ", "))
	end
	for _, spoken in ipairs(patient.communication or {}) do
		add("Language", resources.code(spoken.language) or spoken.language and spoken.language.text)
	end
	add("Wanted", request.code and (request.code.text or resources.code(request.code)))
	add("Priority", request.priority)
	for _, reason in ipairs(request.reasonCode or {}) do
		add("Reason", reason.text or resources.code(reason))
	end
	for _, note in ipairs(request.note or {}) do
		add("Question", note.text)
	end
	if seen.notice then
		lines[#lines + 1] = ""
		lines[#lines + 1] = seen.notice
	end
	lines[#lines + 1] = ""
	lines[#lines + 1] = "Please answer by fax, letter or phone with the code and one of:"
	lines[#lines + 1] = "[ ] we accept   [ ] we decline, because ________   [ ] visit on ________"
	lines[#lines + 1] = "[ ] patient did not come   [ ] patient was seen on ________   [ ] report enclosed"
	return {
		resourceType = "Parameters", parameter = {
			{ name = "code", valueString = code }, { name = "sheet", valueString = table.concat(lines, "\n") },
		},
	}
end

-- `operation "$paper-answer"`: code, event, source (fax, letter, phone) and the data of the event. Answers with the
-- Task's state.
function paper.answer(ctx, input)
	local code = resources.parameter(input, "code")
	local event = resources.parameter(input, "event")
	local source = resources.parameter(input, "source") or "fax"
	code = string.gsub(code or "", "[^0-9]", "")
	if #code ~= 8 then
		ctx:refuse("the code has eight digits, for example 4821-9137", "Parameters.parameter")
	end
	if check_digit(string.sub(code, 1, 7)) ~= string.sub(code, 8) then
		ctx:refuse("the code was mistyped: its check digit does not fit", "Parameters.parameter")
	end
	local found = with_code(ctx, code)
	if #found ~= 1 then
		ctx:refuse("no referral has this code", "Parameters.parameter")
	end
	if not event then
		ctx:refuse("say what the partner answered: event (accept, decline, schedule, no_show, interim, outcome ...)",
			"Parameters.parameter")
	end
	local data = {}
	for _, parameter in ipairs(input.parameter or {}) do
		if parameter.name ~= "code" and parameter.name ~= "event" and parameter.name ~= "source" then
			data[parameter.name] = resources.parameter(input, parameter.name)
		end
	end
	local reference = "Task/" .. found[1].id
	local state = ctx:advance(reference, event, data, { on_behalf_of = "recipient", source = source })
	return {
		resourceType = "Parameters", parameter = {
			{ name = "task", valueReference = { reference = reference } }, { name = "state", valueString = state },
		},
	}
end

return paper
