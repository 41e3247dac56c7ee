-- Registries of long-term conditions beside depression: who is in one follows from the record (an active Condition
-- with one of its codes), what is due follows from the last value. A registry is data in the setting `registries`.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"

local conditions = {}

-- Shipped: control thresholds as in the measures CMS122 (HbA1c above 9 % is poor control) and CMS165 (below 140
-- systolic).
conditions.shipped = {
	{
		name = "diabetes", codes = { "44054006", "E11.9", "E11.65", "E10.9" }, test = "4548-4", unit = "%", due_days = 180,
		poor_above = 9,
	},
	{
		name = "hypertension", codes = { "38341003", "59621000", "I10" }, test = "8480-6", unit = "mmHg", due_days = 180,
		poor_above = 139,
	},
}

local function last_value(ctx, patient, test)
	local observation = ctx:search("Observation", {
		patient = patient, ["combo-code"] = codes.system.loinc .. "|" .. test, status = "final,amended,corrected",
		_sort = "-date", _count = 1,
	})[1]
	if not observation then
		return nil
	end
	local quantity = observation.valueQuantity
	for _, component in ipairs(observation.component or {}) do
		if resources.has_code(component.code, test, codes.system.loinc) then
			quantity = component.valueQuantity
		end
	end
	local at = observation.effectiveDateTime or observation.issued
	return quantity and tonumber(quantity.value), at and dates.local_date(ctx, at)
end

-- Rows of all registries: poor control first, then what is due, then the rest.
function conditions.rows(ctx)
	local rows, today = {}, ctx:today()
	for _, definition in ipairs(ctx.setting.registries) do
		local seen = {}
		for _, condition in ipairs(ctx:search("Condition", {
			code = table.concat(plain(definition.codes), ","), ["clinical-status"] = "active", _count = 500,
		})) do
			local patient = resources.reference(condition.subject)
			if patient and not seen[patient] then
				seen[patient] = true
				local person = ctx:read(patient)
				local value, date = last_value(ctx, patient, definition.test)
				local poor = value ~= nil and value > tonumber(definition.poor_above)
				local due = not date or dates.between(date, today) >= tonumber(definition.due_days)
				rows[#rows + 1] = {
					registry = definition.name, patient = patient, patient_name = person and resources.name(person) or nil,
					last = value, unit = value and definition.unit or nil, last_date = date, poor_control = poor, due = due,
					rank = (poor and 0 or 2) + (due and 0 or 1),
				}
			end
		end
	end
	table.sort(rows, function (a, b)
		if a.rank ~= b.rank then
			return a.rank < b.rank
		elseif a.registry ~= b.registry then
			return a.registry < b.registry
		end
		return a.patient < b.patient
	end)
	return rows
end

return conditions
