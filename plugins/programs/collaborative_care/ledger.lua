-- The minutes ledger. An entry is a ChargeItem with person, activity and
-- period; the month of a patient is a ChargeItem too, worked out from the entries whenever something changes,
-- provisional until the month is attested. Minutes count by the service date in the practice's zone.
local codes = require "lib/codes"
local dates = require "lib/dates"
local working_time = require "lib/minutes"
local resources = require "lib/resources"
local payers = require "payers"

local ledger = {}

local charge = "urn:careloop:cocm:charge" -- ChargeItem.code: "minutes" (an entry) or "month" (what it comes to)
local activity_system = "urn:careloop:cocm:activity"
local month_identifier = "urn:careloop:cocm:month"
local result_url, role_url = "urn:careloop:cocm:result", "urn:careloop:cocm:role"
local addendum_url = "urn:careloop:cocm:addendum"

-- ---- time ----

local function month_of(date)
	return string.sub(date, 1, 7)
end

local function first_day(month)
	return month .. "-01"
end

local function last_day(month)
	return dates.add_days(dates.add_months(first_day(month), 1), -1)
end

local function month_number(month)
	return math.tointeger(string.sub(month, 1, 4)) * 12 + math.tointeger(string.sub(month, 6, 7))
end

local seconds, instant = working_time.seconds, working_time.instant

-- The first month of service, or one after a gap of so many whole months without. `earlier` are the
-- months with counted minutes before this one.
function ledger.is_first(month, earlier, gap)
	local last
	for _, each in ipairs(earlier) do
		if each < month and (not last or each > last) then
			last = each
		end
	end
	return not last or month_number(month) - month_number(last) > gap
end

-- ---- entries ----

local function search_entries(ctx, parameter, value, from, to)
	return ctx:search("ChargeItem", {
		[parameter] = value, code = charge .. "|minutes", _count = 1000,
		occurrence = { "ge" .. dates.add_days(from, -2), "le" .. dates.add_days(to, 2) },
	})
end

-- Entries of a patient's month, those in error left out, oldest first.
local function entries_of(ctx, patient, month)
	local found = {}
	for _, item in ipairs(search_entries(ctx, "patient", patient, first_day(month), last_day(month))) do
		local period = item.occurrencePeriod
		if item.status ~= "entered-in-error" and month_of(ctx:local_date(period.start)) == month then
			local role = resources.extension(item, role_url)
			found[#found + 1] = {
				reference = resources.of(item), start = period.start, finish = period["end"],
				activity = resources.code(item.code, activity_system), role = role and role.valueCode,
				begin = seconds(ctx, first_day(month), period.start), stop = seconds(ctx, first_day(month), period["end"]),
			}
		end
	end
	table.sort(found, function (a, b)
		return a.begin < b.begin or a.begin == b.begin and a.reference < b.reference
	end)
	return found
end

