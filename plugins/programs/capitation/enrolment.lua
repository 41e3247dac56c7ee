-- Enrolment and attribution files: CSV text, row by row, in pieces, so that a large file holds nobody up. Each row that
-- is
-- taken leaves a line in a ledger that is only added to; each that is not says which rule it broke. Coverages carry the
-- state.
local contracts = require "contracts"
local dates = require "lib/dates"
local facts = require "facts"

local enrolment = {}

enrolment.rows_at_once = 40
enrolment.largest = 1000000 -- bytes of a FHIR string

local columns = { member = true, contract = true, action = true, first = true, last = true, practitioner = true }

-- ---- CSV (RFC 4180) ----

-- Fields of one line; quotes may stand around a field and, doubled, within. A field has no line break: files that have
-- are
-- refused by the number of their fields.
function enrolment.fields(line)
	local found, at = {}, 1
	while at <= #line + 1 do
		if string.sub(line, at, at) == '"' then
			local text, from = {}, at + 1
			while true do
				local quote = string.find(line, '"', from, true)
				if not quote then
					return nil, "a quote that does not end"
				end
				text[#text + 1] = string.sub(line, from, quote - 1)
				if string.sub(line, quote + 1, quote + 1) ~= '"' then
					at = quote + 1
					break
				end
				text[#text + 1] = '"'
				from = quote + 2
			end
			local rest = string.sub(line, at, at)
			if rest ~= "" and rest ~= "," then
				return nil, "text after a quote"
			end
			found[#found + 1] = table.concat(text)
			at = at + 1
		else
			local comma = string.find(line, ",", at, true) or #line + 1
			found[#found + 1] = string.sub(line, at, comma - 1)
			at = comma + 1
		end
	end
	return found
end

-- The line that begins at `at`, without its end; and where the next one begins, nil at the end of the text.
local function line_at(text, at)
	local ending = string.find(text, "\n", at, true)
	local line = string.sub(text, at, (ending or #text + 1) - 1)
	if string.sub(line, -1) == "\r" then
		line = string.sub(line, 1, -2)
	end
	return line, ending and ending < #text and ending + 1 or nil
end

-- The header's columns in order, or nil and why not.
function enrolment.header(text)
	local line, next_at = line_at(text, 1)
	if string.sub(line, 1, 3) == "\xEF\xBB\xBF" then
		line = string.sub(line, 4)
	end
	local names, why = enrolment.fields(line)
	if not names then
		return nil, why
	end
	local seen = {}
	for i, name in ipairs(names) do
		names[i] = string.lower(string.match(name, "^%s*(.-)%s*$"))
		if not columns[names[i]] then
			return nil, "unknown column '" .. name .. "'; known are member, contract, action, first, last, practitioner"
		elseif seen[names[i]] then
			return nil, "column '" .. name .. "' stands twice"
		end
		seen[names[i]] = true
	end
	for _, name in ipairs { "member", "first" } do
		if not seen[name] then
			return nil, "column '" .. name .. "' is missing"
		end
	end
	return names, next_at
end

-- ---- one row ----

local function is_date(text)
	if not string.match(text, "^%d%d%d%d%-%d%d%-%d%d$") then
		return false
	end
	local days = dates.days(text)
	return days ~= nil and dates.text(days) == text -- 2026-02-30 would come back as March
end

local function overlaps(a_first, a_last, b_first, b_last)
	return (not b_last or a_first <= b_last) and (not a_last or b_first <= a_last)
end

local function coverages_of(ctx, patient, contract)
	local found = {}
	for _, coverage in ipairs(ctx:search("Coverage", { patient = patient, _count = 1000 })) do
		if coverage.status == "active" and contracts.of_coverage(coverage) == contract then
			found[#found + 1] = coverage
		end
	end
	return found
end

enrolment.coverages_of = coverages_of
enrolment.overlaps = overlaps

local function enrol(ctx, row, patient)
	local same
	for _, coverage in ipairs(coverages_of(ctx, patient, row.contract)) do
		local period = coverage.period or {}
		if period.start == row.first then
			same = coverage
		elseif overlaps(row.first, row.last, period.start, period["end"]) then
			return "overlapping_enrolment", "the member is enrolled from " .. tostring(period.start) .. " to "
				.. tostring(period["end"] or "further notice")
		end
	end
	if same and (same.period["end"] or nil) == row.last then
		return nil, "unchanged"
	elseif same then
		local changed = plain(same)
		changed.period["end"] = row.last
		ctx:update(changed)
		return nil, "changed"
	end
	ctx:create {
		resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
		payor = { { display = contracts.find(ctx, row.contract).name or row.contract } },
		class = { {
			type = { coding = { { system = "http://terminology.hl7.org/CodeSystem/coverage-class", code = "group" } } },
			value = row.contract,
		} },
		period = { start = row.first, ["end"] = row.last },
	}
	return nil, "enrolled"
end

local function finish(ctx, row, patient, void)
	for _, coverage in ipairs(coverages_of(ctx, patient, row.contract)) do
		if coverage.period and coverage.period.start == row.first then
			local changed = plain(coverage)
			if void then
				changed.status = "cancelled"
			else
				changed.period["end"] = row.last
			end
			ctx:update(changed)
			return nil, void and "void" or "ended"
		end
	end
	return "no_enrolment", "there is no enrolment that begins on " .. row.first
end

local function attribute(ctx, row, patient)
	if not row.practitioner then
		return
	end
	local resource = plain(ctx:read(patient))
	local known = resource.generalPractitioner and resource.generalPractitioner[1]
	if not known or known.reference ~= row.practitioner then
		resource.generalPractitioner = { { reference = row.practitioner } }
		ctx:update(resource)
	end
end

-- Takes one row. Gives nil and what was done, or the name of the rule that it broke and words.
function enrolment.apply(ctx, row)
	local action = row.action or "enrol"
	local found = ctx:search("Patient", {
		identifier = ctx.setting.member_system .. "|" .. (row.member or ""), _count = 2,
	})
	if not row.member or #found == 0 then
		return "unknown_member", "no patient has the member number"
	elseif #found > 1 then
		return "ambiguous_member", "several patients have the member number"
	elseif not contracts.find(ctx, row.contract) then
		return "unknown_contract", "there is no contract '" .. tostring(row.contract) .. "'"
	elseif not row.first or not is_date(row.first) or row.last and not is_date(row.last) then
		return "bad_date", "first and last are dates such as 2026-01-31"
	elseif row.last and row.last < row.first then
		return "reversed_dates", "the last day lies before the first"
	elseif row.practitioner and not string.match(row.practitioner, "^Practitioner/[A-Za-z0-9%-%.]+$") then
		return "bad_practitioner", "practitioner is a reference such as Practitioner/x"
	end
	local patient = found[1]
	local reference = "Patient/" .. patient.id
	if patient.birthDate and row.first < patient.birthDate then
		return "member_before_birth", "the enrolment begins before the member's birth"
	end
	local rule, words
	if action == "enrol" then
		rule, words = enrol(ctx, row, reference)
	elseif action == "end" and row.last then
		rule, words = finish(ctx, row, reference, false)
	elseif action == "void" then
		rule, words = finish(ctx, row, reference, true)
	else
		return "bad_action", "action is enrol, end (with a last day) or void"
	end
	if not rule then
		attribute(ctx, row, reference)
	end
	return rule, words, reference
end

-- ---- a file ----

local function first_of_month(day)
	return string.sub(day, 1, 7) .. "-01"
end

-- What was done so far, as a record that each piece of work writes again.
local function outcome(ctx, file, state, done)
	local record = facts.make("enrolment-result", file, nil, {
		taken = { "number", state.taken }, unchanged = { "number", state.unchanged }, refused = { "number", state.refused },
		rows = { "number", state.line - 1 }, state = { "text", done and "done" or "running" }, since = { "date",
			state.since },
	})
	for _, problem in ipairs(state.problems) do
		record.extension[#record.extension + 1] = {
			url = facts.system .. ":problem", extension = {
				{ url = "line", valueInteger = problem[1] }, { url = "rule", valueCode = problem[2] },
				{ url = "words", valueString = problem[3] },
			},
		}
	end
	if state.result then
		record.id = state.result
		ctx:update(record)
	else
		state.result = string.match(ctx:create(record), "/(.+)$")
	end
end

-- Stores the text and sets out to work through it; gives the file's record.
function enrolment.take(ctx, text, contract, name)
	if type(text) ~= "string" or text == "" then
		ctx:refuse("the parameter 'text' is missing: the file's text, its first line the names of the columns",
			"Parameters.parameter")
	elseif #text > enrolment.largest then
		ctx:refuse("a file has at most 1,000,000 bytes; send it in parts", "Parameters.parameter")
	elseif contract and not contracts.find(ctx, contract) then
		ctx:refuse("there is no contract '" .. contract .. "'", "Parameters.parameter")
	end
	local names, next_at = enrolment.header(text)
	if not names then
		ctx:refuse("line 1: " .. next_at, "Parameters.parameter")
	end
	local file = ctx:create(facts.make("enrolment-file", nil, nil, {
		text = { "text", text }, name = { "text", name }, contract = { "text", contract }, taken_at = { "at", ctx:now() },
	}))
	local state = { at = next_at, line = 2, taken = 0, unchanged = 0, refused = 0, problems = {}, file = file }
	outcome(ctx, file, state, false)
	ctx:set_timer("enrolment:" .. string.match(file, "/(.+)$"), ctx:now(), state)
	return ctx:read(file)
end

-- The next rows. Returns true when the file is done.
function enrolment.go_on(ctx, data, restate)
	local state = plain(data)
	state.problems = state.problems or {}
	local record = ctx:read(state.file)
	local values = facts.values(record)
	local names = enrolment.header(values.text)
	for _ = 1, enrolment.rows_at_once do
		if not state.at then
			break
		end
		local line, next_at = line_at(values.text, state.at)
		if line ~= "" then
			local fields, why = enrolment.fields(line)
			local rule, words, patient
			local row = { contract = values.contract }
			if fields and #fields == #names then
				for i, name in ipairs(names) do
					local value = string.match(fields[i], "^%s*(.-)%s*$")
					row[name] = value ~= "" and value or row[name]
				end
				rule, words, patient = enrolment.apply(ctx, row)
			else
				rule, words = "bad_line", why or "the line has another number of fields than the first"
			end
			if rule then
				state.refused = state.refused + 1
				if #state.problems < 200 then
					state.problems[#state.problems + 1] = { state.line, rule, words }
				end
			elseif words == "unchanged" then
				state.unchanged = state.unchanged + 1
			else
				state.taken = state.taken + 1
				local from = first_of_month(row.first)
				state.since = (not state.since or from < state.since) and from or state.since
				ctx:create(facts.make("enrolment-entry", row.contract, patient, {
					done = { "text", words }, first = { "date", row.first }, last = { "date", row.last },
					file = { "reference", state.file }, line = { "number", state.line }, at = { "at", ctx:now() },
				}))
			end
		end
		state.at, state.line = next_at, state.line + 1
	end
	outcome(ctx, state.file, state, state.at == nil)
	if state.at then
		ctx:set_timer("enrolment:" .. string.match(state.file, "/(.+)$"), ctx:now(), state)
	elseif state.since then
		restate(ctx, state.since, state.file)
	end
end

return enrolment
