-- The registry of the program: what is known of each patient, the flags, the weekly caseload review. The row is kept on
-- the EpisodeOfCare, so that the whole caseload is one search.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"
local episode = require "episode"

local caseload = {}

local row_url = "urn:careloop:cocm:row"

-- By urgency: the order of the review.
caseload.flags = {
	"safety", "worsening", "consult-overdue", "not-improving", "recommendation-open", "disengaged", "not-improving-early",
	"stale", "score-due", "new", "target-reached",
}

-- ---- facts and flags ----

-- A recommendation is the consultation; of an episode since a date.
local function consulted_on(ctx, task)
	local found = {}
	for _, move in ipairs(ctx:transitions(task)) do
		if move.event == "recommend" then
			found[#found + 1] = ctx:local_date(move.at)
		end
	end
	return found
end

local function last_contact(ctx, patient, start)
	local last
	for _, instance in ipairs(ctx:instances("cocm_contact", { patient = patient })) do
		for _, move in ipairs(ctx:transitions(instance.task)) do
			local date = move.event == "contact" and ctx:local_date(move.at)
			if date and date >= start and (not last or date > last) then
				last = date
			end
		end
	end
	return last
end

function caseload.facts(ctx, found)
	local patient = found.patient.reference
	local start = dates.local_date(ctx, found.period.start)
	local course = episode.course(ctx, patient, start)
	local count = #course
	return {
		patient = patient, start = start, kind = course.kind, count = count, index = course[1], last = course[count],
		previous = count > 1 and course[count - 1] or nil,
		contact = last_contact(ctx, patient, start), consults = consulted_on(ctx, episode.task_of(found)),
		open = #ctx:instances("cocm_recommendation", { patient = patient, live = true }) > 0,
		safety = caseload.safety_open(ctx, patient),
	}
end

-- The alert about self-harm is the model's workflow.
function caseload.safety_open(ctx, patient)
	return #ctx:instances("safety", { patient = patient, live = true }) > 0
end

-- Which flags the facts ask for, on a day. Pure: no ctx. `limits` are the settings.
function caseload.judge(facts, today, limits)
	local wanted = {}
	local enrolled = dates.between(facts.start, today)
	local quiet = dates.between(facts.contact or facts.start, today)
	wanted.safety = facts.safety or nil
	wanted["recommendation-open"] = facts.open or nil
	wanted.new = enrolled <= limits.new_days or nil
	if quiet >= limits.disengaged_days then
		wanted.disengaged = true
	elseif quiet >= limits.stale_days then
		wanted.stale = true
	end
	local index, last, previous = facts.index, facts.last, facts.previous
	if not index or dates.between(last.date, today) >= limits.score_days then
		wanted["score-due"] = true
	end
	if facts.count < 2 then
		return wanted -- one score says nothing about change
	end
	if scores.is_five_points_worse(index.value, last.value) or scores.is_five_points_worse(previous.value, last.value) then
		wanted.worsening = true -- at once
	end
	if facts.count >= 3 and episode.at_target(index.value, last.value)
		and episode.at_target(index.value, previous.value) then
		wanted["target-reached"] = true -- on two scores in a row
	end
	local day, gain = dates.between(index.date, today), index.value - last.value
	if day >= limits.response_days then
		-- Week 8: less than 50 % lower and 10 or more; by week 12 the psychiatric consultant was asked.
		if not scores.is_response(index.value, last.value) and last.value >= 10 then
			wanted["not-improving"] = true
			local latest = facts.consults and facts.consults[#facts.consults]
			if day > limits.consult_days and (not latest or latest < dates.add_days(index.date, limits.response_days)) then
				wanted["consult-overdue"] = true
			end
		end
	elseif day >= limits.early_days and (gain < 5 or gain < index.value * 0.25)
		and not scores.is_remission(last.value) then
		-- Week 4 to 6: fewer than 5 points or less than 25 % better.
		wanted["not-improving-early"] = true
	end
	return wanted
end

local function limits_of(ctx)
	local limits = {}
	for _, name in ipairs { "new_days", "stale_days", "disengaged_days", "score_days", "early_days", "response_days",
		"consult_days" } do
		limits[name] = ctx.setting[name]
	end
	return limits
end

-- ---- one patient ----

local function keep_row(ctx, found, facts, wanted)
	local inner = {}
	local function put(name, kind, value)
		if value ~= nil then
			inner[#inner + 1] = { url = name, [kind] = value }
		end
	end
	put("measure", "valueCode", facts.kind)
	put("scores", "valueInteger", facts.count)
	if facts.index then
		put("first", "valueInteger", facts.index.value)
		put("first-date", "valueDate", facts.index.date)
		put("last", "valueInteger", facts.last.value)
		put("last-date", "valueDate", facts.last.date)
	end
	put("contact", "valueDate", facts.contact)
	put("consult", "valueDate", facts.consults[#facts.consults])
	for _, code in ipairs(caseload.flags) do
		if wanted[code] then
			put("flag", "valueCode", code)
		end
	end
	local changed = plain(found)
	changed.extension = resources.with_extension(changed, { url = row_url, extension = inner })
	ctx:update(changed) -- without a difference no version is made
end

local function row_value(found, name)
	local row = resources.extension(found, row_url)
	local inner = row and resources.extension(row, name)
	return inner and (math.tointeger(tonumber(inner.valueInteger)) or inner.valueDate or inner.valueCode) or nil
end
caseload.row_value = row_value

local function flags_of(found)
	local flagged, names = {}, {}
	local row = resources.extension(found, row_url)
	for _, extension in ipairs(row and row.extension or {}) do
		if extension.url == "flag" then
			flagged[extension.valueCode] = true
		end
	end
	local rank = #caseload.flags + 1
	for number, code in ipairs(caseload.flags) do
		if flagged[code] then
			names[#names + 1] = code
			rank = math.min(rank, number)
		end
	end
	return names, rank, flagged
end

local treating = { active = true, not_improving = true, changed = true, enrolled = true, maintenance = true }

-- Looks at one episode now: flags, and the states that follow from them.
function caseload.assess(ctx, found)
	local instance = ctx:instance(episode.task_of(found))
	local facts = caseload.facts(ctx, found)
	local wanted = caseload.judge(facts, ctx:today(), limits_of(ctx))
	local _, _, before = flags_of(found)
	keep_row(ctx, found, facts, wanted)
	if wanted.worsening and not before.worsening then
		ctx:notify {
			to = "care_manager", about = facts.patient, priority = "urgent", text = "Five points worse or more: look at it now",
		}
	end
	local failing = wanted.worsening or wanted["not-improving"]
	if wanted.disengaged and treating[instance.state] then
		ctx:advance(instance.task, "lose")
	elseif instance.state == "active" and failing then
		ctx:advance(instance.task, "flag_not_improving")
	elseif instance.state == "not_improving" and not failing then
		ctx:advance(instance.task, "improved")
	end
end

function caseload.assess_patient(ctx, patient)
	local instance = patient and episode.instance_of(ctx, patient)
	local found = instance and episode.of_task(ctx, instance.task)
	if found then
		caseload.assess(ctx, found)
	end
end

-- ---- everybody ----

local function open_episodes(ctx)
	return ctx:search("EpisodeOfCare", {
		status = "active,onhold", type = codes.system.episode .. "|" .. episode.type, _count = 1000,
	})
end

local batch = 15 -- patients in one call

function caseload.assess_all(ctx)
	local group, number = {}, 0
	for place, found in ipairs(open_episodes(ctx)) do
		group[#group + 1] = resources.of(found)
		if #group == batch then
			number = number + 1
			ctx:set_timer("assess:" .. place, number .. " minutes", { episodes = group })
			group = {}
		end
	end
	if #group > 0 then
		ctx:set_timer("assess:last", number + 1 .. " minutes", { episodes = group })
	end
end

function caseload.assess_batch(ctx, data)
	for _, reference in ipairs(data.episodes) do
		local found = ctx:read(reference)
		if found and found.status ~= "finished" then
			caseload.assess(ctx, found)
		end
	end
end

-- Everybody in care, the most urgent first.
function caseload.rows(ctx)
	local rows, today = {}, ctx:today()
	for _, found in ipairs(open_episodes(ctx)) do
		local names, rank = flags_of(found)
		local patient, first_date = found.patient.reference, row_value(found, "first-date")
		local first, last = row_value(found, "first"), row_value(found, "last")
		local instance = ctx:instance(episode.task_of(found))
		rows[#rows + 1] = {
			patient = patient, patient_name = resources.name(ctx:read(patient)), state = instance.state,
			measure = row_value(found, "measure"), first = first, last = last, delta = first and last - first or nil,
			weeks = first_date and dates.between(first_date, today) // 7 or nil, last_score = row_value(found, "last-date"),
			last_contact = row_value(found, "contact"), last_consult = row_value(found, "consult"),
			flags = table.concat(names, ", "), rank = rank, task = instance.task,
			care_manager = resources.reference(found.careManager), first_date = first_date, scores = row_value(found, "scores"),
		}
	end
	table.sort(rows, function (a, b)
		return a.rank < b.rank or a.rank == b.rank and a.patient < b.patient
	end)
	return rows
end

-- Statistics for each care manager: size, contacted, consulted, improved.
function caseload.statistics(ctx)
	local by, order, today = {}, {}, ctx:today()
	for _, row in ipairs(caseload.rows(ctx)) do
		local name = row.care_manager or "(nobody)"
		local sum = by[name]
		if not sum then
			sum = { contacted = 0, consulted = 0, improved = 0, scored = 0, patients = 0, change = 0 }
			by[name], order[#order + 1] = sum, name
		end
		sum.patients = sum.patients + 1
		if row.last_contact and dates.between(row.last_contact, today) <= 30 then
			sum.contacted = sum.contacted + 1
		end
		sum.consulted = sum.consulted + (row.last_consult and 1 or 0)
		if row.scores and row.scores >= 2 then
			sum.scored, sum.change = sum.scored + 1, sum.change + row.delta
			sum.improved = sum.improved + (episode.at_target(row.first, row.last) and 1 or 0)
		end
	end
	table.sort(order)
	local rows = {}
	for _, name in ipairs(order) do
		local sum = by[name]
		rows[#rows + 1] = {
			care_manager = name, patients = sum.patients, capacity = ctx.setting.caseload_capacity,
			contacted_30_days = sum.contacted, consulted = sum.consulted, with_two_scores = sum.scored,
			at_target = sum.improved, mean_change = sum.scored > 0 and sum.change / sum.scored or nil,
		}
	end
	return rows
end

-- ---- the weekly caseload review ----

local weekdays = { [0] = "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday" }

local function is_business_day(ctx, date)
	return ctx:between(dates.add_days(date, -1), date, "business days") >= 1
end

-- Is the review's list made today? On its weekday; when that has no business, on the next day that has.
local function is_due(ctx)
	local day = ctx:today()
	if not is_business_day(ctx, day) then
		return false
	end
	for _ = 0, 6 do
		if weekdays[(dates.days(day) + 4) % 7] == ctx.setting.review_day then -- 1970-01-01 was a Thursday
			return true
		end
		day = dates.add_days(day, -1)
		if is_business_day(ctx, day) then
			return false
		end
	end
	return false
end

-- All new and flagged patients, the most urgent first.
function caseload.prepare(ctx)
	if not is_due(ctx) then
		return
	end
	local entries = {}
	for _, row in ipairs(caseload.rows(ctx)) do
		if row.flags ~= "" then
			entries[#entries + 1] = { item = { reference = row.patient }, flag = { text = row.flags } }
		end
	end
	local reference = ctx:create {
		resourceType = "List", status = "current", mode = "snapshot", title = "Caseload review of " .. ctx:today(),
		code = resources.concept(codes.system.list, "caseload-review", "Caseload review"), date = ctx:now(),
		entry = #entries > 0 and entries or nil,
		emptyReason = #entries == 0 and resources.concept(codes.system.list_empty, "nilknown", "Nil Known") or nil,
	}
	ctx:start("cocm_review", { focus = reference })
end

local function hold(ctx, task, data)
	local changed = plain(ctx:read(task.focus.reference))
	changed.note = resources.with(changed.note, resources.note(ctx, "Present: " .. data.present))
	ctx:update(changed)
end

function caseload.review_workflow(declare)
	return {
		summary = "The weekly systematic caseload review", subject = "List", start = "prepared",
		prepared = {
			status = "ready", owner = "care_manager", action = "Go through the list with the psychiatric consultant",
			within = declare.setting "review_within",
			overdue = declare.escalate("manager", { again = "1 business day", times = 2, finally = "not_held" }),
			on = {
				hold = {
					"held", by = { "care_manager", "psychiatric_consultant" }, effect = hold,
					needs = { present = { "string", help = "Who was there; a psychiatric consultant is" } },
					help = "The list was gone through",
				},
				not_held = { "missed", by = { "care_manager", "clock" } },
			},
		},
		held = { status = "completed", final = true },
		missed = { status = "failed", final = true },
	}
end

return caseload
