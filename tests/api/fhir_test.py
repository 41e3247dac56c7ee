#!/usr/bin/env python3
"""FHIR R4 from outside: every interaction, conditions, paging, bundles, outcomes. One server for the file."""
import json
import sys
import unittest

from careloop import FHIR, Server, patient


def setUpModule():
    global server, ehr
    server = Server(("riverside",)).start()
    ehr = server.client("riverside", "ehr")


def tearDownModule():
    server.stop()


def observation(subject, value, when="2026-11-02", status="final"):
    return {"resourceType": "Observation", "status": status, "subject": {"reference": subject},
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "effectiveDateTime": when,
            "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}}


class Interactions(unittest.TestCase):
    def test_create_says_where_and_which_version(self):
        answer = ehr.post("/fhir/Patient", patient())
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.headers["etag"], 'W/"1"')
        self.assertRegex(answer.headers["location"], r"^https://riverside\.localhost:\d+/fhir/Patient/[^/]+/_history/1$")
        self.assertIn("last-modified", answer.headers)
        self.assertEqual(answer.json["meta"]["versionId"], "1")
        self.assertTrue(answer.headers["content-type"].startswith(FHIR))

    def test_create_ignores_the_client_s_id(self):
        answer = ehr.create(patient(id="mine"))
        self.assertNotEqual(answer.id, "mine")

    def test_prefer_minimal_gives_no_body(self):
        answer = ehr.post("/fhir/Patient", patient(), Prefer="return=minimal")
        self.assertEqual((answer.status, answer.body), (201, b""))
        answer = ehr.post("/fhir/Patient", patient(), Prefer="return=OperationOutcome")
        self.assertEqual(answer.json["resourceType"], "OperationOutcome")

    def test_read_returns_what_was_sent(self):
        created = ehr.create(patient("Ödegård", "Zoë", gender="female", multipleBirthInteger=2))
        answer = ehr.must(200, "GET", "/fhir/" + created.reference)
        self.assertEqual(answer.json["name"], [{"family": "Ödegård", "given": ["Zoë"]}])
        self.assertEqual(answer.json["multipleBirthInteger"], 2)
        self.assertEqual(answer.headers["etag"], 'W/"1"')

    def test_head_is_a_read_without_its_body(self):
        created = ehr.create(patient())
        answer = ehr.request("HEAD", "/fhir/" + created.reference)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertGreater(int(answer.headers["content-length"]), 0)

    def test_if_none_match_saves_the_body(self):
        created = ehr.create(patient())
        self.assertEqual(ehr.get("/fhir/" + created.reference, If_None_Match='W/"1"').status, 304)
        self.assertEqual(ehr.get("/fhir/" + created.reference, If_None_Match='W/"2"').status, 200)

    def test_update_makes_a_version_and_vread_finds_each(self):
        created = ehr.create(patient("Before"))
        changed = created.json
        changed["name"][0]["family"] = "After"
        answer = ehr.must(200, "PUT", "/fhir/" + created.reference, changed)
        self.assertEqual(answer.headers["etag"], 'W/"2"')
        self.assertEqual(ehr.read(created.reference + "/_history/1")["name"][0]["family"], "Before")
        self.assertEqual(ehr.read(created.reference + "/_history/2")["name"][0]["family"], "After")
        self.assertEqual(ehr.get(f"/fhir/{created.reference}/_history/3").status, 404)

    def test_update_creates_under_the_client_s_id(self):
        answer = ehr.put("/fhir/Organization/north-lab", {"resourceType": "Organization", "id": "north-lab", "name": "North Lab"})
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(ehr.read("Organization/north-lab")["name"], "North Lab")

    def test_update_needs_the_address_s_id(self):
        answer = ehr.put("/fhir/Organization/one", {"resourceType": "Organization", "id": "two", "name": "Two"})
        self.assertEqual(answer.status, 400, answer)
        self.assertIn("Organization.id", answer.words)

    def test_if_match(self):
        created = ehr.create(patient())
        body = dict(created.json, gender="female")
        self.assertEqual(ehr.put("/fhir/" + created.reference, body, If_Match='W/"7"').status, 412)
        self.assertEqual(ehr.get("/fhir/" + created.reference).headers["etag"], 'W/"1"')
        self.assertEqual(ehr.put("/fhir/" + created.reference, body, If_Match='W/"1"').status, 200)

    def test_delete_hides_and_history_keeps(self):
        created = ehr.create(patient())
        self.assertIn(ehr.delete("/fhir/" + created.reference).status, (200, 204))
        answer = ehr.get("/fhir/" + created.reference)
        self.assertEqual(answer.status, 410, answer)
        history = ehr.must(200, "GET", f"/fhir/{created.reference}/_history").json
        self.assertEqual([entry["request"]["method"] for entry in history["entry"]], ["DELETE", "POST"])
        self.assertEqual(ehr.get(f"/fhir/{created.reference}/_history/1").status, 200)
        self.assertIn(ehr.delete("/fhir/" + created.reference).status, (200, 204), "deleting twice is no error")

    def test_history_newest_first_and_paged(self):
        created = ehr.create(patient("V1"))
        for number in range(2, 6):
            ehr.must(200, "PUT", "/fhir/" + created.reference, dict(created.json, name=[{"family": f"V{number}"}]))
        first = ehr.must(200, "GET", f"/fhir/{created.reference}/_history?_count=2").json
        self.assertEqual(first["type"], "history")
        self.assertEqual([entry["resource"]["name"][0]["family"] for entry in first["entry"]], ["V5", "V4"])
        following = [link["url"] for link in first["link"] if link["relation"] == "next"][0]
        second = ehr.must(200, "GET", following.split(f":{server.port}")[1]).json
        self.assertEqual([entry["resource"]["name"][0]["family"] for entry in second["entry"]], ["V3", "V2"])

    def test_decimals_keep_their_text(self):
        subject = ehr.create(patient()).reference
        text = json.dumps(observation(subject, 7)).replace('"value": 7', '"value": 7.20')
        created = ehr.must(201, "POST", "/fhir/Observation", text)
        self.assertIn(b'"value":7.20', ehr.get("/fhir/" + created.reference).body)

    def test_metadata_is_a_capability_statement(self):
        capability = ehr.must(200, "GET", "/fhir/metadata").json
        self.assertEqual(capability["resourceType"], "CapabilityStatement")
        self.assertEqual(capability["fhirVersion"], "4.0.1")
        types = {resource["type"] for resource in capability["rest"][0]["resource"]}
        self.assertTrue({"Patient", "Task", "ServiceRequest", "Observation"} <= types)

    def test_r4_in_the_path_is_the_same(self):
        self.assertEqual(ehr.get("/fhir/R4/metadata").status, 200)

    def test_the_path_may_name_the_organization(self):
        alias = server.client("riverside", "ehr", host="localhost")
        created = ehr.create(patient())
        self.assertEqual(alias.must(200, "GET", f"/riverside/fhir/{created.reference}").id, created.id)
        answer = alias.must(201, "POST", "/riverside/fhir/Patient", patient())
        self.assertIn("/riverside/fhir/Patient/", answer.headers["location"])

    def test_validate_says_what_is_wrong_and_stores_nothing(self):
        before = len(ehr.search("Patient?name=Unsaved"))
        answer = ehr.post("/fhir/Patient/$validate", patient("Unsaved", gender="unknown-word"))
        self.assertEqual(answer.json["resourceType"], "OperationOutcome")
        self.assertIn("gender", answer.words)
        self.assertEqual(len(ehr.search("Patient?name=Unsaved")), before)
        answer = ehr.post("/fhir/Patient/$validate", {**patient("Unsaved"), "managingOrganization": {"reference": "Group/1"},
                                                     "meta": {"profile": ["urn:test:profile"]}})
        warnings = [issue["expression"] for issue in answer.json["issue"] if issue["severity"] == "warning"]
        self.assertEqual(warnings, [["Patient.managingOrganization"]], answer)
        self.assertEqual({issue["severity"] for issue in answer.json["issue"]}, {"warning", "information"}, answer)
        self.assertIn("the 1 profile ", answer.words)
        self.assertIn("dom-6", answer.words)


