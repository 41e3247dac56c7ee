#!/usr/bin/env python3
"""kill -9 of organizations, gateways and the courier under load, while clients repeat what was not answered with the same
idempotency key: no acknowledged write is lost, none is doubled, service is back within two seconds. CYCLES (default 100) kills."""
import http.client
import os
import random
import signal
import statistics
import sys
import threading
import time
import unittest

from careloop import Server, patient, wait_for

CYCLES = int(os.environ.get("CYCLES", "100"))
WRITERS = 4


class Writer(threading.Thread):
    """Creates patients, updates each once, and sends some referrals; repeats every request until it has an answer."""

    def __init__(self, server, number, stop):
        super().__init__(daemon=True)
        self.client = server.client("riverside")
        self.number, self.stop = number, stop
        self.acknowledged = {}   # identifier -> (id, family after the update)
        self.sent = []           # Tasks whose "send" was acknowledged
        self.asked = 0.0         # when the last request that was answered had been sent
        self.repeats = 0
        self.problems = []

    def insist(self, method, path, body, key, good):
        """The answer to this request, however often it must be repeated."""
        while True:
            sent = time.monotonic()
            try:
                answer = self.client.request(method, path, body, {"Idempotency-Key": key}, timeout=10)
                if answer.status in good:
                    self.asked = sent
                    return answer
                if answer.status < 500:
                    self.problems.append((method, path, key, answer.status, answer.words))
                    return None
            except (OSError, http.client.HTTPException):
                self.client.close()
            self.repeats += 1
            if self.stop.is_set() and self.repeats > 100000:
                return None
            time.sleep(0.02)

    def run(self):
        count = 0
        while not self.stop.is_set():
            count += 1
            key = f"w{self.number}-{count}"
            body = patient("Before", identifier=[{"system": "urn:test:kill", "value": key}])
            created = self.insist("POST", "/fhir/Patient", body, key, (201,))
            if not created:
                continue
            changed = dict(created.json, name=[{"family": "After"}])
            updated = self.insist("PUT", f"/fhir/Patient/{created.id}", changed, key + "-u", (200,))
            self.acknowledged[key] = (created.id, bool(updated))
            if count % 5 == 0:
                self.refer(created.reference, key)

    def refer(self, person, key):
        request = self.insist("POST", "/fhir/ServiceRequest", {
            "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": person},
            "code": {"text": "Evaluation"}}, key + "-r", (201,))
        task = request and self.insist("POST", "/fhir/Task", {
            "resourceType": "Task", "status": "draft", "intent": "order", "focus": {"reference": request.reference},
            "for": {"reference": person}, "code": {"coding": [{"system": "urn:careloop:workflow", "code": "referral"}]},
            "input": [{"type": {"text": "party"}, "valueString": "initiator"},
                      {"type": {"text": "partner"}, "valueString": "lakeside"}]}, key + "-t", (201,))
        if task and self.insist("POST", f"/fhir/{task.reference}/$transition", {
                "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "send"}]}, key + "-s", (200,)):
            self.sent.append(task.id)


class Kill(unittest.TestCase):
    def test_kill_under_load(self):
        rng = random.Random(7)
        with Server(("riverside", "lakeside")) as server:
            stop = threading.Event()
            writers = [Writer(server, number, stop) for number in range(WRITERS)]
            for writer in writers:
                writer.start()
            wait_for(lambda: all(writer.asked for writer in writers), "first answers", 20)
            downtimes, killed, victim = [], {}, None
            for cycle in range(CYCLES):
                names = [name for name, pid in server.processes().items() if pid and name != "supervisor"]
                # The writer of the data is killed most often; nobody twice in a row, which would be a crash loop with its back-off.
                victim = rng.choice([name for name in ["org/riverside"] * 5 + names if name != victim])
                pid = server.processes()[victim]
                if not pid:
                    continue
                at = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                killed[victim.split("/")[0]] = killed.get(victim.split("/")[0], 0) + 1
                # Back: every writer has an answer to something that it asked after the kill.
                deadline = at + 15
                while time.monotonic() < deadline and not all(writer.asked > at for writer in writers):
                    time.sleep(0.002)
                downtimes.append(time.monotonic() - at)
                time.sleep(rng.uniform(0.6, 1.2))
            stop.set()
            for writer in writers:
                writer.join(30)
                self.assertFalse(writer.is_alive(), "a writer waits for an answer for ever")
            problems = [problem for writer in writers for problem in writer.problems]
            self.assertEqual(problems, [])
            acknowledged = {key: value for writer in writers for key, value in writer.acknowledged.items()}
            self.check_patients(server, acknowledged)
            self.check_referrals(server, [task for writer in writers for task in writer.sent])
            self.check_log(server)
            downtimes.sort()
            print(f"{len(downtimes)} kills {killed}, {len(acknowledged)} patients, "
                  f"{sum(len(writer.sent) for writer in writers)} referrals, "
                  f"{sum(writer.repeats for writer in writers)} repeats; back after {statistics.median(downtimes):.2f} s (median), "
                  f"{downtimes[-1]:.2f} s (worst)", file=sys.stderr)
            self.assertGreaterEqual(len(downtimes), CYCLES * 9 // 10)
            self.assertLess(downtimes[-1], 2.0, downtimes[-5:])

    def check_patients(self, server, acknowledged):
        ehr = server.client("riverside", "ehr")
        found, path = {}, "/fhir/Patient?identifier=urn:test:kill|&_count=500"
        while path:
            page = ehr.must(200, "GET", path).json
            for entry in page.get("entry", []):
                resource = entry["resource"]
                key = resource["identifier"][0]["value"]
                self.assertNotIn(key, found, "doubled")
                found[key] = resource
            following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
            path = following[0].split(f":{server.port}")[1] if following else None
        for key, (identity, updated) in acknowledged.items():
            self.assertIn(key, found, "an acknowledged create is lost")
            self.assertEqual(found[key]["id"], identity)
            if updated:
                self.assertEqual(found[key]["name"][0]["family"], "After", "an acknowledged update is lost")
                self.assertEqual(found[key]["meta"]["versionId"], "2", "the update was done twice")

    def check_referrals(self, server, sent):
        try:
            wait_for(lambda: not server.rows("outbox waiting", "riverside") and not server.rows("outbox waiting", "lakeside"),
                     "every message delivered", 240, 0.5)
        except AssertionError as problem:
            waiting = {name: server.rows("outbox waiting", name)[:3] for name in ("riverside", "lakeside")}
            raise AssertionError(f"{problem}: {waiting}\n{server.log()[-3000:]}") from None
        self.assertEqual(server.rows("outbox dead", "riverside"), [])
        lakeside = server.client("lakeside")
        counts = {}
        path = "/fhir/Task?code=referral&_count=500"
        while path:
            page = lakeside.must(200, "GET", path).json
            for entry in page.get("entry", []):
                value = entry["resource"]["groupIdentifier"]["value"]
                counts[value] = counts.get(value, 0) + 1
            following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
            path = following[0].split(f":{server.port}")[1] if following else None
        for task in sent:
            self.assertEqual(counts.get("riverside-" + task), 1, f"the referral of Task/{task} at the partner")

    def check_log(self, server):
        for organization in ("riverside", "lakeside"):
            result = server.console("-e", "audit verify", organization=organization)
            self.assertEqual(result.returncode, 0, result.stderr)
            result = server.console("-e", "check", organization=organization)
            self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main()
