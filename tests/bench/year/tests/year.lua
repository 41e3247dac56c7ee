-- One year of an organization under the virtual clock; year_bench.py says how large. The numbers are checked, so that a faster
-- engine that does less is no faster engine.
local patients = tonumber(os.getenv("PATIENTS")) or 100

test("a year of " .. patients .. " patients", function (t)
	t:organization { name = "Year", zone = "America/Chicago", plugins = { "year" },
		principals = { ana = { kind = "person", roles = { "team" } } } }
	t:without_replay()
	t:at("2026-01-05T08:00:00-06:00")
	t:as("ana")
	local begun, requests, tasks, seed = os.clock(), 0, {}, 7
	local function random(n)
		seed = (seed * 1103515245 + 12345) % 2147483648
		return seed // 65536 % n
	end
	for i = 1, patients do
		local patient = t:create { resourceType = "Patient", name = { { family = "P" .. i } }, birthDate = "1980-01-01" }
		tasks[i] = t:start("panel", { focus = patient, patient = patient, data = { risk = i % 5 == 0 and "high" or "low" } })
		requests = requests + 2
	end
	for week = 1, 52 do
		for i = 1, patients do
			if (i + week) % 4 == 0 and random(10) > 0 then
				t:transition(tasks[i], "contact", { score = random(28) })
				requests = requests + 1
			end
		end
		t:advance("7 days")
	end
	local now = t:metric("contacted", "2026-01")
	t:equal(now.denominator, patients)
	t:equal(#t:search("Communication", { _count = 1 }), 1)
	local spent = os.clock() - begun
	print(string.format("patients=%d requests=%d seconds=%.1f requests_per_second=%.0f", patients, requests, spent, requests / spent))
end)
