#!/usr/bin/env python3
"""The tour of README.md works as it is printed: its commands are taken out of the file and run, one after another, in one shell."""
import os
import re
import signal
import subprocess
import unittest

from careloop import PROGRAM, ROOT, Server, wait_for


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


if __name__ == "__main__":
    unittest.main()