class Search(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.people = [ehr.create(patient(f"Searchable{number}", "Kim", gender="female" if number % 2 else "male",
                                         birthDate=f"19{50 + number}-03-01",
                                         identifier=[{"system": "urn:test:mrn", "value": f"S{number}"}])).reference
                      for number in range(10)]
        for number, person in enumerate(cls.people):
            ehr.create(observation(person, 60 + number, f"2026-10-{number + 10:02d}"))

    def references(self, query):
        return sorted(f"{resource['resourceType']}/{resource['id']}" for resource in ehr.search(query))

    def test_string(self):
        self.assertEqual(len(ehr.search("Patient?name=searchable")), 10)
        self.assertEqual(self.references("Patient?family:exact=Searchable3"), [self.people[3]])
        self.assertEqual(len(ehr.search("Patient?family:exact=Searchable")), 0, "the whole text, not its beginning")
        self.assertEqual(len(ehr.search("Patient?family:contains=archable")), 10)

    def test_token(self):
        self.assertEqual(self.references("Patient?identifier=urn:test:mrn|S4"), [self.people[4]])
        self.assertEqual(self.references("Patient?identifier=S4"), [self.people[4]])
        self.assertEqual(len(ehr.search("Patient?name=searchable&gender=male")), 5)
        self.assertEqual(len(ehr.search("Patient?name=searchable&gender=male,female")), 10)

    def test_date(self):
        self.assertEqual(len(ehr.search("Patient?name=searchable&birthdate=lt1955-01-01")), 5)
        self.assertEqual(self.references("Patient?name=searchable&birthdate=1953"), [self.people[3]])
        self.assertEqual(len(ehr.search("Observation?date=ge2026-10-12&date=le2026-10-14&code=8867-4")), 3)

    def test_reference(self):
        self.assertEqual(len(ehr.search(f"Observation?subject={self.people[2]}")), 1)
        self.assertEqual(len(ehr.search(f"Observation?patient={self.people[2].split('/')[1]}")), 1)
        self.assertEqual(len(ehr.search(f"{self.people[2]}/Observation")), 1)

    def test_id_and_last_updated(self):
        self.assertEqual(self.references("Patient?_id=" + self.people[1].split("/")[1]), [self.people[1]])
        self.assertEqual(len(ehr.search("Patient?name=searchable&_lastUpdated=ge2020-01-01")), 10)
        self.assertEqual(len(ehr.search("Patient?name=searchable&_lastUpdated=lt2020-01-01")), 0)

    def test_sort(self):
        dates = [resource["birthDate"] for resource in ehr.search("Patient?name=searchable&_sort=-birthdate")]
        self.assertEqual(dates, sorted(dates, reverse=True))

    def test_count_and_paging_see_each_once(self):
        seen, path = [], "/fhir/Patient?name=searchable&_count=3&_sort=birthdate"
        for _ in range(10):
            page = ehr.must(200, "GET", path).json
            self.assertEqual(page["type"], "searchset")
            seen += [entry["resource"]["id"] for entry in page.get("entry", [])]
            following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
            if not following:
                break
            path = following[0].split(f":{server.port}")[1]
        self.assertEqual(len(seen), 10)
        self.assertEqual(len(set(seen)), 10)

    def test_total(self):
        page = ehr.must(200, "GET", "/fhir/Patient?name=searchable&_count=1&_total=accurate").json
        self.assertEqual(page["total"], 10)
        self.assertEqual(ehr.must(200, "GET", "/fhir/Patient?name=searchable&_summary=count").json["total"], 10)

    def test_include(self):
        page = ehr.must(200, "GET", f"/fhir/Observation?subject={self.people[5]}&_include=Observation:subject").json
        modes = sorted((entry["search"]["mode"], entry["resource"]["resourceType"]) for entry in page["entry"])
        self.assertEqual(modes, [("include", "Patient"), ("match", "Observation")])

    def test_search_by_post(self):
        answer = ehr.request("POST", "/fhir/Patient/_search", "name=searchable&gender=male",
                             {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(len(answer.json["entry"]), 5)

    def test_an_unknown_parameter_is_said_or_refused(self):
        answer = ehr.get("/fhir/Patient?no-such-parameter=1", Prefer="handling=strict")
        self.assertEqual(answer.status, 400, answer)
        self.assertIn("no-such-parameter", answer.words)

    def test_changes_are_found_at_once_and_deleted_ones_never(self):
        person = ehr.create(patient("Fleeting"))
        self.assertEqual(self.references("Patient?name=fleeting"), [person.reference])
        ehr.must(200, "PUT", "/fhir/" + person.reference, dict(person.json, name=[{"family": "Renamed-xyz"}]))
        self.assertEqual(self.references("Patient?name=fleeting"), [])
        ehr.delete("/fhir/" + person.reference)
        self.assertEqual(self.references("Patient?name=renamed-xyz"), [])


class Conditions(unittest.TestCase):
    def test_if_none_exist(self):
        mine = patient("Once", identifier=[{"system": "urn:test:mrn", "value": "once"}])
        first = ehr.post("/fhir/Patient", mine, If_None_Exist="identifier=urn:test:mrn|once")
        second = ehr.post("/fhir/Patient", mine, If_None_Exist="identifier=urn:test:mrn|once")
        self.assertEqual((first.status, second.status), (201, 200))
        self.assertEqual(first.id, second.id)
        ehr.create(mine)
        self.assertEqual(ehr.post("/fhir/Patient", mine, If_None_Exist="identifier=urn:test:mrn|once").status, 412)

    def test_idempotency_key_answers_once(self):
        first = ehr.post("/fhir/Patient", patient("Key"), Idempotency_Key="k-1")
        second = ehr.post("/fhir/Patient", patient("Key"), Idempotency_Key="k-1")
        self.assertEqual((first.status, second.status), (201, 201))
        self.assertEqual(first.body, second.body)
        self.assertEqual(first.headers["location"], second.headers["location"])
        self.assertEqual(len(ehr.search("Patient?family=Key")), 1)

    def test_idempotency_key_with_another_body_is_refused(self):
        ehr.must(201, "POST", "/fhir/Patient", patient("Body"), Idempotency_Key="k-2")
        answer = ehr.post("/fhir/Patient", patient("Other-body"), Idempotency_Key="k-2")
        self.assertEqual(answer.status, 422, answer)
        self.assertEqual(len(ehr.search("Patient?family=Other-body")), 0)

    def test_idempotency_keys_belong_to_their_principal(self):
        ehr.must(201, "POST", "/fhir/Patient", patient("Mine"), Idempotency_Key="k-3")
        other = server.client("riverside", "coordinator")
        self.assertEqual(other.post("/fhir/Patient", patient("Theirs"), Idempotency_Key="k-3").status, 201)
        self.assertEqual(len(ehr.search("Patient?family=Theirs")), 1)


class Bundles(unittest.TestCase):
    def entry(self, method, url, resource=None, full_url=None, **more):
        entry = {"request": {"method": method, "url": url, **more}}
        if resource:
            entry["resource"] = resource
        if full_url:
            entry["fullUrl"] = full_url
        return entry

    def test_transaction_resolves_references_within(self):
        person, one = "urn:uuid:11111111-1111-4111-8111-111111111111", "urn:uuid:22222222-2222-4222-8222-222222222222"
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [
            self.entry("POST", "Observation", observation(person, 71), one),
            self.entry("POST", "Patient", patient("Bundled"), person),
        ]}).json
        self.assertEqual(answer["type"], "transaction-response")
        self.assertTrue(all(entry["response"]["status"].startswith("201") for entry in answer["entry"]))
        made = ehr.search("Patient?family=Bundled")
        self.assertEqual(len(ehr.search(f"Observation?subject=Patient/{made[0]['id']}")), 1)

    def test_transaction_is_all_or_nothing(self):
        answer = ehr.post("/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [
            self.entry("POST", "Patient", patient("Half")),
            self.entry("POST", "Patient", {"resourceType": "Patient", "gender": "wrong"}),
        ]})
        self.assertGreaterEqual(answer.status, 400)
        self.assertIn("Bundle.entry[1]", answer.words)
        self.assertEqual(len(ehr.search("Patient?family=Half")), 0)

    def test_batch_entries_stand_alone(self):
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "batch", "entry": [
            self.entry("POST", "Patient", patient("Batched")),
            self.entry("POST", "Patient", {"resourceType": "Patient", "gender": "wrong"}),
            self.entry("GET", "Patient?family=Batched"),
        ]}).json
        self.assertEqual(answer["type"], "batch-response")
        statuses = [entry["response"]["status"][:3] for entry in answer["entry"]]
        self.assertEqual(statuses[0], "201")
        self.assertIn(statuses[1], ("400", "422"))
        self.assertEqual(statuses[2], "200")
        self.assertEqual(len(ehr.search("Patient?family=Batched")), 1)

    def test_transaction_with_update_delete_and_condition(self):
        kept, gone = ehr.create(patient("Kept")), ehr.create(patient("Gone"))
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [
            self.entry("PUT", kept.reference, dict(kept.json, gender="female"), ifMatch='W/"1"'),
            self.entry("DELETE", gone.reference),
            self.entry("POST", "Patient", patient("Twice", identifier=[{"system": "urn:test:mrn", "value": "tw"}]),
                       ifNoneExist="identifier=urn:test:mrn|tw"),
        ]}).json
        self.assertEqual(len(answer["entry"]), 3)
        self.assertEqual(ehr.read(kept.reference)["gender"], "female")
        self.assertEqual(ehr.get("/fhir/" + gone.reference).status, 410)
        stale = ehr.post("/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [
            self.entry("POST", "Patient", patient("Stale")),
            self.entry("PUT", kept.reference, dict(kept.json), ifMatch='W/"1"'),
        ]})
        self.assertEqual(stale.status, 412, stale)
        self.assertEqual(len(ehr.search("Patient?family=Stale")), 0)

    def test_a_large_transaction(self):
        entries = [self.entry("POST", "Patient", patient(f"Large{number % 7}")) for number in range(1000)]
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries}).json
        self.assertEqual(len(answer["entry"]), 1000)


