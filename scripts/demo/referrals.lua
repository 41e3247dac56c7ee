-- Riverside refers patients to Lakeside, which answers, and to a clinic without a connection, whose answers Riverside
-- records by phone.
-- luacheck: read globals demo
local tools, riverside, lakeside = ...
local between, chance, pick, weighted, instant, is_open = tools.between, tools.chance, tools.pick, tools.weighted,
	tools.instant, tools.is_open
local clock, open_day, at, now, coding, bundle = tools.clock, tools.open_day, tools.at, tools.now, tools.coding,
	tools.bundle
local questionnaire, furnish, people_of, put, central, MINUTE = tools.questionnaire, tools.furnish, tools.people_of,
	tools.put, tools.central, tools.MINUTE
local first_day, act_code = tools.first_day, tools.act_code
local work_time, today = tools.work_time, tools.today

local riverside_patients

-- Carries what the clocks and people have put into the outboxes.
local function deliver()
	riverside:deliver()
end

local reasons = { "Evaluation for depression", "Therapy for anxiety", "Medication review",
	"Care of chronic pain and mood" }
local decline_reasons = { "no capacity", "not eligible", "insurance not taken", "incomplete information",
	"patient declined" }

-- One referral in the hands of both sides. Each step looks first where the referral is: a clock may have moved it
-- meanwhile.
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
		riverside:transition(self.task, event, data or {}, { on_behalf_of = "recipient", source = pick { "phone", "fax",
			"letter" } })
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

local report_words = {
	"Seen for six sessions; mood better, sleep restored. Back to you.",
		"Moderate episode; medication started, please continue.",
	"No indication for therapy at this time; sleep advice given.",
		"Care goes on here every two weeks; next report in three months.",
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
	if self:answer(state, "schedule", { start = instant(clock(central, day, 10 * 60)), location = "Main street 1",
		minutes = 6 }) then
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
						channel = number == 3 and "letter" or "phone", result = number == 2 and "left message" or "no answer",
							minutes = 4,
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
	{ 48, "closed" }, { 6, "slow" }, { 10, "declined" }, { 10, "missed" }, { 6, "appointment_cancelled" }, { 5,
		"cancelled" },
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
				patient = { reference = patient }, dateTime = instant(now()), policyRule = {
					text = "Consent of the patient to disclose" },
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
		at(now() + between(5, 180) * MINUTE, function ()
			if self:ours("draft", "send", { minutes = between(6, 20) }) then
				courses[options.course or weighted(course_weights)](self)
			end
		end)
	end)
end

local function plan()
	furnish(riverside, "Riverside Family Practice", { coordinator = "Coordinator", clinician = "Clinician",
		manager = "Manager" })
	put(riverside, { resourceType = "Organization", id = "lakeside", active = true, name = "Lakeside Behavioral Health" })
	put(riverside, { resourceType = "Organization", id = "prairie-clinic", active = true,
		name = "Prairie Clinic (no connection)" })
	bundle(riverside, {
		{
			resourceType = "HealthcareService", active = true, name = "Therapy and psychiatry", appointmentRequired = true,
			providedBy = { reference = "Organization/lakeside" }, type = { { text = "Behavioral health" } },
		},
		{
			resourceType = "HealthcareService", active = true, name = "Pain clinic", appointmentRequired = true,
			providedBy = { reference = "Organization/prairie-clinic" }, type = { { text = "Pain medicine" } },
				comment = "Fax only",
		},
	})
	riverside_patients = people_of(riverside, "riverside", 40)
	local teams = {}
	for number = 1, 25 do
		teams[number] = {
			resourceType = "CareTeam", status = "active", name = "Care team", subject = {
				reference = riverside_patients[number] },
			participant = { { member = { reference = "Practitioner/riverside-clinician" } } },
		}
	end
	bundle(riverside, teams)
	for number = 1, 25 do
		at(work_time(open_day(first_day + between(0, 50), 0)), function ()
			riverside:as("ehr")
			riverside:create(questionnaire(riverside_patients[number], between(4, 20), now()))
		end)
	end
	-- What was asked back is looked through now and then.
	for day = first_day, first_day + 56 do
		if is_open(day) then
			at(work_time(day), function ()
				lakeside:as("coordinator")
				for _, task in ipairs(lakeside:search("Task", { code = "referral", status = "in-progress", _count = 200 })) do
					if lakeside:state(task.id) == "cancel_requested" and chance(0.3) then
						lakeside:transition(task.id, "confirm_cancel", { minutes = 2 })
						deliver()
					end
				end
			end)
		end
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

plan()
