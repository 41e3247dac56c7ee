#!/usr/bin/env python3
"""What a search shows is what may be read, resource by resource, on random data and by every way: matches, totals, pages, includes,
chains, _has, compartments, several types, histories (pitfalls 18). A principal's answers are those of a world that has nothing
but what it may read."""
import os
import random
import unittest

from careloop import Server
from search_oracle import PARAMETERS, readable
from search_synthea_test import Comparison, concept, quantity, read_back

SEED = int(os.environ.get("CL_SEED", "7"))
KINDS = ["Patient", "Encounter", "Observation", "Condition", "CareTeam", "Organization", "Practitioner", "Provenance"]
# The oracle knows these of CareTeam, too.
PARAMETERS["CareTeam"] = {"patient": ("reference", ["subject"], ["Patient"]), "status": ("token", ["status"]),
                          "participant": ("reference", ["participant.member"], [])}

ORGANIZATION = """return { name = "Clinic", zone = "America/Chicago", plugins = { "own" }, reference = "Organization/clinic",
	principals = {
		ehr = { kind = "client", roles = { "all" }, certificate = "urn:careloop:clinic:client:ehr" },
		clinician = { kind = "person", roles = { "team" }, certificate = "urn:careloop:clinic:person:clinician",
			reference = "Practitioner/own-doctor" },
		coordinator = { kind = "person", roles = { "fields" }, certificate = "urn:careloop:clinic:person:coordinator" },
		manager = { kind = "person", roles = { "team", "few" }, certificate = "urn:careloop:clinic:person:manager",
			reference = "Practitioner/other" },
	} }
"""
PLUGIN = """return plugin { name = "own", api = 1, summary = "random rules",
	roles = {
		all = { summary = "all", allow = { { "read search history create update delete", types = "*", except_labels = {} } } },
		team = { summary = "team", allow = {
			{ "read search history", types = { "Patient", "Encounter", "Observation", "Condition" }, where = "care team" },
			{ "read search history", types = { "Organization" } } } },
		fields = { summary = "fields", allow = {
			{ "read search history", types = { "Patient" }, where = "gender=female" },
			{ "read search history", types = { "Encounter" }, where = "class=AMB,IMP&patient.birthdate=lt1970" },
			{ "read search history", types = { "Observation" }, where = "status=final" },
			{ "read search history", types = { "Observation" }, where = "component-code-value-quantity=8480-6$gt140" },
			{ "read search history", types = { "Condition" }, where = "_tag=open", except_labels = {} },
			{ "read search history", types = { "Organization", "Practitioner", "CareTeam" } } } },
		few = { summary = "few", allow = {
			{ "read search history", types = { "Observation" }, where = "code:text=thing a" },
			{ "read search history", types = { "Provenance" } },
			{ "read search history", types = { "Patient" }, where = "family:exact=Lee" } } },
	} }
"""


def world_of(dice):
    """Resources that refer to each other at random, in the order in which they can be stored."""
    patients = [f"own-{i}" for i in range(24)]
    label = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}
    for name in ("own-doctor", "other"):
        yield {"resourceType": "Practitioner", "id": name, "name": [{"family": name}]}
    yield {"resourceType": "Organization", "id": "own-clinic", "name": "Clinic"}

    def meta():
        found = dict(label) if dice.random() < 0.2 else {}
        if dice.random() < 0.4:
            found["tag"] = [{"system": "urn:t", "code": "open"}]
        return {"meta": found} if found else {}
    for i in patients:
        yield {"resourceType": "Patient", "id": i, "gender": dice.choice(["female", "male", "other"]), "birthDate":
               f"19{dice.randrange(40, 99)}-01-0{dice.randrange(1, 9)}", "name": [{"family": dice.choice(["Lee", "LEE", "Ray"])}],
               "managingOrganization": {"reference": "Organization/own-clinic"}, **meta()}
    for i in range(16):
        yield {"resourceType": "CareTeam", "id": f"own-{i}", "status": dice.choice(["active", "active", "inactive"]),
               "subject": {"reference": f"Patient/{dice.choice(patients)}"},
               "participant": [{"member": {"reference": f"Practitioner/{dice.choice(['own-doctor', 'other'])}"}}]}
    for i in range(50):
        yield {"resourceType": "Encounter", "id": f"own-{i}", "status": "finished", "period": {"start": "2024-01-01"},
               "class": {"code": dice.choice(["AMB", "IMP", "EMER"])}, "subject": {"reference": f"Patient/{dice.choice(patients)}"},
               "serviceProvider": {"reference": "Organization/own-clinic"},
               "participant": [{"individual": {"reference": "Practitioner/own-doctor"}}], **meta()}
    for i in range(120):
        yield {"resourceType": "Observation", "id": f"own-{i}", "status": dice.choice(["final", "amended"]),
               "code": concept("http://loinc.org", f"{i % 5}-1", f"Thing {'ABCDE'[i % 5]}"),
               "subject": {"reference": f"Patient/{dice.choice(patients)}"}, "valueQuantity": quantity(dice.randrange(99), "mg"),
               "effectiveDateTime": f"2024-0{dice.randrange(1, 9)}-01",
               **({"encounter": {"reference": f"Encounter/own-{dice.randrange(50)}"}} if dice.random() < 0.7 else {}),
               **({"derivedFrom": [{"reference": f"Observation/own-{dice.randrange(i)}"}]} if i and dice.random() < 0.5 else {}),
               **({"component": [{"code": concept("http://loinc.org", dice.choice(["8480-6", "8462-4"])),
                                  "valueQuantity": quantity(dice.randrange(80, 190), "mm[Hg]")}]} if dice.random() < 0.4 else {}), **meta()}
    for i in range(60):
        yield {"resourceType": "Condition", "id": f"own-{i}", "code": concept("urn:c", str(i % 4), "Thing"), **meta(),
               "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
               "subject": {"reference": f"Patient/{dice.choice(patients)}"}, "encounter": {"reference": f"Encounter/own-{dice.randrange(50)}"}}
    for i in range(30):
        yield {"resourceType": "Provenance", "id": f"own-{i}", "recorded": "2024-01-01T00:00:00Z", "agent": [{"who": {
            "reference": "Practitioner/own-doctor"}}], "target": [{"reference": f"Observation/own-{dice.randrange(120)}"}]}


