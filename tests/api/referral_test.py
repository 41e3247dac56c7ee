#!/usr/bin/env python3
"""The spine: a referral from a TLS client through the workflow into the store of one organization, by message to another, and
back; event streams with resume; a clock that runs out in real time; a metric that moves."""
import os
import time
import unittest

from careloop import Server, referral, wait_for


def setUpModule():
    global server, riverside, lakeside
    server = Server(("riverside", "lakeside"))
    # One clock short enough to watch.
    with open(os.path.join(server.orgs, "riverside", "local", "plugin.lua"), "w") as file:
        file.write('return plugin {\n\tname = "riverside.local", api = 1, extends = "referral", summary = "Short times",\n'
                   '\tsettings = { cancel_within = { default = "1 minute" } },\n}\n')
    server.start()
    riverside, lakeside = server.client("riverside"), server.client("lakeside")


def tearDownModule():
    server.stop()


def theirs_of(task):
    """The partner's Task of our referral, once the message has arrived."""
    identifier = riverside.read(task)["groupIdentifier"]

    def find():
        found = lakeside.search(f"Task?group-identifier={identifier['system']}|{identifier['value']}&code=referral")
        return found and "Task/" + found[0]["id"]
    return wait_for(find, "the referral at the partner", 15)


def state(client, task):
    return client.read(task)["businessStatus"]["coding"][0]["code"]


def wait_state(client, task, code):
    wait_for(lambda: state(client, task) == code, f"{task} in {code}, it is in {state(client, task)}", 15)


