-- The shared registry: one row for each patient in depression care, and the flags that say whom to talk about. Rules:
-- domain.md section 2.3 with section 0 row 8; [d] marks thresholds without outside authority, which are settings.
local codes = require "lib/codes"
local dates = require "lib/dates"
local protocol = require "lib/protocol"
local resources = require "lib/resources"
local scores = require "lib/scores"

local registry = {}

registry.episode_type = "depression-care"
local row_url = "urn:careloop:registry:row"

-- Flags by urgency: the order of the huddle.
registry.flags = {
	"safety", "worsening", "not-improving", "disengaged", "not-improving-early", "stale", "score-due", "new",
}

local words = {
	safety = "Self-harm item endorsed, not closed yet",
	worsening = "PHQ-9 is 5 or more points worse",
	["not-improving"] = "No response after 8 weeks: discuss a change and a psychiatric consultation",
	["not-improving-early"] = "Little improvement after 4 weeks",
	disengaged = "No contact for 60 days",
	stale = "No contact for 28 days",
	["score-due"] = "PHQ-9 is due",
	new = "New: first contacts",
}

-- ---- facts ----

function registry.is_episode(resource)
	return resources.any_has_code(resource.type, registry.episode_type, codes.system.episode)
end

-- The patient's active episode, or nil.
function registry.episode_of(ctx, patient)
	return ctx:search("EpisodeOfCare", {
		patient = patient, status = "active", type = codes.system.episode .. "|" .. registry.episode_type, _count = 2,
	})[1]
end

-- The index score: the first one from 14 days before the episode on.
function registry.index_of(ctx, episode, series)
	local start = episode.period and dates.local_date(ctx, episode.period.start)
	if not start then
		return series[1], 1
	end
	local earliest = dates.add_days(start, -14)
	for number, entry in ipairs(series) do
		if entry.date >= earliest then
			return entry, number
		end
	end
	return nil, 0
end

-- Date of the last contact: a finished Encounter of any kind, phone and video included, since the episode began.
local function last_contact(ctx, patient, start)
	for _, encounter in ipairs(ctx:search("Encounter", {
		patient = patient, status = "finished", _sort = "-date", _count = 20,
	})) do
		local at = encounter.period and (encounter.period["end"] or encounter.period.start)
		local date = at and dates.local_date(ctx, at)
		if date and date >= start then
			return date
		end
	end
	return nil
end

