-- living: what a house needs to live with its workflows: conflicts between them, taking over what runs already, undoing
-- what was wrong. An example: plugins/README.md tells of it.
return plugin {
	name = "living", api = 1, summary = "Living with workflows",

	roles = {
		partner = { summary = "Another organization", allow = { { "message", types = { "*" } } } },
		coordinator = {
			summary = "Coordinates care",
			allow = {
				{ "read search history create update", types = { "Patient", "DetectedIssue" } },
				{ "read search history create update", types = { "Communication", "Appointment", "Flag" } },
				{ "read search create update transition", types = { "Task" } },
			},
		},
		manager = {
			summary = "Runs the clinic",
			allow = {
				{ "admin metrics", types = { "*" } },
				{ "read search create update transition undo", types = { "Task", "Patient", "DetectedIssue", "Flag" } },
			},
		},
	},

	workflow "plan" {
		summary = "A plan of care", subject = "Patient", start = "draft",
		conflicts = {
			two_plans = { with = "plan", action = "refuse", summary = "A patient has one plan" },
			outreach_twice = {
				with = "outreach", action = "warn", tell = "coordinator", states = { "active" },
				summary = "The plan's team and outreach both call the patient",
			},
			other_team = {
				with = "team_plan", action = "ask", summary = "Another team plans for this patient",
				when = function (_, own, other)
					return own.data.team ~= other.data.team
				end,
			},
		},
		draft = {
			status = "requested", owner = "coordinator", action = "Write it", within = "2 business days",
			on = { start = "active", drop = { "dropped", needs = { reason = "string" } } },
		},
		active = {
			status = "in-progress", owner = "coordinator", action = "Follow it", within = "90 days",
			on = { finish = "done" },
		},
		done = { status = "completed", final = true },
		dropped = { status = "cancelled", final = true },
	},

	workflow "team_plan" {
		summary = "Another team's plan", subject = "Patient", start = "active",
		active = {
			status = "in-progress", owner = "coordinator", action = "Follow it", within = "90 days",
			on = { finish = "done" },
		},
		done = { status = "completed", final = true },
	},

	workflow "outreach" {
		summary = "Call patients for prevention", subject = "Patient", start = "calling",
		calling = {
			status = "requested", owner = "coordinator", action = "Call", within = "5 business days",
			on = { done = "done" },
		},
		done = { status = "completed", final = true },
	},

	-- Whose arrival does a lot, so that there is something to undo.
	workflow "visit" {
		summary = "A visit", subject = "Patient", start = "planned",
		planned = {
			status = "requested", owner = "coordinator", action = "Wait for the patient", within = "4 hours",
			on = {
				arrive = {
					"arrived", needs = { note = { "string", optional = true } },
					effect = function (ctx, task)
						local patient = task["for"].reference
						ctx:create {
							resourceType = "Flag", status = "active", code = { text = "In the house" }, subject = { reference = patient },
						}
						ctx:start("outreach", { focus = patient, patient = patient })
						ctx:set_data(task, { arrivals = (ctx:instance(task).data.arrivals or 0) + 1 })
						ctx:set_timer("nudge:" .. task.id, "1 hour")
						if ctx.organization.partners.lakeside then
							ctx:send("lakeside", "arrival", { task })
						end
					end,
				},
				drop = "left",
			},
		},
		arrived = {
			status = "in-progress", owner = "coordinator", action = "See the patient", within = "1 hour",
			on = { leave = "left" },
		},
		left = { status = "completed", final = true },
	},

	on "visit.arrived" (function (ctx, change)
		local patient = ctx:read(change.resource["for"])
		patient.telecom = { { system = "pager", value = "in the house" } }
		ctx:update(patient)
	end),

	-- Nothing else hears of an undo.
	on "visit.undo" (function (ctx, change)
		ctx:notify {
			to = "coordinator", about = change.reference, text = "Undone: " .. change.from .. " is " .. (change.to or "nothing"),
		}
	end),

	on "Flag.create" (function (ctx, change)
		ctx:notify { to = "coordinator", about = change.reference, text = "A flag was set" }
	end),

	timer "nudge" (function (ctx, _, id)
		ctx:notify { to = "coordinator", about = "Task/" .. id, text = "Still in the house" }
	end),

	-- Asked of somebody who has no account: the link stands in a letter.
	workflow "question" {
		summary = "A question to a doctor elsewhere", subject = "Patient", start = "asked",
		parties = { clinic = { "coordinator" }, doctor = {} }, recorders = { "coordinator" },
		asked = {
			status = "requested", owner = "doctor", action = "Answer", within = "10 business days",
			overdue = escalate("coordinator", { times = 2, finally = "drop" }),
			on = {
				answer = {
					"answered", by = "doctor", help = "Answer the question",
					needs = {
						text = { "string", help = "Your answer" }, seen_at = { "dateTime", optional = true },
						visits = { "integer", optional = true },
					},
				},
				refuse = { "refused", by = "doctor", needs = { reason = { "choice", "not now", "not my patient" } } },
				drop = { "dropped", by = { "clinic", "clock" }, needs = { reason = "string" } },
			},
		},
		answered = { status = "completed", final = true },
		refused = { status = "rejected", final = true },
		dropped = { status = "cancelled", final = true },
	},

	operation "$ask" {
		summary = "A link for a letter", roles = { "coordinator" },
		run = function (ctx, _, task)
			return { resourceType = "Parameters", parameter = { { name = "url", valueString = ctx:reply_link {
				task = task, events = { "answer", "refuse" }, expires = "9 days", on_behalf_of = "Dr. Lee",
				title = "A question of Test Clinic", note = "How is your patient?",
				show = { { label = "Patient", value = "<b>R.</b>, born in 1980" } },
			} } } }
		end,
	},
	operation "$revoke" {
		summary = "The letter was lost", roles = { "coordinator" },
		run = function (ctx, _, task)
			ctx:revoke_reply_links(task)
		end,
	},

	metric "arrived" {
		summary = "Patients who arrived", category = "operations", unit = "%", better = "higher",
		of = started "visit", counts = reached "arrived",
	},
	metric "plans" {
		summary = "Plans begun", category = "operations", unit = "plans", better = "higher",
		of = started "plan", show = "count",
	},
	metric "plan_active" {
		summary = "Time to an active plan", category = "operations", unit = "days", better = "lower",
		of = started "plan", measure = elapsed("draft", "active", "days"), show = "median",
	},
}
