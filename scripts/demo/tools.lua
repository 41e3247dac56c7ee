-- What the stories of the demonstration share: chance, time, the order of things, resources. `demo` is the driver's
-- (core/org/engine/scenario.lua).
-- luacheck: read globals demo
local tools = {}

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
	return string.format("%sT%02d:%02d:%02dZ", date_text(seconds // DAY), rest // HOUR, rest % HOUR // MINUTE,
		rest % MINUTE)
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
	["10-12"] = true, ["11-11"] = true, ["11-26"] = true, ["12-25"] = true, ["01-01"] = true, ["05-25"] = true,
		["06-19"] = true,
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

local current = start
function tools.now()
	return current
end

local function go_to(seconds)
	local minutes = (seconds - current + MINUTE - 1) // MINUTE
	if minutes > 0 then
		demo:advance(minutes .. " minutes")
		current = current + minutes * MINUTE
	end
end

-- ---- resources ----

local function coding(system, code, display)
	return { coding = { { system = system, code = code, display = display } }, text = display }
end

local trees = {
	"Alder", "Aspen", "Beech", "Birch", "Cedar", "Cypress", "Elm", "Fir", "Hazel", "Hemlock", "Hickory", "Holly",
		"Juniper", "Larch",
	"Laurel", "Linden", "Maple", "Myrtle", "Oak", "Olive", "Pine", "Poplar", "Rowan", "Sequoia", "Spruce", "Sycamore",
		"Walnut",
	"Willow", "Yew", "Acacia",
}
local given = {
	"Avery", "Blake", "Casey", "Devon", "Ellis", "Finley", "Gray", "Harper", "Indigo", "Jordan", "Kendall", "Lane",
		"Morgan", "Noel",
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
		class = { system = act_code, code = class or "AMB" }, period = { start = instant(from), ["end"] = to
			and instant(to) },
	}
end

local function coverage(patient, payor)
	return {
		resourceType = "Coverage", status = "active", beneficiary = { reference = patient }, payor = { {
			reference = payor } },
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
		coverages[number] = coverage(reference, number % 3 == 0 and "Organization/commercial-plan"
			or "Organization/state-medicaid")
	end
	bundle(t, coverages)
	return references
end

-- Somebody takes a self-harm alert and records a disposition, within the hour.
local function answer_alert(t, patient)
	at(current + between(2, 12) * MINUTE, function ()
		t:as("clinician")
		for _, task in ipairs(t:search("Task", { code = "safety", patient = patient, status = "requested" })) do
			if t:state(task.id) == "alert" then
				t:transition(task.id, "acknowledge", {})
				at(current + between(15, 45) * MINUTE, function ()
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

-- Some time of an open day's work, and today, where riverside and lakeside are.
function tools.work_time(day)
	return clock(central, day, between(8 * 60 + 20, 16 * 60 + 30))
end

-- The last days leave some things undone, so that there is something to see and to do.
function tools.near_end()
	return current > finish - 3 * DAY
end

function tools.today()
	return (current - central(current // DAY)) // DAY
end

-- Runs everything that was planned, in order.
function tools.run()
	while #queue > 0 do
		local next_one = next_action()
		go_to(next_one.at)
		next_one.action()
	end
end

tools.DAY, tools.MINUTE, tools.start, tools.first_day, tools.act_code = DAY, MINUTE, start, first_day, act_code
tools.central, tools.pacific, tools.put, tools.answer_alert = central, pacific, put, answer_alert
tools.random, tools.between, tools.chance, tools.pick, tools.weighted, tools.date_text = random, between, chance, pick,
	weighted, date_text
tools.instant, tools.weekday, tools.is_open, tools.clock, tools.open_day, tools.at = instant, weekday, is_open, clock,
	open_day, at
tools.coding, tools.bundle, tools.questionnaire, tools.encounter, tools.furnish, tools.people_of = coding, bundle,
	questionnaire, encounter, furnish, people_of
return tools
