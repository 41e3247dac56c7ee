-- Which of one patient's visits of one day a payer pays. Rules differ by payer, state and kind of site and change with
-- time: they are rows of data, this is the one function that reads them. Nothing is guessed: without a row that speaks
-- of the payer on that day nothing is decided, and that is said. Pure: no ctx.
local same_day = {}

-- Fields of a shape:
--   classes                 category -> class; each class has one visit a day. A category without class is not paid.
--   per_location            the count is for each location
--   new_illness             a later illness or injury of the same day is a visit of its own
--   one_provider_one_visit  visits of one provider are one visit, whatever their categories
--   most                    visits a day, by kind of site
--   distinct_diagnoses      a further visit needs diagnoses of its own; `except` lists pairs of classes that do not
--   modifier                on every paid visit after the first
--   fee_for_service         kinds of service that are paid beside the visit, and are none
--   from, to                first and last day that the shape speaks of
--   review                  what somebody has to look at when a second visit is paid
-- Published shapes; a contract or a state's manual in force goes before them.
same_day.shapes = {
	-- 42 CFR 405.2463(b): one visit a day and location, but for a later illness or injury, a medical and a mental health
	-- visit, and an initial preventive examination beside another visit.
	federal = {
		source = "42 CFR 405.2463(b)", per_location = true, new_illness = true,
		classes = { medical = "medical", behavioral = "behavioral", preventive = "preventive" },
	},
	-- One physical and one behavioral visit, and a dental one.
	one_each = {
		source = "Alabama Medicaid, health centers",
		classes = { medical = "medical", preventive = "medical", behavioral = "behavioral", dental = "dental" },
	},
	-- One for each category; the same provider in two categories is one; capped by the kind of site.
	capped = {
		source = "Idaho Medicaid, health centers", one_provider_one_visit = true, most = { rhc = 2, fqhc = 3 },
		modifier = "59",
		classes = { medical = "medical", preventive = "medical", behavioral = "behavioral", dental = "dental" },
	},
	-- Several only with diagnoses of their own, and seldom; medical beside behavioral needs none.
	distinct = {
		source = "Oklahoma Medicaid, health centers", distinct_diagnoses = true, except = { { "medical", "behavioral" } },
		modifier = "59", review = "several visits on one day must stay infrequent",
		classes = { medical = "medical", preventive = "medical", behavioral = "behavioral", dental = "dental" },
	},
	-- One encounter a day, whatever it was, and a dental one.
	single = {
		source = "state Medicaid, single encounter",
		classes = { medical = "any", preventive = "any", behavioral = "any", dental = "dental" },
	},
	-- Behavior assessment and collaborative care are paid by service beside the visit.
	by_service = {
		source = "Colorado Medicaid, primary care medical providers", from = "2025-07-01",
		fee_for_service = { "behavior_assessment", "collaborative_care" },
		classes = { medical = "any", preventive = "any", behavioral = "any", dental = "dental" },
	},
}

local function contains(list, wanted)
	for _, each in ipairs(list or {}) do
		if each == wanted then
			return true
		end
	end
	return false
end

local function speaks(row, facts)
	return (not row.payer or row.payer == facts.payer) and (not row.state or row.state == facts.state)
		and (not row.site or row.site == facts.site) and (not row.from or facts.date >= row.from)
		and (not row.to or facts.date <= row.to)
end

-- The shape in force for { payer, state, site, date }: the first row that speaks of them. A row is a shape, or `like` a
-- published one and says only what differs. nil and why when there is none.
function same_day.find(rows, facts)
	for _, row in ipairs(rows) do
		if speaks(row, facts) then
			local base, shape = row.like and same_day.shapes[row.like] or nil, {}
			if row.like and not base then
				return nil, "there is no published shape '" .. row.like .. "'"
			end
			if not base or speaks({ from = base.from, to = base.to }, facts) then
				for name, value in pairs(base or {}) do
					shape[name] = value
				end
				for name, value in pairs(row) do
					shape[name] = value
				end
				return shape
			end
		end
	end
	return nil, string.format("no same-day rule for payer '%s' on %s", facts.payer or "(none)", facts.date)
end

local function shares_diagnosis(a, b)
	for _, code in ipairs(a.diagnoses or {}) do
		if contains(b.diagnoses, code) then
			return true
		end
	end
	return #(a.diagnoses or {}) == 0 -- nothing said is nothing distinct
end

local function is_excepted(shape, one, other)
	for _, pair in ipairs(shape.except or {}) do
		if pair[1] == one and pair[2] == other or pair[1] == other and pair[2] == one then
			return true
		end
	end
	return false
end

-- Why a visit is not paid beside those that are, or nil and a note.
local function refusal(shape, site, visit, class, paid)
	local note
	for _, other in ipairs(paid) do
		local same_place = not shape.per_location or other.visit.location == visit.location
		if other.class == class and same_place then
			if shape.new_illness and visit.new_illness then
				note = "a later illness or injury"
			elseif shape.distinct_diagnoses and not shares_diagnosis(visit, other.visit) then
				note = "diagnoses of its own"
			else
				return (class == "any" and "one visit" or "one " .. class .. " visit") .. " a day"
					.. (shape.per_location and " and location" or "")
					.. (shape.distinct_diagnoses and " without diagnoses of its own" or "")
			end
		elseif shape.distinct_diagnoses and other.class ~= class and not is_excepted(shape, class, other.class)
			and shares_diagnosis(visit, other.visit) then
			return "a further visit needs diagnoses of its own"
		end
		if shape.one_provider_one_visit and visit.provider and other.visit.provider == visit.provider then
			return "visits of one provider are one visit"
		end
	end
	local most = shape.most and shape.most[site]
	if most and #paid >= most then
		return string.format("at most %d visits a day", most)
	end
	return nil, note
end

-- Decides on one patient's visits of one day, in their order. A visit is { id, category ("medical", "behavioral",
-- "dental", "preventive"), provider, location, diagnoses, new_illness, service }. Gives { billable = { { id, modifier,
-- note } }, denied = { { id, reason } }, undecided = { ids }, reason, review, source }.
function same_day.decide(shape, visits, site)
	local result = { billable = {}, denied = {}, undecided = {}, source = shape and shape.source }
	if not shape then
		for number, visit in ipairs(visits) do
			result.undecided[number] = visit.id
		end
		result.reason = "no same-day rule"
		return result
	end
	local paid = {}
	for _, visit in ipairs(visits) do
		local class = shape.classes[visit.category]
		if visit.service and contains(shape.fee_for_service, visit.service) then
			result.billable[#result.billable + 1] = { id = visit.id, note = "paid by service, beside the visit" }
		elseif not class then
			result.denied[#result.denied + 1] = { id = visit.id, reason = "no " .. visit.category .. " visit is paid" }
		else
			local reason, note = refusal(shape, site, visit, class, paid)
			if reason then
				result.denied[#result.denied + 1] = { id = visit.id, reason = reason }
			else
				result.billable[#result.billable + 1] = {
					id = visit.id, modifier = #paid > 0 and shape.modifier or nil, note = note,
				}
				result.review = #paid > 0 and shape.review or result.review
				paid[#paid + 1] = { visit = visit, class = class }
			end
		end
	end
	return result
end

return same_day
