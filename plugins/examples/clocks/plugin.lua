-- clocks: what a state's clock can hang on, each in a workflow of its own. An example: plugins/README.md tells of it.
return plugin {
	name = "clocks", api = 1, summary = "Clocks that hang on what is known of the patient",

	settings = {
		call_within = {
			type = "table", help = "Time to call back, by urgency",
			default = { emergent = "15 minutes", urgent = "4 hours", otherwise = "2 business days" },
		},
		decline_reasons = {
			type = "list", help = "Why a callback may be declined", default = { "wrong number", "moved away" },
		},
	},

	roles = {
		desk = {
			summary = "Answers the phone",
			allow = {
				{ "read search", types = { "Patient", "Task", "Communication" } },
				{ "create", types = { "Patient" } },
				{ "create update transition", types = { "Task" } },
				{ "metrics", types = { "*" } },
			},
		},
	},

	-- By a value of the instance's data, with a second clock that fires an event of its own.
	workflow "callback" {
		summary = "A patient asked to be called", subject = "Patient", start = "asked",
		asked = {
			status = "requested", owner = "desk", action = "Call the patient",
			within = tier("urgency", setting "call_within"),
			reminders = {
				{ after = "10 minutes", text = "Ten minutes have passed" },
				{ after = "1 hour", fire = "hurry" },
			},
			overdue = escalate("desk", { again = "1 hour", times = 3, finally = "give_up" }),
			on = {
				reached = "done",
				-- The clock goes on: who notes an attempt gets no more time by it.
				attempt = {
					"asked", keep_clock = true, needs = { note = { "string", optional = true } },
					effect = function (ctx, task)
						local known = ctx:instance(task).data
						ctx:set_data(task, { attempts = (known.attempts or 0) + 1 })
					end,
				},
				hurry = { "pressing", by = "clock", keep_clock = true },
				decline = { "declined", needs = { reason = { "choice", setting "decline_reasons" } } },
				give_up = { "unreached", by = "clock" },
			},
		},
		pressing = {
			status = "in-progress", owner = "desk", action = "Call now", within = "1 hour",
			overdue = fire "give_up",
			on = { reached = "done", give_up = { "unreached", by = "clock" } },
		},
		done = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
		unreached = { status = "failed", final = true },
	},

	-- By a date among the instance's data: a call on the day before the visit.
	workflow "visit_reminder" {
		summary = "Call before the visit", subject = "Patient", start = "planned",
		planned = {
			status = "requested", owner = "desk", action = "Remind the patient",
			within = due_from("visit_at", { before = "1 day", otherwise = "3 days" }),
			overdue = fire "missed",
			on = { called = "done", missed = { "done", by = "clock" } },
		},
		done = { status = "completed", final = true },
	},

	-- By a function, which looks and gives a duration, a dateTime or a date.
	workflow "follow_up" {
		summary = "Look again", subject = "Patient", start = "waiting",
		waiting = {
			status = "requested", owner = "desk", action = "Look again",
			within = function (ctx, _, data)
				return data.on_month_end and ctx:month().finish or "1 week"
			end,
			overdue = escalate "desk",
			on = { seen = "done" },
		},
		done = { status = "completed", final = true },
	},

	metric "callbacks" {
		summary = "Callbacks asked for", category = "operations", unit = "callbacks", better = "lower",
		of = started "callback", show = "count",
	},

	-- All of them, however many.
	operation "$count-patients" {
		summary = "How many patients there are", roles = { "desk" },
		run = function (ctx)
			local patients, open = 0, 0
			for _ in ctx:each("Patient") do
				patients = patients + 1
			end
			for one in ctx:each_instance("callback", { live = true }) do
				open = open + (one.state == "asked" and 1 or 0)
			end
			return { resourceType = "Parameters", parameter = {
				{ name = "patients", valueInteger = patients }, { name = "open", valueInteger = open },
				{ name = "week", valueString = ctx:week().name }, { name = "last", valueString = ctx:month(-1).last },
			} }
		end,
	},
}
