#!/usr/bin/env python3
"""Plugins that harm their own organization: a timer that always fails, an endless loop, a request and a timer that kill the
process, a catastrophic pattern, a memory bomb. Each is stopped with words that name plugin, file and line, changes nothing, and
neither its own organization's other work nor another organization is hurt (pitfalls 9, 10)."""
import os
import signal
import threading
import time
import unittest

from fault import (FaultyServer, Writer, check_kept, check_replay, check_sound, log_lines, patient, preload_missing,
                   wait_for)

HOSTILE = """return {
	name = "Hostile Clinic", zone = "America/Chicago", reference = "Organization/hostile", plugins = { "poison" },
	principals = {
		ehr = { kind = "client", certificate = "urn:careloop:hostile:client:ehr", roles = { "tester" } },
	},
}
"""
# The numbers of these lines are part of the test.
PLUGIN = """local function run(fn)
	return { summary = "Bad", roles = { "tester" }, run = fn }
end
local function ghost(ctx, name)
	return ctx:create { resourceType = "Patient", name = { { family = name or "Ghost" } } }
end
local function many_slow(ctx)
	ctx:log("slow begins") for _ = 1, 120 do ghost(ctx, "Slow") end
end
return plugin {
	name = "poison", api = 1, summary = "What a plugin must not do",
	roles = { tester = { summary = "Everything", allow = {
		{ "read search history create update delete transition events metrics", types = { "*" } },
	} } },
	timer "boom" (function (ctx) ghost(ctx) error("this timer always fails") end),
	timer "loop" (function (ctx) ghost(ctx) while true do end end),
	timer "good" (function (ctx, data) ghost(ctx, data.name) end),
	timer "slow" (many_slow),
	operation "$arm" (run(function (ctx, input)
		local key = input.parameter[1].valueString
		ctx:set_timer(key .. ":" .. input.parameter[2].valueString, "1 minute", { name = input.parameter[2].valueString })
	end)),
	operation "$loop" (run(function (ctx)
		ghost(ctx)
		while true do end
	end)),
	operation "$pattern" (run(function (ctx)
		ghost(ctx)
		return string.find(string.rep("a", 40000), string.rep("a-", 30) .. "b")
	end)),
	operation "$memory" (run(function (ctx)
		ghost(ctx)
		local kept = {}
		for i = 1, 1e9 do kept[i] = string.rep("x", 10000) .. i end
	end)),
	operation "$nested" (run(function (ctx)
		ghost(ctx)
		return string.rep("(", 200000):gsub(".", function (c) return string.format(string.rep("%s", 100000), c) end)
	end)),
	operation "$slow" (run(many_slow)),
	-- Some 20 ms of a call's 100: long in all, never too long in one call.
	on "Patient.create" (function (_, change)
		if change.resource.name[1].family == "Slow" then
			local sum = 0
			for i = 1, 600000 do sum = sum + i % 7 end
		end
	end),
}
"""


