-- One synthetic year of an organization, by `careloop demo --until 2026-01-01T06:00:00Z --seed N --weeks 53`: people of a practice with
-- visits, tests, hospital stays, referrals, and a share of them in depression care. Chance comes from the seed only.
-- CARELOOP_YEAR_PATIENTS says how many (default 2,000).
-- luacheck: read globals demo
local count = tonumber(os.getenv("CARELOOP_YEAR_PATIENTS") or "2000")
local clinic = demo:organization("year")

local seed = 20250101
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

-- ---- time: minutes since the first of January 2025, Chicago's standard time ----

local month_days = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
local function date_of(day)
	local month = 1
	while month < 12 and day >= month_days[month] do
		day = day - month_days[month]
		month = month + 1
	end
	return string.format("2025-%02d-%02d", month, day + 1)
end
local function instant(minutes)
	local day = minutes // 1440
	return string.format("%sT%02d:%02d:00-06:00", date_of(day), minutes % 1440 // 60, minutes % 60)
end
local function working(day) -- the first of January 2025 is a Wednesday
	local weekday = (day + 2) % 7
	if weekday >= 5 then
		return day + 7 - weekday
	end
	return day
end
local function at_work(day)
	return working(day) * 1440 + between(9 * 60, 16 * 60)
end

local queue, number = {}, 0
local function at(minutes, action)
	if minutes < 364 * 1440 then
		number = number + 1
		queue[#queue + 1] = { at = minutes, number = number, action = action }
	end
end

-- ---- resources ----

local act_code = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
local function encounter(patient, from, minutes, class)
	return {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = act_code, code = class }, period = { start = instant(from), ["end"] = instant(from + minutes) },
	}
end
local function observation(patient, when, code, value, unit)
	return {
		resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = instant(when),
		code = { coding = { { system = "http://loinc.org", code = code } } }, valueQuantity = { value = value, unit = unit },
	}
end
local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }
local function questionnaire(patient, when, total)
	local items = {}
	for item = 1, 8 do
		local value = math.min(3, total)
		total = total - value
		items[item] = { linkId = phq9[item], answer = { { valueInteger = value } } }
	end
	items[9] = { linkId = phq9[9], answer = { { valueInteger = 0 } } }
	return {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = instant(when), item = items,
	}
