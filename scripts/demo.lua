-- The demonstration: eight weeks of care of synthetic patients in three organizations, by `careloop demo --config FILE
-- scripts/demo.lua`. It acts as their people would, by requests with their access rights, under a virtual clock that ends now.
-- Everything is made up by a generator of its own with a fixed seed; the names say so.
--   riverside  refers patients to lakeside and to a clinic without a connection (coordinated)
--   lakeside   answers, and hands patients over to its consultants during visits (co-located)
--   hillside   keeps a registry of patients in depression care, shared plans and huddles (integrated)
-- luacheck: read globals demo

-- ---- chance ----

local seed = 20261122
local function random()
	seed = (seed * 1103515245 + 12345) & 0x7fffffff
	return (seed >> 8) / 0x800000
end

local function between(low, high)
	return low + math.floor(random() * (high - low + 1))
end

local function chance(probability)
	return random() < probability
end

local function pick(list)
	return list[between(1, #list)]
end

-- { { weight, value }, … }
local function weighted(choices)
	local total = 0
	for _, choice in ipairs(choices) do
		total = total + choice[1]
	end
	local at = random() * total
	for _, choice in ipairs(choices) do
		at = at - choice[1]
		if at < 0 then
			return choice[2]
		end
	end
	return choices[#choices][2]
end

-- ---- time: seconds since 1970, local days ----

local DAY, HOUR, MINUTE = 86400, 3600, 60

local function days_from_date(year, month, day)
	year = month <= 2 and year - 1 or year
	local era = year // 400
	local of_era = year - era * 400
	local of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
	return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

local function date_from_days(days)
	days = days + 719468
	local era = days // 146097
	local of_era = days - era * 146097
	local of_century = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
	local of_year = of_era - (365 * of_century + of_century // 4 - of_century // 100)
	local month = (5 * of_year + 2) // 153
	local day = of_year - (153 * month + 2) // 5 + 1
	month = month < 10 and month + 3 or month - 9
	return of_century + era * 400 + (month <= 2 and 1 or 0), month, day
end

local function date_text(days)
	return string.format("%04d-%02d-%02d", date_from_days(days))
end

local function instant(seconds)
	local rest = seconds % DAY
	return string.format("%sT%02d:%02d:%02dZ", date_text(seconds // DAY), rest // HOUR, rest % HOUR // MINUTE, rest % MINUTE)
end

local function seconds_of(text)
	local year, month, day, hour, minute, second = text:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
	return days_from_date(tonumber(year), tonumber(month), tonumber(day)) * DAY + tonumber(hour) * HOUR
		+ tonumber(minute) * MINUTE + tonumber(second)
end

-- 0 = Monday
local function weekday(days)
	return (days + 3) % 7
end

local function nth_sunday(year, month, n)
	local first = days_from_date(year, month, 1)
	return first + (6 - weekday(first)) % 7 + 7 * (n - 1)
end

-- Seconds from local time to UTC, by the United States' rule; near enough at the hour of the change itself.
local function zone(standard)
	return function (days)
		local year = date_from_days(days)
		local summer = days >= nth_sunday(year, 3, 2) and days < nth_sunday(year, 11, 1)
		return (standard - (summer and 1 or 0)) * HOUR
	end
end
local central, pacific = zone(6), zone(8)

local holidays = {
	["10-12"] = true, ["11-11"] = true, ["11-26"] = true, ["12-25"] = true, ["01-01"] = true, ["05-25"] = true, ["06-19"] = true,
	["07-03"] = true, ["09-07"] = true, ["01-19"] = true, ["02-16"] = true,
}

local function is_open(days)
	return weekday(days) < 5 and not holidays[date_text(days):sub(6)]
end

-- A moment of a local day: clock(central, day, 9 * 60 + 30)
local function clock(where, days, minute)
	return days * DAY + where(days) + minute * MINUTE
end

-- The nth open day after a local day (0: that day or the next open one).
local function open_day(days, n)
	while not is_open(days) do
		days = days + 1
	end
	while n > 0 do
		days = days + 1
		if is_open(days) then
			n = n - 1
		end
	end
	return days
end

-- ---- the order of things: what is to happen, by time ----

local start = seconds_of(demo:now())
local finish = start + 8 * 7 * DAY - 2 * MINUTE -- the driver goes on to "now" itself
local first_day = start // DAY
local queue, added = {}, 0

local function before(a, b)
	if a.at ~= b.at then
		return a.at < b.at
	end
	return a.number < b.number
end

local function at(seconds, action)
	if seconds > finish then
		return
	end
	added = added + 1
	queue[#queue + 1] = { at = math.max(seconds, start), number = added, action = action }
	local place = #queue
	while place > 1 and before(queue[place], queue[place // 2]) do
		queue[place], queue[place // 2] = queue[place // 2], queue[place]
		place = place // 2
	end
end

local function next_action()
	local top = queue[1]
	queue[1] = queue[#queue]
	queue[#queue] = nil
	local place = 1
	while true do
		local child = place * 2
		if child < #queue and before(queue[child + 1], queue[child]) then
			child = child + 1
		end
		if child > #queue or not before(queue[child], queue[place]) then
			return top
		end
		queue[place], queue[child] = queue[child], queue[place]
		place = child
	end
end

local now = start
local function go_to(seconds)
	local minutes = (seconds - now + MINUTE - 1) // MINUTE
	if minutes > 0 then
		demo:advance(minutes .. " minutes")
		now = now + minutes * MINUTE
	end
end

-- ---- resources ----

local function coding(system, code, display)
	return { coding = { { system = system, code = code, display = display } }, text = display }
end

local trees = {
	"Alder", "Aspen", "Beech", "Birch", "Cedar", "Cypress", "Elm", "Fir", "Hazel", "Hemlock", "Hickory", "Holly", "Juniper", "Larch",
	"Laurel", "Linden", "Maple", "Myrtle", "Oak", "Olive", "Pine", "Poplar", "Rowan", "Sequoia", "Spruce", "Sycamore", "Walnut",
	"Willow", "Yew", "Acacia",
}
local given = {
	"Avery", "Blake", "Casey", "Devon", "Ellis", "Finley", "Gray", "Harper", "Indigo", "Jordan", "Kendall", "Lane", "Morgan", "Noel",
	"Oakley", "Parker", "Quinn", "Reese", "Sage", "Taylor",
}

local made = 0
local function new_patient(house, number)
	made = made + 1
	return {
		resourceType = "Patient", active = true,
		identifier = { { system = "urn:demo:" .. house, value = string.format("DEMO-%04d", number) } },
		name = { { family = "Sample-" .. trees[(made * 7) % #trees + 1], given = { given[(made * 3) % #given + 1] } } },
		gender = chance(0.55) and "female" or "male",
		birthDate = date_text(first_day - between(20 * 365, 80 * 365)),
		telecom = { { system = "phone", value = string.format("+1 555 01%02d", made % 100) } },
	}
end

local function put(t, resource)
	return t:update(resource)
end

-- Many at once, as one transaction; returns their references in order.
local function bundle(t, resources)
	local references = {}
	for first = 1, #resources, 200 do
		local entries = {}
		for number = first, math.min(first + 199, #resources) do
			local resource = resources[number]
			entries[#entries + 1] = {
				resource = resource,
				request = resource.id and { method = "PUT", url = resource.resourceType .. "/" .. resource.id }
					or { method = "POST", url = resource.resourceType },
			}
		end
		local answer = t:request("POST", "/fhir", { resourceType = "Bundle", type = "transaction", entry = entries })
		if answer.status ~= 200 then
			local issue = type(answer.body) == "table" and answer.body.issue and answer.body.issue[1] or {}
			error(string.format("a bundle was refused: %d %s %s", answer.status, tostring(issue.diagnostics),
				issue.expression and issue.expression[1] or ""))
		end
		for _, entry in ipairs(answer.body.entry) do
			references[#references + 1] = entry.response.location:match("/(%u%w+/[^/]+)/_history")
		end
	end
	return references
end

local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }

-- A completed PHQ-9 whose answers add up to `total`; item 9 only when asked for.
local function questionnaire(patient, total, when, more)
	local answers, rest = {}, math.min(total, 24)
	for number = 1, 8 do
		answers[number] = 0
	end
	local number = 0
	while rest > 0 do
		number = number % 8 + 1
		if answers[number] < 3 then
			answers[number] = answers[number] + 1
			rest = rest - 1
		end
	end
	answers[9] = more and more.item9 or 0
	local items = {}
	for item, value in ipairs(answers) do
		items[item] = { linkId = phq9[item], answer = { { valueInteger = value } } }
	end
	return {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = instant(when), item = items,
		encounter = more and more.encounter and { reference = more.encounter } or nil,
	}
end

local act_code = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
local function encounter(patient, from, to, class)
	return {
		resourceType = "Encounter", status = to and "finished" or "in-progress", subject = { reference = patient },
		class = { system = act_code, code = class or "AMB" }, period = { start = instant(from), ["end"] = to and instant(to) },
	}
end

local function coverage(patient, payor)
	return {
		resourceType = "Coverage", status = "active", beneficiary = { reference = patient }, payor = { { reference = payor } },
		period = { start = date_text(first_day - 300) },
	}
end

-- The houses, their people and the places that they know.
local function furnish(t, name, people)
	t:as("ehr")
	local resources = {
		{ resourceType = "Organization", id = t.id, active = true, name = name },
		{ resourceType = "Organization", id = "state-medicaid", active = true, name = "State Medicaid (sample)" },
		{ resourceType = "Organization", id = "commercial-plan", active = true, name = "Commercial plan (sample)" },
	}
	for id, family in pairs(people) do
		resources[#resources + 1] = {
			resourceType = "Practitioner", id = t.id .. "-" .. id, active = true,
			name = { { family = "Sample-" .. family, given = { id:sub(1, 1):upper() .. id:sub(2) } } },
		}
	end
	table.sort(resources, function (a, b)
		return a.resourceType .. a.id < b.resourceType .. b.id
	end)
	for _, resource in ipairs(resources) do
		put(t, resource)
	end
end

local function people_of(t, house, count)
	local patients, coverages = {}, {}
	for number = 1, count do
		patients[number] = new_patient(house, number)
	end
	local references = bundle(t, patients)
	for number, reference in ipairs(references) do
		coverages[number] = coverage(reference, number % 3 == 0 and "Organization/commercial-plan" or "Organization/state-medicaid")
	end
	bundle(t, coverages)
	return references
end

-- ---- riverside and lakeside: referrals ----

local riverside, lakeside, hillside = demo:organization("riverside"), demo:organization("lakeside"), demo:organization("hillside")
local riverside_patients

-- Carries what the clocks and people have put into the outboxes.
local function deliver()
	riverside:deliver()
end

local reasons = { "Evaluation for depression", "Therapy for anxiety", "Medication review", "Care of chronic pain and mood" }
local decline_reasons = { "no capacity", "not eligible", "insurance not taken", "incomplete information", "patient declined" }

-- One referral in the hands of both sides. Each step looks first where the referral is: a clock may have moved it meanwhile.
local referral = {}
referral.__index = referral

function referral:theirs()
	if not self.their_task then
		local identifier = riverside:data(self.task).groupIdentifier
		lakeside:as("coordinator")
		local found = lakeside:search("Task", { ["group-identifier"] = identifier.system .. "|" .. identifier.value })
		self.their_task = found[1] and "Task/" .. found[1].id
	end
	return self.their_task
end

-- Does `event` on our side when the referral is in `state`; says whether it could.
function referral:ours(state, event, data)
	riverside:as("coordinator")
	if riverside:state(self.task) ~= state then
		return false
	end
	riverside:transition(self.task, event, data or {})
	deliver()
	return true
end

-- The same on the partner's side; by phone when the partner has no connection.
function referral:answer(state, event, data)
	if self.by_phone then
		riverside:as("coordinator")
		if riverside:state(self.task) ~= state then
			return false
		end
		riverside:transition(self.task, event, data or {}, { on_behalf_of = "recipient", source = pick { "phone", "fax", "letter" } })
		return true
	end
	deliver()
	local task = self:theirs()
	lakeside:as("coordinator")
	if not task or lakeside:state(task) ~= state then
		return false
	end
	lakeside:transition(task, event, data or {})
	deliver()
	return true
end

local function work_time(day)
	return clock(central, day, between(8 * 60 + 20, 16 * 60 + 30))
end

local function today()
	return (now - central(now // DAY)) // DAY
end

local report_words = {
	"Seen for six sessions; mood better, sleep restored. Back to you.", "Moderate episode; medication started, please continue.",
	"No indication for therapy at this time; sleep advice given.", "Care goes on here every two weeks; next report in three months.",
}

function referral:report()
	at(work_time(open_day(today(), between(0, 6))), function ()
		if not self:answer("visit_completed", "outcome", { summary = pick(report_words), minutes = between(5, 15) }) then
			self:answer("scheduled", "outcome", { summary = pick(report_words), minutes = between(5, 15) })
		end
	end)
end

-- The day of the visit: kept, or missed with a new time.
function referral:visit(day, missed)
	at(clock(central, day, between(10 * 60, 16 * 60)), function ()
		if missed > 0 then
			if self:answer("scheduled", "no_show", { minutes = 3 }) then
				at(work_time(open_day(today(), between(1, 2))), function ()
					if missed > 1 and chance(0.4) then
						self:answer("no_show", "decline", { reason = "repeated no-shows", minutes = 5 })
						return
					end
					local again = open_day(today(), between(3, 6))
					if self:answer("no_show", "reschedule", { start = instant(clock(central, again, 14 * 60)), minutes = 6 }) then
						self:visit(again, missed - 1)
					end
				end)
			end
		elseif chance(0.6) then
			self:answer("scheduled", "interim", { summary = "First visit kept; plan agreed with the patient.", minutes = 5 })
			self:report()
		else
			self:report()
		end
	end)
end

function referral:schedule(state, missed)
	local day = open_day(today(), between(2, 8))
	if self:answer(state, "schedule", { start = instant(clock(central, day, 10 * 60)), location = "Main street 1", minutes = 6 }) then
		self:visit(day, missed or 0)
		return day
	end
end

local courses = {}

function courses.closed(self)
	at(work_time(open_day(today(), between(0, 2))), function ()
		if self:answer("received", "accept", { minutes = between(3, 8) }) then
			at(work_time(open_day(today(), between(0, 3))), function ()
				self:schedule("accepted")
			end)
		end
	end)
end

function courses.slow(self)
	at(work_time(open_day(today(), between(3, 6))), function ()
		if self:answer("received", "accept", { minutes = 4, note = "Sorry for the wait" }) then
			at(work_time(open_day(today(), between(2, 5))), function ()
				self:schedule("accepted")
			end)
		end
	end)
end

function courses.declined(self)
	at(work_time(open_day(today(), between(0, 3))), function ()
		self:answer("received", "decline", { reason = pick(decline_reasons), minutes = 4 })
	end)
end

function courses.missed(self)
	at(work_time(open_day(today(), between(0, 2))), function ()
		if self:answer("received", "accept", { minutes = 4 }) then
			at(work_time(open_day(today(), 1)), function ()
				self:schedule("accepted", chance(0.3) and 2 or 1)
			end)
		end
	end)
end

function courses.appointment_cancelled(self)
	at(work_time(open_day(today(), 1)), function ()
		if self:answer("received", "accept", { minutes = 4 }) then
			local start_day = open_day(today(), 6)
			self:answer("accepted", "schedule", { start = instant(clock(central, start_day, 11 * 60)), minutes = 6 })
			at(work_time(open_day(today(), between(2, 4))), function ()
				if self:answer("scheduled", "appointment_cancel", { cancelled_by = pick { "patient", "clinic" }, minutes = 3 }) then
					at(work_time(open_day(today(), 2)), function ()
						self:schedule("appointment_cancelled")
					end)
				end
			end)
		end
	end)
end

function courses.cancelled(self)
	at(work_time(open_day(today(), 1)), function ()
		self:answer("received", "accept", { minutes = 4 })
		at(work_time(open_day(today(), between(1, 3))), function ()
			if self:ours("accepted", "request_cancel", { reason = "the patient moved away", minutes = 5 }) then
				at(work_time(open_day(today(), 1)), function ()
					self:answer("cancel_requested", "confirm_cancel", { minutes = 2 })
				end)
			end
		end)
	end)
end

function courses.unreachable(self)
	at(work_time(open_day(today(), 1)), function ()
		if self:answer("received", "accept", { minutes = 4 }) then
			local day = today()
			for number, wait in ipairs { 1, 5, 10 } do
				at(work_time(open_day(day, wait)), function ()
					self:answer("accepted", "contact_attempt", {
						channel = number == 3 and "letter" or "phone", result = number == 2 and "left message" or "no answer", minutes = 4,
					})
				end)
			end
			at(work_time(open_day(day, 12)), function ()
				self:answer("accepted", "unable_to_reach", { note = "Three attempts in twelve days" })
			end)
		end
	end)
end

-- The partner never answers: reminders and escalations run, in the end the clock closes the referral.
function courses.silent()
end

function courses.accepted_then_silent(self)
	at(work_time(open_day(today(), 1)), function ()
		self:answer("received", "accept", { minutes = 4 })
	end)
end

local course_weights = {
	{ 40, "closed" }, { 9, "slow" }, { 12, "declined" }, { 12, "missed" }, { 6, "appointment_cancelled" }, { 5, "cancelled" },
	{ 5, "unreachable" }, { 6, "silent" }, { 3, "accepted_then_silent" },
}

local function new_referral(day, options)
	at(work_time(day), function ()
		local patient = options.patient or pick(riverside_patients)
		riverside:as(options.protected and "ehr" or "coordinator")
		local request = {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
			code = { text = pick(reasons) }, reasonCode = { { text = "PHQ-9 of " .. between(10, 22) } },
			requester = { reference = "Practitioner/riverside-clinician" }, priority = chance(0.06) and "urgent" or "routine",
			performer = { { reference = options.by_phone and "Organization/prairie-clinic" or "Organization/lakeside" } },
		}
		if options.protected then
			request.meta = { security = { { system = act_code, code = "42CFRPart2" } } }
			riverside:create {
				resourceType = "Consent", status = "active",
				scope = coding("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy", "Privacy consent"),
				category = { coding("http://loinc.org", "59284-0", "Patient consent") },
				patient = { reference = patient }, dateTime = instant(now), policyRule = { text = "Consent of the patient to disclose" },
				provision = {
					type = "permit", purpose = { { system = "http://terminology.hl7.org/CodeSystem/v3-ActReason", code = "TREAT" } },
					actor = { {
						role = coding("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient"),
						reference = { reference = "Organization/lakeside" },
					} },
				},
			}
		end
		local focus = riverside:create(request)
		riverside:as("coordinator")
		local self = setmetatable({ by_phone = options.by_phone }, referral)
		self.task = riverside:start("referral", {
			focus = focus, patient = patient, party = "initiator", partner = not options.by_phone and "lakeside" or nil,
			requester = "Practitioner/riverside-clinician",
		})
		if chance(0.04) then -- forgotten: the draft's clock runs out
			at(work_time(open_day(today(), 4)), function ()
				self:ours("draft", "discard", { reason = "the patient found care elsewhere" })
			end)
			return
		end
		at(now + between(5, 180) * MINUTE, function ()
			if self:ours("draft", "send", { minutes = between(6, 20) }) then
				courses[options.course or weighted(course_weights)](self)
			end
		end)
	end)
end

local function riverside_story()
	furnish(riverside, "Riverside Family Practice", { coordinator = "Coordinator", clinician = "Clinician", manager = "Manager" })
	put(riverside, { resourceType = "Organization", id = "lakeside", active = true, name = "Lakeside Behavioral Health" })
	put(riverside, { resourceType = "Organization", id = "prairie-clinic", active = true, name = "Prairie Clinic (no connection)" })
	bundle(riverside, {
		{
			resourceType = "HealthcareService", active = true, name = "Therapy and psychiatry", appointmentRequired = true,
			providedBy = { reference = "Organization/lakeside" }, type = { { text = "Behavioral health" } },
		},
		{
			resourceType = "HealthcareService", active = true, name = "Pain clinic", appointmentRequired = true,
			providedBy = { reference = "Organization/prairie-clinic" }, type = { { text = "Pain medicine" } }, comment = "Fax only",
		},
	})
	riverside_patients = people_of(riverside, "riverside", 40)
	local teams = {}
	for number = 1, 25 do
		teams[number] = {
			resourceType = "CareTeam", status = "active", name = "Care team", subject = { reference = riverside_patients[number] },
			participant = { { member = { reference = "Practitioner/riverside-clinician" } } },
		}
	end
	bundle(riverside, teams)
	for number = 1, 25 do
		at(work_time(open_day(first_day + between(0, 50), 0)), function ()
			riverside:as("ehr")
			riverside:create(questionnaire(riverside_patients[number], between(4, 20), now))
		end)
	end
	-- About nine a week, so that the last days leave some in every state.
	for day = first_day, first_day + 56 do
		if is_open(day) then
			for _ = 1, between(1, 2) do
				new_referral(day, { by_phone = chance(0.1) })
			end
		end
	end
	new_referral(open_day(first_day, 12), { protected = true, course = "closed", patient = riverside_patients[40] })
	new_referral(open_day(first_day + 50, 0), { course = "silent", patient = riverside_patients[39] })
end

-- ---- lakeside: screens and warm handoffs ----

local lakeside_patients
local in_handoff = {}

local function handoff_event(task, principal, state, event, data)
	lakeside:as(principal)
	if lakeside:state(task) ~= state then
		return false
	end
	lakeside:transition(task, event, data or {})
	return true
end

local function after_visit(task, patient)
	at(now + between(5, 90) * MINUTE, function ()
		handoff_event(task, "clinician", "feedback", "give_feedback", {
			summary = pick { "Low mood after a loss; two further visits.", "Sleep plan agreed.", "Panic explained; breathing practised.",
				"Needs more than brief visits." },
			plan = pick { "consultant visit", "primary care", "none", "consultant visit" }, minutes = between(2, 6),
		})
		at(now + between(10, 60 * 20) * MINUTE, function ()
			in_handoff[patient] = nil
			if chance(0.7) then
				handoff_event(task, "coordinator", "follow_up", "booked", { start = instant(clock(central, open_day(today(), 7), 9 * 60)) })
			else
				handoff_event(task, "coordinator", "follow_up", "nothing_to_book")
			end
		end)
	end)
end

local function consultant_visit(task, patient)
	at(now + between(1, 4) * MINUTE, function ()
		if handoff_event(task, "clinician", "arrived", "start_visit", { mode = chance(0.85) and "room" or "video" }) then
			at(now + between(14, 28) * MINUTE, function ()
				if handoff_event(task, "clinician", "visit", "end_visit", { minutes = between(14, 28) }) then
					after_visit(task, patient)
				end
			end)
		end
	end)
end

local function call_later(task, patient, attempts)
	at(work_time(open_day(today() + 1, 0)), function ()
		if attempts > 0 and chance(0.4) then
			if handoff_event(task, "clinician", "phone_due", "no_answer") then
				call_later(task, patient, attempts - 1)
			end
		elseif handoff_event(task, "clinician", "phone_due", "reached", { minutes = between(6, 15) }) then
			after_visit(task, patient)
		end
	end)
end

local function fall_back(task, patient)
	at(now + between(2, 8) * MINUTE, function ()
		lakeside:as("coordinator")
		if lakeside:state(task) ~= "fallback" then
			return
		end
		handoff_event(task, "coordinator", "fallback", "call_later")
		call_later(task, patient, 2)
	end)
end

local function answer_handoff(task, patient)
	if chance(0.15) then -- nobody answers: the clock calls the front desk, then offers another way
		at(now + 12 * MINUTE, function ()
			fall_back(task, patient)
		end)
		return
	end
	at(now + between(1, 4) * MINUTE, function ()
		if handoff_event(task, "clinician", "requested", "acknowledge") then
			at(now + between(2, 12) * MINUTE, function ()
				if handoff_event(task, "clinician", "acknowledged", "arrive") then
					consultant_visit(task, patient)
				end
			end)
		else
			fall_back(task, patient)
		end
	end)
end

local function answer_alert(t, patient)
	at(now + between(2, 12) * MINUTE, function ()
		t:as("clinician")
		for _, task in ipairs(t:search("Task", { code = "safety", patient = patient, status = "requested" })) do
			if t:state(task.id) == "alert" then
				t:transition(task.id, "acknowledge", {})
				at(now + between(15, 45) * MINUTE, function ()
					t:as("clinician")
					if t:state(task.id) == "assessing" then
						t:transition(task.id, "close", {
							disposition = pick { "no acute risk", "safety plan made", "same-day visit" }, risk = pick { "low", "moderate" },
							note = "Spoke with the patient; plan agreed",
						})
					end
				end)
			end
		end
	end)
end

local function lakeside_visit(moment)
	at(moment, function ()
		local patient = pick(lakeside_patients)
		if in_handoff[patient] then
			return
		end
		in_handoff[patient] = true
		lakeside:as("ehr")
		local visit = lakeside:create(encounter(patient, now))
		local began = now
		at(now + between(35, 55) * MINUTE, function ()
			lakeside:as("ehr")
			local finished = encounter(patient, began, now)
			finished.id = visit:match("/(.*)$")
			lakeside:update(finished)
		end)
		if not chance(0.82) then -- not screened; now and then the clinician asks all the same
			if chance(0.15) then
				at(now + between(8, 20) * MINUTE, function ()
					lakeside:as("clinician")
					local task = lakeside:operation("$handoff", {
						resourceType = "Parameters", parameter = { { name = "reason", valueString = "tearful, not sleeping" } },
					}, visit)
					answer_handoff("Task/" .. task.id, patient)
				end)
			else
				in_handoff[patient] = nil
			end
			return
		end
		at(now + between(3, 8) * MINUTE, function ()
			local alarming = chance(0.03)
			lakeside:as("coordinator")
			lakeside:create(questionnaire(patient, chance(0.62) and between(0, 9) or between(10, 21), now,
				{ encounter = visit, item9 = alarming and 1 or 0 }))
			if alarming then
				answer_alert(lakeside, patient)
			end
			local offered = lakeside:search("Task", { code = "handoff", patient = patient, status = "ready" })[1]
			if not offered then
				in_handoff[patient] = nil
				return
			end
			local task = "Task/" .. offered.id
			at(now + between(3, 18) * MINUTE, function ()
				if chance(0.13) then
					handoff_event(task, "clinician", "offered", "decline", { note = "Not today" })
					in_handoff[patient] = nil
				elseif handoff_event(task, "clinician", "offered", "request", { reason = "positive screen" }) then
					answer_handoff(task, patient)
				else
					in_handoff[patient] = nil
				end
			end)
		end)
	end)
end

-- The consultants' free quarters of an hour, a week ahead: at every full and half hour.
local function slots_of_week(schedule, monday)
	local slots = {}
	for day = monday, monday + 4 do
		for half = 0, 15 do
			local from = clock(central, day, 9 * 60 + half * 30)
			if is_open(day) and half ~= 6 and half ~= 7 and from > now then -- not at lunch
				slots[#slots + 1] = {
					resourceType = "Slot", status = chance(0.12) and "busy" or "free", schedule = { reference = schedule },
					serviceType = { coding("urn:careloop:slot", "bhc", "Behavioral health consultant") },
					start = instant(from), ["end"] = instant(from + 15 * MINUTE),
				}
			end
		end
	end
	lakeside:as("ehr")
	if #slots > 0 then
		bundle(lakeside, slots)
	end
end

local function lakeside_story()
	furnish(lakeside, "Lakeside Behavioral Health", { coordinator = "Coordinator", clinician = "Consultant", manager = "Manager" })
	put(lakeside, { resourceType = "Organization", id = "riverside", active = true, name = "Riverside Family Practice" })
	lakeside_patients = people_of(lakeside, "lakeside", 40)
	local schedule = lakeside:create {
		resourceType = "Schedule", active = true,
		actor = { { reference = "Practitioner/lakeside-clinician", display = "Consultant of the day" } },
	}
	local monday = first_day - weekday(first_day)
	for week = 0, 8 do
		at(clock(central, monday + week * 7 - 3, 6 * 60), function ()
			slots_of_week(schedule, monday + week * 7)
		end)
	end
	for day = first_day, first_day + 56 do
		if is_open(day) then
			for _ = 1, between(4, 7) do
				lakeside_visit(clock(central, day, between(9 * 60, 15 * 60 + 30)))
			end
		end
	end
end

-- ---- hillside: the registry ----

-- How the PHQ-9 goes over the weeks: starts at `first`, ends near first * share after `weeks`.
local ways = {
	{ 40, { share = 0.35, weeks = 14 } }, { 25, { share = 0.6, weeks = 16 } }, { 15, { share = 0.95, weeks = 20 } },
	{ 10, { share = 1.3, weeks = 12 } }, { 10, { share = 0.7, weeks = 10, quiet = true } },
}

local function score_at(member, seconds)
	local weeks = math.max(0, (seconds - member.enrolled) / (7 * DAY))
	local share = 1 + (member.way.share - 1) * math.min(1, weeks / member.way.weeks)
	return math.max(0, math.min(24, math.floor(member.first * share + between(-1, 1) + 0.5)))
end

local function local_day(seconds)
	return (seconds - pacific(seconds // DAY)) // DAY
end

local function hillside_time(day)
	return clock(pacific, day, between(9 * 60, 16 * 60))
end

-- One contact after another, some by phone; a PHQ-9 about every four weeks.
local function contact(member, day)
	at(hillside_time(day), function ()
		local length = between(15, 40) * MINUTE
		hillside:as("coordinator")
		hillside:create(encounter(member.patient, now - length, now, chance(0.5) and "VR" or "AMB"))
		if now - member.scored > 24 * DAY or member.count < 2 and now - member.scored > 13 * DAY then
			local alarming = chance(0.02)
			hillside:create(questionnaire(member.patient, score_at(member, now), now, { item9 = alarming and 1 or 0 }))
			member.scored, member.count = now, member.count + 1
			if alarming then
				answer_alert(hillside, member.patient)
			end
		end
		if not (member.way.quiet and now > member.enrolled + 6 * 7 * DAY) then
			contact(member, open_day(local_day(now) + between(6, 18), 0))
		end
	end)
end

local function edit_section(member, principal, section, text)
	hillside:as("ehr")
	local plan
	for _, candidate in ipairs(hillside:search("CarePlan", { patient = member.patient, status = "active" })) do
		plan = "CarePlan/" .. candidate.id
	end
	if not plan then
		return
	end
	hillside:as(principal)
	hillside:operation("$edit-section", {
		resourceType = "Parameters", parameter = {
			{ name = "section", valueString = section }, { name = "text", valueString = text }, { name = "revision", valueInteger = 0 },
		},
	}, plan)
end

local function enroll(member)
	hillside:as("ehr")
	member.episode = hillside:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = member.patient },
		type = { coding("urn:careloop:episode", "depression-care", "Depression care") }, period = { start = instant(member.enrolled) },
		careManager = { reference = "Practitioner/hillside-coordinator" },
	}
	hillside:create {
		resourceType = "CareTeam", status = "active", name = "Whole team", subject = { reference = member.patient },
		participant = {
			{ member = { reference = "Practitioner/hillside-clinician" } }, { member = { reference = "Practitioner/hillside-coordinator" } },
		},
	}
	-- What was written before the demonstration begins: contacts and scores since the enrolment.
	local history = {}
	member.scored, member.count = 0, 0
	local moment = member.enrolled
	while moment < now do
		history[#history + 1] = encounter(member.patient, moment, moment + 30 * MINUTE)
		if moment - member.scored > 27 * DAY then
			history[#history + 1] = questionnaire(member.patient, member.count == 0 and member.first or score_at(member, moment), moment)
			member.scored, member.count = moment, member.count + 1
		end
		if member.way.quiet and moment > member.enrolled + 6 * 7 * DAY then
			break
		end
		moment = moment + between(10, 20) * DAY
	end
	if member.count == 0 then
		history[#history + 1] = questionnaire(member.patient, member.first, now)
		member.scored, member.count = now, 1
	end
	hillside:as("ehr")
	bundle(hillside, history)
	if chance(0.7) then
		edit_section(member, "coordinator", "goals", pick { "Sleep through the night", "Back to work by spring", "Play with the children" })
	end
	if chance(0.5) then
		edit_section(member, "clinician", "behavioral", "Behavioral activation, weekly; problem solving from week 4")
	end
	contact(member, open_day(local_day(now) + between(1, 12), 0))
end

-- Who must be called, whose plan is due: some of it each day, as in life.
local function daily_work(day)
	at(clock(pacific, day, 13 * 60), function ()
		hillside:as("coordinator")
		for _, task in ipairs(hillside:search("Task", { code = "outreach", status = "requested", _count = 50 })) do
			if chance(0.35) then
				local event = chance(0.45) and "reached" or "attempt"
				hillside:transition(task.id, event, event == "attempt" and { channel = pick { "phone", "text", "letter" } } or {})
			end
		end
		for _, task in ipairs(hillside:search("Task", { code = "plan_review", status = "requested", _count = 50 })) do
			if chance(0.25) then
				hillside:transition(task.id, chance(0.8) and "reviewed" or "reviewed_high_risk", { note = "Reviewed with the patient" })
			end
		end
	end)
end

local function huddle(day)
	if chance(0.12) then
		return -- nobody held it: the clock says so
	end
	at(clock(pacific, day, 7 * 60 + between(20, 120)), function ()
		hillside:as("coordinator")
		local prepared = hillside:search("Task", { code = "huddle", status = "ready" })[1]
		if not prepared then
			return
		end
		hillside:transition(prepared.id, "open", {})
		at(now + between(10, 25) * MINUTE, function ()
			hillside:as("coordinator")
			if hillside:state(prepared.id) == "in_session" then
				hillside:transition(prepared.id, "close", { present = "care manager, clinician, consultant", note = "Short list today" })
			end
			for _, task in ipairs(hillside:search("Task", { code = "huddle_item", status = "requested,on-hold", _count = 50 })) do
				at(now + between(30, 8 * 60) * MINUTE, function ()
					hillside:as("coordinator")
					local state = hillside:state(task.id)
					if state == "open" or state == "carried" then
						local roll = random()
						if roll < 0.7 then
							hillside:transition(task.id, "done", { result = pick { "Called; next visit booked", "Medication discussed",
								"Score taken", "Left a message" } })
						elseif roll < 0.78 then
							hillside:transition(task.id, "drop", { reason = "seen yesterday" })
						elseif roll < 0.88 and state == "open" then
							hillside:transition(task.id, "carry_over", { reason = "not reached today" })
						end
					end
				end)
			end
		end)
	end)
end

local function hillside_story()
	furnish(hillside, "Hillside Integrated Care", { coordinator = "Caremanager", clinician = "Clinician", manager = "Manager" })
	local patients = people_of(hillside, "hillside", 40)
	for number = 1, 32 do
		local member = { patient = patients[number], first = between(11, 22), way = weighted(ways) }
		if number <= 12 then -- long in care: their 240th day falls into these two months
			member.enrolled = start - between(184, 236) * DAY
		elseif number <= 22 then
			member.enrolled = start - between(7, 60) * DAY
		else
			member.enrolled = start + between(1, 45) * DAY
		end
		if member.enrolled < start then
			enroll(member)
		else
			at(hillside_time(open_day(local_day(member.enrolled), 0)), function ()
				member.enrolled = now
				enroll(member)
			end)
		end
	end
	local charges = {}
	for _, patient in ipairs(patients) do
		for month = -1, 1 do
			for _ = 1, between(1, 3) do
				charges[#charges + 1] = {
					resourceType = "ChargeItem", status = "billable", code = { text = "Service" }, subject = { reference = patient },
					occurrenceDateTime = instant(start + (month * 30 + between(1, 28)) * DAY),
					priceOverride = { value = between(40, 420), currency = "USD" },
				}
			end
		end
	end
	hillside:as("ehr")
	bundle(hillside, charges)
	for day = first_day, first_day + 56 do
		if is_open(day) then
			huddle(day)
			daily_work(day)
		end
	end
end

-- ---- all together ----

riverside_story()
lakeside_story()
hillside_story()
while #queue > 0 do
	local next_one = next_action()
	go_to(next_one.at)
	next_one.action()
end
demo:finish()
