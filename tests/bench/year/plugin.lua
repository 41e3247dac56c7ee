-- year: the workload of year_bench.py: a panel with a cadence, contacts with scores, a morning list. Every part of the engine that a
-- year of care uses: guards, effects, data, clocks, escalations, handlers, rules, searches, recurrences, metrics.
return plugin {
	name = "year", api = 1, summary = "A synthetic year, for measurements",

	roles = {
		team = {
			summary = "Everybody",
			allow = {
				{ "read search create update", types = { "*" } },
				{ "transition", types = { "Task" } }, { "metrics", types = { "*" } },
			},
		},
	},

	rule "score_range" {
		of = "Observation?code=http://loinc.org|44261-6", summary = "0 to 27",
		check = function (_, observation)
			return observation.valueInteger >= 0 and observation.valueInteger <= 27
		end,
	},

	workflow "panel" {
		summary = "A patient of the panel", subject = "Patient", start = "enrolled", single = true,
		enrolled = {
			status = "requested", owner = "team", action = "First contact", within = tier("risk", {
				high = "2 business days", otherwise = "5 business days",
			}),
			overdue = escalate("team", { again = "2 business days" }),
			on = { contact = "active" },
		},
		active = {
			status = "in-progress", owner = "team", action = "Contact the patient", within = "30 days",
			reminders = { "3 days" },
			overdue = escalate("team", { again = "7 days" }),
			on = {
				contact = {
					"active", needs = { score = "integer" },
					guard = function (_, _, data)
						return data.score <= 27, "no such score"
					end,
					effect = function (ctx, task, data)
						ctx:create {
							resourceType = "Observation", status = "final", subject = task["for"], valueInteger = data.score,
							effectiveDateTime = ctx:now(),
							code = { coding = { { system = "http://loinc.org", code = "44261-6" } } },
						}
						local known = ctx:instance(task).data
						ctx:set_data(task, { contacts = (known.contacts or 0) + 1 })
					end,
				},
				discharge = { "done", needs = { reason = "string" } },
			},
		},
		done = { status = "completed", final = true },
	},

	on "Observation.create" (function (ctx, change)
		if change.resource.valueInteger >= 20 then
			ctx:notify { to = "team", about = change.reference, text = "Look at this score" }
		end
	end),

	every("07:00", "business days", function (ctx)
		ctx:search("Task", { code = "escalation", status = "requested", _count = 50 })
	end),

	metric "contacted" {
		summary = "Contacted within a week", category = "operations", unit = "%", better = "higher",
		of = started "panel", counts = reached("active", { within = "7 days" }),
	},
}
