-- Lakeside's own: a waiting list between accepting a referral and scheduling it, and one reason to decline more.
-- Everything else of the shipped plugin "referral" stays as it is.
local reasons = {
	"no capacity", "not eligible", "insurance not taken", "service not offered", "incomplete information",
		"patient declined",
	"unable to reach", "repeated no-shows", "seen elsewhere", "no clinician who speaks the language", "other",
}
local decline = { needs = { reason = { "choice", table.unpack(reasons) }, note = { "string", optional = true } } }

return plugin {
	name = "lakeside.waiting", api = 1, extends = "referral", summary = "A waiting list, and a reason of our own",

	settings = {
		waiting_within = { type = "duration", default = "20 business days", help = "Time on the waiting list" },
	},

	workflow "referral" {
		received = { on = { decline = decline } },
		accepted = { on = {
			decline = decline,
			wait = { "waiting", by = "recipient", help = "No appointment yet: on the waiting list" },
		} },
		waiting = {
			status = "on-hold", owner = "recipient", action = "Find an appointment for who waits longest",
			business = { system = "urn:lakeside:referral", code = "waiting", display = "On the waiting list" },
			within = setting "waiting_within", overdue = escalate("intake"),
			on = {
				schedule = { "scheduled", by = "recipient", needs = { start = "dateTime" } },
				decline = { "declined", by = "recipient", needs = decline.needs },
				request_cancel = { "cancel_requested", by = "initiator", needs = { "reason" } },
			},
		},
	},

	view "waiting_list" {
		summary = "Who waits for a first appointment, the longest first", of = instances "referral", states = { "waiting" },
		columns = { "patient_name", "age_days", "due", "overdue", "task" }, roles = { "intake", "clinician", "manager" },
	},
}