class Outcomes(unittest.TestCase):
    def refused(self, status, body, path="/fhir/Patient"):
        answer = ehr.post(path, body)
        self.assertEqual(answer.status, status, answer)
        outcome = answer.json
        self.assertEqual(outcome["resourceType"], "OperationOutcome")
        self.assertEqual(outcome["issue"][0]["severity"], "error")
        return outcome["issue"]

    def test_syntax_has_line_and_column(self):
        issue = self.refused(400, '{"resourceType": "Patient",\n  "gender": "female",\n  "name": [}\n}')[0]
        self.assertEqual(issue["code"], "structure")
        self.assertRegex(issue["diagnostics"], r"^Line 3 column 12: ")

    def test_structure_has_the_expression(self):
        issues = self.refused(422, {"resourceType": "Patient", "name": [{"family": "A"}, {"familie": "B"}]})
        self.assertEqual(issues[0]["expression"], ["Patient.name[1].familie"])

    def test_required_elements(self):
        issues = self.refused(422, {"resourceType": "Observation", "status": "final"}, "/fhir/Observation")
        self.assertTrue(any("Observation.code is required" in issue["diagnostics"] for issue in issues), issues)

    def test_codes_and_formats(self):
        issues = self.refused(422, {"resourceType": "Patient", "gender": "girl", "birthDate": "1980-13-01"})
        expressions = [place for issue in issues for place in issue.get("expression", [])]
        self.assertIn("Patient.gender", expressions)
        self.assertIn("Patient.birthDate", expressions, "every problem is told at once")

    def test_type_of_the_address(self):
        self.refused(400, {"resourceType": "Observation"})

    def test_unknown_type_and_id(self):
        self.assertEqual(ehr.get("/fhir/Pateint/1").status, 404)
        self.assertEqual(ehr.get("/fhir/Patient/does-not-exist").status, 404)
        self.assertEqual(ehr.get("/fhir/Patient/not%20an%20id").status, 400)

    def test_method(self):
        answer = ehr.request("PUT", "/fhir/Patient", patient())
        self.assertEqual(answer.status, 405, answer)

    def test_media_type(self):
        answer = ehr.request("POST", "/fhir/Patient", "<Patient/>", {"Content-Type": "application/fhir+xml"})
        self.assertEqual(answer.status, 415, answer)


if __name__ == "__main__":
    unittest.main(verbosity=1, argv=[sys.argv[0], *sys.argv[1:]])