-- What is known of a patient: everything that flags and the view need.
function registry.facts(ctx, episode)
	local patient = episode.patient.reference
	local start = dates.local_date(ctx, episode.period and episode.period.start or ctx:now())
	local series = scores.series(ctx, patient, "phq9")
	local index, position = registry.index_of(ctx, episode, series)
	local last, previous = nil, nil
	if index then
		last = series[#series]
		previous = #series > position and series[#series - 1] or nil
	end
	local safety = #ctx:instances("safety", { patient = patient, live = true }) > 0
	local measurable = {}
	for _, entry in ipairs(series) do
		if not entry.prorated then
			measurable[#measurable + 1] = entry
		end
	end
	return {
		patient = patient, start = start, index = index, last = last, previous = previous,
		measured_index = registry.index_of(ctx, episode, measurable),
		count = index and #series - position + 1 or 0,
		contact = last_contact(ctx, patient, start), safety = safety,
	}
end

-- Which flags the facts ask for, on a day. Pure: no ctx. `limits` are the settings.
function registry.judge(facts, today, limits)
	local wanted = {}
	local days_enrolled = dates.between(facts.start, today)
	local quiet = dates.between(facts.contact or facts.start, today)
	if facts.safety then
		wanted.safety = true
	end
	if days_enrolled <= limits.new_days then
		wanted.new = true
	end
	if quiet >= limits.disengaged_days then
		wanted.disengaged = true
	elseif quiet >= limits.stale_days then
		wanted.stale = true
	end
	local index, last = facts.index, facts.last
	if not index then
		wanted["score-due"] = days_enrolled >= limits.first_score_days or nil
		return wanted
	end
	if dates.between(last.date, today) >= limits.score_days then
		wanted["score-due"] = true
	end
	if facts.count < 2 then
		return wanted -- one score says nothing about change
	end
	if scores.is_five_points_worse(index.value, last.value)
		or facts.previous and scores.is_five_points_worse(facts.previous.value, last.value) then
		wanted.worsening = true -- at once (section 0 row 8)
	end
	local day = dates.between(index.date, today)
	local gain = index.value - last.value
	if day >= limits.response_days then
		-- Week 8 without response: less than 50 % lower and 10 or more [S65].
		if not scores.is_response(index.value, last.value) and last.value >= 10 then
			wanted["not-improving"] = true
		end
	elseif day >= limits.early_days then
		-- Week 4 to 6: fewer than 5 points or less than 25 % better (section 0 row 8); who is in remission needs no flag [d].
		if (gain < 5 or gain < index.value * 0.25) and not scores.is_remission(last.value) then
			wanted["not-improving-early"] = true
		end
	end
	return wanted
end

registry.protocol_url = "urn:careloop:protocol:depression"

-- The numbers of the protocol in force go before the settings.
function registry.limits(ctx)
	local limits = protocol.in_force(ctx, registry.protocol_url)
	for _, name in ipairs {
		"new_days", "stale_days", "disengaged_days", "first_score_days", "score_days", "early_days", "response_days",
	} do
		limits[name] = limits[name] or ctx.setting[name]
	end
	return limits
end

-- ---- flags ----

local function open_flags(ctx, patient)
	local open = {}
	for _, flag in ipairs(ctx:search("Flag", { patient = patient, _sort = "-date", _count = 200 })) do
		local code = resources.code(flag.code, codes.system.flag)
		if code and flag.status == "active" then
			open[code] = flag
		end
	end
	return open
end

-- Opens what is wanted and missing, closes what is open and no longer wanted. Returns what was opened.
local function sync_flags(ctx, patient, wanted)
	local open, opened = open_flags(ctx, patient), {}
	for _, code in ipairs(registry.flags) do
		if wanted[code] and not open[code] then
			ctx:create {
				resourceType = "Flag", status = "active", subject = { reference = patient },
				code = resources.concept(codes.system.flag, code, words[code]),
				category = { resources.concept(codes.system.flag_category, "clinical", "Clinical") },
				period = { start = ctx:now() },
			}
			opened[#opened + 1] = code
		elseif open[code] and not wanted[code] then
			local flag = plain(open[code])
			flag.status = "inactive"
			flag.period["end"] = ctx:now()
			ctx:update(flag)
		end
	end
	return opened
end

-- Keeps what view and huddle show on the episode, so that the registry of a whole organization is one search (a Flag's
-- status cannot be searched in R4).
local function keep_row(ctx, episode, facts, wanted)
	local inner = {}
	local function keep(name, kind, value)
		if value ~= nil then
			inner[#inner + 1] = { url = name, [kind] = value }
		end
	end
	if facts.index then
		keep("first", "valueInteger", facts.index.value)
		keep("first-date", "valueDate", facts.index.date)
		keep("last", "valueInteger", facts.last.value)
		keep("last-date", "valueDate", facts.last.date)
		keep("scores", "valueInteger", facts.count)
	end
	if facts.measured_index then
		keep("index", "valueInteger", facts.measured_index.value) -- what the outcome measures begin with
		keep("index-date", "valueDate", facts.measured_index.date)
	end
	keep("contact", "valueDate", facts.contact)
	for _, code in ipairs(registry.flags) do
		if wanted[code] then
			keep("flag", "valueCode", code)
		end
	end
	if #inner == 0 then
		keep("scores", "valueInteger", 0)
	end
	local changed = plain(episode)
	changed.extension = resources.with_extension(changed, { url = row_url, extension = inner })
	ctx:update(changed) -- without a difference no version is made
end

-- Looks at one patient now.
function registry.assess(ctx, episode)
	local facts = registry.facts(ctx, episode)
	local wanted = registry.judge(facts, ctx:today(), registry.limits(ctx))
	local opened = sync_flags(ctx, facts.patient, wanted)
	keep_row(ctx, episode, facts, wanted)
	for _, code in ipairs(opened) do
		if code == "worsening" then
			ctx:notify { to = "care_manager", about = facts.patient, priority = "urgent", text = words.worsening }
		elseif code == "disengaged" and #ctx:instances("outreach", { patient = facts.patient, live = true }) == 0 then
			ctx:start("outreach", { focus = resources.of(episode), patient = facts.patient })
		end
	end
end

function registry.assess_patient(ctx, patient)
	local episode = patient and registry.episode_of(ctx, patient)
	if episode then
		registry.assess(ctx, episode)
	end
end

-- A score that comes late or is corrected counts for an episode that is over, too.
function registry.refresh_ended(ctx, patient)
	for _, episode in ipairs(ctx:search("EpisodeOfCare", {
		patient = patient, status = "finished", type = codes.system.episode .. "|" .. registry.episode_type, _count = 20,
	})) do
		keep_row(ctx, episode, registry.facts(ctx, episode), {})
	end
end

-- The episode ended: its flags end with it.
function registry.close(ctx, patient)
	sync_flags(ctx, patient, {})
	for _, instance in ipairs(ctx:instances("outreach", { patient = patient, live = true })) do
		ctx:advance(instance.task, "stop", { reason = "the episode ended" })
	end
end

local batch = 20 -- patients in one call: well within a call's time

-- Each night: all patients, in batches, a minute apart.
function registry.assess_all(ctx)
	local group, number = {}, 0
	local function send()
		if #group > 0 then
			number = number + 1
			ctx:set_timer("assess:" .. number, number .. " minutes", { episodes = group })
			group = {}
		end
	end
	for _, episode in ipairs(ctx:search("EpisodeOfCare", {
		status = "active", type = codes.system.episode .. "|" .. registry.episode_type, _count = 1000,
	})) do
		group[#group + 1] = resources.of(episode)
		if #group == batch then
			send()
		end
	end
	send()
end

function registry.assess_batch(ctx, data)
	for _, reference in ipairs(data.episodes) do
		local episode = ctx:read(reference)
		if episode and episode.status == "active" then
			registry.assess(ctx, episode)
		end
	end
end

-- ---- the view ----

local function inner_value(extension, name)
	local found = extension and resources.extension(extension, name)
	return found and (found.valueInteger or found.valueDate) or nil
end

-- Calls fn(episode, its kept row, codes of its flags, rank of the most urgent one) for everybody in care.
function registry.each(ctx, fn)
	for _, episode in ipairs(ctx:search("EpisodeOfCare", {
		status = "active", type = codes.system.episode .. "|" .. registry.episode_type, _count = 1000,
	})) do
		local row = resources.extension(episode, row_url)
		local flagged, names, rank = {}, {}, #registry.flags + 1
		for _, extension in ipairs(row and row.extension or {}) do
			if extension.url == "flag" then
				flagged[extension.valueCode] = true
			end
		end
		for number, code in ipairs(registry.flags) do
			if flagged[code] then
				names[#names + 1] = code
				rank = math.min(rank, number)
			end
		end
		fn(episode, row, names, rank)
	end
end

function registry.rows(ctx)
	local rows = {}
	local today = ctx:today()
	registry.each(ctx, function (episode, row, names, rank)
		local patient = episode.patient.reference
		local first, last = inner_value(row, "first"), inner_value(row, "last")
		local first_date = inner_value(row, "first-date")
		local person = ctx:read(patient)
		rows[#rows + 1] = {
			patient = patient, patient_name = resources.name(person), first = first, last = last,
			delta = first and last and last - first or nil, weeks = first_date and dates.between(first_date, today) // 7 or nil,
			last_score = inner_value(row, "last-date"), last_contact = inner_value(row, "contact"),
			flags = table.concat(names, ", "), rank = rank,
		}
	end)
	table.sort(rows, function (a, b)
		if a.rank ~= b.rank then
			return a.rank < b.rank
		end
		return a.patient < b.patient
	end)
	return rows
end

-- ---- measures ----

local function inner(row, name, kind)
	local found = row and resources.extension(row, name)
	return found and found[kind] or nil
end

-- Calls fn(index entry, series) for every patient whose `days`th day after the index score of 10 or more falls into
-- the month: a result that is reported once does not change any more. Which episodes these are stands on them.
local function each_index(ctx, month, days, fn)
	local from = dates.add_days(ctx:local_date(month.start), -days)
	local to = dates.add_days(ctx:local_date(month.finish), -days)
	for episode in ctx:each("EpisodeOfCare", { type = codes.system.episode .. "|" .. registry.episode_type }) do
		local row = resources.extension(episode, row_url)
		local date, value = inner(row, "index-date", "valueDate"), inner(row, "index", "valueInteger")
		if date and date >= from and date < to and tonumber(value) > 9 then
			local series = scores.series(ctx, episode.patient.reference, "phq9", { measurable = true })
			local index = registry.index_of(ctx, episode, series)
			if index and index.date == date then
				fn(index, series)
			end
		end
	end
end

local function share(ctx, month, days, window, predicate)
	local good, total = 0, 0
	each_index(ctx, month, days, function (index, series)
		total = total + 1
		local latest = scores.last_in(series, window(index.date))
		if latest and predicate(index.value, latest.value) then
			good = good + 1
		end
	end)
	if total == 0 then
		return nil
	end
	return { numerator = good, denominator = total }
end

function registry.response(ctx, month)
	return share(ctx, month, 240, scores.drr_window, scores.is_response)
end

function registry.remission(ctx, month)
	return share(ctx, month, 240, scores.drr_window, function (_, latest)
		return scores.is_remission(latest)
	end)
end

-- An early look of our own, no published measure: at least 5 points better between week 4 and week 9.
function registry.five_points(ctx, month)
	return share(ctx, month, 63, function (date)
		return dates.add_days(date, 28), dates.add_days(date, 63)
	end, scores.is_five_points_better)
end

-- The moment that a month is judged at: its end, or now while it runs.
local function judged_at(ctx, month)
	return ctx:between(month.finish, ctx:now(), "minutes") > 0 and month.finish or ctx:now()
end

-- Episodes in force at that moment.
local function each_active(ctx, at, fn)
	for _, episode in ipairs(ctx:search("EpisodeOfCare", {
		status = "active,finished", type = codes.system.episode .. "|" .. registry.episode_type, _count = 1000,
	})) do
		if episode.period and resources.in_period(ctx, episode.period, at) then
			fn(episode)
		end
	end
end

-- Patients in care at the end of the month with a contact in the 30 days before (section 2.3: n and % contacted in a
-- period).
function registry.contacted(ctx, month)
	local at = judged_at(ctx, month)
	local day = ctx:local_date(at)
	local contacted, total = 0, 0
	each_active(ctx, at, function (episode)
		total = total + 1
		for _, encounter in ipairs(ctx:search("Encounter", "patient=" .. episode.patient.reference
			.. "&status=finished&date=ge"
			.. dates.add_days(day, -31) .. "&date=le" .. dates.add_days(day, 1) .. "&_count=100")) do
			local date = encounter.period and dates.local_date(ctx, encounter.period["end"] or encounter.period.start)
			if date and date <= day and dates.between(date, day) <= 30 then
				contacted = contacted + 1
				return
			end
		end
	end)
	if total == 0 then
		return nil
	end
	return { numerator = contacted, denominator = total }
end

-- Patients in care at the end of the month whose one shared plan was not overdue for review then (section 3.3).
function registry.plans_on_time(ctx, month)
	local at = judged_at(ctx, month)
	local on_time, total = 0, 0
	each_active(ctx, at, function (episode)
		total = total + 1
		for _, instance in ipairs(ctx:instances("plan_review", { patient = episode.patient.reference })) do
			local state
			for _, move in ipairs(ctx:transitions(instance.task)) do
				if ctx:between(move.at, at, "minutes") >= 0 then
					state = move.to
				end
			end
			if state == "current" or state == "high_risk" then
				on_time = on_time + 1
				return
			end
		end
	end)
	if total == 0 then
		return nil
	end
	return { numerator = on_time, denominator = total }
end

-- Member months: people with an active Coverage on the reference day. nil when there are more than one search can show.
local function member_months(ctx, month)
	local reference_day = dates.add_days(ctx:local_date(month.start), ctx.setting.reference_day - 1)
	local coverages = ctx:search("Coverage", { status = "active", _count = 1000 })
	if #coverages >= 1000 then
		ctx:log("cost_pmpm is not computed: 1,000 coverages or more")
		return nil
	end
	local members, seen = 0, {}
	for _, coverage in ipairs(coverages) do
		local member = resources.reference(coverage.beneficiary)
		local period = coverage.period
		local begins = period and period.start and dates.local_date(ctx, period.start) or "0000-01-01"
		local ends = period and period["end"] and dates.local_date(ctx, period["end"]) or "9999-12-31"
		if member and not seen[member] and begins <= reference_day and reference_day <= ends then
			seen[member] = true
			members = members + 1
		end
	end
	return members
end

local function cost(ctx, month)
	local total, count = 0, 0
	resources.each_of_month(ctx, month, "ChargeItem", "occurrence", "", function (item)
		return item.occurrenceDateTime or item.occurrencePeriod and item.occurrencePeriod.start
	end, function (item)
		local value = item.priceOverride and tonumber(item.priceOverride.value)
		if value and item.status ~= "aborted" and item.status ~= "entered-in-error" then
			total = total + value
			count = count + 1
		end
	end)
	return total, count
end

-- PMPM = total cost / member months (section 2.10 [S109]).
function registry.pmpm(ctx, month)
	local members = member_months(ctx, month)
	local total, count = cost(ctx, month)
	if not members or members == 0 or count == 0 then
		return nil
	end
	return { numerator = total, denominator = members }
end

-- Capitation received less cost, for each member month; nil until the organization states its capitation.
function registry.margin(ctx, month)
	local capitation = ctx.setting.capitation_pmpm
	local spent = registry.pmpm(ctx, month)
	if capitation <= 0 or not spent then
		return nil
	end
	return { numerator = capitation * spent.denominator - spent.numerator, denominator = spent.denominator }
end

return registry
