-- Before and around the visit: the scrub, offers by diagnosis, the room's name, overflow to video (domain 3.2).

local function clinic(t)
	t:at("2026-11-02T07:30:00-06:00") -- Monday
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/clinic", model = "colocated",
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			assistant = { kind = "person", roles = { "medical_assistant" }, reference = "Practitioner/assistant" },
		},
	}
	t:as("ehr")
end

local function patient_of(t, family, score, date, code)
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", active = true, name = { { family = family } } }
	if score then
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = date,
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = score },
		}
	end
	if code then
		t:create {
			resourceType = "Condition", subject = { reference = patient },
			code = { coding = { { system = "http://hl7.org/fhir/sid/icd-10-cm", code = code } } },
			clinicalStatus = { coding = { {
				system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
			} } },
		}
	end
	return patient
end

local function appointment(t, patient, start)
	t:create {
		resourceType = "Appointment", status = "booked", start = start, ["end"] = string.gsub(start, ":00:00Z", ":20:00Z"),
		participant = { { actor = { reference = patient }, status = "accepted" } },
	}
end

local function visit(t, patient, location)
	t:as("ehr")
	return t:create {
		resourceType = "Encounter", status = "in-progress", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" }, period = { start = t:now() },
		location = location and { { location = { display = location } } } or nil,
	}
end

test("the scrub: who needs which form, whom to offer the consultant; only today's visits", function (t)
	clinic(t)
	appointment(t, patient_of(t, "Never"), "2026-11-02T15:00:00Z")
	appointment(t, patient_of(t, "Recent", 4, "2025-11-03"), "2026-11-02T16:00:00Z") -- 364 days
	appointment(t, patient_of(t, "Year", 4, "2025-11-02"), "2026-11-02T17:00:00Z") -- 365 days
	appointment(t, patient_of(t, "High", 10, "2026-10-20"), "2026-11-02T18:00:00Z")
	appointment(t, patient_of(t, "Known", 3, "2026-10-20", "F41.1"), "2026-11-02T19:00:00Z")
	appointment(t, patient_of(t, "Tomorrow"), "2026-11-03T15:00:00Z")
	t:as("assistant")
	local told = {}
	for _, row in ipairs(t:view("scrub_today")) do
		told[#told + 1] = row.patient_name .. ":" .. (row.hand_out or "-") .. ":" .. (row.offer and "offer" or "-")
	end
	t:equal(table.concat(told, " "), "Never:PHQ-2:- Recent:-:- Year:PHQ-2:- High:PHQ-9:offer Known:-:offer")
end)

test("a diagnosis offers the consultant when a visit begins, and not again for 90 days", function (t)
	clinic(t)
	local patient = patient_of(t, "Known", nil, nil, "F33.1")
	visit(t, patient)
	local offered = t:search("Task", { code = "handoff", patient = patient })
	t:equal(#offered, 1)
	t:equal(t:instance("Task/" .. offered[1].id).data.reason, "diagnosis F33.1")
	t:as("doctor")
	t:transition("Task/" .. offered[1].id, "decline", {})
	t:at("2027-01-30T10:00:00-06:00") -- day 89
	visit(t, patient)
	t:equal(#t:search("Task", { code = "handoff", patient = patient }), 1)
	t:at("2027-01-31T10:00:00-06:00")
	visit(t, patient)
	t:equal(#t:search("Task", { code = "handoff", patient = patient }), 2)
	local other = patient_of(t, "Other", nil, nil, "E11.9")
	visit(t, other)
	t:equal(#t:search("Task", { code = "handoff", patient = other }), 0)
end)

test("nobody free in the house: by video; the call and the board name the room", function (t)
	clinic(t)
	local schedule = t:create { resourceType = "Schedule", active = true, actor = { { display = "Remote consultant" } } }
	local slot = t:create {
		resourceType = "Slot", schedule = { reference = schedule }, status = "free", start = "2026-11-02T13:30:00Z",
		["end"] = "2026-11-02T13:45:00Z", serviceType = { { coding = { { system = "urn:careloop:slot",
			code = "bhc-video" } } } },
	}
	local encounter = visit(t, patient_of(t, "Rivera"), "Room 3")
	t:as("doctor")
	local task = t:operation("$handoff", nil, encounter)
	t:equal(t:state("Task/" .. task.id), "requested")
	local row = t:view("handoff_board")[1]
	t:equal(row["data.room"], "Room 3")
	t:equal(row["data.by_video"], true)
	t:as("ehr")
	t:equal(t:data(slot).status, "busy-tentative")
	local called = false
	for _, communication in ipairs(t:search("Communication", { _count = 50 })) do
		called = called or string.find(communication.payload[1].contentString, "in Room 3: can you join by video", 1, true)
	end
	t:ok(called)
end)