class Loop(unittest.TestCase):
    def test_from_the_request_to_the_report(self):
        task = referral(riverside)
        self.assertEqual(riverside.read(task)["status"], "draft")
        sent = riverside.transition(task, "send", minutes=10)
        self.assertEqual(sent.json["status"], "requested")
        theirs = theirs_of(task)
        copy = lakeside.read(theirs)
        self.assertEqual(copy["status"], "requested")
        self.assertIn("end", copy["restriction"]["period"], "a clock runs")
        lakeside.transition(theirs, "accept")
        wait_state(riverside, task, "3.0")
        lakeside.transition(theirs, "schedule", start="2030-01-07T15:00:00Z")
        wait_state(riverside, task, "5.1.1")
        lakeside.transition(theirs, "outcome", summary="Six sessions, back to you")
        wait_state(riverside, task, "7.0")
        done = riverside.read(task)
        self.assertEqual(done["status"], "completed")
        self.assertTrue(any(output.get("valueString") == "Six sessions, back to you" for output in done["output"]))
        trace = server.rows(f"trace {task}", "riverside")
        self.assertEqual([row["to"] for row in trace], ["draft", "received", "accepted", "scheduled", "completed"])

    def test_a_decline_comes_back(self):
        task = referral(riverside)
        riverside.transition(task, "send")
        theirs = theirs_of(task)
        answer = lakeside.request("POST", f"/fhir/{theirs}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "decline"}]})
        self.assertEqual(answer.status, 422, answer)
        self.assertIn("reason", answer.words, "what is missing is named")
        lakeside.transition(theirs, "decline", reason="no capacity")
        wait_state(riverside, task, "4.0")

    def test_crossing_messages_come_together(self):
        task = referral(riverside)
        riverside.transition(task, "send")
        theirs = theirs_of(task)
        lakeside.transition(theirs, "accept")
        wait_state(riverside, task, "3.0")
        # Both move before either has heard of the other.
        riverside.transition(task, "request_cancel", reason="moved away")
        answer = lakeside.request("POST", f"/fhir/{theirs}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "outcome"},
                                                        {"name": "summary", "valueString": "done already"}]})
        self.assertEqual(answer.status, 200, answer)
        wait_state(lakeside, theirs, "7.0")
        wait_state(riverside, task, "7.0")

    def test_only_the_receiver_accepts(self):
        task = referral(riverside)
        riverside.transition(task, "send")
        answer = riverside.request("POST", f"/fhir/{task}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "accept"}]})
        self.assertEqual(answer.status, 403, answer)
        theirs = theirs_of(task)
        answer = lakeside.request("POST", f"/fhir/{theirs}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "confirm_cancel"}]})
        self.assertEqual(answer.status, 422, answer)
        self.assertIn("accept", answer.words, "the legal moves are named")

    def test_an_answer_by_phone_is_recorded_with_its_source(self):
        task = referral(riverside)
        riverside.transition(task, "send")
        answer = riverside.transition(task, "accept", on_behalf_of="recipient", source="phone")
        self.assertEqual(answer.json["status"], "accepted")
        last = server.rows(f"trace {task}", "riverside")[-1]
        self.assertEqual((last["to"], last["source"]), ("accepted", "phone"))

    def test_a_client_that_knows_only_fhir_updates_the_task(self):
        task = referral(riverside)
        riverside.transition(task, "send")
        theirs = theirs_of(task)
        updated = lakeside.read(theirs)
        updated["status"] = "accepted"
        updated["businessStatus"] = {"coding": [{"system": updated["businessStatus"]["coding"][0]["system"], "code": "3.0"}]}
        answer = lakeside.put("/fhir/" + theirs, updated)
        self.assertEqual(answer.status, 200, answer)
        wait_state(riverside, task, "3.0")
        updated = lakeside.read(theirs)
        updated["status"] = "draft"
        updated.pop("businessStatus")
        answer = lakeside.put("/fhir/" + theirs, updated)
        self.assertEqual(answer.status, 422, answer)

    def test_a_message_of_nobody_is_refused(self):
        from careloop import Client
        partner = Client(server, "lakeside", os.path.join(server.certificates, "clients", "riverside-partner"))
        message = {"resourceType": "Bundle", "type": "message", "id": "test-1", "timestamp": "2026-11-02T10:00:00Z", "entry": [
            {"fullUrl": "urn:uuid:11111111-1111-4111-8111-111111111111", "resource": {
                "resourceType": "MessageHeader", "source": {"endpoint": "urn:careloop:organization:riverside"},
                "eventCoding": {"system": "urn:careloop:event", "code": "referral.update"}}}]}
        answer = partner.post("/fhir/$process-message", message)
        self.assertGreaterEqual(answer.status, 400, "an update without a referral")
        coordinator = lakeside.post("/fhir/$process-message", message)
        self.assertEqual(coordinator.status, 403, coordinator)

    def test_the_metric_moves(self):
        def sent():
            rows = server.rows("metric loop_closed 1", "riverside")
            numerator, denominator = rows[-1]["cases"].split("/")
            return float(numerator), float(denominator)
        before = sent()
        task = referral(riverside)
        riverside.transition(task, "send")
        theirs = theirs_of(task)
        lakeside.transition(theirs, "accept")
        lakeside.transition(theirs, "outcome", summary="done")
        wait_state(riverside, task, "7.0")
        self.assertEqual(sent(), (before[0] + 1, before[1] + 1))
        report = riverside.must(200, "GET", "/metrics/loop_closed").json["metrics"][0]
        self.assertEqual(report["months"][-1]["denominator"], before[1] + 1)
        self.assertEqual((report["baseline"], report["target"]) if "baseline" in report else
                         (report["months"][-1]["baseline"], report["months"][-1]["target"]), (34, 70))


class Clocks(unittest.TestCase):
    def test_a_clock_that_runs_out_escalates(self):
        task = referral(riverside, family="Overdue")
        riverside.transition(task, "send")
        riverside.transition(task, "request_cancel", reason="moved")
        # The partner never confirms; cancel_within is one minute.
        escalations = wait_for(lambda: [found for found in riverside.search("Task?code=escalation&status=requested")
                                        if found.get("focus", {}).get("reference") == task], "the escalation", 80, 1)
        self.assertEqual(len(escalations), 1)


class Streams(unittest.TestCase):
    def test_a_stream_tells_of_changes_and_resumes_where_it_broke_off(self):
        stream = riverside.events()
        self.assertEqual(stream.status, 200)
        self.assertTrue(stream.headers["content-type"].startswith("text/event-stream"))
        task = referral(riverside)
        seen = stream.until(lambda kind, data: data["type"] == "Task" and "Task/" + data["id"] == task)
        self.assertIsNotNone(seen, "the new Task")
        self.assertEqual(set(seen[2]), {"type", "id", "kind", "detail"}, "ids only, no health data")
        last = seen[0]
        stream.close()
        riverside.transition(task, "send")
        resumed = riverside.events(last_event_id=last)
        seen = resumed.until(lambda kind, data: "Task/" + data["id"] == task)
        self.assertIsNotNone(seen, "what happened in between")
        resumed.close()

    def test_an_unknown_place_in_the_stream_means_read_again(self):
        stream = riverside.events(last_event_id="999-5")
        seen = stream.next()
        self.assertIsNotNone(seen)
        self.assertEqual(seen[1], "resync")
        stream.close()

    def test_a_stream_tells_only_what_its_reader_may_read(self):
        manager = server.client("riverside", "manager").events()
        ehr = server.client("riverside", "ehr")
        person = ehr.create({"resourceType": "Patient", "name": [{"family": "Private"}]})
        time.sleep(0.2)
        task = referral(riverside)
        seen = []
        manager.until(lambda kind, data: seen.append(data) or "Task/" + data["id"] == task)
        self.assertIn(task, ["Task/" + data["id"] for data in seen])
        self.assertNotIn(person.id, [data["id"] for data in seen])
        manager.close()

    def test_without_a_certificate_there_is_no_stream(self):
        self.assertEqual(server.client("riverside", None).get("/events").status, 401)


if __name__ == "__main__":
    unittest.main()