function ledger.activity(ctx, code)
	local known = {}
	for _, each in ipairs(ctx.setting.activities) do
		if each.code == code then
			return each
		end
		known[#known + 1] = each.code
	end
	return nil, table.concat(known, ", ")
end

-- From when to when consent and episode cover minutes: one span for each episode, read from its history.
function ledger.spans(ctx, patient)
	local spans = {}
	for _, instance in ipairs(ctx:instances("cocm", { patient = patient })) do
		local span = { instance = instance }
		for _, move in ipairs(ctx:transitions(instance.task)) do
			if move.event == "consent" then
				span.from = move.data.given or move.at
			elseif move.event == "enrol" then
				span.enrolled = move.at
			end
			if instance.final then
				span.to = move.at
			end
		end
		spans[#spans + 1] = span
	end
	return spans
end

-- Why an entry does not count, or nil. Such minutes stay visible as unfunded coordination.
local function why_not(ctx, entry, spans, death)
	if not resources.contains(ctx.setting.counting_roles, entry.role) then
		return "time of the role " .. (entry.role or "(none)") .. " does not count" -- only permitted people's time
	end
	local activity = ledger.activity(ctx, entry.activity)
	if not activity or activity.counts == false then
		return "the activity " .. (entry.activity or "(none)") .. " is not paid for"
	end
	if death and ctx:between(death, entry.start, "minutes") >= 0 then
		return "after the patient's death"
	end
	local why = "before consent"
	for _, span in ipairs(spans) do
		if span.from and ctx:between(span.from, entry.start, "minutes") >= 0 then
			if not span.to or ctx:between(entry.start, span.to, "minutes") > 0 then
				return nil, span
			end
			why = "after the episode was closed"
		end
	end
	return why
end

-- ---- the elements of a billable month ----

local element_words = {
	consent = "no consent is documented", initiating_visit = "no initiating visit within the time allowed",
	registry = "not enrolled in the registry", assessment = "no initial assessment with a validated scale",
	review = "no psychiatric caseload review was held this month", engagement = "no outreach or contact this month",
	intervention = "no brief intervention this month", care_plan = "the care plan was not revised this month",
}

local function in_month(ctx, at, month)
	return at ~= nil and month_of(dates.local_date(ctx, at)) == month
end

local function moved_in_month(ctx, workflow, patient, events, month)
	for _, instance in ipairs(ctx:instances(workflow, { patient = patient })) do
		for _, move in ipairs(ctx:transitions(instance.task)) do
			if resources.contains(events, move.event) and in_month(ctx, move.at, month) then
				return true
			end
		end
	end
	return false
end

local checks = {}

function checks.consent(_, month)
	return month.span ~= nil and month.span.from ~= nil
end

function checks.registry(ctx, month)
	local at = month.span and month.span.enrolled
	return at ~= nil and ctx:local_date(at) <= last_day(month.month)
end

function checks.assessment(ctx, month)
	local from = month.span and dates.add_days(ctx:local_date(month.span.instance.started), -14)
	for _, kind in ipairs { codes.loinc.phq9_total, codes.loinc.phq9m_total, codes.loinc.gad7_total } do
		local found = from and ctx:search("Observation", {
			patient = month.patient, code = codes.system.loinc .. "|" .. kind, status = "final,amended,corrected",
			date = { "ge" .. from, "le" .. last_day(month.month) }, _count = 1,
		})
		if found and #found > 0 then
			return true
		end
	end
	return false
end

-- A visit of the practice no longer than a year before the consent: new patients and those not seen need one.
function checks.initiating_visit(ctx, month)
	local span = month.span
	if not span or not span.from then
		return false
	end
	local consent = dates.local_date(ctx, span.from)
	local from = dates.add_days(consent, -ctx.setting.initiating_visit_days)
	local seen = span.instance.data.seen_on
	if seen and seen >= from and seen <= consent then
		return true
	end
	return #ctx:search("Encounter", {
		patient = month.patient, status = "finished", class = "AMB", date = { "ge" .. from, "le" .. last_day(month.month) },
		_count = 1,
	}) > 0
end

function checks.review(ctx, month)
	local held = 0
	for _, review in ipairs(ctx:instances("cocm_review", { state = "held" })) do
		held = held + (in_month(ctx, review.entered, month.month) and 1 or 0)
	end
	return held >= ctx.setting.reviews_a_month
end

function checks.engagement(ctx, month)
	return month.done.outreach or moved_in_month(ctx, "cocm_contact", month.patient, { "contact" }, month.month)
end

function checks.intervention(_, month)
	return month.done.intervention
end

function checks.care_plan(ctx, month)
	return month.done.care_plan
		or moved_in_month(ctx, "cocm_recommendation", month.patient, { "accept", "change" }, month.month)
end

-- ---- the payer ----

local function payer_of(ctx, patient, month)
	local unnamed
	for _, coverage in ipairs(ctx:search("Coverage", { beneficiary = patient, status = "active", _count = 50 })) do
		local period = coverage.period
		local begins = period and period.start and dates.local_date(ctx, period.start) or "0000-01-01"
		local ends = period and period["end"] and dates.local_date(ctx, period["end"]) or "9999-12-31"
		if begins <= last_day(month) and ends >= first_day(month) then
			for _, payor in ipairs(coverage.payor or {}) do
				local name = ctx.setting.payer_names[payor.reference or payor.display or ""]
				if name then
					return name
				end
				unnamed = unnamed or payor.reference or payor.display
			end
		end
	end
	if unnamed then
		return unnamed -- no table speaks of it: the reason will say so
	end
	return ctx.setting.default_payer ~= "" and ctx.setting.default_payer or nil
