#!/usr/bin/env python3
"""Third-party input, when ../shared/data is there: Synthea's transaction bundles and HL7's closed-loop referral set load into a
running server and come out again, counted by a walk of our own over the files. And names of patients stay out of logs, of refusals to
strangers and of the audit log, with or without those files."""
import glob
import gzip
import json
import os
import sys
import unittest

from careloop import ROOT, Server, patient

DATA = os.path.join(ROOT, "..", "shared", "data")
CANARY = "Zzyxwvcanary"


def setUpModule():
    global server, ehr
    server = Server(("riverside", "lakeside")).start()
    ehr = server.client("riverside", "ehr")


def tearDownModule():
    server.stop()


def count(query):
    return ehr.must(200, "GET", "/fhir/" + query + ("&" if "?" in query else "?") + "_summary=count").json["total"]


@unittest.skipUnless(os.path.isdir(os.path.join(DATA, "synthea-20")), "../shared/data is not here")
class ThirdParty(unittest.TestCase):
    def test_synthea_bundles_load_as_transactions(self):
        expected, codes, families = {}, {}, {}
        before = {}
        paths = sorted(glob.glob(os.path.join(DATA, "synthea-20", "*.json.gz")))[:8]
        self.assertGreater(len(paths), 3)
        bundles = []
        for path in paths:
            with gzip.open(path) as file:
                bundles.append(json.load(file))
        for bundle in bundles:
            for entry in bundle["entry"]:
                resource = entry["resource"]
                expected[resource["resourceType"]] = expected.get(resource["resourceType"], 0) + 1
                if resource["resourceType"] == "Observation":
                    for code in {coding["code"] for coding in resource["code"]["coding"]}:
                        codes[code] = codes.get(code, 0) + 1
                if resource["resourceType"] == "Patient":
                    for family in {name["family"].lower() for name in resource["name"]}:
                        families[family] = families.get(family, 0) + 1
        for kind in expected:
            before[kind] = count(kind)
        for bundle in bundles:
            answer = ehr.request("POST", "/fhir", bundle, timeout=120)
            self.assertEqual(answer.status, 200, answer.words)
            self.assertEqual(len(answer.json["entry"]), len(bundle["entry"]))
        for kind, number in expected.items():
            if kind in ("Organization", "Practitioner"):   # conditional creates may find the one before
                continue
            self.assertEqual(count(kind) - before[kind], number, kind)
        for code, number in sorted(codes.items())[:20]:
            self.assertEqual(count(f"Observation?code=http://loinc.org|{code}"), number, code)
        for family, number in families.items():
            self.assertGreaterEqual(count(f"Patient?family={family}"), number, family)

    def test_the_closed_loop_referral_set_loads(self):
        loaded = 0
        for path in sorted(glob.glob(os.path.join(DATA, "referral-sdoh", "*.json"))):
            with open(path) as file:
                resource = json.load(file)
            reference = f"{resource['resourceType']}/{resource['id']}"
            answer = ehr.put("/fhir/" + reference, resource)
            self.assertIn(answer.status, (200, 201), (reference, answer.words))
            stored = ehr.read(reference)
            for document in (resource, stored):
                document.setdefault("meta", {}).pop("versionId", None)
                document["meta"].pop("lastUpdated", None)
            self.assertEqual(stored, resource, reference)
            loaded += 1
        self.assertGreater(loaded, 60)
        self.assertGreaterEqual(count("Task?status=completed"), 8)


class NoNamesOutside(unittest.TestCase):
    def test_logs_refusals_and_audit_name_nobody(self):
        coordinator = server.client("riverside", "coordinator")
        created = ehr.create(patient(CANARY))
        ehr.search(f"Patient?family={CANARY}")
        ehr.must(400, "GET", f"/fhir/Patient?shoesize={CANARY}")
        ehr.post("/fhir/Patient", {"resourceType": "Patient", "name": [{"family": CANARY}], "gender": CANARY})
        ehr.post("/fhir/Patient", '{"resourceType":"Patient","name":[{"family":"%s"' % CANARY)
        coordinator.get(f"/fhir/Patient?family={CANARY}")
        words = []
        for stranger in (server.client("lakeside", "manager", host="riverside.localhost"),
                         server.client("riverside", "manager")):
            for path in (f"/fhir/{created.reference}", f"/fhir/Patient?family={CANARY}", f"/fhir/{created.reference}/_history"):
                answer = stranger.get(path)
                self.assertIn(answer.status, (401, 403, 404), (path, answer.words))
                words.append(answer.words or "")
        audit = server.console("-o", "riverside", "-e", "audit 200", "--json").stdout
        self.assertIn("search", audit)
        for name, text in (("log", server.log()), ("refusals", "\n".join(words)), ("audit", audit)):
            self.assertNotIn(CANARY, text if isinstance(text, str) else text.decode(), name)


if __name__ == "__main__":
    unittest.main(verbosity=1 if len(sys.argv) < 2 else 2)
