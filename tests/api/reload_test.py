#!/usr/bin/env python3
"""Changing the rules of a running server: a duration, a broken plugin, a stranded instance, organizations, certificates."""
import datetime
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import unittest

from careloop import ROOT, Client, Server, patient, referral, wait_for

LOCAL = """return plugin {
	name = "riverside.local", api = 1, extends = "referral", summary = "Riverside's own times",
	settings = { send_within = { default = "%s" } },
}
"""
CALLBACK = """return plugin {
	name = "callback", api = 1, summary = "Phone patients back",
	roles = { desk = { summary = "Answers the phone", allow = {
		{ "read search create update transition events", types = { "*" } },
	} } },
	workflow "callback" {
		summary = "A patient asked to be called", subject = "Patient", start = "asked",%s
		asked = {
			status = "requested", owner = "desk", action = "Call", within = "1 day", on = { %s = "done" },
		},
		done = { status = "completed", final = true },
	},
}
"""
CLINIC = """return {
	name = "Clinic", zone = "America/Chicago", reference = "Organization/clinic", plugins = { "callback" },
	principals = { ehr = { kind = "client", certificate = "urn:careloop:clinic:client:ehr", roles = { "desk" } } },
}
"""


def setUpModule():
    global server, riverside
    server = Server(("riverside", "lakeside"))
    write("riverside/local", LOCAL % "3 hours")
    server.add_organization("clinic", CLINIC)
    write("clinic/callback", CALLBACK % ("", "reached"))
    server.start()
    riverside = server.client("riverside")


def tearDownModule():
    server.stop()


def write(folder, text):
    path = os.path.join(server.orgs, folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "plugin.lua"), "w") as file:
        file.write(text)


def reload(organization="riverside", code=0):
    for _ in range(50):
        result = server.console("-e", f"reload {organization}".strip())
        if "under way" not in result.stderr:
            break
        time.sleep(0.1)
    if (result.returncode or "refused" in result.stdout) != (code != 0):
        raise AssertionError((result.returncode, result.stdout, result.stderr))
    return result.stdout + result.stderr


