-- Capitation: who is a member, what the contracts pay and expect, where they stand, and the gaps in care to close in
-- time.
-- Files in enrolment.lua, member-months and positions in ledger.lua, contracts in contracts.lua, gaps in gaps.lua.
local contracts = require "contracts"
local enrolment = require "enrolment"
local gaps = require "gaps"
local ledger = require "ledger"
local measures = require "measures"

local function parameter(input, name)
	for _, each in ipairs(input and input.parameter or {}) do
		if each.name == name then
			return each.valueString or each.valueCode
		end
	end
	return nil
end

local managed = { "Basic", "Coverage", "MeasureReport", "PaymentReconciliation", "ExplanationOfBenefit" }

local declared = {
	name = "capitation", api = 1, summary = "Capitated contracts: members, money, quality, gaps in care",

	settings = {
		member_system = {
			type = "string", default = "urn:careloop:member",
			help = "System of the identifier by which files name members", source = "your payer's files",
		},
		contracts = {
			type = "table", default = {},
			help = "Contracts by id: { name, from, to, rule, pmpm, benchmark, withhold, share, loss_share, minimum_saving, "
				.. "gates = { cms122 = { at_most = 20 } }, pools = { pharmacy = 0.15 }, group = \"Group/x\" }",
			source = "your contracts",
		},
		member_month_rule = {
			type = "choice", choices = { "mid_month", "first_day", "any_day" }, default = "mid_month",
			help = "What makes a member of a month, where the contract says nothing",
				source = "contracts differ; the 15th is usual",
		},
		restate_months = {
			type = "integer", default = 24, help = "How many months back retroactive changes are counted again",
			source = "payers allow 3 to 24 months",
		},
		gap_measures = {
			type = "list", default = { "cms122", "cms165", "cms2" }, help = "Measures whose gaps are worked on",
			source = "your contracts' quality gates",
		},
		outreach_within = {
			type = "duration", default = "10 business days", help = "Time to reach out to a member with a gap",
				source = "own default",
		},
		contacted_within = {
			type = "duration", default = "30 days", help = "Time from contact to an appointment", source = "own default",
		},
	},

	roles = {
		care_manager = {
			summary = "Closes gaps in care",
			allow = { { "read search transition", types = { "Task" }, workflow = "care_gap" } },
		},
		population_manager = {
			summary = "Loads enrolment files, watches contracts and gaps",
			allow = {
				{ "read search history", types = managed },
				{ "create update", types = { "Coverage", "PaymentReconciliation" } },
				{ "read search", types = { "Patient", "Task", "Group", "DetectedIssue" } },
				{ "events metrics", types = { "*" } },
			},
		},
		manager = { summary = "Sees how it goes: measures, worklists, no charts", allow = { { "metrics",
			types = { "*" } } } },
	},

	-- ---- right data ----

	rule "negative_payment" {
		of = "PaymentReconciliation", summary = "A payment that was received is not negative; take one back by cancelling it",
		check = function (_, payment)
			local amount = payment.paymentAmount and tonumber(payment.paymentAmount.value)
			return payment.status ~= "active" or not amount or amount >= 0
		end,
	},
	rule "negative_benefit" {
		of = "ExplanationOfBenefit", summary = "What was paid for care is not negative; an adjustment replaces it",
		flag = true, severity = "moderate",
		check = function (_, benefit)
			local amount = benefit.payment and benefit.payment.amount and tonumber(benefit.payment.amount.value)
			return benefit.status ~= "active" or not amount or amount >= 0
		end,
	},
	rule "overlapping_enrolment" {
		of = "Coverage", summary = "A member is enrolled in a contract once at a time",
		check = function (ctx, coverage)
			local contract = contracts.of_coverage(coverage)
			local patient = coverage.beneficiary and coverage.beneficiary.reference
			local period = coverage.period or {}
			if coverage.status ~= "active" or not contract or not patient or not period.start then
				return true
			end
			for _, other in ipairs(enrolment.coverages_of(ctx, patient, contract)) do
				if other.id ~= coverage.id and other.period
					and enrolment.overlaps(period.start, period["end"], other.period.start, other.period["end"]) then
					return "Coverage/" .. other.id .. " has the member enrolled from " .. other.period.start .. " to "
						.. (other.period["end"] or "further notice")
				end
			end
			return true
		end,
	},
	rule "member_before_birth" {
		of = "Coverage", summary = "An enrolment does not begin before the member's birth",
		check = function (ctx, coverage)
			local patient = coverage.beneficiary and coverage.beneficiary.reference and ctx:read(coverage.beneficiary)
			local start = coverage.period and coverage.period.start
			if patient and patient.resourceType == "Patient" and patient.birthDate and start
				and string.sub(start, 1, 10) < patient.birthDate then
				return "it begins on " .. start .. ", the birth was on " .. patient.birthDate
			end
			return true
		end,
	},

	-- ---- gaps in care ----

	workflow "care_gap" {
		summary = "A gap in care, to be closed within the measure's year", start = "open",
		open = {
			status = "requested", owner = "care_manager", action = "Reach out to the member",
			within = setting "outreach_within", overdue = escalate("care_manager", { again = "10 business days" }),
			on = {
				reached = "contacted",
				no_answer = { "open", needs = { note = { "string", optional = true } } },
				evidence = { "closed", by = { "care_manager", "clock" } },
				decline = { "declined", needs = { reason = { "choice", "refused", "done elsewhere", "not fitting" } } },
				unreachable = { "unreached", needs = { reason = "string" } },
				year_over = { "expired", by = { "care_manager", "clock" } },
			},
		},
		contacted = {
			status = "in-progress", owner = "care_manager", action = "See that the visit, test or treatment happens",
			within = setting "contacted_within", overdue = escalate("care_manager", { again = "14 days" }),
			on = {
				evidence = { "closed", by = { "care_manager", "clock" } },
				decline = { "declined", needs = { reason = { "choice", "refused", "done elsewhere", "not fitting" } } },
				lost = { "open", needs = { note = { "string", optional = true } } },
				year_over = { "expired", by = { "care_manager", "clock" } },
			},
		},
		closed = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
		unreached = { status = "failed", final = true },
		expired = { status = "failed", final = true },
	},

	metric "gaps_closed" {
		summary = "Gaps in care closed within 90 days", category = "outcomes", unit = "%", better = "higher", version = "1",
		source = "own: care_gap", of = started "care_gap", counts = reached("closed", { within = "90 days" }),
	},
	metric "gaps_reached" {
		summary = "Members with a gap who were reached within 30 days", category = "operations", unit = "%",
			better = "higher",
		version = "1", source = "own: care_gap", of = started "care_gap",
		counts = reached({ "contacted", "closed", "declined" }, { within = "30 days" }),
	},

	view "care_gaps" {
		summary = "Open gaps in care", of = instances "care_gap", states = { "open", "contacted" },
		columns = { "patient", "patient_name", "data.measure", "data.ends", "state", "due", "overdue", "owner", "task" },
	},
	view "member_months" {
		summary = "Member-months as first counted and as restated", roles = { "population_manager", "manager" },
		columns = { "contract", "month", "first", "restated", "difference", "restatements", "capitation" },
			rows = ledger.rows,
	},
	view "contract_positions" {
		summary = "Where each contract stands to date", roles = { "population_manager", "manager" },
		columns = {
			"contract", "name", "as_of", "member_months", "received", "cost", "cost_pmpm", "benchmark", "saving", "gates",
			"shared", "withheld", "withhold_due", "margin",
		},
		rows = ledger.position_rows,
	},
	view "budget_pools" {
		summary = "Each pool's share of what was received, and what is left of it", roles = { "population_manager",
			"manager" },
		columns = { "contract", "pool", "budget", "spent", "left" }, rows = ledger.pool_rows,
	},

	-- ---- work ----

	operation "$enrolment-file" {
		summary = "Takes an enrolment or attribution file: parameters text (CSV), contract, name",
		roles = { "population_manager", "ehr" },
		run = function (ctx, input)
			return enrolment.take(ctx, parameter(input, "text"), parameter(input, "contract"), parameter(input, "name"))
		end,
	},
	operation "$contract-positions" {
		summary = "Computes the position of every contract anew", roles = { "population_manager", "ehr" },
		run = function (ctx)
			ledger.ask_positions(ctx)
		end,
	},
	operation "$find-gaps" {
		summary = "Looks for gaps in care now", roles = { "population_manager", "ehr" },
		run = function (ctx)
			gaps.ask(ctx)
		end,
	},

	timer "enrolment" (function (ctx, data)
		enrolment.go_on(ctx, data, ledger.restate)
	end),
	timer "gaps" (function (ctx, data, id)
		gaps.go_on(ctx, data, id)
	end),
	on "MeasureReport.complete" (function (ctx, change)
		ledger.counted(ctx, change.resource)
		gaps.listed(ctx, change.resource)
	end),

	every("05:00", "monthly 2", gaps.ask),
	every("05:10", "monthly 2", gaps.end_of_year),
	every("05:20", "monthly 2", function (ctx)
		ledger.restate(ctx, ctx:month(-1).first, "end of the month")
	end),
	every("05:40", "monthly 3", ledger.ask_positions),
}

for _, each in ipairs(measures) do
	declared[#declared + 1] = each
end

return plugin(declared)
