#!/usr/bin/env python3
"""A busy time of mixed requests on a real server with two organizations that deliver to each other; then `careloop replay` makes
every row of both again out of the events, while the server runs and after it has stopped."""
import http.client
import random
import threading
import time
import unittest

from fault import Server, check_replay, check_sound, patient, referral, say, wait_for

SECONDS = 12


class Worker(threading.Thread):
    """Does what clients of one organization do, at random but reproducibly; what is refused is part of it."""

    def __init__(self, server, organization, number, done):
        super().__init__(daemon=True)
        self.server, self.organization, self.done = server, organization, done
        self.random = random.Random(f"{organization}{number}")
        self.ehr, self.coordinator = server.client(organization, "ehr"), server.client(organization)
        self.people, self.tasks, self.counts, self.problems = [], [], {}, []
        self.number = f"{organization}{number}"

    def run(self):
        kinds = [self.create] * 5 + [self.update] * 4 + [self.delete, self.batch, self.transaction, self.conditional, self.again,
                                                         self.bad, self.read, self.search, self.metric]
        kinds += [self.refer] * 3 + [self.answer] * 4 + [self.console]
        while not self.done.wait(0.012):
            kind = self.random.choice(kinds)
            try:
                if kind():
                    self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
            except (AssertionError, OSError, http.client.HTTPException) as problem:
                self.problems.append((kind.__name__, repr(problem)[:500]))

    def expect(self, answer, *statuses):
        if answer.status not in statuses:
            raise AssertionError(f"{answer.status} instead of {statuses}: {answer.words}")
        return answer

    def person(self, **more):
        return patient(f"F{self.random.randrange(1000)}", address=[{"city": "Chicago"}], **more)

    def create(self):
        self.people.append(self.ehr.create(self.person()).reference)
        return True

    def update(self):
        if not self.people:
            return False
        reference = self.random.choice(self.people)
        found = self.ehr.get("/fhir/" + reference)
        if found.status != 200:
            return False
        changed = dict(found.json, name=[{"family": "Changed", "given": [str(self.random.random())]}])
        headers = {"If_Match": found.headers["etag"]} if self.random.random() < 0.5 else {}
        self.expect(self.ehr.put("/fhir/" + reference, changed, **headers), 200)
        return True

    def delete(self):
        if len(self.people) < 5:
            return False
        reference = self.people.pop(self.random.randrange(len(self.people)))
        # Refused while others point at it, or by a role: that is an event of no kind.
        self.expect(self.ehr.delete("/fhir/" + reference), 200, 204, 403, 409)
        return True

    def bundle(self, kind, broken):
        entries = [{"fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001", "resource": self.person(),
                    "request": {"method": "POST", "url": "Patient"}},
                   {"resource": {"resourceType": "Observation", "status": "final", "code": {"text": "weight"},
                                 "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"},
                                 "valueQuantity": {"value": 71.50, "unit": "kg"}}, "request": {"method": "POST", "url": "Observation"}}]
        if kind == "batch":   # entries of a batch know nothing of each other
            entries[1]["resource"]["subject"] = {"reference": self.random.choice(self.people)} if self.people else {"display": "x"}
        if broken:
            entries.append({"resource": {"resourceType": "Patient", "gender": "unheard-of"}, "request": {"method": "POST", "url": "Patient"}})
        return {"resourceType": "Bundle", "type": kind, "entry": entries}

    def batch(self):
        self.expect(self.ehr.post("/fhir", self.bundle("batch", self.random.random() < 0.3)), 200)
        return True

    def transaction(self):
        broken = self.random.random() < 0.3
        self.expect(self.ehr.post("/fhir", self.bundle("transaction", broken)), *((400, 422) if broken else (200,)))
        return True

    def conditional(self):
        value = f"{self.number}-{self.random.randrange(5)}"
        self.expect(self.ehr.post("/fhir/Patient", self.person(identifier=[{"system": "urn:test:once", "value": value}]),
                                  If_None_Exist=f"identifier=urn:test:once|{value}"), 200, 201)
        return True

    def again(self):
        key, body = f"{self.number}-{self.random.random()}", self.person()
        first = self.expect(self.ehr.post("/fhir/Patient", body, Idempotency_Key=key), 201)
        second = self.expect(self.ehr.post("/fhir/Patient", body, Idempotency_Key=key), 201)
        if first.id != second.id:
            raise AssertionError("the same key made two")
        return True

    def bad(self):
        self.expect(self.ehr.post("/fhir/Patient", {"resourceType": "Patient", "birthDate": "2023-02-30"}), 422)
        self.expect(self.ehr.post("/fhir/Patient", '{"resourceType":"Patient",}'), 400)
        return True

    def read(self):
        return bool(self.people) and self.expect(self.ehr.get("/fhir/" + self.random.choice(self.people)), 200).status

    def search(self):
        return self.expect(self.ehr.get("/fhir/Patient?family=Changed&_count=5"), 200).status

    def metric(self):
        return self.expect(self.coordinator.get("/metrics"), 200, 403, 404).status

    def refer(self):
        if self.organization != "riverside":
            return False
        task = referral(self.coordinator, priority=self.random.choice([None, "urgent", "routine"]))
        self.tasks.append(task)
        if self.random.random() < 0.8:
            self.coordinator.transition(task, "send", minutes=self.random.randrange(60))
        return True

    def answer(self):
        """As the partner; or, as the initiator, another move. Half of these are refused, as in life."""
        if self.organization == "lakeside":
            self.tasks = [f"Task/{task['id']}" for task in self.coordinator.search("Task?code=referral&_count=20&_sort=-_lastUpdated")]
        if not self.tasks:
            return False
        event, data = self.random.choice([
            ("accept", {}), ("decline", {"reason": "no capacity"}), ("schedule", {"start": "2030-01-07T15:00:00Z"}),
            ("outcome", {"summary": "Back to you"}), ("request_cancel", {"reason": "moved away"}), ("confirm_cancel", {}),
            ("no_such_event", {}), ("no_show", {})])
        answer = self.coordinator.post(f"/fhir/{self.random.choice(self.tasks)}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": event}] + [
                {"name": name, "valueString": value} for name, value in data.items()]})
        self.expect(answer, 200, 403, 404, 422)
        if answer.status == 200:
            self.counts["moves"] = self.counts.get("moves", 0) + 1
        return True

    def console(self):
        if not self.tasks:
            return False
        task = self.random.choice(self.tasks)
        event = self.random.choice(["send", "accept", "decline reason=duplicate"])
        result = self.server.console("--write", "--reason", "a busy day", "-e", f"advance {task} {event}", organization=self.organization)
        if result.returncode not in (0, 1, 4):   # 4: refused
            raise AssertionError(f"console: {result.returncode} {result.stderr}")
        if result.returncode == 0:
            self.counts["advanced by console"] = self.counts.get("advanced by console", 0) + 1
        code = f'ctx:create {{ resourceType = "Patient", name = {{ {{ family = "Console{self.random.randrange(100)}" }} }} }}'
        result = self.server.console("--write", "--reason", "a busy day", "-e", "> " + code, organization=self.organization)
        if result.returncode != 0:
            raise AssertionError(f"console lua: {result.returncode} {result.stderr}")
        return True


