#!/usr/bin/env python3
"""Third-party input, when ../shared/data is there: Synthea's transaction bundles, HL7's closed-loop referral and subscription sets
and every official example load into a running server and come out again without loss; JSONTestSuite is read as it asks. And names
of patients stay out of logs, of refusals to strangers and of the audit log, with or without those files."""
import glob
import gzip
import json
import os
import re
import sys
import unittest
import urllib.parse

from careloop import ROOT, Server, patient

DATA = os.path.join(ROOT, "..", "shared", "data")
CANARY = "Zzyxwvcanary"


def setUpModule():
    global server, ehr
    server = Server(("riverside", "lakeside")).start()
    ehr = server.client("riverside", "ehr")


def tearDownModule():
    server.stop()


def exact(text):
    """JSON whose numbers are their text."""
    return json.loads(text, parse_float=lambda number: ("number", number), parse_int=lambda number: ("number", number))


def count(query):
    return ehr.must(200, "GET", "/fhir/" + query + ("&" if "?" in query else "?") + "_summary=count").json["total"]


@unittest.skipUnless(os.path.isdir(os.path.join(DATA, "synthea-20")), "../shared/data is not here")
class ThirdParty(unittest.TestCase):
    def test_synthea_bundles_load_as_transactions(self):
        expected, codes, families = {}, {}, {}
        before = {}
        paths = sorted(glob.glob(os.path.join(DATA, "synthea-20", "*.json.gz")))
        self.assertEqual(len(paths), 20)
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
        observed = {code: count(f"Observation?code=http://loinc.org|{code}") for code in sorted(codes)[:20]}
        for bundle in bundles:
            answer = ehr.request("POST", "/fhir", bundle, timeout=120)
            self.assertEqual(answer.status, 200, answer.words)
            self.assertEqual(len(answer.json["entry"]), len(bundle["entry"]))
        for kind, number in expected.items():
            if kind in ("Organization", "Practitioner"):   # conditional creates may find the one before
                continue
            self.assertEqual(count(kind) - before[kind], number, kind)
        for code, number in observed.items():
            self.assertEqual(count(f"Observation?code=http://loinc.org|{code}") - number, codes[code], code)
        for family, number in families.items():
            self.assertGreaterEqual(count("Patient?family=" + urllib.parse.quote(family)), number, family)

    def round_trip(self, folder):
        """Puts every resource of a folder, reads it again and compares, numbers by their text. Returns how many there were."""
        loaded = 0
        for path in sorted(glob.glob(os.path.join(DATA, folder, "*.json"))):
            with open(path, encoding="utf-8-sig") as file:
                text = file.read()
            resource = exact(text)
            reference = f"{resource['resourceType']}/{resource['id']}"
            answer = ehr.put("/fhir/" + reference, text)
            self.assertIn(answer.status, (200, 201), (path, answer.words))
            header = resource.get("channel", {}).get("header", []) if resource["resourceType"] == "Subscription" else []
            if header:
                # A credential is never shown again; written back as it is shown it stays what it was.
                resource["channel"]["header"] = [re.sub("^(Authorization:).*", r"\1 [hidden]", line) for line in header]
                text = json.dumps(resource)
            stored = exact(ehr.must(200, "GET", "/fhir/" + reference).body)
            for document in (resource, stored):
                meta = document.setdefault("meta", {})
                meta.pop("versionId", None)
                meta.pop("lastUpdated", None)
            self.assertEqual(stored, resource, path)
            again = ehr.put("/fhir/" + reference, text)
            self.assertEqual(again.headers["etag"], answer.headers["etag"], (path, "the same again is no new version"))
            loaded += 1
        return loaded

    def test_the_closed_loop_referral_set_loads(self):
        self.assertGreater(self.round_trip("referral-sdoh"), 60)
        self.assertGreaterEqual(count("Task?status=completed"), 8)

    def test_the_subscription_set_loads(self):
        self.assertGreaterEqual(self.round_trip("subscriptions-r4"), 20)

    def test_every_official_example_comes_back_without_loss(self):
        self.assertGreaterEqual(self.round_trip("r4-examples"), 265)

    def test_json_that_is_none_is_refused_and_other_json_read(self):
        # Duplicate names and U+0000 are left to the application; Careloop refuses both (core/base/json.h).
        on_purpose = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json", "y_string_null_escape.json",
                      "y_object_escaped_null_in_key.json"}
        run = 0
        for path in sorted(glob.glob(os.path.join(DATA, "json-test-suite", "test_parsing", "[yn]_*"))):
            name = os.path.basename(path)
            with open(path, "rb") as file:
                body = file.read()
            if not body:
                continue
            answer = ehr.request("POST", "/fhir/Patient", body)
            # Ten thousand brackets are too many, wherever they lead.
            self.assertIn(answer.status, (400, 413) if name.startswith("n_") else (400,), (name, answer))
            # What could be read is refused for what it is: no resource.
            read = "a resource is" in answer.words or "resourceType" in answer.words
            self.assertEqual(read, name.startswith("y_") and name not in on_purpose, (name, answer.words))
            run += 1
        self.assertGreater(run, 280)


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
