#!/usr/bin/env python3
"""Operations that read much, over TLS: Patient/$everything and bulk $export with files, restarts, and memory that stays flat."""
import json
import os
import re
import signal
import threading
import time
import unittest

from careloop import Server, patient, wait_for


def setUpModule():
    global server, ehr
    server = Server(("riverside",)).start()
    ehr = server.client("riverside", "ehr")
    ehr.create(patient("First"))


def tearDownModule():
    server.stop()


def observation(subject, day=1, **more):
    return {"resourceType": "Observation", "status": "final", "subject": {"reference": subject},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "effectiveDateTime": f"2026-10-{day:02}", **more}


def load(client, resources, block=1000):
    for at in range(0, len(resources), block):
        client.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
            for resource in resources[at:at + block]]})


def path_of(url):
    return "/" + url.split("/", 3)[3]


def next_of(bundle):
    return next((path_of(link["url"]) for link in bundle["link"] if link["relation"] == "next"), None)


def references(bundle):
    return [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in bundle.get("entry", [])]


def export(client, path="/fhir/$export", method="GET", body=None, seconds=60, **headers):
    """Asks for an export and waits; the manifest and the path of its status."""
    answer = client.must(202, method, path, body, Prefer="respond-async", **headers)
    assert answer.json["resourceType"] == "OperationOutcome", answer
    status = path_of(answer.headers["content-location"])
    return finished(client, status, seconds), status


