#!/usr/bin/env python3
"""What clients write and how they are answered, over TLS: conditions, patches, bundles, files, forms (FHIR R4 http.html), with the
exact calls that real clients make (conformance.md section 3)."""
import base64
import json
import sys
import time
import unittest

from careloop import Server, patient

PATCH = "application/json-patch+json"


def setUpModule():
    global server, ehr
    server = Server(("riverside",)).start()
    ehr = server.client("riverside", "ehr")


def tearDownModule():
    server.stop()


def identified(value, **more):
    return {"resourceType": "Patient", "identifier": [{"system": "urn:write", "value": value}], **more}


def patch(path, *operations, **headers):
    return ehr.request("PATCH", path, list(operations),
                       {"Content-Type": PATCH, **{name.replace("_", "-"): value for name, value in headers.items()}})


def entry(method, url, resource=None, full_url=None, **conditions):
    made = {"request": {"method": method, "url": url, **conditions}}
    if resource:
        made["resource"] = resource
    if full_url:
        made["fullUrl"] = full_url
    return made


def bundle(kind, *entries):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


class Conditions(unittest.TestCase):
    def test_update_by_identifier(self):
        path = "/fhir/Patient?identifier=urn:write%7Cu1"
        made = ehr.put(path, identified("u1"))
        self.assertEqual(made.status, 201, made)
        self.assertRegex(made.headers["location"], r"^https://riverside\.localhost:\d+/fhir/Patient/[^/]+/_history/1$")
        changed = ehr.put(path, identified("u1", active=True))
        self.assertEqual((changed.status, changed.id, changed.headers["etag"]), (200, made.id, 'W/"2"'))
        again = ehr.put(path, identified("u1", active=True))
        self.assertEqual((again.status, again.headers["etag"]), (200, 'W/"2"'), "no new version of the same")
        self.assertEqual(ehr.put(path, identified("u1", id="other")).status, 400)
        ehr.create(identified("u1"))
        refused = ehr.put(path, identified("u1"))
        self.assertEqual(refused.status, 412, refused)
        self.assertIn("narrower", refused.words)

    def test_delete_by_identifier(self):
        made = ehr.create(identified("d1"))
        self.assertEqual(ehr.delete("/fhir/Patient?identifier=urn:write|d1").status, 204)
        self.assertEqual(ehr.get("/fhir/" + made.reference).status, 410)
        self.assertEqual(ehr.request("HEAD", "/fhir/" + made.reference).status, 410)
        self.assertEqual(ehr.get(f"/fhir/{made.reference}/_history/1").status, 200)
        ehr.create(identified("d2"))
        ehr.create(identified("d2"))
        self.assertEqual(ehr.delete("/fhir/Patient?identifier=urn:write|d2").status, 412)
        self.assertEqual(len(ehr.search("Patient?identifier=urn:write|d2")), 2)

    def test_reads_of_what_did_not_change(self):
        made = ehr.create(patient("Unchanged"))
        path = "/fhir/" + made.reference
        for name, value in (("If_None_Match", made.headers["etag"]), ("If_None_Match", 'W/"9", ' + made.headers["etag"]),
                            ("If_Modified_Since", made.headers["last-modified"])):
            answer = ehr.get(path, **{name: value})
            self.assertEqual((answer.status, answer.body), (304, b""), name)
            self.assertEqual(answer.headers["etag"], 'W/"1"')
        self.assertEqual(ehr.get(path, If_Modified_Since="Sat, 01 Jan 2000 00:00:00 GMT").status, 200)

    def test_methods_that_are_not_there_say_which_are(self):
        made = ehr.create(patient("Methods"))
        for method, path, allowed in (("DELETE", f"/fhir/{made.reference}/_history", "GET, HEAD"),
                                      ("DELETE", f"/fhir/{made.reference}/_history/1", "GET, HEAD"),
                                      ("PUT", "/fhir/Patient", "GET, HEAD, POST"), ("DELETE", "/fhir/Patient", "GET, HEAD, POST"),
                                      ("POST", f"/fhir/{made.reference}", "GET, HEAD, PUT, PATCH, DELETE")):
            answer = ehr.request(method, path, made.json if method != "DELETE" else None)
            self.assertEqual((answer.status, answer.headers.get("allow")), (405, allowed), (method, path))
            self.assertEqual(answer.json["issue"][0]["code"], "not-supported")
        self.assertEqual(ehr.get("/fhir/" + made.reference).status, 200, "nothing was deleted")


