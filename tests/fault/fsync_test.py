#!/usr/bin/env python3
"""A sync that fails during COMMIT: whether the commit is on the disk is unknown (reliability.md decision 3), so the organization's
process ends with 75 instead of guessing, the supervisor starts it again, and the gateways send again what was in flight. Clients
see nothing but a pause: every request is answered, each has happened once."""
import time
import unittest

from fault import (FaultyServer, Writer, check_kept, check_replay, check_sound, log_lines, patient, preload_missing, say,
                   wait_for)

ROUNDS = 5   # the back-off of a process that ends again and again stays below a second for so many
BACK_SECONDS = 2


@unittest.skipIf(preload_missing(), preload_missing())
class Sync(unittest.TestCase):
    def ends(self, server):
        return len(log_lines(server, "child-ended", "org/riverside"))

    def failing_syncs(self, mode, code):
        with FaultyServer(("riverside", "lakeside"), gateways=2) as server:
            writers = [Writer(server, name=f"w{number}") for number in range(6)]
            neighbour = Writer(server, "lakeside", "n", pause=0.002)
            for writer in [*writers, neighbour]:
                writer.start()
            downs = []
            for number in range(ROUNDS):
                wait_for(lambda: all(len(writer.acknowledged) > 10 * (number + 1) for writer in writers), "a busy organization", 30)
                pid = server.processes()["org/riverside"]
                server.fault.begin(mode, after=number)
                wait_for(lambda: self.ends(server) == number + 1, "the end of the process", 10, 0.002)
                ended = time.monotonic()
                wait_for(lambda: all(writer.latest > ended for writer in writers), "answers after the end of the process",
                         BACK_SECONDS, 0.005)
                downs.append(time.monotonic() - ended)
                self.assertNotEqual(server.processes()["org/riverside"], pid)
            for writer in [*writers, neighbour]:
                writer.finish()
            ended = log_lines(server, "child-ended", "org/riverside")
            self.assertEqual(len(ended), ROUNDS)
            for line in ended:
                self.assertIn(f"exit code {code}", line)
            self.assertEqual(len(log_lines(server, "commit-failed")), ROUNDS if code == 75 else 0)
            self.assertEqual(server.rows("quarantine list"), [], "no request is to blame for the disk")
            for writer in [*writers, neighbour]:
                self.assertEqual(writer.unanswered, [], "a client saw a lost connection")
                self.assertEqual(writer.refused, [], "a client was refused")
            self.assertEqual(log_lines(server, "child-ended", "org/lakeside"), [])
            self.assertLess(neighbour.longest, 1)
            ehr = server.client("riverside", "ehr")
            found = check_kept(self, ehr, writers)
            self.assertEqual(len(found), sum(len(writer.acknowledged) for writer in writers), "something was done that nobody asked")
            check_sound(self, server, "riverside", "lakeside")
            check_replay(self, server, "riverside")
            say(f"{mode}: {len(found)} creates, {ROUNDS} processes ended; answers again after "
                f"{', '.join(f'{down:.2f}' for down in downs)} s")

    def test_a_sync_that_fails_in_a_commit(self):
        self.failing_syncs("sync_eio", 75)

    def test_a_process_that_dies_instead_of_syncing(self):
        self.failing_syncs("sync_exit", 99)

    def test_a_write_that_fails_in_a_commit(self):
        """EIO while the log is written: nothing is known either, so the same way out."""
        with FaultyServer(("riverside",)) as server:
            ehr = server.client("riverside", "ehr")
            ehr.create(patient("First"))
            for number in range(4):
                time.sleep(0.15)   # the leaves of earlier reads are folded: what follows is the create's commit
                pid = server.processes()["org/riverside"]
                server.fault.begin("write_eio", after=3 * number)
                begun = time.monotonic()
                answer = ehr.post("/fhir/Patient", patient(f"Number{number}"))
                self.assertEqual(answer.status, 201, answer)
                self.assertLess(time.monotonic() - begun, BACK_SECONDS)
                self.assertNotEqual(server.processes()["org/riverside"], pid)
                self.assertEqual(len(ehr.search(f"Patient?family=Number{number}")), 1)
            check_sound(self, server, "riverside")
            check_replay(self, server, "riverside")


if __name__ == "__main__":
    unittest.main()