def finished(client, status, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get(status, Accept="application/json")
        if answer.status != 202:
            assert answer.status == 200, answer
            return answer.json
        assert "x-progress" in answer.headers and int(answer.headers["retry-after"]) > 0, answer.headers
        time.sleep(0.02)
    raise AssertionError("the export did not end")


def lines(client, manifest, kind="output"):
    found = []
    for file in manifest[kind]:
        answer = client.must(200, "GET", path_of(file["url"]))
        assert answer.headers["content-type"] == "application/fhir+ndjson", answer.headers
        rows = [json.loads(line) for line in answer.body.splitlines()]
        assert len(rows) == file["count"], file
        found += rows
    return found


class Everything(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.doctor = ehr.create({"resourceType": "Practitioner", "name": [{"family": "Sample"}]}).reference
        cls.house = ehr.create({"resourceType": "Organization", "name": "House"}).reference
        cls.place = ehr.create({"resourceType": "Location", "name": "Room", "managingOrganization":
                                {"reference": cls.house}}).reference
        cls.drug = ehr.create({"resourceType": "Medication", "code": {"text": "sertraline"}}).reference
        cls.person = ehr.create(patient()).reference
        cls.other = ehr.create(patient("Other")).reference
        cls.mine = [ehr.create(observation(cls.person, day, performer=[{"reference": cls.doctor}])).reference
                    for day in range(1, 21)]
        cls.mine.append(ehr.create({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
                                    "subject": {"reference": cls.person},
                                    "location": [{"location": {"reference": cls.place}}],
                                    "period": {"start": "2026-10-03", "end": "2026-10-03"}}).reference)
        cls.mine.append(ehr.create({"resourceType": "MedicationRequest", "status": "active", "intent": "order",
                                    "subject": {"reference": cls.person},
                                    "medicationReference": {"reference": cls.drug}}).reference)
        ehr.create(observation(cls.other))

    def test_compartment_and_what_it_refers_to(self):
        answer = ehr.must(200, "GET", f"/fhir/{self.person}/$everything")
        found = references(answer.json)
        self.assertEqual(found[0], self.person)
        self.assertCountEqual(found, [self.person, *self.mine, self.doctor, self.house, self.place, self.drug])
        modes = {entry["fullUrl"].split("/fhir/")[1]: entry["search"]["mode"] for entry in answer.json["entry"]}
        self.assertEqual((modes[self.mine[0]], modes[self.doctor]), ("match", "include"))
        posted = ehr.must(200, "POST", f"/fhir/{self.person}/$everything", {"resourceType": "Parameters"})
        self.assertEqual(references(posted.json), found)

    def test_pages_hold_still(self):
        whole = references(ehr.get(f"/fhir/{self.person}/$everything").json)
        first = ehr.must(200, "GET", f"/fhir/{self.person}/$everything?_count=7").json
        found, path = references(first), next_of(first)
        again = references(ehr.get(path).json)
        late = [ehr.create(observation(self.person)).reference,
                ehr.create({"resourceType": "Condition", "subject": {"reference": self.person}}).reference]
        self.assertEqual(references(ehr.get(path).json), again)
        while path:
            page = ehr.must(200, "GET", path).json
            self.assertLessEqual(len(page.get("entry", [])), 7)
            found += references(page)
            path = next_of(page)
        self.assertEqual(sorted(found), sorted(whole))
        for reference in late:
            ehr.must(204, "DELETE", "/fhir/" + reference)

    def test_a_link_made_by_hand_is_refused(self):
        link = next_of(ehr.get(f"/fhir/{self.person}/$everything?_count=7").json)
        for bad in (link[:-4] + "AAAA", link.replace(self.person, self.other), link.replace("_count=7", "_count=7&_type=Patient")):
            self.assertEqual(ehr.get(bad).status, 400, bad)

    def test_types_dates_since(self):
        def found(query):
            return references(ehr.must(200, "GET", f"/fhir/{self.person}/$everything?{query}").json)
        self.assertEqual(found("_type=Patient"), [self.person])
        self.assertEqual(found("_type=Practitioner,Medication"), sorted([self.drug, self.doctor]))
        self.assertCountEqual(found("_type=Observation,Encounter&start=2026-10-02&end=2026-10-04"),
                              self.mine[1:4] + [self.mine[20]])
        updated = ehr.get("/fhir/" + self.mine[21]).json["meta"]["lastUpdated"]
        self.assertEqual(found("_type=MedicationRequest,Patient&_since=" + updated), [self.mine[21]])

    def test_refusals(self):
        self.assertEqual(ehr.get("/fhir/Patient/nobody/$everything").status, 404)
        for query in ("_type=Nonsense", "_since=yesterday", "_count=0", "_count=x", "_sort=date"):
            answer = ehr.get(f"/fhir/{self.person}/$everything?{query}")
            self.assertEqual(answer.status, 400, answer)
            self.assertIn(query.split("=")[0], answer.words)
        manager = server.client("riverside", "manager")
        self.assertEqual(manager.get(f"/fhir/{self.person}/$everything").status, 403)

    def test_shows_what_a_search_would_show(self):
        """The clinician is in the care team of one of them, and sees no labelled note."""
        clinician = server.client("riverside", "clinician")
        secret = ehr.create(observation(self.person, meta={"security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSYTHPN"}]})).reference
        before = references(clinician.must(200, "GET", f"/fhir/{self.person}/$everything").json)
        self.assertNotIn(self.mine[0], before)
        team = ehr.create({"resourceType": "CareTeam", "status": "active", "subject": {"reference": self.person},
                           "participant": [{"member": {"reference": "Practitioner/riverside-clinician"}}]}).reference
        after = references(clinician.get(f"/fhir/{self.person}/$everything").json)
        self.assertIn(self.mine[0], after)
        self.assertNotIn(secret, after)
        searched = {reference for kind in ("Observation", "Encounter", "MedicationRequest", "Patient", "CareTeam")
                    for reference in references(clinician.get(f"/fhir/{self.person}/{kind}?_count=1000").json)}
        kinds = tuple(kind + "/" for kind in ("Observation", "Encounter", "MedicationRequest", "Patient", "CareTeam"))
        self.assertEqual({reference for reference in after if reference.startswith(kinds)}, searched)
        for reference in (secret, team):
            ehr.must(204, "DELETE", "/fhir/" + reference)