class Replay(unittest.TestCase):
    def test_a_busy_time_comes_out_the_same(self):
        server = Server(("riverside", "lakeside"))
        try:
            server.start()
            done = threading.Event()
            workers = [Worker(server, organization, number, done) for organization in ("riverside", "lakeside") for number in range(2)]
            for worker in workers:
                worker.start()
            time.sleep(SECONDS / 2)
            check_replay(self, server, "riverside")   # beside the running writer: a copy of one moment
            time.sleep(SECONDS / 2)
            done.set()
            for worker in workers:
                worker.join(60)
                self.assertFalse(worker.is_alive())
            counts = {}
            for worker in workers:
                for kind, count in worker.counts.items():
                    counts[kind] = counts.get(kind, 0) + count
            say(f"replayed: {counts}")
            self.assertEqual([problem for worker in workers for problem in worker.problems], [])
            for kind in ("create", "update", "delete", "batch", "transaction", "conditional", "again", "refer", "moves",
                         "advanced by console"):
                self.assertGreater(counts.get(kind, 0), 0, kind)
            wait_for(lambda: not server.rows("outbox waiting", "riverside") and not server.rows("outbox waiting", "lakeside"),
                     "every message delivered", 30, 0.2)
            self.assertGreater(len(server.rows("outbox sent", "riverside")), 0, "nothing was delivered")
            self.assertGreater(len(server.rows("outbox sent", "lakeside")), 0, "nothing came back")
            check_sound(self, server, "riverside", "lakeside")
            server.halt()
            check_replay(self, server, "riverside", "lakeside")
        finally:
            server.stop()


if __name__ == "__main__":
    unittest.main()