SEARCHES = """
Patient|Patient?gender=female&_sort=family|Patient?_sort=-birthdate|Patient?_has:Observation:patient:code=1-1|Patient?family=lee
Patient?_has:Observation:patient:component-code-value-quantity=8480-6%24gt140|Patient?_has:Encounter:patient:class=AMB
Patient?_has:Encounter:patient:_has:Observation:encounter:status=final|Patient?_has:Condition:patient:encounter.class=IMP
Patient?_revinclude=Observation:patient|Patient?_revinclude=Condition:patient&_revinclude=Encounter:*&_include=Patient:organization
Patient?_revinclude=Encounter:patient&_revinclude:iterate=Observation:encounter|Patient?organization.name=clinic
Encounter|Encounter?patient.gender=male|Encounter?_include=*|Encounter?class=AMB&_include=Encounter:patient&_revinclude=Observation:encounter
Encounter?_has:Observation:encounter:value-quantity=gt50|Encounter?patient._has:Condition:patient:code=2|Encounter?patient:missing=false
Encounter?practitioner.family=own|Encounter?subject:Patient.birthdate=ge1960&_sort=-date
Observation|Observation?patient.gender=female|Observation?encounter.class=EMER&_sort=value-quantity|Observation?code=1-1&_include=Observation:*
Observation?derived-from.code=1-1|Observation?derived-from:Observation.derived-from.status=final|Observation?code:not=1-1&_sort=-date
Observation?encounter.patient.gender=other|Observation?_include:iterate=Observation:derived-from&code=2-1|Observation?encounter:missing=true
Observation?_revinclude=Provenance:target&code=3-1|Observation?_has:Provenance:target:recorded=2024|Observation?_include=Observation:encounter&_include:iterate=Encounter:patient
Observation?code:text=thing&_sort=_id|Observation?patient._has:Encounter:patient:class=IMP|Observation?_tag=open|Observation?_security=R
Condition|Condition?patient.family:exact=Lee|Condition?encounter._has:Observation:encounter:code=1-1|Condition?_include=Condition:patient&_include=Condition:encounter
Condition?encounter.patient.birthdate=lt1970|Condition?code=1&_revinclude=Provenance:target|Condition?_tag=open&_sort=-_id
"""