end

-- One of these codes charged for the patient in the month (by the practitioner, when one is named), or nil.
local function charged(ctx, patient, month, wanted, practitioner)
	for _, code in ipairs(wanted or {}) do
		for _, item in ipairs(ctx:search("ChargeItem", { patient = patient, code = code, _count = 100 })) do
			local at = item.occurrenceDateTime or item.occurrencePeriod and item.occurrencePeriod.start
			local performer = item.performer and item.performer[1] and resources.reference(item.performer[1].actor)
			if in_month(ctx, at, month) and item.status ~= "aborted" and item.status ~= "entered-in-error"
				and (not practitioner or performer == practitioner) then
				return code
			end
		end
	end
	return nil
end

-- ---- the month ----

local function result_of(item, name)
	local result = resources.extension(item, result_url)
	local inner = result and resources.extension(result, name)
	if not inner then
		return nil
	elseif inner.valueInteger then
		return math.tointeger(tonumber(inner.valueInteger))
	end
	return inner.valueString or inner.valueBoolean
end
ledger.result_of = result_of

local function statements_of(ctx, patient)
	return ctx:search("ChargeItem", { patient = patient, code = charge .. "|month", _sort = "occurrence", _count = 1000 })
end

-- All patients' statements of a month.
function ledger.statements(ctx, month)
	return ctx:search("ChargeItem", { code = charge .. "|month", occurrence = first_day(month), _count = 1000 })
end

function ledger.is_closed(ctx, month)
	for _, instance in ipairs(ctx:instances("cocm_month", { state = "attested" })) do
		if instance.data.month == month then
			return true
		end
	end
	return false
end

-- Counted time as the union of its intervals: two people busy with one patient at once count once.
local function add_up(counted)
	local total, reached = 0, -1
	for _, entry in ipairs(counted) do
		local from = math.max(entry.begin, reached)
		if entry.stop > from then
			total = total + entry.stop - from
			reached = entry.stop
		end
	end
	return total
end