class Patches(unittest.TestCase):
    def test_patch_with_a_version(self):
        made = ehr.create(patient("Patched"))
        path = "/fhir/" + made.reference
        answer = patch(path, {"op": "test", "path": "/name/0/family", "value": "Patched"},
                       {"op": "add", "path": "/name/0/given/-", "value": "New"}, {"op": "add", "path": "/active", "value": True},
                       If_Match='W/"1"')
        self.assertEqual((answer.status, answer.headers["etag"]), (200, 'W/"2"'), answer)
        self.assertEqual(answer.json["name"][0]["given"][-1], "New")
        self.assertEqual(patch(path, {"op": "remove", "path": "/active"}, If_Match='W/"1"').status, 412)
        refused = patch(path, {"op": "remove", "path": "/active"}, {"op": "test", "path": "/name/0/family", "value": "Other"})
        self.assertEqual((refused.status, refused.json["issue"][0]["expression"]), (422, ["[1].path"]))
        self.assertTrue(ehr.read(made.reference)["active"], "nothing of it was done")
        self.assertEqual(patch(path, {"op": "replace", "path": "/gender", "value": "girl"}).status, 422)
        self.assertEqual(ehr.request("PATCH", path, "{}", {"Content-Type": "application/merge-patch+json"}).status, 415)

    def test_a_patch_is_answered_once(self):
        made = ehr.create(patient("Once"))
        add = {"op": "add", "path": "/name/0/given/-", "value": "Twice"}
        for _ in range(2):
            answer = patch("/fhir/" + made.reference, add, Idempotency_Key="patch-once")
            self.assertEqual((answer.status, answer.headers["etag"]), (200, 'W/"2"'))


class Bundles(unittest.TestCase):
    def test_a_transaction_with_everything(self):
        kept, gone = ehr.create(identified("t1", active=False)), ehr.create(identified("t2"))
        binary = {"resourceType": "Binary", "contentType": PATCH, "data": base64.b64encode(
            json.dumps([{"op": "replace", "path": "/active", "value": True}]).encode()).decode()}
        answer = ehr.post("/fhir/", bundle(
            "transaction",
            entry("GET", "Patient?identifier=urn:write|t1,urn:write|t2,urn:write|t3&_summary=count"),
            entry("PATCH", "Patient?identifier=urn:write|t1", binary, ifMatch='W/"1"'),
            entry("PUT", "Patient?identifier=urn:write|t3", identified("t3"), "urn:uuid:7d9d2a04-9cb4-4fcd-a5c8-b2f6b3c0f001"),
            entry("POST", "Condition", {"resourceType": "Condition", "code": {"text": "x"}, "subject": {
                "reference": "urn:uuid:7d9d2a04-9cb4-4fcd-a5c8-b2f6b3c0f001"}}),
            entry("POST", "Condition", {"resourceType": "Condition", "code": {"text": "x"}, "subject": {
                "reference": "Patient?identifier=urn:write|t1"}}),
            entry("DELETE", "Patient?identifier=urn:write|t2")))
        self.assertEqual(answer.status, 200, answer.words)
        entries = answer.json["entry"]
        self.assertEqual([one["response"]["status"] for one in entries], ["200", "200", "201", "201", "201", "204"])
        self.assertEqual(entries[0]["resource"]["total"], 2, "reads come last")
        self.assertTrue(entries[1]["resource"]["active"])
        self.assertEqual(entries[3]["resource"]["subject"]["reference"], "Patient/" + entries[2]["resource"]["id"])
        self.assertEqual(entries[4]["resource"]["subject"]["reference"], kept.reference)
        self.assertEqual(entries[2]["response"]["lastModified"], entries[2]["resource"]["meta"]["lastUpdated"])
        self.assertEqual(ehr.get("/fhir/" + gone.reference).status, 410)

    def test_a_batch_of_reads(self):
        made = ehr.create(identified("b1"))
        answer = ehr.post("/fhir", bundle("batch", entry("GET", made.reference), entry("GET", "Patient?identifier=urn:write|b1"),
                                          entry("HEAD", made.reference), entry("GET", "Patient/none"), entry("GET", "Pateint/x"),
                                          entry("GET", made.reference, ifNoneMatch='W/"1"')))
        self.assertEqual([one["response"]["status"] for one in answer.json["entry"]], ["200", "200", "200", "404", "404", "304"])
        self.assertEqual(answer.json["entry"][0]["resource"]["id"], made.id)
        # Created, read, read by HEAD, read for nothing new: each a leaf, which is folded into the log within a moment.
        end = time.monotonic() + 10
        leaves = 0
        while leaves < 4 and time.monotonic() < end:
            leaves = str(server.console("-o", "riverside", "-e", "audit 1000", "--json").stdout).count(made.reference)
        self.assertEqual(leaves, 4)
        stranger = server.client("riverside", "manager").post("/fhir", bundle("batch", entry("GET", made.reference)))
        self.assertEqual(stranger.json["entry"][0]["response"]["status"], "403")

    def test_a_batch_that_hides_a_write_is_run_all_the_same(self):
        text = json.dumps(bundle("batch", entry("POST", "Patient", identified("h1")))).replace('"POST"', '"P\\u004fST"')
        answer = ehr.post("/fhir", text)
        self.assertEqual(answer.json["entry"][0]["response"]["status"], "201", answer)
        self.assertEqual(len(ehr.search("Patient?identifier=urn:write|h1")), 1)

    def test_too_many_entries(self):
        answer = ehr.post("/fhir", bundle("transaction", *[entry("GET", "Patient/x")] * 5001))
        self.assertEqual(answer.status, 413, answer)
        self.assertIn("5000", answer.words)