class Export(unittest.TestCase):
    def test_manifest_and_files(self):
        person = ehr.create(patient("Exported")).reference
        manifest, status = export(ehr, "/fhir/$export?_type=Patient,Observation&_outputFormat=application%2Ffhir%2Bndjson")
        self.assertEqual(manifest["request"].split("/fhir/")[1],
                         "$export?_type=Patient,Observation&_outputFormat=application%2Ffhir%2Bndjson")
        self.assertFalse(manifest["requiresAccessToken"])
        self.assertLessEqual({file["type"] for file in manifest["output"]}, {"Patient", "Observation"})
        found = {f"{row['resourceType']}/{row['id']}" for row in lines(ehr, manifest)}
        self.assertIn(person, found)
        row = next(row for row in lines(ehr, manifest) if row["id"] == person.split("/")[1])
        self.assertEqual(row, ehr.read(person))
        head = ehr.request("HEAD", path_of(manifest["output"][0]["url"]))
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertGreater(int(head.headers["content-length"]), 100)

        deleted = ehr.request("DELETE", status)
        self.assertEqual(deleted.status, 202, deleted)
        self.assertEqual(ehr.get(status).status, 404)
        self.assertEqual(ehr.get(path_of(manifest["output"][0]["url"])).status, 404)

    def test_post_without_a_body_and_with_parameters(self):
        manifest, _ = export(ehr, "/fhir/R4/$export?_type=Patient", "POST", Content_Type="application/fhir+json")
        self.assertEqual([file["type"] for file in manifest["output"]], ["Patient"])
        manifest, _ = export(ehr, "/fhir/Patient/$export", "POST", {"resourceType": "Parameters", "parameter": [
            {"name": "_type", "valueString": "Patient"}, {"name": "_elements", "valueString": "birthDate"}]})
        row = lines(ehr, manifest)[0]
        self.assertIn("birthDate", row)
        self.assertNotIn("name", row)

    def test_group(self):
        inside, outside = (ehr.create(patient(name)).reference for name in ("Inside", "Outside"))
        seen = ehr.create(observation(inside)).reference
        ehr.create(observation(outside))
        group = ehr.create({"resourceType": "Group", "type": "person", "actual": True,
                            "member": [{"entity": {"reference": inside}}]}).reference
        manifest, _ = export(ehr, f"/fhir/{group}/$export")
        found = {f"{row['resourceType']}/{row['id']}" for row in lines(ehr, manifest)}
        self.assertEqual(found, {inside, seen, group})

    def test_since_tells_what_was_deleted(self):
        doomed = ehr.create(patient("Doomed")).reference
        manifest, _ = export(ehr, "/fhir/$export?_type=Patient")
        time.sleep(0.01)
        ehr.must(204, "DELETE", "/fhir/" + doomed)
        fresh = ehr.create(patient("Fresh")).reference
        manifest, _ = export(ehr, "/fhir/$export?_type=Patient&_since=" + manifest["transactionTime"])
        self.assertIn(fresh, {"Patient/" + row["id"] for row in lines(ehr, manifest)})
        bundles = lines(ehr, manifest, "deleted")
        self.assertEqual([(bundle["type"], bundle["entry"][0]["request"]) for bundle in bundles],
                         [("transaction", {"method": "DELETE", "url": doomed})])

    def test_belongs_to_who_asked(self):
        manifest, status = export(ehr, "/fhir/$export?_type=Patient")
        clinician, anybody = server.client("riverside", "clinician"), server.client("riverside", None)
        for path in (status, path_of(manifest["output"][0]["url"])):
            self.assertEqual(clinician.get(path).status, 404)
            self.assertEqual(anybody.get(path).status, 401)
        self.assertEqual(clinician.request("DELETE", status).status, 404)
        self.assertEqual(ehr.get(status).status, 200)
        # Asked for with a token, the files want one, too.
        result = server.console("--json", "-e", "token create ehr 1", organization="riverside")
        token = re.search(r"[A-Za-z0-9_\-]{24,}", json.loads(result.stdout).get("text", result.stdout)).group()
        asked = anybody.must(202, "GET", "/fhir/$export?_type=Patient", Prefer="respond-async", Authorization="Bearer " + token)
        status = path_of(asked.headers["content-location"])
        self.assertEqual(anybody.get(status).status, 401)
        manifest = wait_for(lambda: (answer := anybody.get(status, Authorization="Bearer " + token)).status == 200 and answer,
                            "the manifest").json
        self.assertTrue(manifest["requiresAccessToken"])

    def test_leaves_a_trace(self):
        manifest, status = export(ehr, "/fhir/$export?_type=Patient&_since=2020-01-01")
        lines(ehr, manifest)
        rows = wait_for(lambda: [row for row in server.rows("audit 200", organization="riverside")
                                 if row["action"] == "export" and status[1:] in row["target"]], "the leaves")
        self.assertTrue(any("resources" in row["target"] for row in rows), rows)
        self.assertTrue(any(row["target"].endswith("Patient.ndjson") for row in rows), rows)
        self.assertTrue(any(row["target"] == "$export" for row in server.rows("audit 200", organization="riverside")))

    def test_an_administrator_sees_and_ends_them(self):
        ehr.create(patient())
        _, status = export(ehr, "/fhir/$export?_type=Patient")
        name = status.rsplit("/", 1)[1]
        row = next(row for row in server.rows("exports", organization="riverside") if row["export"] == name)
        self.assertEqual((row["principal"], row["state"]), ("ehr", "done"))
        self.assertGreater(int(row["bytes"]), 0)
        ended = server.console("-e", "export delete " + name, organization="riverside")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ehr.get(status).status, 404)
        self.assertNotEqual(server.console("-e", "export delete none", organization="riverside").returncode, 0)

    def test_not_in_a_batch(self):
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": "$export"}}]})
        self.assertTrue(answer.json["entry"][0]["response"]["status"].startswith("4"), answer.json)


