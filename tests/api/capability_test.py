#!/usr/bin/env python3
"""The CapabilityStatement says what is there: each of its claims is tried on the server that makes it."""
import json
import unittest
import urllib.parse

from careloop import Server, patient

# Parameters are tried on these types in full, on the others one in seven: requests cost time.
FULL = {"Patient", "Observation", "Task", "ServiceRequest", "Condition", "Appointment"}


def setUpModule():
    global server, ehr, anybody, statement, rest
    server = Server(("riverside", "hillside")).start()
    ehr, anybody = server.client("riverside", "ehr"), server.client("riverside", None)
    statement = anybody.must(200, "GET", "/fhir/metadata").json
    rest = statement["rest"][0]


def tearDownModule():
    server.stop()


class Statement(unittest.TestCase):
    def test_is_valid_by_our_own_validator(self):
        for name in ("riverside", "hillside"):
            client = server.client(name, "ehr")
            told = client.must(200, "GET", "/fhir/metadata").body
            answer = client.must(200, "POST", "/fhir/CapabilityStatement/$validate", told)
            self.assertEqual([issue for issue in answer.json["issue"] if issue["severity"] in ("error", "fatal")], [])
            stored = client.post("/fhir/CapabilityStatement", told)
            self.assertEqual(stored.status, 201, stored)

    def test_anybody_may_have_it_and_keep_it(self):
        first = anybody.get("/fhir/metadata")
        self.assertIn("max-age", first.headers["cache-control"])
        again = anybody.get("/fhir/metadata", If_None_Match=first.headers["etag"])
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(anybody.get("/fhir/R4/metadata").headers["etag"], first.headers["etag"])
        other = server.client("hillside", None).get("/fhir/metadata")
        self.assertNotEqual(other.headers["etag"], first.headers["etag"])

    def test_addresses_are_absolute_and_of_who_is_asked(self):
        base = f"https://riverside.localhost:{server.port}"
        self.assertEqual(statement["implementation"]["url"], base + "/fhir")
        for operation in self.operations():
            self.assertRegex(operation["definition"], r"^https?://")
        named = [operation["definition"] for operation in self.operations() if "riverside" in operation["definition"]]
        self.assertTrue(all(url.startswith(base + "/fhir/OperationDefinition/") for url in named) and named)
        alias = server.client("riverside", None, host="localhost", server_name="localhost")
        told = alias.must(200, "GET", "/riverside/fhir/metadata").json
        self.assertEqual(told["implementation"]["url"], f"https://localhost:{server.port}/riverside/fhir")

    def operations(self):
        return rest.get("operation", []) + [operation for resource in rest["resource"]
                                            for operation in resource.get("operation", [])]

    def test_own_operations_can_be_looked_up_and_are_valid(self):
        own = [operation for operation in self.operations() if "riverside" in operation["definition"]]
        self.assertIn("transition", [operation["name"] for operation in own])
        clinician = server.client("riverside", "clinician")
        for operation in own:
            path = "/" + operation["definition"].split("/", 3)[3]
            definition = clinician.must(200, "GET", path).json
            self.assertEqual((definition["url"], definition["code"]), (operation["definition"], operation["name"]))
            answer = ehr.must(200, "POST", "/fhir/OperationDefinition/$validate", definition)
            self.assertEqual([issue for issue in answer.json["issue"] if issue["severity"] == "error"], [], definition["id"])
            self.assertEqual(anybody.get(path).status, 401)
        transition = clinician.get("/fhir/OperationDefinition/Task-transition").json
        self.assertIn("`accept`", transition["description"])
        self.assertEqual(ehr.get("/fhir/OperationDefinition/none").status, 404)

    def test_every_operation_is_there(self):
        for operation in rest["operation"]:
            for path in ("/fhir/$", "/fhir/Patient/$", "/fhir/Patient/none/$"):
                if self.tried(path + operation["name"], False):
                    break
            else:
                self.fail(f"${operation['name']} is nowhere")
        for resource in rest["resource"]:
            for operation in resource.get("operation", []):
                for path in (f"/fhir/{resource['type']}/$", f"/fhir/{resource['type']}/none/$"):
                    if self.tried(path + operation["name"], False):
                        break
                else:
                    self.fail(f"{resource['type']}/${operation['name']} is nowhere")

    def tried(self, path, must=True):
        """Whether something answers that knows the operation, whatever it thinks of an empty request."""
        answer = ehr.post(path, {"resourceType": "Parameters"})
        found = not (answer.status == 405 or (answer.status == 404 and "no operation" in answer.words)
                     or (answer.status == 404 and "is for the whole system" in answer.words))
        self.assertTrue(found or not must, f"{path}: {answer}")
        return found