end
local function bundle(resources)
	local references = {}
	for first = 1, #resources, 200 do
		local entries = {}
		for place = first, math.min(first + 199, #resources) do
			local resource = resources[place]
			entries[#entries + 1] = {
				resource = resource,
				request = resource.id and { method = "PUT", url = resource.resourceType .. "/" .. resource.id }
					or { method = "POST", url = resource.resourceType },
			}
		end
		local answer = clinic:request("POST", "/fhir", { resourceType = "Bundle", type = "transaction", entry = entries })
		if answer.status ~= 200 then
			error(answer.status .. " " .. tostring(answer.body.issue and answer.body.issue[1].diagnostics))
		end
		for _, entry in ipairs(answer.body.entry) do
			references[#references + 1] = entry.response.location:match("(%u%w+/[^/]+)/_history")
		end
	end
	return references
end

-- ---- the people ----

clinic:as("ehr")
local people = {
	{ resourceType = "Organization", id = "year", active = true, name = "Year Clinic" },
	{ resourceType = "Organization", id = "lakeside", active = true, name = "Lakeside" },
	{ resourceType = "Organization", id = "plan", active = true, name = "Health plan" },
}
for _, name in ipairs { "coordinator", "clinician", "manager" } do
	people[#people + 1] = { resourceType = "Practitioner", id = name, active = true, name = { { family = "Sample-" .. name } } }
end
for person = 1, count do
	people[#people + 1] = {
		resourceType = "Patient", id = "p" .. person, active = true, name = { { family = "Sample-" .. person } },
		gender = chance(0.55) and "female" or "male",
		birthDate = string.format("%04d-%02d-%02d", between(1940, 2007), between(1, 12), between(1, 28)),
		telecom = { { system = "phone", value = "+1 555 0100" } },
		generalPractitioner = { { reference = "Practitioner/clinician" } },
	}
	people[#people + 1] = {
		resourceType = "Coverage", id = "c" .. person, status = "active", beneficiary = { reference = "Patient/p" .. person },
		payor = { { reference = "Organization/plan" } }, period = { start = "2024-06-01" },
	}
end
bundle(people)

local function diagnosis(patient, code)
	return {
		resourceType = "Condition", subject = { reference = patient }, onsetDateTime = "2023-01-01",
		code = { coding = { { system = "http://hl7.org/fhir/sid/icd-10-cm", code = code } } },
		clinicalStatus = { coding = { {
			system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
		} } },
		verificationStatus = { coding = { {
			system = "http://terminology.hl7.org/CodeSystem/condition-ver-status", code = "confirmed",
		} } },
	}
end

-- Depression care: a contact about every two weeks, a PHQ-9 about every four, until the score has been low for a while.
local function depression_care(patient, begins)
	local first, share = between(11, 22), ({ 0.2, 0.4, 0.6, 0.95, 1.2 })[between(1, 5)]
	local episode, last, contacts = nil, nil, 0
	local function score(when)
		local weeks = math.min(1, (when - begins) / (16 * 7 * 1440))
		return math.max(0, math.min(24, math.floor(first * (1 + (share - 1) * weeks) + 0.5)))
	end
	local function contact(when)
		at(when, function ()
			clinic:as("coordinator")
			clinic:create(encounter(patient, when, 30, chance(0.5) and "VR" or "AMB"))
			contacts = contacts + 1
			if not last or when - last > 24 * 1440 then
				clinic:as("ehr")
				clinic:create(questionnaire(patient, when, score(when)))
				last = when
			end
			if contacts >= 14 and share < 0.5 then
				clinic:as("ehr")
				local ended = clinic:data(episode)
				ended.status = "finished"
				ended.period["end"] = instant(when)
				clinic:update(ended)
			elseif not (share > 1 and contacts > 5) then
				contact(at_work(when // 1440 + between(10, 20)))
			end
		end)
	end
	at(begins, function ()
		clinic:as("ehr")
		clinic:create {
			resourceType = "CareTeam", status = "active", subject = { reference = patient },
			participant = { { member = { reference = "Practitioner/clinician" } } },
		}
		clinic:create(diagnosis(patient, "F33.1"))
		episode = clinic:create {
			resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
			type = { { coding = { { system = "urn:careloop:episode", code = "depression-care" } } } },
			period = { start = instant(begins) }, careManager = { reference = "Practitioner/coordinator" },
		}
	end)
	contact(begins + 30)
end

-- What happens to everybody else: visits, tests, emergency visits, stays, as one bundle a day.
local by_day = {}
local function on_day(minutes, resource)
	local day = minutes // 1440
	by_day[day] = by_day[day] or {}
	table.insert(by_day[day], resource)
end

local function refer(patient, when)
	at(when, function ()
		clinic:as("coordinator")
		local request = clinic:create {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
			authoredOn = instant(when), code = { text = "Psychiatry" }, reasonCode = { { text = "second opinion" } },
			performer = { { reference = "Organization/lakeside" } },
		}
		local task = clinic:start("referral", { focus = request, patient = patient, party = "initiator" })
		clinic:transition(task, "send", { minutes = between(5, 20) })
		local phone = { on_behalf_of = "recipient", source = "phone" }
		if chance(0.8) then
			at(at_work(when // 1440 + between(1, 4)), function ()
				clinic:as("coordinator")
				if clinic:state(task) == "received" then
					clinic:transition(task, "accept", {}, phone)
					at(at_work(when // 1440 + between(6, 30)), function ()
						clinic:as("coordinator")
						if clinic:state(task) == "accepted" then
							clinic:transition(task, "outcome", { summary = "seen, report sent" }, phone)
						end
					end)
				end
			end)
		end
	end)
end

for person = 1, count do
	local patient = "Patient/p" .. person
	local diabetic, hypertensive = chance(0.12), chance(0.25)
	local known = {}
	if diabetic then
		known[#known + 1] = diagnosis(patient, "E11.9")
	end
	if hypertensive then
		known[#known + 1] = diagnosis(patient, "I10")
	end
	for _, condition in ipairs(known) do
		on_day(0, condition)
	end
	for _ = 1, between(1, 3) do
		local when = at_work(between(2, 355))
		on_day(when, encounter(patient, when, 20, "AMB"))
		if hypertensive then
			on_day(when, {
				resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = instant(when),
				code = { coding = { { system = "http://loinc.org", code = "85354-9" } } }, component = {
					{
						code = { coding = { { system = "http://loinc.org", code = "8480-6" } } },
						valueQuantity = { value = between(110, 165), unit = "mm[Hg]" },
					},
					{
						code = { coding = { { system = "http://loinc.org", code = "8462-4" } } },
						valueQuantity = { value = between(65, 100), unit = "mm[Hg]" },
					},
				},
			})
		end
		if diabetic then
			on_day(when, observation(patient, when, "4548-4", between(56, 112) / 10, "%"))
		end
		if chance(0.3) then
			on_day(when, questionnaire(patient, when, between(0, 9)))
		end
		on_day(when, {
			resourceType = "ChargeItem", status = "billable", code = { text = "Visit" }, subject = { reference = patient },
			occurrenceDateTime = instant(when), priceOverride = { value = between(80, 240), currency = "USD" },
		})
		if chance(0.1) then
			on_day(when, {
				resourceType = "Appointment", status = "noshow", start = instant(when - 300), ["end"] = instant(when - 280),
				participant = { { actor = { reference = patient }, status = "accepted" } },
			})
		end
	end
	if chance(0.12) then
		local when = between(5, 355) * 1440 + between(0, 1439)
		on_day(when, encounter(patient, when, 240, "EMER"))
	end
	if chance(0.05) then
		local when = between(5, 340) * 1440 + 600
		on_day(when, encounter(patient, when, between(1, 9) * 1440, "IMP"))
	end
	if chance(0.08) then
		depression_care(patient, at_work(between(1, 300)))
	elseif chance(0.06) then
		refer(patient, at_work(between(1, 330)))
	end
end
local days = {}
for day in pairs(by_day) do
	days[#days + 1] = day
end
table.sort(days)
for _, day in ipairs(days) do
	at(day * 1440 + 20 * 60, function ()
		clinic:as("ehr")
		bundle(by_day[day])
	end)
end

-- Somebody does the work: huddles are held, what the lists ask for is done.
for day = 0, 363 do
	if working(day) == day then
		at(day * 1440 + 15 * 60, function ()
			clinic:as("coordinator")
			for _, task in ipairs(clinic:search("Task", { code = "huddle", status = "ready", _count = 5 })) do
				clinic:transition("Task/" .. task.id, "close", { present = "team" })
			end
			for _, task in ipairs(clinic:search("Task", { code = "huddle_item", status = "requested", _count = 20 })) do
				clinic:transition("Task/" .. task.id, "done", { result = "talked about" })
			end
			for _, task in ipairs(clinic:search("Task", { code = "plan_review", status = "requested", _count = 10 })) do
				clinic:transition("Task/" .. task.id, "reviewed", {})
			end
		end)
	end
end

-- ---- the order of things ----

local function before(a, b)
	if a.at ~= b.at then
		return a.at < b.at
	end
	return a.number < b.number
end

local now = 0
local done = 0
while true do
	table.sort(queue, before)
	local batch = queue
	queue = {}
	if #batch == 0 then
		break
	end
	-- What an action plans may come before what is left: stop there and sort again.
	for place, entry in ipairs(batch) do
		if #queue > 0 then
			local sooner = false
			for _, planned in ipairs(queue) do
				sooner = sooner or planned.at < entry.at
			end
			if sooner then
				table.move(batch, place, #batch, #queue + 1, queue)
				break
			end
		end
		if entry.at > now then
			demo:advance((entry.at - now) .. " minutes")
			now = entry.at
		end
		entry.action()
		done = done + 1
	end
end
demo:finish(function ()
	-- What the measures say of each month, for the test to compare with its own reckoning.
	for _, name in ipairs { "loop_closed", "phq9_response", "phq9_remission", "contacted_30_days" } do
		for month = 1, 12 do
			local value = clinic:metric(name, string.format("2025-%02d", month))
			print(string.format("metric %s 2025-%02d %s %s", name, month, value.numerator or "-", value.denominator or "-"))
		end
	end
end)
