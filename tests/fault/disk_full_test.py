#!/usr/bin/env python3
"""The disk gets full in the middle of a commit. Writes are refused with 507 and Retry-After and change nothing, reads are refused
as clearly because no audit leaf can be written for them (pitfalls 2), other organizations notice nothing; once there is space
again, writes work within five seconds, without a restart. reliability.md D5."""
import http.client
import os
import signal
import subprocess
import threading
import time
import unittest

from fault import (PROGRAM, FaultyServer, Server, Writer, check_kept, check_replay, check_sound, log_lines, patient,
                   preload_missing, say, wait_for)

FULL_SECONDS = 2.5
BACK_SECONDS = 5


class Reader(threading.Thread):
    """Reads one resource again and again."""

    def __init__(self, client, reference, expected):
        super().__init__(daemon=True)
        self.client, self.reference, self.expected = client, reference, expected
        self.done, self.answers, self.problems = threading.Event(), [], []

    def run(self):
        while not self.done.is_set():
            try:
                answer = self.client.get("/fhir/" + self.reference)
                self.answers.append((time.monotonic(), answer.status, answer.headers))
                if answer.status == 200 and answer.json["name"][0]["family"] != self.expected:
                    self.problems.append(answer)
            except (OSError, http.client.HTTPException) as problem:
                self.client.close()
                self.problems.append(problem)
            time.sleep(0.005)


class Story(unittest.TestCase):
    """fill() and free() say how; the rest is one story."""

    def tell(self, server, fill, free):
        ehr = server.client("riverside", "ehr")
        known = ehr.create(patient("Known")).reference
        before = {row["organization"]: (row["process"], row["restarts"]) for row in server.rows("organizations")}
        writers = [Writer(server, name=f"w{number}") for number in range(3)]
        neighbour = Writer(server, "lakeside", "n", pause=0.002)
        reader = Reader(server.client("riverside", "ehr"), known, "Known")
        threads = [*writers, neighbour, reader]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(len(writer.acknowledged) > 20 for writer in [*writers, neighbour]), "a busy organization", 20)

        fill()
        wait_for(lambda: all(writer.refused for writer in writers), "the first refusals", 20)
        full = time.monotonic()
        time.sleep(FULL_SECONDS)
        metadata = server.client("riverside", "ehr").get("/fhir/metadata")
        gone = server.client("riverside", "ehr").get("/fhir/Patient/no-such-patient")
        freed = time.monotonic()
        free()
        wait_for(lambda: all(writer.latest > freed for writer in writers), "writes after there is space again", BACK_SECONDS, 0.01)
        back = max(writer.latest for writer in writers) - freed
        time.sleep(0.5)
        for writer in [*writers, neighbour]:
            writer.finish()
        reader.done.set()
        reader.join(30)

        for writer in writers:
            self.assertEqual(writer.unanswered, [])
            for at, key, answer in writer.refused:
                self.assertIn(answer.status, (503, 507), answer)
                self.assertIn("retry-after", answer.headers)
                self.assertRegex(answer.words, "full|try again")
                self.assertLess(at, freed + BACK_SECONDS)
            self.assertTrue(any(answer.status == 507 for _, _, answer in writer.refused))
        self.assertEqual((neighbour.unanswered, neighbour.refused), ([], []), "the neighbour noticed it")
        self.assertGreater(neighbour.latest, freed)
        self.assertLess(neighbour.longest, 1)
        self.assertEqual(reader.problems, [])
        during = [status for at, status, _ in reader.answers if full < at < freed]
        self.assertTrue(during and set(during) <= {200, 503, 507}, set(during))
        self.assertTrue(all("retry-after" in headers for _, status, headers in reader.answers if status in (503, 507)))
        self.assertEqual(reader.answers[-1][1], 200)
        # What needs no leaf is answered: nobody's data, and what is not there.
        self.assertEqual((metadata.status, gone.status), (200, 404))
        after = {row["organization"]: (row["process"], row["restarts"]) for row in server.rows("organizations")}
        say(f"{sum(len(writer.acknowledged) for writer in writers)} creates, {sum(len(writer.refused) for writer in writers)} "
            f"refused, reads while full: { {status: during.count(status) for status in set(during)} }, longest "
            f"wait of a neighbour {neighbour.longest:.3f} s, writes again after {back:.2f} s")
        check_kept(self, ehr, writers)
        check_kept(self, server.client("lakeside", "ehr"), [neighbour])
        check_sound(self, server, "riverside", "lakeside")
        return before, after