-- Everything about a patient's month, from the facts.
function ledger.work_out(ctx, patient, month, statements)
	local spans, person = ledger.spans(ctx, patient), ctx:read(patient)
	local death = person and person.deceasedDateTime
	local result = { patient = patient, month = month, done = {}, unfunded = {}, unfunded_minutes = 0 }
	local counted, lost = {}, {}
	for _, entry in ipairs(entries_of(ctx, patient, month)) do
		local why, span = why_not(ctx, entry, spans, death)
		result.seconds_entered = (result.seconds_entered or 0) + entry.stop - entry.begin
		if why then
			lost[why] = (lost[why] or 0) + entry.stop - entry.begin
		else
			counted[#counted + 1] = entry
			result.span = span
			result.done[entry.activity] = true
		end
	end
	for why, length in pairs(lost) do
		result.unfunded[#result.unfunded + 1] = string.format("%d minutes unfunded: %s", length // 60, why)
		result.unfunded_minutes = result.unfunded_minutes + length // 60
	end
	result.span = result.span or spans[#spans]
	result.minutes = add_up(counted) // 60 -- whole minutes of the sum; no entry is rounded
	local earlier = {}
	for _, item in ipairs(statements or statements_of(ctx, patient)) do
		if (result_of(item, "minutes") or 0) > 0 then
			earlier[#earlier + 1] = month_of(item.occurrenceDateTime)
		end
	end
	result.first = ledger.is_first(month, earlier, ctx.setting.gap_months)
	local data = result.span and result.span.instance.data or {}
	result.pathway, result.payer = data.pathway or "collaborative", payer_of(ctx, patient, month)
	local row = result.payer and payers.find(ctx.setting.payer_tables, ctx.setting.payer_exceptions, result.payer,
		first_day(month), ctx.setting.site)
	result.apcm = data.treating ~= nil
		and charged(ctx, patient, month, row and row.apcm and row.apcm.bases, data.treating) ~= nil
	result.missing = {}
	local other = not result.apcm and charged(ctx, patient, month, payers.exclusive(row, result.pathway))
	if other then
		result.missing[1] = other .. " was charged for the same month already"
	end
	for _, element in ipairs(ctx.setting.elements[result.pathway] or {}) do
		if not checks[element](ctx, result) then
			result.missing[#result.missing + 1] = element_words[element]
		end
	end
	result.bill = payers.work_out(result, row)
	return result
end

-- What is kept of it, so that lists of the whole caseload are one search.
local function keep(ctx, result, former, closing)
	local bill, inner = result.bill, {}
	local function put(name, kind, value)
		if value ~= nil and value ~= "" then
			inner[#inner + 1] = { url = name, [kind] = value }
		end
	end
	local notes = {}
	for _, each in ipairs { bill.because, result.missing, result.unfunded } do
		for _, text in ipairs(each) do
			notes[#notes + 1] = { text = text }
		end
	end
	put("minutes", "valueInteger", result.minutes)
	put("entered", "valueInteger", (result.seconds_entered or 0) // 60)
	put("unfunded", "valueInteger", result.unfunded_minutes)
	put("codes", "valueString", bill.text)
	put("reason", "valueString", bill.reason)
	put("first", "valueBoolean", result.first)
	put("next", "valueString", bill.next and bill.next.text)
	put("lacking", "valueInteger", bill.next and bill.next.lacking)
	put("missing", "valueString", table.concat(result.missing, "; "))
	put("warned", "valueBoolean", former and result_of(former, "warned"))
	local closed = closing or former and former.status ~= "planned"
	for _, note in ipairs(former and former.note or {}) do
		if note.time then
			notes[#notes + 1] = plain(note) -- what was said on a day stays
		end
	end
	if former and former.status ~= "planned" and result_of(former, "minutes") ~= result.minutes then
		notes[#notes + 1] = resources.note(ctx, string.format("Addendum after closing: %d minutes (%s) became %d (%s)",
			result_of(former, "minutes") or 0, result_of(former, "codes") or "no code", result.minutes,
			bill.text ~= "" and bill.text or "no code"))
		ctx:notify {
			to = "biller", about = resources.of(former), text = "The minutes of a closed month were changed by an addendum",
		}
	end
	local item = {
		resourceType = "ChargeItem", id = former and former.id,
		identifier = { { system = month_identifier, value = string.gsub(result.patient, "/", "-") .. "." .. result.month } },
		status = not closed and "planned" or bill.billable and "billable" or "not-billable",
		code = resources.concept(charge, "month", "Minutes of a month"), subject = { reference = result.patient },
		occurrenceDateTime = first_day(result.month), quantity = { value = result.minutes, unit = "min" },
		extension = { { url = result_url, extension = inner } }, note = #notes > 0 and notes or nil,
	}
	if former then
		ctx:update(item) -- without a difference no version is made
		return resources.of(item)
	end
	return ctx:create(item)
end

-- Works out a patient's month again and keeps it, and the open months after it, whose "first" may depend on it.
function ledger.refresh(ctx, patient, month, closing)
	local statements = statements_of(ctx, patient)
	local former, later = nil, {}
	for _, item in ipairs(statements) do
		local each = month_of(item.occurrenceDateTime)
		if each == month then
			former = item
		elseif each > month and item.status == "planned" then
			later[#later + 1] = each
		end
	end
	local result = ledger.work_out(ctx, patient, month, statements)
	result.statement = keep(ctx, result, former, closing)
	if later[1] and not closing then
		ledger.refresh(ctx, patient, later[1]) -- which goes on to the one after it
	end
	return result
end

-- ---- writing entries ----

local function refuse_overlap(ctx, person, start, finish)
	local _, words = working_time.overlap(ctx, person, start, finish)
	if words then
		ctx:refuse(words, "Parameters.parameter")
	end
end

-- `fields` = { patient, person, role, activity, start, finish, contact, reason }. Returns the month it fell into.
function ledger.add(ctx, fields)
	local activity, known = ledger.activity(ctx, fields.activity or "(none)")
	if not activity then
		ctx:refuse("say the activity: " .. known, "Parameters.parameter")
	elseif not fields.person then
		ctx:refuse("say whose minutes these are: person", "Parameters.parameter")
	elseif seconds(ctx, fields.start, fields.finish) <= 0 then
		ctx:refuse("the minutes end before they begin", "Parameters.parameter")
	elseif seconds(ctx, fields.finish, ctx:now()) < -60 then
		ctx:refuse("the minutes lie in the future", "Parameters.parameter")
	elseif seconds(ctx, fields.start, fields.finish) > ctx.setting.longest_entry * 60 then
		ctx:refuse(string.format("one entry is at most %d minutes (longest_entry): enter what was done piece by piece",
			ctx.setting.longest_entry), "Parameters.parameter")
	end
	refuse_overlap(ctx, fields.person, fields.start, fields.finish)
	local month = month_of(ctx:local_date(fields.start))
	local turn = dates.add_months(first_day(month), 1) .. "T00:00:00"
	if seconds(ctx, turn, fields.finish) > 0 then -- across the month's end: each month gets its part
		local rest = {}
		for name, value in pairs(fields) do
			rest[name] = value
		end
		rest.start = instant(ctx, turn)
		ledger.add(ctx, rest)
		fields.finish = rest.start
	end
	local closed = ledger.is_closed(ctx, month)
	if closed and not fields.reason then
		ctx:refuse("the month " .. month .. " is closed: an addendum needs its reason", "Parameters.parameter")
	end
	ctx:create {
		resourceType = "ChargeItem", status = "not-billable", -- an entry is never billed itself; its month is
		code = {
			coding = { { system = charge, code = "minutes" }, { system = activity_system, code = activity.code } },
			text = activity.title,
		},
		subject = { reference = fields.patient }, performer = { { actor = { reference = fields.person } } },
		occurrencePeriod = { start = fields.start, ["end"] = fields.finish },
		quantity = { value = seconds(ctx, fields.start, fields.finish) // 60, unit = "min" },
		enterer = ctx.actor.reference and { reference = ctx.actor.reference } or nil, enteredDate = ctx:now(),
		service = fields.contact and { { reference = fields.contact } } or nil,
		extension = resources.with_extension(closed and {
			extension = { { url = addendum_url, valueString = fields.reason } },
		} or {}, { url = role_url, valueCode = fields.role or "unknown" }),
		note = fields.reason and { resources.note(ctx, fields.reason) } or nil,
	}
	return month
end

-- The counting role that the actor has, else any of theirs.
local function own_role(ctx)
	for _, role in ipairs(ctx.setting.counting_roles) do
		if resources.contains(ctx.actor.roles, role) then
			return role
		end
	end
	return ctx.actor.roles and ctx.actor.roles[1]
end
ledger.own_role = own_role

local function running(ctx, person)
	for _, instance in ipairs(ctx:instances("cocm_timer", { state = "running", live = true })) do
		if instance.data.person == person then
			return instance
		end
	end
	return nil
end

-- ---- $minutes ----

local actions = {}

function actions.start(ctx, patient, value)
	local person = ctx.actor.reference
	local other = person and running(ctx, person)
	if not person then
		ctx:refuse("a timer runs for a person; use action = enter and say whose minutes", "Parameters.parameter")
	elseif other then
		ctx:refuse("your timer is running already for " .. other.patient .. ": stop it first", "Parameters.parameter")
	end
	local activity, known = ledger.activity(ctx, value "activity" or "(none)")
	if not activity then
		ctx:refuse("say the activity: " .. known, "Parameters.parameter")
	end
	ctx:start("cocm_timer", {
		focus = patient, patient = patient, owner = person,
		data = {
			person = person, role = own_role(ctx), activity = activity.code, since = ctx:now(),
			contact = resources.text_of(value "contact"),
		},
	})
	return month_of(ctx:today())
end

function actions.stop(ctx, patient)
	local timer = ctx.actor.reference and running(ctx, ctx.actor.reference)
	if not timer or timer.patient ~= patient then
		ctx:refuse("no timer of yours is running for this patient", "Parameters.parameter")
	end
	local data = timer.data
	ctx:advance(timer.task, "stop")
	return ledger.add(ctx, {
		patient = patient, person = data.person, role = data.role, activity = data.activity, start = data.since,
		finish = ctx:now(), contact = data.contact,
		reason = ledger.is_closed(ctx, month_of(ctx:local_date(data.since))) and "timer ran past the closing" or nil,
	})
end

function actions.enter(ctx, patient, value)
	local minutes, person = math.tointeger(tonumber(value "minutes")), resources.text_of(value "person")
	if not minutes or minutes < 1 then
		ctx:refuse("say how many whole minutes: minutes", "Parameters.parameter")
	end
	local foreign = person and person ~= ctx.actor.reference
	if foreign and not value "role" then
		ctx:refuse("minutes of somebody else need the role they worked in: role", "Parameters.parameter")
	end
	local start = value "start"
	start = start and instant(ctx, start) or ctx:add(ctx:now(), -minutes .. " minutes")
	return ledger.add(ctx, {
		patient = patient, person = person or ctx.actor.reference, role = foreign and value "role" or own_role(ctx),
		activity = value "activity", start = start, finish = ctx:add(start, minutes .. " minutes"),
		contact = resources.text_of(value "contact"), reason = value "reason",
	})
end

-- An entry that was wrong: it stays on file, counts no more, and says why.
function actions.void(ctx, patient, value)
	local reference, reason = resources.text_of(value "entry"), value "reason"
	local item = reference and ctx:read(reference)
	if not item or not resources.has_code(item.code, "minutes", charge) or item.subject.reference ~= patient then
		ctx:refuse("say which entry of this patient: entry", "Parameters.parameter")
	elseif not reason then
		ctx:refuse("say why the entry is wrong: reason", "Parameters.parameter")
	end
	local changed = plain(item)
	changed.status = "entered-in-error"
	changed.note = resources.with(changed.note, resources.note(ctx, reason))
	ctx:update(changed)
	return month_of(ctx:local_date(item.occurrencePeriod.start))
end

function actions.show(ctx, _, value)
	return value "month" or month_of(ctx:today())
end

local function answer(result)
	local parameters = {}
	local function add(name, kind, value)
		if value ~= nil then
			parameters[#parameters + 1] = { name = name, [kind] = value }
		end
	end
	add("month", "valueString", result.month)
	add("minutes", "valueInteger", result.minutes)
	add("unfunded", "valueInteger", result.unfunded_minutes)
	add("codes", "valueString", result.bill.text ~= "" and result.bill.text or nil)
	add("billable", "valueBoolean", result.bill.billable)
	add("reason", "valueString", result.bill.reason)
	add("statement", "valueString", result.statement)
	for _, each in ipairs { result.bill.because, result.unfunded } do
		for _, text in ipairs(each) do
			add("because", "valueString", text)
		end
	end
	return { resourceType = "Parameters", parameter = parameters }
end

-- POST /fhir/Patient/<id>/$minutes
function ledger.operate(ctx, input, target)
	local patient = target and ctx:read(target)
	if not patient or patient.resourceType ~= "Patient" then
		ctx:refuse("minutes belong to a patient: POST /fhir/Patient/<id>/$minutes", "Patient")
	end
	local action = actions[resources.parameter(input, "action") or ""]
	if not action then
		ctx:refuse("action is start, stop, enter, void or show", "Parameters.parameter")
	elseif #ctx:instances("cocm", { patient = target }) == 0 then
		ctx:refuse("this patient was never identified for collaborative care", "Patient")
	end
	local shows = resources.parameter(input, "action") == "show"
	local month = action(ctx, target, function (name)
		return resources.parameter(input, name)
	end)
	return answer(shows and ledger.work_out(ctx, target, month) or ledger.refresh(ctx, target, month))
end

-- A timer that runs.
function ledger.timer_workflow(declare)
	local setting = declare.setting
	return {
		summary = "Somebody's minutes are running", subject = "Patient", start = "running",
		running = {
			status = "in-progress", owner = "care_manager", action = "Stop the timer when you are done",
			within = setting "timer_longest", overdue = declare.fire "forget",
			on = {
				stop = { "stopped", help = "Use $minutes with action = stop, which writes the entry" },
				forget = {
					"forgotten", by = "clock", effect = function (ctx, task)
						ctx:notify {
							to = "care_manager", about = "Task/" .. task.id,
							text = "A timer was forgotten and counts nothing: enter the minutes by hand",
						}
					end,
				},
			},
		},
		stopped = { status = "completed", final = true },
		forgotten = { status = "failed", final = true },
	}
end

-- ---- closing a month ----

local function by_a_person(ctx)
	return ctx.actor.kind == "person", "an attestation needs a person as its author"
end

local batch = 10 -- patients in one call

local function in_batches(ctx, month, closing)
	local group, number = {}, 0
	local function send()
		number = number + 1
		ctx:set_timer("months:" .. month .. (closing and ":close:" or ":") .. number, number .. " minutes",
			{ month = month, patients = group, closing = closing })
		group = {}
	end
	for _, item in ipairs(ledger.statements(ctx, month)) do
		group[#group + 1] = item.subject.reference
		if #group == batch then
			send()
		end
	end
	if #group > 0 then
		send()
	end
	if closing then
		ctx:set_timer("months:" .. month .. ":told", number + 1 .. " minutes", { month = month, told = true })
	end
end

-- After closing: what there is to bill, and what is not billed although somebody worked. Nothing is lost in silence.
local function tell_result(ctx, month)
	local billable, not_billable, unfunded = 0, 0, 0
	for _, item in ipairs(ledger.statements(ctx, month)) do
		if item.status == "billable" then
			billable = billable + 1
		elseif (result_of(item, "entered") or 0) > 0 then
			not_billable = not_billable + 1
		end
		unfunded = unfunded + (result_of(item, "unfunded") or 0)
	end
	local text = string.format("%s is closed: %d patient-months to bill, %d with minutes not billable, %d minutes "
		.. "unfunded; reasons are in the list cocm_last_month", month, billable, not_billable, unfunded)
	for _, role in ipairs { "biller", "manager" } do
		ctx:notify { to = role, about = ctx.organization.reference, text = text }
	end
end

-- Attested: no entry without reason any more; the patients' months get their final status.
local function close_month(ctx, task)
	in_batches(ctx, ctx:instance("Task/" .. task.id).data.month, true)
end

function ledger.month_workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local people = { "care_manager", "biller", "manager" }
	return {
		summary = "The minutes of a month are provisional until somebody attests them", subject = "Organization",
		start = "provisional",
		provisional = {
			status = "requested", owner = "care_manager", action = "Look through the month's minutes and attest them",
			within = setting "close_within", overdue = escalate("manager", { again = "1 business day" }),
			on = {
				attest = {
					"attested", by = people, guard = by_a_person,
					needs = { statement = { "string", help = "What you attest, in your words" } },
					effect = close_month,
					help = "Complete and right as entered; later changes are dated addenda",
				},
			},
		},
		attested = { status = "completed", final = true },
	}
end

function ledger.open_month(ctx)
	local month = month_of(dates.add_months(ctx:today(), -1))
	for _, instance in ipairs(ctx:instances("cocm_month")) do
		if instance.data.month == month then
			return
		end
	end
	ctx:start("cocm_month", { focus = ctx.organization.reference, data = { month = month } })
end

-- Live warnings before the month's end: close to the next code, or a code reached with an element missing.
local function warn(ctx, result, former)
	local left = dates.between(ctx:today(), last_day(result.month))
	if result.month ~= month_of(ctx:today()) or left > ctx.setting.warn_days or result_of(former, "warned") then
		return
	end
	local bill, text = result.bill, nil
	if bill.next and bill.next.lacking <= ctx.setting.warn_minutes then
		text = string.format("%d days left in the month: %d minutes to %s", left, bill.next.lacking, bill.next.text)
	end
	if #bill.codes > 0 and #result.missing > 0 then
		text = (text and text .. ". " or left .. " days left in the month. ") .. "Missing for " .. bill.text .. ": "
			.. table.concat(result.missing, "; ")
	end
	if text then
		ctx:notify { to = "care_manager", about = result.patient, text = text }
		local changed = plain(ctx:read(result.statement))
		local inner = changed.extension[1].extension
		inner[#inner + 1] = { url = "warned", valueBoolean = true }
		ctx:update(changed)
	end
end

-- Each night: the running month, and the one before it until it is closed.
function ledger.refresh_all(ctx)
	local this = month_of(ctx:today())
	local former = month_of(dates.add_months(first_day(this), -1))
	if not ledger.is_closed(ctx, former) then
		in_batches(ctx, former)
	end
	in_batches(ctx, this)
end

function ledger.refresh_batch(ctx, data)
	if data.told then
		tell_result(ctx, data.month)
		return
	end
	for _, patient in ipairs(data.patients) do
		local result = ledger.refresh(ctx, patient, data.month, data.closing)
		if not data.closing then
			warn(ctx, result, ctx:read(result.statement))
		end
	end
end

-- ---- views ----

function ledger.rows(ctx, month)
	local rows = {}
	for _, item in ipairs(ledger.statements(ctx, month)) do
		local patient = item.subject.reference
		local lacking = result_of(item, "lacking")
		rows[#rows + 1] = {
			patient = patient, patient_name = resources.name(ctx:read(patient)), month = month,
			minutes = result_of(item, "minutes"), unfunded = result_of(item, "unfunded"), codes = result_of(item, "codes"),
			status = item.status == "planned" and "provisional" or item.status,
			not_billable = result_of(item, "reason"), missing = result_of(item, "missing"),
			next = lacking and result_of(item, "next") .. " in " .. lacking .. " minutes" or nil, lacking = lacking,
			days_left = math.max(0, dates.between(ctx:today(), last_day(month))), statement = resources.of(item),
		}
	end
	return rows
end

function ledger.this_month(ctx)
	local rows = ledger.rows(ctx, month_of(ctx:today()))
	table.sort(rows, function (a, b)
		local x, y = a.lacking or 1000, b.lacking or 1000
		return x < y or x == y and a.patient < b.patient
	end)
	return rows
end

-- The month before, for attestation and billing: what can be billed, what not and why.
function ledger.last_month(ctx)
	return ledger.rows(ctx, month_of(dates.add_months(first_day(month_of(ctx:today())), -1)))
end

-- ---- measures ----

-- Statements are of months: of a week nothing can be said.
local function statements_in(ctx, month)
	return string.match(month.name, "^%d+%-%d%d$") and ledger.statements(ctx, month.name) or {}
end

-- Months with a code that can be billed / months with minutes of any kind.
function ledger.billable(ctx, month)
	local good, total = 0, 0
	for _, item in ipairs(statements_in(ctx, month)) do
		if (result_of(item, "entered") or 0) > 0 then
			total = total + 1
			good = good + (result_of(item, "codes") and not result_of(item, "reason") and 1 or 0)
		end
	end
	return total > 0 and { numerator = good, denominator = total } or nil
end

function ledger.minutes_each(ctx, month)
	local minutes, total = 0, 0
	for _, item in ipairs(statements_in(ctx, month)) do
		local each = result_of(item, "minutes") or 0
		minutes, total = minutes + each, total + (each > 0 and 1 or 0)
	end
	return total > 0 and { numerator = minutes, denominator = total } or nil
end

function ledger.unfunded(ctx, month)
	local minutes, entered = 0, 0
	for _, item in ipairs(statements_in(ctx, month)) do
		minutes = minutes + (result_of(item, "unfunded") or 0)
		entered = entered + (result_of(item, "entered") or 0)
	end
	return entered > 0 and { numerator = minutes, denominator = entered } or nil
end

return ledger