def minutes_left(task):
    end = riverside.read(task)["restriction"]["period"]["end"]
    now = datetime.datetime.now(datetime.timezone.utc)
    return (datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", end).replace("Z", "+00:00")) - now).total_seconds() / 60


class Rules(unittest.TestCase):
    def test_a_duration_takes_effect(self):
        write("riverside/local", LOCAL % "3 hours")
        reload()
        before = referral(riverside)
        self.assertAlmostEqual(minutes_left(before), 180, delta=2)
        write("riverside/local", LOCAL % "20 minutes")
        reload()
        after = referral(riverside)
        self.assertAlmostEqual(minutes_left(after), 20, delta=2)
        rows = [row for row in server.rows("settings", "riverside") if row["setting"] == "send_within"]
        self.assertIn("20 minutes", str(rows))

    def test_a_syntax_error_keeps_the_old_version(self):
        write("riverside/local", LOCAL % "3 hours")
        reload()
        write("riverside/local", 'return plugin {\n\tname = "riverside.local",\n\tapi = = 1,\n}\n')
        said = reload(code=1)
        self.assertRegex(said, r"local/plugin\.lua:3")
        task = referral(riverside)
        self.assertAlmostEqual(minutes_left(task), 180, delta=2)
        write("riverside/local", LOCAL % "3 hours")
        reload()

    def test_declarations_are_checked(self):
        for name, text, words in [
            ("an unknown setting type", 'settings = { send_within = { type = "durations", default = "1 day" } },', "durations"),
            ("a duration that is none", 'settings = { send_within = { default = "soon" } },', "soon"),
            ("an unreachable state", 'workflow "referral" { limbo = { status = "on-hold", owner = "initiator", action = "Wait", '
             'within = "1 day", on = { send = "received" } } },', "limbo"),
            ("a dead end", 'workflow "referral" { accepted = { on = { lose = "limbo" } }, limbo = { status = "on-hold", '
             'owner = "initiator", action = "Wait", within = "1 day" } },', "limbo"),
            ("no clock", 'workflow "referral" { accepted = { on = { hold = "limbo" } }, limbo = { status = "on-hold", '
             'owner = "initiator", action = "Wait", on = { send = "received" } } },', "limbo"),
            ("an unknown target", 'workflow "referral" { accepted = { on = { hold = "nowhere" } } },', "nowhere"),
        ]:
            with self.subTest(name):
                write("riverside/local", 'return plugin {\n\tname = "riverside.local", api = 1, extends = "referral", summary = "x",\n\t'
                      + text + "\n}\n")
                said = reload(code=1)
                self.assertIn(words, said)
                self.assertIn("local/plugin.lua:", said)
        write("riverside/local", LOCAL % "3 hours")
        reload()

    def test_instances_in_flight_are_not_stranded(self):
        clinic = server.client("clinic", "ehr")
        person = clinic.create(patient()).reference
        task = clinic.create({"resourceType": "Task", "status": "requested", "intent": "order", "focus": {"reference": person},
                              "for": {"reference": person},
                              "code": {"coding": [{"system": "urn:careloop:workflow", "code": "callback"}]}}).reference
        renamed = (CALLBACK % ("%s", "reached")).replace("asked = {", "waiting = {").replace('start = "asked"', 'start = "waiting"')
        write("clinic/callback", renamed % "")
        said = reload("clinic", code=1)
        self.assertIn(task.split("/")[1], said, "what would be stranded is listed")
        self.assertEqual(server.rows("instances callback", "clinic")[0]["state"], "asked")
        write("clinic/callback", renamed % ' migrate = { asked = "waiting" },')
        reload("clinic")
        self.assertEqual(server.rows("instances callback", "clinic")[0]["state"], "waiting")
        self.assertEqual(clinic.transition(task, "reached").json["status"], "completed")

    def test_nobody_notices_a_reload(self):
        done, problems, count = threading.Event(), [], [0]

        def load(principal):
            client = server.client("riverside", principal)
            while not done.is_set():
                answer = client.post("/fhir/Patient", patient("During"))
                count[0] += 1
                if answer.status != 201:
                    problems.append(answer)
        threads = [threading.Thread(target=load, args=(name,)) for name in ("ehr", "coordinator", "ehr")]
        for thread in threads:
            thread.start()
        for number in range(5):
            write("riverside/local", LOCAL % f"{number + 2} hours")
            reload()
        done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertGreater(count[0], 10)


class Whole(unittest.TestCase):
    def test_an_organization_comes_and_goes(self):
        server.add_organization("hillside")
        # Its name is not in the server's certificate of the tests' folder unless it was made for it: by path.
        reload("")
        certificate = os.path.join(server.certificates, "clients", "hillside-ehr")
        client = Client(server, "hillside", certificate, host="localhost")
        wait_for(lambda: client.get("/hillside/fhir/Patient").status == 200, "the new organization", 15)
        os.remove(os.path.join(server.orgs, "hillside.lua"))
        reload("")
        wait_for(lambda: client.get("/hillside/fhir/Patient").status == 404, "its end", 15)
        self.assertEqual(riverside.get("/fhir/Patient?_count=1").status, 200)

    def test_hang_up_reads_the_certificates_again(self):
        folder = os.path.join(server.folder, "certificates")
        shutil.copytree(server.certificates, folder)
        with open(server.config) as file:
            text = file.read()
        with open(server.config, "w") as file:
            file.write(text.replace(server.certificates, folder))
        reload("")

        def presented():
            with riverside.connect() as connection:
                return connection.getpeercert()["serialNumber"]
        before = presented()
        for name in ("server.pem", "server.key"):
            os.remove(os.path.join(folder, name))
        subprocess.run([os.path.join(ROOT, "scripts", "certificates"), folder, "riverside", "lakeside", "hillside"], check=True,
                       stdout=subprocess.DEVNULL)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: presented() != before, "the new certificate", 10)
        with open(server.config, "w") as file:
            file.write(text)
        reload("")

    def test_a_broken_configuration_changes_nothing(self):
        with open(server.config) as file:
            text = file.read()
        with open(server.config, "w") as file:
            file.write(text.replace("gateways =", "gatewys ="))
        result = server.console("-e", "reload")
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertRegex(result.stderr, r"careloop\.lua:\d+: .*gatewys.*gateways")
        with open(server.config, "w") as file:
            file.write(text)
        self.assertEqual(riverside.get("/fhir/Patient?_count=1").status, 200)

    def test_a_broken_server_certificate_keeps_the_old_one(self):
        path = os.path.join(server.folder, "broken.pem")
        with open(path, "w") as file:
            file.write("no certificate")
        with open(server.config) as file:
            text = file.read()
        with open(server.config, "w") as file:
            file.write(text.replace(f"{server.certificates}/server.pem", path))
        reload("", code=1)
        with riverside.connect() as connection:
            self.assertTrue(connection.getpeercert())
        with open(server.config, "w") as file:
            file.write(text)
        reload("")


if __name__ == "__main__":
    unittest.main()
