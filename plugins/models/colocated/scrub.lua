-- Before the day begins: whose visit today needs a screen, and who should meet the consultant. And the trigger that is
-- no score: a diagnosis for which the clinic wants a consultant's look whenever the patient is there.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local scrub = {}

-- The first of the patient's active diagnoses that begins with one of the setting's codes; its code, or nil.
function scrub.diagnosis(ctx, patient)
	for _, condition in ipairs(ctx:search("Condition", {
		patient = patient, ["clinical-status"] = "active", _count = 200,
	})) do
		for _, coding in ipairs(condition.code and condition.code.coding or {}) do
			for _, beginning in ipairs(ctx.setting.offer_at_conditions) do
				if string.sub(coding.code or "", 1, #beginning) == beginning then
					return coding.code
				end
			end
		end
	end
	return nil
end

local function last_handoff(ctx, patient)
	local last
	for _, instance in ipairs(ctx:instances("handoff", { patient = patient })) do
		local date = ctx:local_date(instance.started)
		if not last or date > last then
			last = date
		end
	end
	return last
end

-- By diagnosis, at most once in `offer_again_days`: what nobody wanted last week is not offered every visit.
function scrub.wants_offer(ctx, patient)
	local code = scrub.diagnosis(ctx, patient)
	if not code then
		return nil
	end
	local last = last_handoff(ctx, patient)
	if last and dates.between(last, ctx:today()) < ctx.setting.offer_again_days then
		return nil
	end
	return code
end

-- A visit begins.
function scrub.visit_begins(ctx, change)
	local visit = change.resource
	if visit.status ~= "in-progress" or change.operation == "update" and change.status == change.former_status
		or resources.any_has_code(visit.type, "brief", codes.system.encounter) or visit.partOf then
		return
	end
	local patient = resources.reference(visit.subject)
	local code = patient and scrub.wants_offer(ctx, patient)
	if code and #ctx:instances("handoff", { patient = patient, live = true }) == 0 then
		local task = ctx:start("handoff", {
			focus = change.reference, patient = patient, state = "offered", data = { reason = "diagnosis " .. code },
		})
		ctx:notify { to = "clinician", about = task, text = "By diagnosis: offer a meeting with the consultant" }
	end
end

-- Name of the room that a visit is in; nil when it is not known.
function scrub.room(ctx, visit)
	for _, place in ipairs(visit and visit.location or {}) do
		if place.status ~= "completed" and place.location then
			local location = place.location.reference and ctx:read(place.location.reference)
			return place.location.display or location and location.name
		end
	end
	return nil
end

-- Rows of today's visits: what to hand out, what to offer. In order of time.
function scrub.rows(ctx)
	local today, rows = ctx:today(), {}
	for _, appointment in ipairs(ctx:search("Appointment", "status=booked,arrived,checked-in&date=" .. today
		.. "&_sort=date&_count=200")) do
		local patient
		for _, participant in ipairs(appointment.participant or {}) do
			local reference = resources.reference(participant.actor)
			if resources.parse(reference) == "Patient" then
				patient = reference
			end
		end
		if patient and ctx:local_date(appointment.start) == today then
			local last
			for _, kind in ipairs { "phq9", "phq2" } do
				local series = scores.series(ctx, patient, kind)
				local entry = series[#series]
				if entry and (not last or entry.date > last.date) then
					last = entry
				end
			end
			local due = not last or dates.between(last.date, today) >= ctx.setting.screen_every_days
			local high = last and last.value >= ctx.setting.offer_at_phq9
			local code = scrub.wants_offer(ctx, patient)
			local person = ctx:read(patient)
			rows[#rows + 1] = {
				time = ctx:local_time(appointment.start), patient_name = person and resources.name(person), patient = patient,
				hand_out = high and "PHQ-9" or due and "PHQ-2" or nil, last_score = last and last.value,
				last_date = last and last.date,
				offer = code and "consultant: " .. code or high and "consultant: last score " .. last.value or nil,
				appointment = resources.of(appointment),
			}
		end
	end
	return rows
end

return scrub
