-- Published measures of the clinic's population: definitions in one file per family, code lists in code_lists.lua.
local declared = {
	name = "measures", api = 1, summary = "Published measures: outcomes, operations, finance",

	settings = {
		share_least = {
			type = "integer", default = 11, help = "Fewer cases than this are not told in what leaves the team",
			source = "CMS cell size suppression policy: no cell of 1 to 10",
		},
		share_rate_least = {
			type = "integer", default = 20, help = "No rate of fewer cases than this in what leaves the team",
			source = "custom of public quality reports, valid from 2026-01-01",
		},
		screen_totals = {
			type = "boolean", default = true,
			help = "Totals of PHQ-2 (3 or more) and PHQ-9 (10 or more) count as results of a depression screen, beside coded "
				.. "ones",
			source = "CMS2v14 knows coded results only (false); PHQ-2 cut of 3: Kroenke 2003",
		},
		drr_intake_before = {
			type = "integer", default = 8, help = "Months before the period in which the intake of DRR begins",
			source = "NCQA DRR-E: May 1 of the year before",
		},
		drr_intake_after = {
			type = "integer", default = 4, help = "Months after the start of the period in which the intake ends",
			source = "NCQA DRR-E: April 30 of the year",
		},
		readmission_age_from = {
			type = "integer", default = 18, help = "Youngest age at discharge for readmissions", source = "NCQA PCR: 18",
		},
		readmission_same_day = {
			type = "choice", choices = { "counts", "planned" }, default = "counts",
			help = "An admission on the day of discharge: counts like any other, or as planned",
			source = "NCQA merges or counts it; some vendors count it as planned",
		},
		readmission_needs_enrolment = {
			type = "boolean", default = false,
			help = "Only stays of patients enrolled from 365 days before to 30 days after",
				source = "NCQA PCR: true; needs Coverages",
		},
		member_month_rule = {
			type = "choice", choices = { "mid_month", "first_day", "any_day" }, default = "mid_month",
			help = "What makes a patient a member of a month: enrolled on the 15th, on the first, on any day",
			source = "contracts differ; the 15th is usual",
		},
		emergency_without_admissions = {
			type = "boolean", default = true, help = "Emergency visits that led to a stay are left out", source = "NCQA EDU",
		},
		late_cancel_hours = {
			type = "number", default = 24, help = "A cancellation by the patient later than this before the visit is late",
			source = "custom; many clinics use 24 hours",
		},
		receivable_days = {
			type = "integer", default = 90, help = "Days over which daily charges are averaged",
				source = "AAFP: 90 days or more",
		},
		expected_contractual_share = {
			type = "number", default = 0,
			help = "Share of charges that contracts will take off claims not yet answered, for net receivables (0.4 = 40 %)",
			source = "your own contracts",
		},
		savings_months = {
			type = "integer", default = 12, help = "Months before and after entering a programme that are compared",
			source = "custom of programme evaluation",
		},
		programme_cost_per_month = {
			type = "number", default = 0, help = "What the programme costs a patient and month", source = "your own accounts",
		},
	},

	roles = {
		manager = {
			summary = "Sees how it goes: measures, worklists, no charts",
			allow = { { "metrics", types = { "*" } } },
		},
	},
}

for _, family in ipairs {
	require "code_lists", require "depression", require "chronic", require "hospital", require "access",
	require "revenue",
} do
	for _, each in ipairs(family) do
		declared[#declared + 1] = each
	end
end

return plugin(declared)
