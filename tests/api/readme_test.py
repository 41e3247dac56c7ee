#!/usr/bin/env python3
"""The tour of README.md works as it is printed: its commands are taken out of the file and run, one after another, in one shell."""
import os
import re
import signal
import subprocess
import unittest

from careloop import PROGRAM, ROOT, Server, free_port, wait_for


def blocks():
    """The commands of the tour, in order; the first are the names that the others use."""
    with open(os.path.join(ROOT, "README.md")) as file:
        tour = file.read().split("## The tour")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", tour, re.S)


class Tour(unittest.TestCase):
    def test_the_commands_do_what_the_text_says(self):
        with Server(("riverside", "lakeside")) as server:
            checkout = os.path.join(server.folder, "checkout")
            os.makedirs(os.path.join(checkout, "build-release"))
            os.mkdir(os.path.join(checkout, "config"))
            os.symlink(PROGRAM, os.path.join(checkout, "build-release", "careloop"))
            os.symlink(server.orgs, os.path.join(checkout, "config", "orgs"))
            os.symlink(server.data, os.path.join(checkout, "data"))
            os.symlink(server.certificates, os.path.join(server.data, "certificates"))
            commands = [block.replace(":8443", f":{server.port}") for block in blocks()]
            self.assertIn(" -N ", commands[2])
            # The stream has a terminal of its own.
            with open(os.path.join(checkout, "events"), "w+") as events:
                stream = subprocess.Popen(["bash", "-c", commands[0] + commands[2]], cwd=checkout, stdin=subprocess.DEVNULL,
                                          stdout=events, start_new_session=True)
                wait_for(lambda: os.path.getsize(events.name) > 0, "the stream")
                script = "\n".join(f"echo '=== {number}'\n{command}" for number, command in enumerate(commands) if number != 2)
                result = subprocess.run(["bash", "-c", "set -u\n" + script], cwd=checkout, stdin=subprocess.DEVNULL,
                                        capture_output=True, text=True, timeout=200)
                os.killpg(stream.pid, signal.SIGTERM)
                stream.wait()
                events.seek(0)
                streamed = events.read()
            said = re.split(r"^=== \d+\n", result.stdout, flags=re.M)[1:]
            self.assertEqual(result.stderr, "", result.stdout)
            # Names, create, (stream,) send and accept, not allowed, metric, history, change, clock, back.
            self.assertEqual(len(said), 9, result.stdout)
            said.insert(2, streamed)
            self.assertIn('"status":"draft"', said[1])
            self.assertIn('"restriction":{"period":{"end"', said[1])
            self.assertIn('"status":"accepted"', said[3].split("\n")[-2])
            self.assertIn("request_cancel", said[4], "the legal moves are named")
            self.assertRegex(said[4], '"code":"(login|forbidden)"')
            self.assertRegex(said[5], r"(?s)0/1 .*1/1 ")
            for event in ("start", "send", "accept", "outcome"):
                self.assertIn(event, said[6])
            self.assertIn("reloaded", said[7])
            self.assertIn('"code":"escalation"', said[8])
            self.assertIn("Overdue: referral is in state received", said[8])
            self.assertIn("overdue", said[8])
            self.assertIn("reloaded", said[9])
            self.assertIn("referral:draft>received", said[2])
            self.assertIn("received>accepted", said[2])


class Subscriptions(unittest.TestCase):
    def test_a_receiver_is_told_and_can_verify(self):
        with open(os.path.join(ROOT, "core", "courier", "README.md")) as file:
            section = file.read()
        names, (receive, subscribe) = blocks()[0], re.findall(r"```bash\n(.*?)```", section, re.S)
        with open(os.path.join(ROOT, "config", "orgs", "riverside.lua")) as file:
            organization = file.read()
        port = free_port()
        server = Server({"riverside": organization.replace(":9443", f":{port}")})
        os.symlink(os.path.join(ROOT, "config", "orgs", "riverside"), os.path.join(server.orgs, "riverside"))
        with server:
            checkout = os.path.join(server.folder, "checkout")
            for folder in ("build-release", "tests", "data"):
                os.makedirs(os.path.join(checkout, folder))
            os.symlink(PROGRAM, os.path.join(checkout, "build-release", "careloop"))
            os.symlink(os.path.join(ROOT, "tests", "api"), os.path.join(checkout, "tests", "api"))
            os.symlink(server.certificates, os.path.join(checkout, "data", "certificates"))

            def bash(commands):
                commands = commands.replace(":8443", f":{server.port}").replace("9443", str(port))
                commands = commands.replace("console -o", f"console --data {server.data} -o")
                return ["bash", "-c", "set -u\n" + commands]
            with open(os.path.join(checkout, "told"), "w+") as told:
                receiver = subprocess.Popen(bash(receive), cwd=checkout, stdin=subprocess.DEVNULL, stdout=told, start_new_session=True)
                wait_for(lambda: os.path.getsize(told.name) > 0, "the receiver")
                result = subprocess.run(bash(names + subscribe), cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True,
                                        text=True, timeout=60)
                os.killpg(receiver.pid, signal.SIGTERM)
                receiver.wait()
                told.seek(0)
                came = told.read()
            self.assertEqual(result.stderr, "", result.stdout)
            self.assertIn('"status":"active"', result.stdout)
            self.assertIn("Authorization: [hidden]", result.stdout)
            self.assertNotIn("of-the-tour", result.stdout)
            self.assertRegex(result.stdout, r"whsec_[A-Za-z0-9+/=]{44}")
            self.assertRegex(came, r"(?s)handshake: POST /referrals .*create: PUT /referrals/Task/told ")
        # What it says and what the tests verify with is one text.
        with open(os.path.join(ROOT, "tests", "api", "hook_receiver.py")) as file:
            tested = file.read()
        for line in re.search(r"```python\n(.*?)```", section, re.S).group(1).splitlines()[1:]:
            self.assertIn(line.replace("< 300", "< tolerance"), tested)


if __name__ == "__main__":
    unittest.main()