class Types(unittest.TestCase):
    def test_every_type_is_told(self):
        """All 148 of R4 but the abstract Resource and DomainResource."""
        self.assertEqual(len(rest["resource"]), 146)

    def test_interactions(self):
        """Of a few types, all that is claimed."""
        for resource in rest["resource"]:
            if resource["type"] not in ("Patient", "Basic", "Organization"):
                continue
            body = {"Patient": patient(), "Basic": {"resourceType": "Basic", "code": {"text": "x"}},
                    "Organization": {"resourceType": "Organization", "name": "x"}}[resource["type"]]
            path = "/fhir/" + resource["type"]
            made = ehr.create(body)
            one = "/fhir/" + made.reference
            changed = {**made.json, "language": "en"}
            tries = {
                "read": lambda: ehr.get(one), "vread": lambda: ehr.get(one + "/_history/1"),
                "update": lambda: ehr.request("PUT", one, changed),
                "patch": lambda: ehr.request("PATCH", one, [{"op": "add", "path": "/language", "value": "fr"}],
                                             {"Content-Type": "application/json-patch+json"}),
                "history-instance": lambda: ehr.get(one + "/_history"), "history-type": lambda: ehr.get(path + "/_history"),
                "create": lambda: ehr.post(path, body), "search-type": lambda: ehr.get(path),
                "delete": lambda: ehr.request("DELETE", one)}
            told = {interaction["code"] for interaction in resource["interaction"]}
            self.assertEqual(told, set(tries))
            for code in sorted(told, key=lambda code: code == "delete"):
                answer = tries[code]()
                self.assertLess(answer.status, 300, f"{resource['type']} {code}: {answer}")

    def test_conditions(self):
        told = next(resource for resource in rest["resource"] if resource["type"] == "Patient")
        self.assertEqual((told["conditionalCreate"], told["conditionalUpdate"], told["conditionalRead"], told["conditionalDelete"]),
                         (True, True, "full-support", "single"))
        body = patient(identifier=[{"system": "urn:capability", "value": "1"}])
        condition = "identifier=urn:capability|1"
        self.assertEqual(ehr.post("/fhir/Patient", body, If_None_Exist=condition).status, 201)
        self.assertEqual(ehr.post("/fhir/Patient", body, If_None_Exist=condition).status, 200)
        path = "/fhir/Patient?" + urllib.parse.quote(condition, safe="=")
        answer = ehr.request("PUT", path, {**body, "active": True})
        self.assertEqual(answer.status, 200, answer)
        one = "/fhir/" + answer.reference
        self.assertEqual(ehr.get(one, If_None_Match=answer.headers["etag"]).status, 304)
        self.assertEqual(ehr.get(one, If_Modified_Since=answer.headers["last-modified"]).status, 304)
        self.assertEqual(ehr.request("DELETE", path).status, 204)

    def test_every_parameter_is_searched_by(self):
        tried = 0
        for number, resource in enumerate(rest["resource"]):
            for at, parameter in enumerate(resource["searchParam"]):
                if resource["type"] not in FULL and (number + at) % 7:
                    continue
                value = {"date": "2026", "number": "1", "quantity": "1", "reference": "Patient/x"}.get(parameter["type"], "x")
                query = f"{parameter['name']}={value}"
                if parameter["type"] == "composite":
                    query = parameter["name"] + ":missing=true"
                answer = ehr.get(f"/fhir/{resource['type']}?{query}&_summary=count", Prefer="handling=strict")
                self.assertEqual(answer.status, 200, f"{resource['type']} {query}: {answer}")
                self.assertIn(" ", parameter.get("documentation", "The id"))
                tried += 1
        self.assertGreater(tried, 300)

    def test_every_include_of_a_few_types(self):
        for resource in rest["resource"]:
            if resource["type"] in FULL:
                for include in resource["searchInclude"]:
                    answer = ehr.get(f"/fhir/{resource['type']}?_count=1&_include={include}", Prefer="handling=strict")
                    self.assertEqual(answer.status, 200, answer)

    def test_compartments(self):
        bodies = {"device": {"resourceType": "Device"}, "patient": patient(), "practitioner": {"resourceType": "Practitioner"},
                  "encounter": {"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}}}
        bodies["relatedPerson"] = {"resourceType": "RelatedPerson", "patient": {"reference": ehr.create(patient()).reference}}
        for url in rest["compartment"]:
            one = ehr.create(bodies[url.rsplit("/", 1)[1]]).reference
            self.assertEqual(ehr.get(f"/fhir/{one}/Observation").status, 200, url)

    def test_whole_system(self):
        told = {interaction["code"] for interaction in rest["interaction"]}
        self.assertEqual(told, {"batch", "transaction", "history-system", "search-system"})
        self.assertEqual(ehr.get("/fhir/_history?_count=1").status, 200)
        self.assertEqual(ehr.get("/fhir?_type=Patient&_count=1").status, 200)
        for kind in ("batch", "transaction"):
            self.assertEqual(ehr.post("/fhir", {"resourceType": "Bundle", "type": kind, "entry": []}).status, 200)


if __name__ == "__main__":
    unittest.main()
