#!/usr/bin/env python3
"""The supervisor with stub children: restarts, watchdog, quarantine, heads, reload, console, stopping.

Python's standard library only. CARELOOP names the program under test (default: build-release/careloop)."""
import glob
import hashlib
import json
import os
import pty
import pwd
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(os.environ.get("CARELOOP", os.path.join(ROOT, "build-release", "careloop")))
STUB = os.path.join(ROOT, "tests", "api", "supervisor_stub.py")
A, B, C = "a1" * 16, "b2" * 16, "c3" * 16


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Server:
    """One supervisor with its folders."""

    def __init__(self, organizations=("riverside",), gateways=1, settings="", **behaviours):
        self.temporary = tempfile.TemporaryDirectory(prefix="careloop-supervisor-")
        self.folder = self.temporary.name
        self.settings, self.gateways = settings, gateways
        self.data = f"{self.folder}/data"
        os.mkdir(f"{self.folder}/orgs")
        os.mkdir(f"{self.folder}/stub")
        for organization in organizations:
            self.organization(organization)
        for name, list_of in behaviours.items():
            self.behave(name.replace("_", "-"), list_of)
        self.write_config()
        self.process = None

    def write_config(self, extra=""):
        with open(f"{self.folder}/careloop.lua", "w") as file:
            file.write(f"""return {{
    data = "data", organizations_folder = "orgs", gateways = {self.gateways},
    listen = {{ {{ port = 0 }} }}, tls = {{ certificate = "x.pem", key = "x.key" }},
    {self.settings} {extra}
}}""")

    def organization(self, name):
        with open(f"{self.folder}/orgs/{name}.lua", "w") as file:
            file.write('return { name = "X" }\n')

    def behave(self, name, behaviours):
        with open(f"{self.folder}/stub/{name}.json", "w") as file:
            json.dump(behaviours, file)

    def start(self, wait=True, **environment):
        self.log_path = f"{self.folder}/log"
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--config", f"{self.folder}/careloop.lua", "--executable", STUB],
                env=dict(os.environ, STUB_FOLDER=f"{self.folder}/stub", **environment),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        if wait:
            self.wait_for_log(" ready ")
        return self

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def wait(self, condition, what, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            if self.process and self.process.poll() is not None and "exit" not in what:
                raise AssertionError(f"the supervisor ended while waiting for {what}\n{self.log()}")
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {what}\n{self.log()}")

    def wait_for_log(self, text, seconds=10):
        self.wait(lambda: text in self.log(), f"log line {text!r}", seconds)

    def stub_log(self, name, event=None):
        try:
            with open(f"{self.folder}/stub/{name}.log") as file:
                entries = [json.loads(line) for line in file]
        except FileNotFoundError:
            return []
        return [entry for entry in entries if event is None or entry["event"] == event]

    def starts(self, name):
        return self.stub_log(name, "start")

    def console(self, *arguments, **options):
        return subprocess.run([PROGRAM, "console", "--data", self.data, *arguments], capture_output=True, text=True,
                              timeout=30, stdin=options.pop("stdin", subprocess.DEVNULL), **options)

    def rows(self, command, *arguments):
        result = self.console("--json", "-e", command, *arguments)
        assert result.returncode == 0, (result.stdout, result.stderr)
        return json.loads(result.stdout)

    def pids(self):
        return [row["process"] for row in self.rows("processes") if row["process"]]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def close(self):
        ended = self.process.poll() if self.process else None
        if self.process and ended is None:
            self.process.kill()
            self.process.wait()
            time.sleep(0.1)
        log = self.log() if self.process else ""
        self.temporary.cleanup()
        if ended not in (None, 0, -signal.SIGKILL) or "Sanitizer" in log or "runtime error" in log:
            raise AssertionError(f"the supervisor ended with {ended}\n{log}")


class SupervisorTest(unittest.TestCase):
    def serve(self, *arguments, start=True, **options):
        server = Server(*arguments, **options)
        self.addCleanup(server.close)
        return server.start() if start else server

    # ---- starting ----

    def test_starts_everything_and_says_ready(self):
        server = self.serve(("riverside", "lakeside"), gateways=2)
        self.assertIn(" ready organizations=2/2 gateways=2/2", server.log())
        self.assertEqual({row["name"] for row in server.rows("processes")},
                         {"supervisor", "gateway/0", "gateway/1", "org/lakeside", "org/riverside", "courier"})
        for path, mode in ((server.data, 0o700), (f"{server.data}/run", 0o700),
                           (f"{server.data}/run/riverside.sock", 0o600), (f"{server.data}/run/admin.sock", 0o600),
                           (f"{server.data}/audit-heads.log", 0o600), (f"{server.data}/admin.log", 0o600)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode, path)

    def test_children_inherit_only_what_they_should(self):
        server = self.serve()
        files = server.starts("organization-riverside")[0]["files"]
        kinds = sorted(name.split(":")[0].split(" ")[0] for number, name in files.items()
                       if int(number) > 2 and not name.startswith(("/proc", "pipe")) and "site-packages" not in name
                       and not name.endswith(".py"))
        self.assertEqual(kinds, ["/memfd", "socket", "socket"])
        self.assertEqual(server.starts("organization-riverside")[0]["core"], 0)

    def test_second_supervisor_is_refused(self):
        server = self.serve()
        second = subprocess.run([PROGRAM, "serve", "--config", f"{server.folder}/careloop.lua"], capture_output=True,
                                text=True, timeout=10)
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"in use by another supervisor (process {server.process.pid})", second.stderr)
        self.assertTrue(os.path.exists(f"{server.data}/run/admin.sock"))
        self.assertEqual(server.console("-e", "status").returncode, 0)

    def test_bad_configuration_is_refused_with_its_place(self):
        server = self.serve(start=False)
        server.write_config("\nlgo = 1,")
        result = subprocess.run([PROGRAM, "serve", "--config", f"{server.folder}/careloop.lua"], capture_output=True,
                                text=True, timeout=10)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r'careloop\.lua:5: unknown setting "lgo" \(did you mean "log"\?\)')

    def test_ready_although_one_organization_is_broken(self):
        server = self.serve(("riverside", "lakeside"), organization_lakeside=[{"exit": 1}])
        self.assertIn(" ready organizations=1/2", server.log())
        self.assertEqual(server.console("-o", "riverside", "-e", "workflows").returncode, 0)

    def test_notifies_the_service_manager(self):
        server = self.serve(start=False)
        path = f"{server.folder}/notify"
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(path)
        manager.settimeout(5)
        server.start(wait=False, NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000")
        seen = ""
        while "READY=1" not in seen or "WATCHDOG=1" not in seen:
            seen += manager.recv(1000).decode() + "\n"
        self.assertIn("STATUS=1 of 1 organizations and 1 of 1 gateways ready", seen)
        server.process.send_signal(signal.SIGHUP)
        while "RELOADING=1\nMONOTONIC_USEC=" not in seen:
            seen += manager.recv(1000).decode() + "\n"
        server.process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in seen:
            seen += manager.recv(1000).decode() + "\n"

    # ---- restarting ----

    def test_restarts_with_back_off(self):
        server = self.serve(organization_riverside=[{"exit": 1}, {"exit": 1}, {"exit": 1}, {"exit": 1}, {}])
        starts = [entry["monotonic"] for entry in server.starts("organization-riverside")]
        gaps = [b - a for a, b in zip(starts, starts[1:])]
        self.assertEqual(len(gaps), 4)
        for gap, least in zip(gaps, (0, 0.1, 0.2, 0.4)):
            self.assertGreaterEqual(gap, least)
            self.assertLess(gap, least + 1)

    def test_killed_organization_is_back_within_two_seconds(self):
        server = self.serve()
        pid = server.starts("organization-riverside")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        server.wait(lambda: len(server.starts("organization-riverside")) == 2, "restart", 2)
        # A command sent meanwhile waits in the socket's backlog.
        self.assertEqual(server.console("-o", "riverside", "-e", "workflows").returncode, 0)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertEqual(server.rows("organizations")[0]["restarts"], 1)

    def test_connections_wait_while_the_process_restarts(self):
        server = self.serve(organization_riverside=[{"crash_on": "check"}, {"exit": 1}, {"exit": 1}, {}])
        self.assertEqual(server.console("-o", "riverside", "-e", "check").returncode, 1)
        result = server.console("-o", "riverside", "-e", "workflows")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(server.starts("organization-riverside")), 4)

    def test_gateway_and_courier_are_restarted(self):
        server = self.serve()
        for name in ("gateway-0", "courier"):
            os.kill(server.wait(lambda: server.starts(name), "start")[0]["pid"], signal.SIGKILL)
            server.wait(lambda: len(server.starts(name)) == 2, f"restart of {name}", 3)

    # ---- quarantine and watchdog ----

    def test_quarantines_what_crashed_twice(self):
        crash = {"crash": {"kind": 2, "subject": A, "plugin": "referral", "what": "timer referral.overdue"}}
        server = self.serve(organization_riverside=[crash, crash, {}])
        seen = [entry["quarantine"]["subjects"] for entry in server.starts("organization-riverside")]
        self.assertEqual(seen, [[], [], [A]])
        self.assertIn(f"quarantined organization=riverside kind=timer subject={A}", server.log())
        rows = server.rows("quarantine list")
        self.assertEqual([(row["organization"], row["kind"], row["subject"], row["what"]) for row in rows],
                         [("riverside", "timer", A, "timer referral.overdue")])
        self.assertEqual(server.console("-e", "quarantine clear riverside").returncode, 4)
        self.assertEqual(server.console("--yes", "-e", "quarantine clear riverside").returncode, 0)
        self.assertEqual(server.rows("quarantine list"), [])

    def test_different_subjects_are_not_quarantined(self):
        server = self.serve(organization_riverside=[{"crash": {"kind": 1, "subject": s}} for s in (A, B, C)] + [{}])
        self.assertEqual(server.starts("organization-riverside")[3]["quarantine"]["subjects"], [])

    def test_idle_crashes_blame_nothing(self):
        crash = {"crash": {"kind": 0, "subject": A}}
        server = self.serve(organization_riverside=[crash, crash, crash, {}])
        self.assertEqual(server.rows("quarantine list"), [])

    def test_quarantines_a_plugin_that_crashes_while_loading(self):
        crash = {"crash": {"kind": 3, "plugin": "broken", "subject": A}}
        server = self.serve(organization_riverside=[crash, crash, {}])
        self.assertEqual(server.starts("organization-riverside")[2]["quarantine"], {"subjects": [], "plugins": ["broken"]})
        self.assertEqual(server.rows("quarantine list")[0]["plugin"], "broken")

    def test_kills_what_is_stuck_in_lua(self):
        stuck = {"lua": {"kind": 1, "subject": B, "plugin": "loop", "what": "POST /fhir/Task"}}
        server = self.serve(settings="watchdog = { lua_milliseconds = 500 },", organization_riverside=[stuck, stuck, {}])
        server.wait(lambda: len(server.starts("organization-riverside")) == 3, "two kills")
        starts = server.starts("organization-riverside")
        self.assertGreater(starts[1]["monotonic"] - starts[0]["monotonic"], 0.5)
        self.assertLess(starts[1]["monotonic"] - starts[0]["monotonic"], 2)
        self.assertEqual(starts[2]["quarantine"]["subjects"], [B])
        self.assertIn('stuck-in-lua organization=riverside', server.log())
        self.assertIn('plugin="loop" what="POST /fhir/Task"', server.log())

    def test_does_not_kill_many_short_calls(self):
        server = self.serve(settings="watchdog = { lua_milliseconds = 200 },", organization_riverside=[{"many_calls": 1.5}])
        time.sleep(1.5)
        self.assertEqual(len(server.starts("organization-riverside")), 1)

    def test_a_stalled_disk_only_warns(self):
        server = self.serve(settings="watchdog = { lua_milliseconds = 200 },",
                            organization_riverside=[{"stall": {"kind": 1, "subject": C, "what": "POST /fhir/Task"}}])
        server.wait_for_log(" stalled organization=riverside", 8)
        time.sleep(0.5)
        self.assertEqual(server.log().count(" stalled "), 1)
        self.assertEqual(len(server.starts("organization-riverside")), 1)

    # ---- heads ----

    def heads(self, server):
        with open(f"{server.data}/audit-heads.log", "rb") as file:
            return file.read().splitlines()

    def check_chain(self, lines):
        previous = "0" * 64
        for line in lines:
            self.assertEqual(json.loads(line)["previous"], previous)
            previous = hashlib.sha256(line).hexdigest()

    def test_keeps_a_chain_of_heads(self):
        at = "2026-11-22T05:16:07.123Z"
        heads = [[1, "11" * 32, at], [5, "22" * 32, at], [5, "22" * 32, at], [9, "33" * 32, 1795324567123000]]
        server = self.serve(organization_riverside=[{"heads": heads, "last_heads": [[10, "44" * 32, at]]}, {}])
        server.wait(lambda: len(self.heads(server)) == 3, "three heads")
        self.assertEqual(server.rows("heads")[0]["size"], 9)
        self.assertEqual(server.stop(), 0)
        lines = self.heads(server)
        self.assertEqual([json.loads(line)["size"] for line in lines], [1, 5, 9, 10])
        self.assertEqual(json.loads(lines[2])["at"], "2026-11-22T05:16:07.123Z")
        self.check_chain(lines)
        # A later supervisor goes on with the chain, past a line that a power cut tore.
        with open(f"{server.data}/audit-heads.log", "ab") as file:
            file.write(b'{"at":"2026-')
        server.behave("organization-riverside", [{"heads": [[12, "55" * 32, at]]}])
        server.start()
        server.wait(lambda: len(self.heads(server)) == 6, "one more head")
        lines = self.heads(server)
        self.assertEqual(json.loads(lines[5])["previous"], hashlib.sha256(lines[3] + b"\n" + lines[4]).hexdigest())
        self.assertIn("chain is whole", server.console("-e", "status").stdout)

    def test_notices_heads_that_go_back(self):
        at = "2026-11-22T05:16:07.123Z"
        server = self.serve(organization_riverside=[{"heads": [[9, "11" * 32, at], [4, "22" * 32, at]]}])
        server.wait_for_log("audit-head-contradicts")
        self.assertEqual(len(self.heads(server)), 2)

    def test_notices_a_changed_record_of_heads(self):
        at = "2026-11-22T05:16:07.123Z"
        server = self.serve(organization_riverside=[{"heads": [[1, "11" * 32, at], [2, "22" * 32, at], [3, "33" * 32, at]]},
                                                    {}])
        server.wait(lambda: len(self.heads(server)) == 3, "three heads")
        server.stop()
        lines = self.heads(server)
        with open(f"{server.data}/audit-heads.log", "wb") as file:
            file.write(b"\n".join([lines[0], lines[1].replace(b"2222", b"2223"), lines[2]]) + b"\n")
        server.start()
        self.assertIn("line 3 does not follow", server.log())
        self.assertIn("line 3 does not follow", server.console("-e", "status").stdout)
        result = subprocess.run([PROGRAM, "audit", "verify", "--data", server.data, "--organization", "riverside"],
                                capture_output=True, text=True, timeout=10)
        self.assertEqual(result.returncode, 1)
        self.assertIn("NOT WHOLE", result.stderr)

    # ---- reload ----

    def test_hang_up_reloads(self):
        server = self.serve(("riverside", "lakeside"))
        server.organization("hillside")
        os.remove(f"{server.folder}/orgs/lakeside.lua")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded problems=0")
        server.wait_for_log("organization-removed organization=lakeside")
        server.wait(lambda: server.starts("organization-hillside"), "the added organization")
        # Beside it stands whose process the courier is: organizations let no other one deliver.
        self.assertEqual([m["message"] for m in server.stub_log("organization-riverside", "control") if m["message"]["do"] != "courier"],
                         [{"do": "reload", "archive": "staged.json"}])
        self.assertEqual(len(server.stub_log("organization-riverside", "stage")), 1)
        self.assertEqual([m["message"]["do"] for m in server.stub_log("gateway-0", "control")], ["reload"])
        self.assertEqual([row["organization"] for row in server.rows("organizations")], ["hillside", "riverside"])
        self.assertFalse(os.path.exists(f"{server.data}/run/lakeside.sock"))

    def test_reload_reports_what_was_refused(self):
        server = self.serve(("riverside", "lakeside", "hillside"),
                            organization_lakeside=[{"reload": {"ok": False, "error": "stranded", "where": "plugin.lua:7"}}])
        with open(f"{server.folder}/stub/organization-hillside.stage.json", "w") as file:
            json.dump({"exit": 1, "output": "plugin.lua:3: unknown state\nplugin.lua:9: no owner"}, file)
        result = server.console("--json", "-e", "reload")
        self.assertEqual(result.returncode, 1)
        rows = {row["what"]: row for row in json.loads(result.stdout)}
        self.assertEqual(rows["riverside"]["outcome"], "reloaded")
        self.assertEqual((rows["lakeside"]["outcome"], rows["lakeside"]["detail"]), ("refused", "plugin.lua:7: stranded"))
        self.assertEqual((rows["hillside"]["outcome"], rows["hillside"]["detail"]), ("refused", "plugin.lua:3: unknown state (and 1 more)"))
        self.assertIn("hillside:\nplugin.lua:3: unknown state\nplugin.lua:9: no owner\n", server.console("-e", "reload").stdout)
        self.assertEqual(len(server.rows("reload riverside")), 1)
        result = server.console("--json", "-e", "reload", "-o", "lakeside")
        self.assertEqual((result.returncode, len(json.loads(result.stdout))), (1, 1))

    def test_reload_of_a_bad_configuration_changes_nothing(self):
        server = self.serve()
        server.write_config("broken = ,")
        result = server.console("-e", "reload")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"careloop\.lua:4: .*nothing was changed")
        server.write_config()
        self.assertEqual(server.console("-e", "reload").returncode, 0)

    def test_data_folder_cannot_change(self):
        server = self.serve()
        with open(f"{server.folder}/careloop.lua") as file:
            text = file.read()
        with open(f"{server.folder}/careloop.lua", "w") as file:
            file.write(text.replace('"data"', '"other"'))
        self.assertIn("cannot change", server.console("-e", "reload").stderr)

    # ---- console ----

    def test_status_and_tables(self):
        server = self.serve()
        result = server.console("-e", "status")
        self.assertRegex(result.stdout, r"organizations +1 of 1 ready")
        result = server.console("-o", "riverside", "-e", "workflows")
        self.assertEqual(result.stdout, "name      count\nréférral      3\nx?[2J        14\n(2 rows)\n")
        result = server.console("-o", "riverside", "--csv", "-e", "workflows")
        self.assertEqual(result.stdout.splitlines()[1], "référral,3")
        self.assertEqual(len(server.rows("search Task?x=y", "-o", "riverside")), 2000)
        rows = {(row["gateway"], row["what"]): row["value"] for row in server.rows("connections")}
        self.assertEqual(rows[("gateway/0", "connections")], 3)

    def test_organization_commands_carry_the_user(self):
        server = self.serve()
        server.console("-o", "riverside", "-e", "instances referral received", "-e", "why bob read Patient/a")
        requests = [entry["request"] for entry in server.stub_log("organization-riverside", "request")]
        self.assertEqual(requests[0]["method"], "CONSOLE")
        self.assertEqual(requests[0]["credential"], 4)
        self.assertEqual(requests[0]["name"], pwd.getpwuid(os.geteuid()).pw_name)
        self.assertEqual(json.loads(requests[0]["body"]),
                         {"command": "instances", "arguments": {"workflow": "referral", "state": "received"},
                          "line": "instances referral received", "write": False})

    def test_secrets_are_not_sent_as_lines(self):
        server = self.serve()
        server.console("-o", "riverside", "-e", "token revoke abcdef")
        body = json.loads(server.stub_log("organization-riverside", "request")[0]["request"]["body"])
        self.assertEqual((body["line"], body["arguments"]), ("token revoke ...", {"token": "abcdef"}))

    def test_lua(self):
        server = self.serve()
        self.assertEqual(server.console("-o", "riverside", "-e", "> 1 + 1").returncode, 0)
        self.assertEqual(server.console("-o", "riverside", "-e", ">! x()").returncode, 2)
        self.assertEqual(server.console("-o", "riverside", "--write", "--reason", "test", "-e", "> x()").returncode, 0)
        bodies = [json.loads(e["request"]["body"]) for e in server.stub_log("organization-riverside", "request")]
        self.assertEqual([(b["arguments"]["code"], b["write"], b["arguments"].get("reason")) for b in bodies],
                         [("1 + 1", False, None), ("x()", True, "test")])

    def test_exit_codes(self):
        server = self.serve()
        self.assertEqual(server.console("-e", "status").returncode, 0)
        self.assertEqual(server.console("-o", "riverside", "-e", "read Task/x").returncode, 1)
        self.assertEqual(server.console("-e", "statsu").returncode, 2)
        self.assertIn('did you mean "status"?', server.console("-e", "statsu").stderr)
        self.assertEqual(server.console("-e", "workflows").returncode, 2)
        self.assertEqual(server.console("--wrong").returncode, 2)
        self.assertEqual(server.console("-e", "stop").returncode, 4)
        self.assertEqual(server.console("-o", "nowhere", "-e", "workflows").returncode, 1)
        none = subprocess.run([PROGRAM, "console", "--data", "/nonexistent", "-e", "status"], capture_output=True, text=True)
        self.assertEqual(none.returncode, 3)

    def test_script_stops_at_the_first_error(self):
        server = self.serve()
        script = f"{server.folder}/script"
        with open(script, "w") as file:
            file.write("# a comment\n\nuse riverside\nworkflows\nread Task/x\nstatus\n")
        with open(script) as file:
            result = server.console(stdin=file)
        self.assertEqual(result.returncode, 1)
        self.assertIn("référral", result.stdout)
        self.assertNotIn("version", result.stdout)
        self.assertIn("stopped at line 5", result.stderr)

    def test_a_crash_during_a_command_is_told(self):
        server = self.serve(organization_riverside=[{"crash_on": "check"}, {}])
        result = server.console("-o", "riverside", "-e", "check")
        self.assertEqual(result.returncode, 1)
        self.assertIn("ended before it answered", result.stderr)

    def test_interrupt_cancels(self):
        server = self.serve(organization_riverside=[{"mute": True}])
        process = subprocess.Popen([PROGRAM, "console", "--data", server.data, "-o", "riverside", "-e", "check"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        server.wait(lambda: server.stub_log("organization-riverside", "request"), "the request")
        process.send_signal(signal.SIGINT)
        _, problem = process.communicate(timeout=5)
        self.assertEqual(process.returncode, 1)
        self.assertIn("cancelled", problem)
        server.wait(lambda: server.stub_log("organization-riverside", "cancel"), "the cancel")

    def test_every_command_is_in_the_journal(self):
        server = self.serve()
        server.console("-e", "log level debug", "-e", "nothing-known")
        server.console("-o", "nowhere", "-e", "workflows")
        with open(f"{server.data}/admin.log") as file:
            entries = [json.loads(line) for line in file]
        self.assertEqual([(e["command"], e["outcome"]) for e in entries], [("log level", "ok"), ("workflows", "failed")])
        self.assertEqual(entries[0]["arguments"], {"level": "debug"})
        self.assertEqual(set(entries[0]), {"at", "user", "pid", "command", "arguments", "outcome"})
        self.assertEqual([m["message"] for m in server.stub_log("gateway-0", "control")], [{"do": "log", "level": "debug"}])

    @unittest.skipUnless(os.geteuid() == 0, "needs root to become another user")
    def test_other_users_are_refused(self):
        server = self.serve()
        def become_nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        result = server.console("-e", "status", preexec_fn=become_nobody)
        self.assertIn(result.returncode, (3, 4))
        os.chmod(server.folder, 0o755)
        os.chmod(server.data, 0o755)
        os.chmod(f"{server.data}/run", 0o755)
        os.chmod(f"{server.data}/run/admin.sock", 0o666)
        result = server.console("-e", "status", preexec_fn=become_nobody)
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn("only root and the server's own user", result.stderr)

    # ---- the prompt ----

    def prompt(self, server, *arguments, **environment):
        """A console on a terminal; returns a function that types and waits for what is expected."""
        process, terminal = pty.fork()
        if process == 0:
            os.environ.update(XDG_STATE_HOME=f"{server.folder}/state", TERM="xterm", LC_ALL="C.UTF-8",
                              ASAN_OPTIONS="detect_leaks=0", **environment)  # libedit keeps its functions' names
            os.execv(PROGRAM, [PROGRAM, "console", "--data", server.data, *arguments])
        self.addCleanup(os.close, terminal)
        seen = b""

        def type_and_expect(text, *expected):
            nonlocal seen
            seen = b""
            os.write(terminal, text.encode())
            end = time.monotonic() + 10
            while not all(e.encode() in seen for e in expected):
                if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
                    raise AssertionError(f"{expected} not in {seen!r}")
                seen += os.read(terminal, 4096)
            return seen.decode(errors="replace")

        type_and_expect.process, type_and_expect.terminal = process, terminal
        return type_and_expect

    def leave(self, prompt):
        """Ctrl-D; the exit code."""
        for _ in range(50):
            try:
                os.write(prompt.terminal, b"\x04")
                while select.select([prompt.terminal], [], [], 0.1)[0]:
                    os.read(prompt.terminal, 4096)
            except OSError:
                time.sleep(0.1)
            pid, status = os.waitpid(prompt.process, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(prompt.process, signal.SIGKILL)
        raise AssertionError("the console did not leave")

    def test_prompt(self):
        server = self.serve(("riverside", "lakeside"))
        prompt = self.prompt(server)
        prompt("", "careloop> ", "riverside")
        prompt("use riv\t\n", "careloop riverside> ")
        prompt("workfl\t\t", "workflow", "workflows", "careloop riverside> workflow")
        prompt("\x03", "\r\ncareloop riverside> ")
        prompt("workflows\n", "référral", "(2 rows)", "careloop riverside> ")
        prompt("statsu\n", 'did you mean "status"?', "careloop riverside> ")
        prompt("timing on\n", "timing is on", "> ")
        prompt("status\n", "version", "time: ", " ms", "> ")
        prompt("token revoke verysecret\n", "> ")
        prompt("> function f()\n", "... ")
        prompt("end\n", "(2 rows)", "careloop riverside> ")
        prompt("quarantine clear\n", "Type riverside to go on: ")
        prompt("lakeside\n", "not confirmed", "careloop riverside> ")
        prompt("quarantine clear lakeside\n", "Type lakeside to go on: ")
        prompt("lakeside\n", "0 entries of lakeside", "careloop riverside> ")
        prompt(">! x()\n", "Reason")
        prompt("because\n", "(2 rows)", "careloop riverside> ")
        self.assertEqual(self.leave(prompt), 0)
        path = f"{server.folder}/state/careloop/history"
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path) as file:
            kept = file.read()
        self.assertIn("workflows", kept)
        self.assertNotIn("verysecret", kept)
        # The history is there the next time.
        prompt = self.prompt(server, "-o", "riverside")
        prompt("", "careloop riverside> ")
        prompt("\x1b[A\x1b[A", "quarantine")
        prompt("\x03", "> ")
        self.assertEqual(self.leave(prompt), 0)

    def test_watch_repeats_until_interrupted(self):
        server = self.serve()
        prompt = self.prompt(server, NO_COLOR="1")
        prompt("", "careloop> ")
        prompt("watch 1 status\n", "version")
        prompt("", "version")
        prompt("\x03", "careloop> ")
        shown = prompt("status\n", "version", "careloop> ")
        self.assertNotIn("\x1b[1m", shown)
        self.assertEqual(self.leave(prompt), 0)

    # ---- stopping ----

    def test_stops_in_order(self):
        server = self.serve()
        pids = server.pids()
        self.assertEqual(server.stop(), 0)
        for pid in pids:
            self.assertFalse(alive(pid))
        stops = {name: server.stub_log(name, "control")[-1]["monotonic"]
                 for name in ("gateway-0", "organization-riverside", "courier")}
        self.assertLess(stops["gateway-0"], stops["organization-riverside"])
        self.assertLess(stops["organization-riverside"], stops["courier"])
        self.assertEqual(os.listdir(f"{server.data}/run"), [])
        self.assertIn(" stopped", server.log().splitlines()[-1])

    def test_console_stops_the_server(self):
        server = self.serve()
        self.assertEqual(server.console("--yes", "-e", "stop").returncode, 0)
        self.assertEqual(server.process.wait(10), 0)

    def test_kills_what_does_not_stop(self):
        server = self.serve(organization_riverside=[{"ignore_stop": True}])
        begun = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertGreater(time.monotonic() - begun, 9.5)
        self.assertLess(time.monotonic() - begun, 13)
        self.assertIn("child-does-not-stop child=org/riverside", server.log())

    def test_second_signal_stops_at_once(self):
        server = self.serve(organization_riverside=[{"ignore_stop": True}])
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("child-stopped child=gateway/0")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(5), 0)

    def test_children_die_with_the_supervisor(self):
        server = self.serve(("riverside", "lakeside"))
        pids = [pid for pid in server.pids() if pid != server.process.pid]
        self.assertEqual(len(pids), 4)
        server.process.kill()
        server.process.wait()
        server.wait(lambda: not any(alive(pid) for pid in pids), "exit of all children", 3)
        # The folder is free again, sockets that were left behind do not matter.
        server.start()
        self.assertEqual(server.stop(), 0)

    def test_no_zombies_and_no_leaked_files(self):
        server = self.serve(organization_riverside=[{"crash": {"kind": 0}}] * 3 + [{}])
        count = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        for _ in range(3):
            os.kill(server.starts("organization-riverside")[-1]["pid"], signal.SIGKILL)
            starts = len(server.starts("organization-riverside"))
            server.wait(lambda: len(server.starts("organization-riverside")) > starts, "restart")
            server.wait(lambda: server.rows("organizations")[0]["state"] == "ready", "ready")
        server.wait(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= count, "closed files")
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except FileNotFoundError:
                continue
            self.assertFalse(fields[0] == "Z" and int(fields[1]) == server.process.pid)


if __name__ == "__main__":
    if not os.path.exists(PROGRAM):
        sys.exit(f"{PROGRAM} does not exist; set CARELOOP")
    unittest.main(verbosity=2)