class Access(Comparison):
    @classmethod
    def setUpClass(cls):
        cls.server = Server({"clinic": ORGANIZATION})
        own = os.path.join(cls.server.orgs, "clinic", "own")
        os.makedirs(own)
        with open(os.path.join(own, "plugin.lua"), "w") as file:
            file.write(PLUGIN)
        cls.server.start()
        cls.ehr = cls.server.client("clinic", "ehr")
        cls.resources = list(world_of(random.Random(SEED)))
        entries = [{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in cls.resources]
        cls.ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
        cls.world = read_back(cls.ehr, KINDS)
        cls.clients = {name: cls.server.client("clinic", name) for name in ("clinician", "coordinator", "manager")}
        # The decision on each resource, as a read makes it.
        cls.visible = {name: readable(client, cls.world.by_reference) for name, client in cls.clients.items()}

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def kinds(self, name):
        """Types that the principal may search at all."""
        return {k for k in KINDS if self.clients[name].get(f"/fhir/{k}?_count=0").status == 200}

    def test_rules_differ(self):
        everything = set(self.world.by_reference)
        for name, visible in self.visible.items():
            for kind in ("Patient", "Observation"):
                of_kind = {r for r in everything if r.startswith(kind + "/")}
                self.assertTrue(of_kind & visible, (name, kind))
                self.assertTrue(of_kind - visible, (name, kind))

    def test_searches_show_what_may_be_read(self):
        for name, client in self.clients.items():
            world, kinds = self.world.only(self.visible[name]), self.kinds(name)
            for path in (p for line in SEARCHES.split("\n") for p in line.split("|") if p):
                if path.split("?")[0] in kinds:
                    with self.subTest(f"{name} {path}"):
                        self.check(world, client, path + ("" if "?" in path else "?"), 9)
                else:
                    self.assertEqual(client.get(f"/fhir/{path}").status, 403)

    def references(self, client, path):
        found, link = [], f"/fhir/{path}{'&' if '?' in path else '?'}_count=50"
        while link:
            bundle = client.must(200, "GET", link).json
            found += [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in bundle.get("entry", [])]
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir"):]
        return found

    def test_compartments_and_several_types(self):
        dice = random.Random(SEED)
        for name, client in self.clients.items():
            visible, kinds = self.visible[name], self.kinds(name)
            self.assertEqual(sorted(self.references(client, "")), sorted(r for r in visible if r.split("/")[0] in kinds))
            self.assertEqual(client.must(200, "GET", "/fhir?_summary=count").json["total"], len(visible))
            some = [k for k in ("Encounter", "Observation") if k in kinds]
            self.assertEqual(sorted(self.references(client, f"?_type={','.join(some)}&_sort=-_lastUpdated")),
                             sorted(r for r in visible if r.split("/")[0] in some))
            for number in dice.sample(range(24), 6):
                person = f"Patient/own-{number}"
                whole = [r for r in self.references(self.ehr, person + "/*") if r in visible]
                self.assertEqual(sorted(self.references(client, person + "/*")), sorted(whole), (name, person))
                for kind in ("Observation", "Condition"):
                    if kind in kinds:
                        self.assertEqual(sorted(self.references(client, f"{person}/{kind}")),
                                         sorted(r for r in whole if r.startswith(kind + "/")))
            for number in dice.sample(range(50), 6):
                visit = f"Encounter/own-{number}"
                whole = [r for r in self.references(self.ehr, visit + "/*") if r in visible]
                self.assertEqual(sorted(self.references(client, visit + "/*")), sorted(whole), (name, visit))

    def test_zz_histories(self):
        """Last, because it changes what may be read: labels come and go, statuses change."""
        dice = random.Random(SEED)
        for resource in self.resources:
            if resource["resourceType"] in ("Observation", "Condition") and dice.random() < 0.5:
                changed = dict(resource)
                if dice.random() < 0.5:
                    changed["meta"] = {} if "meta" in resource else {"security": [{"code": "R", "system":
                                       "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"}], "tag": [{"code": "open"}]}
                if "status" in changed:
                    changed["status"] = "final" if changed["status"] == "amended" else "amended"
                self.ehr.must(200, "PUT", f"/fhir/{resource['resourceType']}/{resource['id']}", changed)
        every = self.history(self.ehr, "_history")
        for name, client in self.clients.items():
            visible = {}
            for reference, version in every:
                if reference.split("/")[0] in KINDS:
                    visible[(reference, version)] = client.get(f"/fhir/{reference}/_history/{version}").status == 200
            shown = [item for item in every if visible.get(item)]
            self.assertTrue(shown and len(shown) < len(every))
            self.assertEqual(self.history(client, "_history"), shown, name)
            for kind in self.kinds(name):
                self.assertEqual(self.history(client, f"{kind}/_history"), [i for i in shown if i[0].startswith(kind + "/")], name)
            for reference in dice.sample(sorted({r for r, _ in every if r.startswith("Observation/")}), 20):
                answer = client.get(f"/fhir/{reference}/_history")
                if answer.status == 200:
                    self.assertEqual(self.history(client, f"{reference}/_history"), [i for i in shown if i[0] == reference])
                else:
                    self.assertEqual(answer.status, 403)
                    self.assertEqual(client.get(f"/fhir/{reference}").status, 403)

    def history(self, client, path):
        found, link = [], f"/fhir/{path}?_count=40"
        while link:
            bundle = client.must(200, "GET", link).json
            found += [("/".join(e["fullUrl"].split("/")[-2:]), int(e["response"]["etag"].strip('W/"'))) for e in bundle.get("entry", [])]
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir"):]
        return found


if __name__ == "__main__":
    unittest.main(verbosity=1)