@unittest.skipIf(preload_missing(), preload_missing())
class Poison(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = FaultyServer(("riverside",), victim="hostile")
        cls.server.add_organization("hostile", HOSTILE)
        os.makedirs(os.path.join(cls.server.orgs, "hostile", "poison"))
        with open(os.path.join(cls.server.orgs, "hostile", "poison", "plugin.lua"), "w") as file:
            file.write(PLUGIN)
        cls.server.start()
        cls.ehr = cls.server.client("hostile", "ehr")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.restarts, self.jumps = self.count_restarts(), 0
        self.neighbour = Writer(self.server, "riverside", "n" + self.id().rsplit("_", 1)[1], pause=0.002)
        self.neighbour.start()

    def tearDown(self):
        """Nothing half-done is left, the neighbour noticed nothing, the organization serves, its file is sound."""
        wait_for(lambda: len(self.neighbour.acknowledged) > 10, "a neighbour at work", 5)
        self.neighbour.finish()
        # Deadlines of requests are of the wall clock: one that was under way while the clock jumped is refused, and said so.
        refused = [answer for _, _, answer in self.neighbour.refused if "waited longer than its time" not in answer.words]
        self.assertEqual((refused, self.neighbour.unanswered), ([], []))
        self.assertLessEqual(len(self.neighbour.refused), self.jumps)
        self.assertLess(self.neighbour.longest, 1)
        self.assertEqual(self.count_restarts()["riverside"], 0)
        self.assertEqual(self.ehr.search("Patient?family=Ghost"), [])
        self.assertEqual(self.ehr.post("/fhir/Patient", patient("Welcome")).status, 201)
        check_sound(self, self.server, "hostile")

    def count_restarts(self):
        return {row["organization"]: row["restarts"] for row in self.server.rows("organizations")}

    def jump(self, seconds):
        self.server.fault.jump(seconds)
        self.jumps += 1

    def arm(self, key, name):
        self.ehr.must(204, "POST", "/fhir/$arm", {"resourceType": "Parameters", "parameter": [
            {"name": "key", "valueString": key}, {"name": "name", "valueString": name}]})

    def quarantined(self):
        return {row["timer"]: row["why"] for row in self.server.rows("quarantine", "hostile")}

    # ---- what only fails ----

    def stopped(self, operation, *words):
        begun = time.monotonic()
        answer = self.ehr.post("/fhir/" + operation, {"resourceType": "Parameters"})
        self.assertIn(answer.status, (422, 429, 500), answer)
        for word in words:
            self.assertIn(word, answer.words)
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual(self.count_restarts(), self.restarts, "no process was lost")

    def test_an_endless_loop(self):
        self.stopped("$loop", "poison/plugin.lua:25", "CPU")

    def test_a_catastrophic_pattern(self):
        self.stopped("$pattern", "poison/plugin.lua:29")

    def test_a_memory_bomb(self):
        self.stopped("$memory", "poison/plugin.lua:34", "memory")

    def test_deep_and_wide_at_once(self):
        self.stopped("$nested", "poison/plugin.lua")

    def timers_fail(self, key, where):
        failures = len(log_lines(self.server, "timer-failed"))
        self.arm(key, "1")
        for number in range(5):
            self.arm("good", f"Good{key}{number}")
            self.jump(61 if number == 0 else 301)
            wait_for(lambda: self.ehr.search(f"Patient?family=Good{key}{number}"), "the timer beside it", 5)
            wait_for(lambda: len(log_lines(self.server, "timer-failed")) >= failures + number + 1, "the timer's failure", 5)
            if number < 4:
                self.assertFalse(any(key in name for name in self.quarantined()))
        found = wait_for(lambda: {name: why for name, why in self.quarantined().items() if key in name}, "the quarantine", 5)
        self.assertEqual(len(found), 1)
        self.assertIn(where, "".join(found.values()))
        self.jump(3600)
        self.arm("good", f"Later{key}")
        self.jump(61)
        wait_for(lambda: self.ehr.search(f"Patient?family=Later{key}"), "later timers", 5)
        self.assertEqual(len(log_lines(self.server, "timer-failed")), failures + 5, "it is not tried again")
        self.assertEqual(self.count_restarts(), self.restarts)
        check_replay(self, self.server, "hostile")

    def test_a_timer_that_always_fails(self):
        self.timers_fail("boom", "this timer always fails")

    def test_a_timer_that_never_ends(self):
        self.timers_fail("loop", "plugin.lua:16")

    # ---- what kills the process ----

    def kill_twice(self, what, begun):
        """SIGKILL while `what` runs, twice. `begun` lines said so before."""
        for number in range(2):
            wait_for(lambda: len(log_lines(self.server, "slow begins")) > begun + number, what, 10, 0.01)
            pid = self.server.processes()["org/hostile"]
            before = len(log_lines(self.server, "child-ready", "org/hostile"))
            time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: len(log_lines(self.server, "child-ready", "org/hostile")) > before, "the process back", 5, 0.01)

    def test_a_request_that_kills_the_process(self):
        others = [Writer(self.server, "hostile", f"other{number}", pause=0.005) for number in range(2)]
        for writer in others:
            writer.start()
        answers = []

        def ask():
            client = self.server.client("hostile", "ehr")
            answers.append(client.request("POST", "/fhir/$slow", {"resourceType": "Parameters"}, timeout=40))
        begun = len(log_lines(self.server, "slow begins"))
        thread = threading.Thread(target=ask)
        thread.start()
        self.kill_twice("the slow request", begun)
        thread.join(30)
        self.assertTrue(answers, "the deadly request has an answer")
        self.assertEqual(answers[0].status, 500, answers[0])
        self.assertIn("crashed the organization's process twice", answers[0].words)
        for writer in others:
            writer.finish()
            self.assertEqual((writer.refused, writer.unanswered), ([], []), "an innocent request was lost")
        check_kept(self, self.ehr, others)
        rows = [row for row in self.server.rows("quarantine list") if row["kind"] == "request"]
        self.assertEqual(len(rows), 1, "only the guilty one")
        self.assertEqual(rows[0]["organization"], "hostile")
        self.assertEqual(self.count_restarts()["hostile"], self.restarts["hostile"] + 2)
        self.assertEqual(self.ehr.search("Patient?family=Slow"), [], "nothing of it was stored")
        # A person decides that it may run: the next one is only slow.
        result = self.server.console("--yes", "-e", "quarantine clear hostile")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([row for row in self.server.rows("quarantine list") if row["kind"] == "request"], [])
        self.ehr.must(204, "POST", "/fhir/$slow", {"resourceType": "Parameters"})
        self.assertEqual(len(self.ehr.search("Patient?family=Slow&_count=200")), 120)
        check_replay(self, self.server, "hostile")

    def test_a_timer_that_kills_the_process(self):
        before = len(self.ehr.search("Patient?family=Slow&_count=200"))
        self.arm("slow", "deadly")
        self.arm("good", "Beside")
        begun = len(log_lines(self.server, "slow begins"))
        self.jump(61)
        self.kill_twice("the slow timer", begun)
        found = wait_for(lambda: {name: why for name, why in self.quarantined().items() if "slow" in name}, "the quarantine", 5)
        self.assertIn("crashed", "".join(found.values()))
        wait_for(lambda: self.ehr.search("Patient?family=Beside"), "the timer beside it", 5)
        self.assertEqual(self.count_restarts()["hostile"], self.restarts["hostile"] + 2)
        self.assertEqual(len(self.ehr.search("Patient?family=Slow&_count=200")), before)
        check_replay(self, self.server, "hostile")


if __name__ == "__main__":
    unittest.main()