class Forms(unittest.TestCase):
    def test_files_are_for_saving_never_for_showing(self):
        page = "<html><script>alert(1)</script></html>"
        made = ehr.request("POST", "/fhir/Binary", page, {"Content-Type": "text/html"})
        self.assertEqual(made.status, 201, made)
        for accept, form in (("*/*", "text/html"), ("text/html,*/*;q=0.8", "text/html"),
                             ("application/fhir+json", "application/fhir+json; charset=utf-8")):
            answer = ehr.request("GET", f"/fhir/Binary/{made.id}", headers={"Accept": accept})
            self.assertEqual(answer.headers["content-type"], form)
            self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
            if form == "text/html":
                self.assertEqual((answer.body.decode(), answer.headers["content-disposition"]), (page, "attachment"))
                self.assertIn("sandbox", answer.headers["content-security-policy"])
        text = ehr.request("POST", "/fhir/Binary", "plain", {"Content-Type": "text/plain", "X-Security-Context": "Patient/p"})
        self.assertEqual(text.json["securityContext"], {"reference": "Patient/p"})
        answer = ehr.request("GET", f"/fhir/Binary/{text.id}", headers={"Accept": "*/*"})
        self.assertEqual((answer.headers["content-disposition"], answer.headers["x-security-context"]), ("attachment", "Patient/p"))

    def test_accept_and_format(self):
        made = ehr.create(patient("Forms"))
        for query, accept, status in (("", "application/fhir+json,application/json", 200), ("", "application/json", 200),
                                      ("", "application/fhir+json, */*; q=0.1", 200), ("", "application/fhir+xml", 406),
                                      ("?_format=xml", "*/*", 406), ("?_format=json", "application/fhir+xml", 200),
                                      ("?_format=application/fhir+json", "text/html", 200)):
            answer = ehr.request("GET", f"/fhir/{made.reference}{query}", headers={"Accept": accept})
            self.assertEqual(answer.status, status, (query, accept))
            self.assertIn("fhir+json", answer.headers["content-type"])
        for base in ("/fhir", "/fhir/", "/fhir/R4", "/fhir/R4/"):
            self.assertEqual(ehr.post(base, bundle("batch")).status, 200, base)
        self.assertEqual(ehr.request("POST", "/fhir/Patient", "<a/>", {"Content-Type": "application/fhir+xml"}).status, 415)

    def test_unknown_preferences_are_ignored(self):
        answer = ehr.post("/fhir/Patient", patient("Preferred"), Prefer="return=presentation")
        self.assertEqual(answer.json["resourceType"], "Patient")
        answer = ehr.post("/fhir/Patient", patient("Preferred"), Prefer="return=OperationOutcome")
        self.assertEqual((answer.status, answer.json["resourceType"]), (201, "OperationOutcome"))

    def test_labels(self):
        made = ehr.create(patient("Labelled"))
        meta = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"system": "t", "code": "x"}]}}]}
        ehr.must(200, "POST", f"/fhir/{made.reference}/$meta-add", meta)
        told = ehr.must(200, "GET", f"/fhir/{made.reference}/$meta").json
        self.assertEqual(told["parameter"][0]["valueMeta"]["tag"], [{"system": "t", "code": "x"}])
        self.assertEqual([one["id"] for one in ehr.search("Patient?_tag=t|x")], [made.id])


if __name__ == "__main__":
    unittest.main(verbosity=1 if len(sys.argv) < 2 else 2)