@unittest.skipIf(preload_missing(), preload_missing())
class Preloaded(Story):
    """Writes below the organization's folder fail with ENOSPC, from the middle of a commit on."""

    def test_full_in_the_middle_of_a_commit(self):
        with FaultyServer(("riverside", "lakeside")) as server:
            before, after = self.tell(server, lambda: server.fault.begin("write_full", after=7), server.fault.end)
            self.assertEqual(before, after, "a full disk is no reason to die")
            check_replay(self, server, "riverside")

    def test_full_at_every_position_of_one_commit(self):
        """One create and its answer: ENOSPC from the n-th write on. 507 and nothing stored, or 201 and stored."""
        with FaultyServer(("riverside",)) as server:
            ehr = server.client("riverside", "ehr")
            ehr.create(patient("First"))
            refused = done = position = 0
            while done < 3 and position < 200:
                time.sleep(0.12)   # the read leaves of the last round are folded
                server.fault.begin("write_full", after=position)
                answer = ehr.post("/fhir/Patient", patient(f"P{position}"))
                server.fault.end()
                self.assertIn(answer.status, (201, 507), answer)
                found = ehr.search(f"Patient?family=P{position}")
                self.assertEqual(len(found), 1 if answer.status == 201 else 0, f"position {position}: {answer}")
                refused, done = refused + (answer.status == 507), done + (answer.status == 201)
                position += 1
            self.assertGreater(refused, 3)
            self.assertEqual(done, 3)
            self.assertEqual(server.rows("organizations")[0]["restarts"], 0)
            check_sound(self, server, "riverside")
            check_replay(self, server, "riverside")
            say(f"{refused} positions refused")

    def test_a_process_that_must_start_on_a_full_disk(self):
        """It cannot; what waits for it is answered after there is space again, and the neighbour serves."""
        with FaultyServer(("riverside", "lakeside")) as server:
            ehr, lakeside = server.client("riverside", "ehr"), server.client("lakeside", "ehr")
            known = ehr.create(patient("Known")).reference
            server.fault.begin("write_full")
            os.kill(server.processes()["org/riverside"], signal.SIGKILL)
            waiting = Writer(server, name="waiting", pause=0.05)
            waiting.start()
            wait_for(lambda: len(log_lines(server, "child-ended", "org/riverside")) >= 3, "attempts to start", 10)
            self.assertEqual(lakeside.post("/fhir/Patient", patient()).status, 201)
            server.fault.end()
            freed = time.monotonic()
            wait_for(lambda: waiting.latest > freed, "writes after there is space again", BACK_SECONDS)
            waiting.finish()
            self.assertEqual(ehr.read(known)["name"][0]["family"], "Known")
            check_kept(self, ehr, [waiting])
            check_sound(self, server, "riverside")


class MountedServer(Server):
    """riverside's folder is a small file system in the memory, which only this server sees."""

    def start(self, wait=True):
        self.small = os.path.join(self.data, "organizations", "riverside")
        os.makedirs(self.small, 0o700)
        os.chmod(self.data, 0o700)
        script = 'mount -t tmpfs -o size=40m,mode=700 tmpfs "$1" && exec "$2" serve --config "$3"'
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([*UNSHARE, "sh", "-c", script, "sh", self.small, PROGRAM, self.config],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            self.wait_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def inside(self, name):
        return f"/proc/{self.process.pid}/root{self.small}/{name}"


UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def may_mount():
    try:
        return subprocess.run([*UNSHARE, "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


class Mounted(Story):
    @unittest.skipUnless(may_mount(), "no rights to mount a small file system here; the preloaded library stands in for it")
    def test_a_file_system_that_is_really_full(self):
        with MountedServer(("riverside", "lakeside")) as server:
            # The ballast is given back at the first refusal: it is filled too, until there is really nothing left.
            done = threading.Event()

            def fill():
                while not done.wait(0.01):
                    with open(server.inside("filler"), "ab", buffering=0) as file:
                        try:
                            while not done.is_set():
                                file.write(b"\0" * 65536)
                        except OSError:
                            pass
            filler = threading.Thread(target=fill, daemon=True)

            def free():
                done.set()
                filler.join()
                os.unlink(server.inside("filler"))
            self.tell(server, filler.start, free)


if __name__ == "__main__":
    unittest.main()
