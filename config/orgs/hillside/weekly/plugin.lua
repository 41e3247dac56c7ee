-- Hillside's own rules of collaborative care, without touching the shipped program. Severely depressed patients are
-- contacted every week instead of every two; no response is judged at week 10 instead of 8, and the consultant has
-- advised by week 14; one more reason to close an episode. Lists are replaced whole: the shipped reasons stand here
-- too.
return plugin {
	name = "hillside.weekly", api = 1, extends = "collaborative_care", summary = "Hillside's cadence and thresholds",

	settings = {
		contact_by_severity = { default = { severe = "7 days", ["moderately severe"] = "7 days" } },
		response_days = { default = 70 },
		consult_days = { default = 98 },
		discharge_reasons = {
			default = {
				"target met", "referred to specialty", "moved or left", "declined", "lost to follow-up", "died", "ineligible",
				"treated by the county", "other",
			},
		},
	},
}