class Large(unittest.TestCase):
    """An organization of its own size: a restart in the midst, memory, a slow reader, and others who go on working."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(("riverside",)).start()
        cls.client = cls.server.client("riverside", "ehr")
        cls.person = cls.client.create(patient()).reference

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def process(self):
        return self.server.processes()["org/riverside"]

    def anonymous(self, process):
        """Bytes of memory that are not files."""
        with open(f"/proc/{process}/status") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024

    def peak(self):
        """How much the organization grows while it exports."""
        process, most, stop = self.process(), [0], threading.Event()

        def watch():
            while not stop.is_set():
                most[0] = max(most[0], self.anonymous(process))
                time.sleep(0.005)
        before = self.anonymous(process)
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            manifest, status = export(self.client, "/fhir/$export?_type=Observation")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(self.client.request("DELETE", status).status, 202)
        return manifest["output"][0]["count"], max(0, most[0] - before)

    def test_memory_restart_slow_reader(self):
        note = [{"text": "x" * 15000}]
        load(self.client, [observation(self.person, note=note) for _ in range(500)], 500)
        few, small = self.peak()
        load(self.client, [observation(self.person, note=note) for _ in range(4500)], 500)
        many, large = self.peak()
        self.assertEqual((few, many), (500, 5000))
        # Ten times the data, some 77 MB of it: what is kept of it is one slice, beside SQLite's cache of 16 MiB.
        self.assertLess(large, small + (20 << 20), f"{small} bytes for {few} resources, {large} for {many}")

        # Killed in the midst, it goes on where it was; nothing is lost and nothing comes twice.
        answer = self.client.must(202, "GET", "/fhir/$export?_type=Observation", Prefer="respond-async")
        status = path_of(answer.headers["content-location"])
        os.kill(self.process(), signal.SIGKILL)
        manifest = finished(self.client, status)
        found = [row["id"] for row in lines(self.client, manifest)]
        self.assertEqual((len(found), len(set(found))), (5000, 5000))

        # Somebody who reads slowly holds nobody up, and gets the file whole.
        url = path_of(manifest["output"][0]["url"])
        size = int(self.client.request("HEAD", url).headers["content-length"])
        self.assertGreater(size, 70_000_000)
        with self.client.connect() as slow:
            slow.sendall(f"GET {url} HTTP/1.1\r\nHost: {self.client.host}:{self.server.port}\r\n\r\n".encode())
            received = slow.recv(65536)
            time.sleep(1)
            self.assertEqual(len(lines(self.client, manifest)), 5000)
            self.assertEqual(self.client.request("DELETE", status).status, 202)
            wait_for(lambda: not os.listdir(os.path.join(self.server.data, "organizations", "riverside", "exports")), "removed")
            left = received.index(b"\r\n\r\n") + 4 + size - len(received)
            while left > 0:
                received = slow.recv(1 << 20)
                self.assertTrue(received, "cut off")
                left -= len(received)
        self.assertEqual((left, received[-2:]), (0, b"}\n"))


if __name__ == "__main__":
    unittest.main()
