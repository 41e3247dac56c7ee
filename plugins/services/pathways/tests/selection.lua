-- Which model fits an organization: the cascade and the facts (domain 3, 4 "Model selection help").
local selection = require "selection"

local limits = { capitated_share = 50, colocated_fte = 0.5, pcbh_share = 0.1, collaborative_referrals = 15 }

local function answers(more)
	local all = {
		same_site = false, same_space = false, talk_regularly = false, same_record = false, shared_plan = false,
		all_patients = false, behavioral_fte = 0, primary_care_fte = 4, monthly_referrals = 10, rooms_available = false,
		psychiatrist_available = false, capitated_share = 0, same_day_paid = true, record_access = false,
	}
	for name, value in pairs(more or {}) do
		all[name] = value
	end
	return all
end

test("the cascade gives the six levels", function (t)
	local function level(more)
		return (selection.level(answers(more)))
	end
	t:equal(level {}, 1)
	t:equal(level { talk_regularly = true }, 2)
	t:equal(level { same_site = true }, 3)
	t:equal(level { same_site = true, talk_regularly = true, same_record = true }, 4)
	t:equal(level { same_site = true, same_space = true, same_record = true }, 4)
	t:equal(level { same_site = true, same_space = true, same_record = true, shared_plan = true }, 5)
	t:equal(level { same_site = true, same_space = true, same_record = true, shared_plan = true, all_patients = true }, 6)
end)

test("models, at the edges of the facts", function (t)
	local function model(more)
		local result = selection.recommend(answers(more), limits)
		return result.model, table.concat(result.programs, " ")
	end
	t:equal((model { behavioral_fte = 0.4, rooms_available = true }), "coordinated")
	local name, programs = model { behavioral_fte = 0.5, rooms_available = true }
	t:equal(name, "colocated")
	t:equal(programs, "pcbh", "half a position for four")
	t:equal((model { capitated_share = 49 }), "coordinated")
	name, programs = model { capitated_share = 50 }
	t:equal(name, "integrated")
	t:equal(programs, "capitation")
	name, programs = model { monthly_referrals = 15, psychiatrist_available = true }
	t:equal(name, "coordinated")
	t:equal(programs, "collaborative_care")
	t:equal(select(2, model { monthly_referrals = 14, psychiatrist_available = true }), "")
end)

test("the form is answered whole, kept with its result, and can be asked again", function (t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", model = "integrated", services = { "pathways" },
		principals = { boss = { kind = "person", roles = { "manager" } }, other = { kind = "person", roles = { "nurse" } } },
	}
	t:as("boss")
	local form = t:operation("$model-selection-form")
	t:equal(#form.item, 14)
	local function response(more)
		local filled = {
			resourceType = "QuestionnaireResponse", status = "completed", questionnaire = form.url, item = {},
		}
		for name, value in pairs(answers(more)) do
			filled.item[#filled.item + 1] = {
				linkId = name, answer = { type(value) == "boolean" and { valueBoolean = value } or { valueDecimal = value } },
			}
		end
		return filled
	end
	local incomplete = response {}
	table.remove(incomplete.item)
	t:refused(function ()
		t:operation("$recommend-model", incomplete)
	end, "not answered")
	t:refused(function ()
		t:operation("$recommend-model", response { behavioral_fte = -1 })
	end, "cannot be negative")
	local answer = t:operation("$recommend-model", response { behavioral_fte = 1, rooms_available = true })
	t:equal(answer.parameter[1].valueString, "colocated")
	local kept = t:data(answer.parameter[3].valueReference.reference)
	t:equal(kept.extension[1].valueString, "level 1; colocated with pcbh")
	t:equal(#t:search("QuestionnaireResponse", { questionnaire = form.url }), 1)
	t:as("other")
	t:refused(function ()
		t:operation("$recommend-model", response {})
	end)
end)
