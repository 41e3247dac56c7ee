#!/usr/bin/env python3
"""Searches against an evaluation of our own over the plain JSON (search_oracle.py): every kind of parameter, modifier and prefix,
chains, _has, includes, sorts and pages; over a small set of our own, and over Synthea's patients when ../shared/data is there."""
import datetime
import decimal
import glob
import gzip
import json
import os
import time
import unittest
import urllib.parse

from careloop import ROOT, Server
from search_oracle import PARAMETERS, World, interval

DATA = os.path.join(ROOT, "..", "shared", "data", "synthea-20")
LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
MR = "http://terminology.hl7.org/CodeSystem/v2-0203"


def parse(body):
    return json.loads(body, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def concept(system, code, display=None, text=None):
    coding = {"system": system, "code": code, **({"display": display} if display else {})}
    return {"coding": [coding], **({"text": text} if text else {})}


def quantity(value, unit, code=None):
    return {"value": value, "unit": unit, **({"system": UCUM, "code": code} if code else {})}


def own_resources():
    """Few, but each for a rule: accents, case, partial dates, zones, leap days, groups, precision, big numbers."""
    def person(number, family, given, born, **more):
        return {"resourceType": "Patient", "id": f"own-{number}", "name": [{"family": family, "given": given}], "birthDate": born,
                **more}
    yield {"resourceType": "Organization", "id": "own-clinic", "name": "Ñandú Clinic", "alias": ["The BIRD"]}
    yield {"resourceType": "Practitioner", "id": "own-doctor", "name": [{"family": "Lee", "given": ["Mi"]}]}
    yield person(1, "Ñáñez", ["María", "José"], "1984-03", gender="female", active=True, identifier=[
        {"system": "urn:mrn", "value": "17,4|a$b\\c", "type": concept(MR, "MR", "Medical record number", "Medical Record")},
        {"system": "urn:ssn", "value": "999", "type": concept(MR, "SS")}],
        generalPractitioner=[{"reference": "Practitioner/own-doctor"}], managingOrganization={"reference": "Organization/own-clinic"},
        meta={"tag": [{"system": "urn:t", "code": "pilot", "display": "Pilot site"}], "profile": ["http://p/one"]})
    yield person(2, "nanez", ["maria"], "1984", gender="male", active=False, identifier=[
        {"system": "urn:mrn", "value": "999", "type": concept(MR, "MR")}],
        generalPractitioner=[{"identifier": {"system": "urn:npi", "value": "1"}}])
    yield person(3, "O'Brien  Smith", ["Ana"], "2000-02-29", gender="female", address=[
        {"line": ["12 Río Grande St"], "city": "El Paso", "state": "TX", "postalCode": "79901"}],
        telecom=[{"system": "phone", "value": "+1 555 0100"}, {"system": "email", "value": "ana@example.org"}])
    yield person(4, "NANEZ", ["Zoë"], "1984-03-15", deceasedDateTime="2020-12-31T23:30:00-05:00")
    yield person(5, "Smith, Jr", ["ANA"], "1999-12-31", organization=None)
    for number, (status, klass, start, end) in enumerate([
            ("finished", "AMB", "2024-02-28T23:30:00-05:00", "2024-02-29T01:00:00-05:00"), ("finished", "IMP", "2024-02-29", None),
            ("planned", "AMB", None, "2024-03-10T10:00:00+01:00"), ("in-progress", "EMER", "2024-03-01T00:00:00Z", "2024-03")]):
        yield {"resourceType": "Encounter", "id": f"own-{number}", "status": status,
               "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": klass, "display": f"Kind {klass}"},
               "period": {**({"start": start} if start else {}), **({"end": end} if end else {})},
               "subject": {"reference": f"Patient/own-{number + 1}"}, "serviceProvider": {"reference": "Organization/own-clinic"},
               "participant": [{"individual": {"reference": "Practitioner/own-doctor"}}]}
    values = [quantity(5.4, "mg", "mg"), quantity(5.35, "mg", "mg"), quantity(5.45, "mg", "mg"), quantity(5, "mg", "mg"),
              quantity(-1.5, "mg", "mg"), quantity(5.4, "milligram"), quantity(100, "mm Hg", "mm[Hg]"), quantity(1e3, "mg", "mg"),
              quantity(9007199254740993, "1", "1"), quantity(0.1, "mg", "mg")]
    for number, value in enumerate(values):
        yield {"resourceType": "Observation", "id": f"own-{number}", "status": "final" if number % 3 else "amended",
               "code": concept(LOINC, f"100{number % 4}-1", f"Thing {number % 4}", "A thing of Körper"), "valueQuantity": value,
               "subject": {"reference": f"Patient/own-{number % 4 + 1}"}, "effectiveDateTime": f"2024-0{number % 9 + 1}-10T12:00:0{number}Z"}
    for number, (systolic, diastolic) in enumerate([(150, 80), (120, 95), (141.5, 91), (80, 150)]):
        yield {"resourceType": "Observation", "id": f"own-bp-{number}", "status": "final", "code": concept(LOINC, "85354-9"),
               "subject": {"reference": f"Patient/own-{number + 1}"}, "encounter": {"reference": f"Encounter/own-{number}"},
               "effectivePeriod": {"start": f"2024-02-2{number + 6}", "end": "2024-03-01"},
               "performer": [{"reference": "Practitioner/own-doctor"}],
               "component": [{"code": concept(LOINC, "8480-6"), "valueQuantity": quantity(systolic, "mm Hg", "mm[Hg]")},
                             {"code": concept(LOINC, "8462-4"), "valueQuantity": quantity(diastolic, "mm Hg", "mm[Hg]")}],
               **({"derivedFrom": [{"reference": f"Observation/own-bp-{number - 1}"}]} if number else {})}
    yield {"resourceType": "Observation", "id": "own-concept", "status": "final", "code": concept(LOINC, "72166-2"),
           "subject": {"reference": "Patient/own-1"}, "valueCodeableConcept": concept(SNOMED, "266919005", "Never smoker")}
    yield {"resourceType": "Observation", "id": "own-string", "status": "final", "code": concept(LOINC, "72166-2"),
           "subject": {"reference": "Patient/own-2"}, "valueString": "Smokes Ten A Day"}
    for number in range(4):
        yield {"resourceType": "Condition", "id": f"own-{number}", "code": concept(SNOMED, str(number % 2), "Höhenangst", "Fear"),
               "subject": {"reference": f"Patient/own-{number + 1}"}, "recordedDate": f"201{number}", "onsetDateTime": "2010-06-15",
               "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
               **({"encounter": {"reference": f"Encounter/own-{number}"}} if number % 2 else {})}
    for number, probability in enumerate([0.25, 0.245, 0.254999, 1, 0.1]):
        yield {"resourceType": "RiskAssessment", "id": f"own-{number}", "status": "final",
               "subject": {"reference": f"Patient/own-{number % 4 + 1}"}, "prediction": [{"probabilityDecimal": probability}]}
    for number, url in enumerate(["http://q/a", "http://q/a/b", "http://q", "urn:uuid:5af5ea8e-5b1c-4a2e-9c6c-98e7a8e8f0aa"]):
        yield {"resourceType": "Questionnaire", "id": f"own-{number}", "url": url, "status": "active", "title": f"Form {number}",
               "date": f"2024-0{number + 1}"}
    for number in range(3):
        yield {"resourceType": "DocumentReference", "id": f"own-{number}", "status": "current",
               "content": [{"attachment": {"title": "x"}}],
               "relatesTo": [{"code": "replaces" if number % 2 else "appends", "target": {"reference": "DocumentReference/own-0"}}]}
    yield {"resourceType": "Provenance", "id": "own-0", "target": [{"reference": "Condition/own-0"}, {"reference": "Patient/own-1"}],
           "recorded": "2024-02-29T12:00:00Z", "agent": [{"who": {"reference": "Practitioner/own-doctor"}}]}


OWN = """
Patient?family=nanez|Patient?family=%C3%91%C3%81|Patient?family:exact=%C3%91%C3%A1%C3%B1ez|Patient?family:exact=nanez
Patient?family:exact=Nanez|Patient?family:contains=ane|Patient?family=o'brien smith|Patient?family=Smith%5C, Jr|Patient?family=Smith,O'B
Patient?given=maria&given=jose|Patient?name=mar|Patient?name:exact=Ana|Patient?name:contains=O%C3%8B|Patient?name:missing=true
Patient?address=el pa|Patient?address-city:exact=El Paso|Patient?address-city:exact=el paso|Patient?address:missing=false
Patient?address=12 rio|Patient?gender=female|Patient?gender:not=female|Patient?gender:not=female,male|Patient?gender:missing=true
Patient?active=true|Patient?active:not=true|Patient?telecom=+1%20555%200100|Patient?phone=%2B1%20555%200100|Patient?email=phone%7Cx
Patient?email=ana@example.org|Patient?telecom=email%7Cana@example.org|Patient?telecom=phone%7C|Patient?telecom=%7Cana@example.org
Patient?identifier=999|Patient?identifier=urn:mrn%7C999|Patient?identifier=urn:mrn%7C|Patient?identifier=%7C999
Patient?identifier=urn:mrn%7C17%5C,4%5C%7Ca%5C%24b%5C%5Cc|Patient?identifier=17%5C,4%5C%7Ca%5C%24b%5C%5Cc,999
Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203%7CMR%7C999
Patient?identifier:of-type=%7CSS%7C999|Patient?identifier:of-type=http://x%7CMR%7C999|Patient?identifier:text=medical
Patient?identifier:not=999|Patient?_tag=pilot|Patient?_tag=urn:t%7Cpilot|Patient?_tag:not=pilot|Patient?_tag:text=PILOT s
Patient?_profile=http://p/one|Patient?_profile:missing=true|Patient?_id=own-1,own-3,nothing|Patient?_id:not=own-1,own-3
Patient?birthdate=1984|Patient?birthdate=1984-03|Patient?birthdate=1984-03-15|Patient?birthdate=ne1984|Patient?birthdate=2000-02-29
Patient?birthdate=ge1984-03-15&birthdate=lt2000|Patient?birthdate=sa1984-03|Patient?birthdate=eb1984-03-15|Patient?birthdate=ap1984-03
Patient?birthdate=le1984|Patient?birthdate=gt1984-03-14|Patient?death-date=2021|Patient?death-date=2020|Patient?death-date=gt2021-01-01T04:00:00Z
Patient?general-practitioner=Practitioner/own-doctor|Patient?general-practitioner=own-doctor|Patient?general-practitioner:missing=true
Patient?general-practitioner:identifier=urn:npi%7C1|Patient?general-practitioner:identifier=1|Patient?organization.name=nandu
Patient?general-practitioner:Practitioner=own-doctor|Patient?general-practitioner:Organization=own-doctor
Patient?general-practitioner.name=lee|Patient?general-practitioner:Practitioner.family=Lee|Patient?organization.name:exact=The BIRD
Encounter?date=2024-02-29|Encounter?date=ge2024-02-29|Encounter?date=lt2024-02-29|Encounter?date=2024-02-29T05:00:00Z|Encounter?date=2024
Encounter?date=sa2024-02-29|Encounter?date=eb2024-03-11|Encounter?date=gt2024-03-10T09:00:00Z|Encounter?date=le2024-02-29T04:30:00Z
Encounter?date=ne2024-02-29|Encounter?date=ap2024-02-29|Encounter?date=2024-02-28T23:30:00-05:00,2024-02|Encounter?class:text=kind a
Encounter?class=AMB,IMP&status=finished|Encounter?subject:Patient.family=nanez&class=AMB|Encounter?patient.birthdate=1984
Encounter?service-provider.name=nandu&participant:Practitioner.name=lee|Encounter?subject=Patient/own-1|Encounter?patient=own-1
Encounter?subject.general-practitioner.name=lee|Encounter?patient.organization.name=the
Observation?value-quantity=5.4|Observation?value-quantity=5.40|Observation?value-quantity=5|Observation?value-quantity=5.4%7Chttp://unitsofmeasure.org%7Cmg
Observation?value-quantity=5.4%7C%7Cmilligram|Observation?value-quantity=5.4%7C%7Cmg|Observation?value-quantity=gt5.4|Observation?value-quantity=ge5.4%7C%7Cmg
Observation?value-quantity=lt5.4|Observation?value-quantity=le-1.5|Observation?value-quantity=ne5.4|Observation?value-quantity=ap5.4
Observation?value-quantity=sa5.4|Observation?value-quantity=eb5.4|Observation?value-quantity=1e3|Observation?value-quantity=1.0e3
Observation?value-quantity=0.1|Observation?value-quantity=gt99.9&value-quantity=lt1000|Observation?value-quantity:missing=true
Observation?value-quantity=lt0,gt999|Observation?value-quantity=100%7C%7Cmm[Hg]|Observation?value-quantity=100%7C%7Cmm Hg
Observation?code=1001-1|Observation?code=http://loinc.org%7C1001-1,http://loinc.org%7C1002-1|Observation?code:text=a thing of korp
Observation?code:text=thing 2|Observation?code:not=1001-1|Observation?code=http://loinc.org%7C&status=amended|Observation?code=%7C1001-1
Observation?code-value-quantity=http://loinc.org%7C1001-1%24gt5|Observation?code-value-quantity=1000-1%24lt6%7C%7Cmg,1002-1%245.45
Observation?code-value-concept=72166-2%24http://snomed.info/sct%7C266919005|Observation?code-value-concept=72166-2%24x
Observation?component-code-value-quantity=8480-6%24gt140|Observation?component-code-value-quantity=8462-4%24gt140
Observation?component-code-value-quantity=http://loinc.org%7C8480-6%24ge141.5%7Chttp://unitsofmeasure.org%7Cmm[Hg]
Observation?component-code-value-quantity=8480-6%24lt100,8462-4%24lt85|Observation?combo-code-value-quantity=8480-6%24gt140
Observation?combo-code-value-quantity=1003-1%24gt5.35|Observation?combo-code-value-quantity=85354-9%24gt1|Observation?combo-code=8480-6
Observation?component-code=8462-4&component-value-quantity=gt140|Observation?combo-value-quantity=gt140|Observation?value-string=smokes
Observation?value-string:contains=TEN|Observation?value-string:exact=Smokes Ten A Day|Observation?value-concept:text=never
Observation?encounter.date=2024-02-29|Observation?encounter:Encounter.class=AMB|Observation?performer:missing=false|Observation?performer=own-doctor
Observation?derived-from:Observation.component-code-value-quantity=8480-6%24gt140|Observation?derived-from.derived-from=own-bp-1
Observation?date=2024-02-29|Observation?date=ge2024-06|Observation?date=2024-03-10T12:00:02Z|Observation?date=2024-03-10T12:00|Observation?date=lt2024-02-27
Condition?code:text=hoh|Condition?code:text=fear&code=0|Condition?encounter:missing=true|Condition?encounter.status=planned
Condition?recorded-date=ge2011&recorded-date=lt2013|Condition?subject:Patient._has:Encounter:patient:class=IMP|Condition?onset-date=2010-06
Patient?_has:Observation:patient:code=1001-1|Patient?_has:Observation:patient:value-quantity=gt5&_has:Condition:patient:code=0
Patient?_has:Encounter:patient:_has:Condition:encounter:code=1|Patient?_has:Encounter:patient:service-provider.name=nandu
Patient?_has:Observation:subject:code-value-quantity=1002-1%245.45|Practitioner?_has:Encounter:practitioner:class=AMB
Organization?_has:Encounter:service-provider:_has:Observation:encounter:component-code=8480-6|Patient?_has:Condition:patient:encounter.class=IMP
RiskAssessment?probability=0.25|RiskAssessment?probability=0.250|RiskAssessment?probability=gt0.25|RiskAssessment?probability=1
RiskAssessment?probability=ap0.25|RiskAssessment?probability=lt0.25,1|Questionnaire?url=http://q/a|Questionnaire?url:below=http://q/a
Questionnaire?url:missing=false&date=ge2024-02|Questionnaire?title=form&url=http://q,http://q/a
DocumentReference?relationship=DocumentReference/own-0%24replaces|DocumentReference?relationship=own-0%24appends
DocumentReference?relatesto=own-0&relation=replaces
Patient?_sort=family|Patient?_sort=-family,given|Patient?_sort=birthdate|Patient?_sort=-birthdate,_id|Patient?_sort=gender,-name
Patient?_sort=-_id|Patient?_sort=death-date|Patient?_sort=-death-date,family|Observation?_sort=-value-quantity|Observation?_sort=date,code
Observation?_sort=value-quantity,-date&status=final|Encounter?_sort=-date|RiskAssessment?_sort=-probability|Observation?_sort=-_lastUpdated,_id
Observation?encounter=own-0&_include=Observation:encounter|Observation?code=85354-9&_include=Observation:*
Observation?code=85354-9&_include=*|Observation?_id=own-bp-3&_include:iterate=Observation:derived-from
Encounter?_id=own-1&_include=Encounter:subject:Patient&_include=Encounter:practitioner|Encounter?class=AMB&_include=Encounter:subject:Group
Patient?_id=own-1&_revinclude=Encounter:patient&_revinclude:iterate=Observation:encounter|Condition?_id=own-0&_revinclude=Provenance:target
Patient?_id=own-1,own-2&_revinclude=Observation:patient:Patient&_include=Patient:organization|Patient?_id=own-2&_revinclude=Observation:*
Observation?_id=own-bp-0&_include=Observation:encounter&_include:iterate=Encounter:service-provider&_include:iterate=Observation:patient
"""


class Comparison(unittest.TestCase):
    """What the two subclasses share: the same search here and there."""

    def check(self, world, client, path, count=3):
        expected, included = world.search(path)
        query = path.replace(" ", "%20").replace("'", "%27")
        found, beside, link, pages = [], set(), f"/fhir/{query}&_count={count}&_total=accurate", 0
        while link:
            bundle = client.must(200, "GET", link).json
            self.assertEqual(bundle["total"], len(expected), path)
            for entry in bundle.get("entry", []):
                reference = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
                self.assertTrue(entry["fullUrl"].endswith("/fhir/" + reference))
                if entry["search"]["mode"] == "match":
                    found.append(reference)
                else:
                    beside.add(reference)
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir/"):]
            pages += 1
        self.assertEqual(found, expected, path)
        self.assertLessEqual(pages, len(expected) // count + 1, path)
        # A later page may include what an earlier one matched.
        self.assertEqual(beside - set(expected), included - set(expected), path)
        return expected

    def check_all(self, world, client, paths, count=3):
        matched = 0
        for path in paths:
            with self.subTest(path):
                matched += bool(self.check(world, client, path, count))
        # Searches that find nothing show little.
        self.assertGreater(matched, len(paths) * 0.8)


def read_back(client, kinds):
    """All resources as the server gives them, in its order: what the oracle looks at."""
    by_type = {}
    for kind in kinds:
        link = f"/fhir/{kind}?_count=1000"
        by_type[kind] = []
        while link:
            bundle = parse(client.must(200, "GET", link).body)
            by_type[kind] += [entry["resource"] for entry in bundle.get("entry", [])]
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir/"):]
    return World(by_type, int(time.time() * 10 ** 6))


class Own(Comparison):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(("riverside",)).start()
        cls.ehr = cls.server.client("riverside", "ehr")
        cls.resources = list(own_resources())
        entries = [{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in
                   json.loads(json.dumps(cls.resources), object_hook=lambda o: {k: v for k, v in o.items() if v is not None})]
        cls.ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
        cls.world = read_back(cls.ehr, PARAMETERS)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_nothing_was_lost(self):
        sent = sorted(f"{r['resourceType']}/{r['id']}" for r in self.resources)
        self.assertEqual(sorted(r for r in self.world.by_reference if "/own-" in r), sent)

    def test_searches(self):
        self.check_all(self.world, self.ehr, [path for line in OWN.split("\n") for path in line.split("|") if path])

    def references(self, bundle, mode="match"):
        return [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in bundle.get("entry", [])
                if e["search"]["mode"] == mode]

    def test_large_numbers_and_decimals_come_back_as_written(self):
        self.assertIn(b"9007199254740993", self.ehr.get("/fhir/Observation/own-8").body)
        self.assertIn(b"9007199254740993", self.ehr.get("/fhir/Observation?_id=own-8").body)

    def test_post_is_the_same_as_get(self):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for path, query in (("Patient", "family=nanez&_sort=-birthdate&_count=2"), ("Observation", "combo-code=8480-6&date=ge2024"),
                            ("", "_type=Patient,Encounter&_id=own-1&_sort=_id"), ("Patient/own-1/Observation", "status=final"),
                            ("Patient/own-1/*", "_type=Encounter,Condition")):
            got = self.ehr.must(200, "GET", f"/fhir/{path}?{query}").json
            url = f"/fhir/{path}/_search" if path else "/fhir/_search"
            posted = self.ehr.request("POST", url, query, form)
            self.assertEqual(posted.status, 200, posted.words)
            self.assertEqual(posted.json, got)
            head, _, tail = query.partition("&")
            self.assertEqual(self.references(self.ehr.request("POST", f"{url}?{tail}", head, form).json), self.references(got))
            # The next page of what was posted is a plain GET.
            link = next((item["url"] for item in posted.json["link"] if item["relation"] == "next"), None)
            if link:
                self.ehr.must(200, "GET", link[link.index("/fhir/"):])

    def test_several_types(self):
        everything = [r for kind in sorted(PARAMETERS) for r in self.world.by_reference if r.startswith(kind + "/")]
        for query, expected in (
                ("_id=own-1", [r for r in everything if r.endswith("/own-1")]),
                ("_type=Encounter,Patient&_id=own-1,own-2", ["Encounter/own-1", "Encounter/own-2", "Patient/own-1", "Patient/own-2"]),
                ("_type=Patient&_tag=pilot", ["Patient/own-1"]), ("_tag=pilot", ["Patient/own-1"]),
                ("_type=Observation,Encounter,Condition&patient=own-2", [
                    f"{k}/{r['id']}" for k in ("Observation", "Encounter", "Condition") for r in self.world.by_type[k]
                    if r["subject"]["reference"] == "Patient/own-2"])):
            found, link = [], f"/fhir/?{query}&_count=2"
            while link:
                bundle = self.ehr.must(200, "GET", link).json
                self.assertLessEqual(len(bundle.get("entry", [])), 2)
                found += self.references(bundle)
                link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
                link = link and link[link.index("/fhir"):]
            self.assertEqual(sorted(found), sorted(expected), query)
            total = self.ehr.must(200, "GET", f"/fhir?{query}&_summary=count").json["total"]
            self.assertEqual(total, len(expected), query)
        both = [(r["id"], k) for k in ("Patient", "Encounter") for r in self.world.by_type[k]]
        found, link = [], "/fhir?_type=Patient,Encounter&_sort=-_id&_count=2"
        while link:
            bundle = self.ehr.must(200, "GET", link).json
            found += [(r.split("/")[1], r.split("/")[0]) for r in self.references(bundle)]
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir"):]
        self.assertEqual([i for i, _ in found], sorted((i for i, _ in both), reverse=True))
        self.assertEqual(sorted(found), sorted(both))
        self.assertEqual(self.ehr.get("/fhir?_type=Patient,Nonsense").status, 400)
        self.assertEqual(self.ehr.get("/fhir?_type=Patient&family=x&_sort=family").status, 400)
        self.assertEqual(self.ehr.get("/fhir?family=x").status, 400)

    def test_compartments(self):
        def about(kind, *references):
            return sorted(f"{kind}/{r['id']}" for r in self.world.by_type[kind]
                          if any(f'"{reference}"' in json.dumps(r, default=str) for reference in references))
        for path, expected in (
                ("Patient/own-1/Observation", about("Observation", "Patient/own-1")),
                ("Patient/own-1/Condition?code=0", ["Condition/own-0"]), ("Patient/own-9/Condition", []),
                ("Encounter/own-1/Observation", about("Observation", "Encounter/own-1")),
                ("Encounter/own-1/Condition", ["Condition/own-1"]), ("Encounter/own-1/Encounter", ["Encounter/own-1"]),
                ("Practitioner/own-doctor/Encounter?class=AMB", ["Encounter/own-0", "Encounter/own-2"]),
                ("Practitioner/own-doctor/Patient", about("Patient", "Practitioner/own-doctor")),
                ("Practitioner/own-doctor/Observation", about("Observation", "Practitioner/own-doctor")),
                ("RelatedPerson/x/Observation", []), ("Device/x/Observation", []),
                ("Patient/own-1/*?_type=Condition,Encounter", ["Condition/own-0", "Encounter/own-0"]),
                ("Encounter/own-1/*", sorted(["Encounter/own-1", "Condition/own-1", *about("Observation", "Encounter/own-1")]))):
            self.assertEqual(sorted(self.references(self.ehr.must(200, "GET", f"/fhir/{path}").json)), expected, path)
        every = self.references(self.ehr.must(200, "GET", "/fhir/Patient/own-1/*?_count=100").json)
        self.assertEqual(sorted(every), sorted(
            ["Patient/own-1", "Provenance/own-0", "RiskAssessment/own-0", "RiskAssessment/own-4", *about("Condition", "Patient/own-1"),
             *about("Encounter", "Patient/own-1"), *about("Observation", "Patient/own-1")]))
        self.assertEqual(self.ehr.get("/fhir/Device/x/Location").status, 400)
        self.assertEqual(self.ehr.get("/fhir/Organization/x/Patient").status, 404)

    def test_what_is_shown(self):
        bundle = self.ehr.must(200, "GET", "/fhir/Patient?family=nanez&_elements=name,birthDate").json
        for entry in bundle["entry"]:
            # What modifies the meaning is always there (R4 section 3.1.1.5.9).
            self.assertEqual(set(entry["resource"]) - {"resourceType", "id", "meta", "active", "deceasedDateTime"}, {"name", "birthDate"})
            self.assertIn("SUBSETTED", [tag["code"] for tag in entry["resource"]["meta"]["tag"]])
        for query in ("_summary=count", "_count=0"):
            bundle = self.ehr.must(200, "GET", f"/fhir/Patient?family=nanez&{query}").json
            self.assertEqual((bundle["total"], "entry" in bundle), (3, False))
        self.assertNotIn("total", self.ehr.must(200, "GET", "/fhir/Patient?family=nanez&_total=none").json)
        patient = self.ehr.must(200, "GET", "/fhir/Patient?_id=own-1&_summary=true").json["entry"][0]["resource"]
        self.assertIn("name", patient)
        self.assertNotIn("generalPractitioner", self.ehr.must(200, "GET", "/fhir/Patient?_id=own-1&_summary=text").json["entry"][0]["resource"])

    def test_what_is_unknown_is_refused_or_left_out_and_said(self):
        for query in ("nme=x", "birthdate:exact=1984", "_text=x", "near=1", "family:not=x", "_sort=nme", "_include=Patient:nme",
                      "_has:Observation:nme:code=x", "birthdate=1984-13", "birthdate=eq", "gender:missing=maybe", "_count=x",
                      "general-practitioner.nme=x", "organization.partof.partof.name=x", "identifier:of-type=a", "_page=nonsense"):
            answer = self.ehr.get(f"/fhir/Patient?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertEqual(answer.json["resourceType"], "OperationOutcome")
        lenient = self.ehr.must(200, "GET", "/fhir/Patient?family=nanez&nme=x&_text=y", Prefer="handling=lenient").json
        self.assertEqual(len(lenient["entry"]), 3)
        self.assertNotIn("nme", lenient["link"][0]["url"])
        self.assertIn("family=nanez", lenient["link"][0]["url"])
        self.assertEqual(self.ehr.get("/fhir/Patient?nme=x", Prefer="handling=strict").status, 400)
        # What is known and wrong is refused either way.
        self.assertEqual(self.ehr.get("/fhir/Patient?birthdate=1984-13", Prefer="handling=lenient").status, 400)

    def test_links_belong_to_their_search(self):
        bundle = self.ehr.must(200, "GET", "/fhir/Patient?_count=2&_sort=family").json
        link = next(item["url"] for item in bundle["link"] if item["relation"] == "next")
        link = link[link.index("/fhir/"):]
        self.ehr.must(200, "GET", link)
        path, _, place = link.rpartition("_page=")
        for broken in (path.replace("family", "-family") + "_page=" + place, path.replace("?", "?gender=male&") + "_page=" + place,
                       path + "_page=" + place[:-1] + ("A" if place[-1] != "A" else "B"), path + "_page=" + place[:-4], path + "_page=",
                       link.replace("/Patient", "/Encounter"), path + "_page=" + place.swapcase()):
            self.assertEqual(self.ehr.get(broken).status, 400 if not broken.endswith("_page=") else 200, broken)

    def history(self, path, count=3):
        """(reference, version, status) of every entry, page by page, with a write between two pages."""
        found, link, step = [], f"/fhir/{path}{'&' if '?' in path else '?'}_count={count}", 0
        while link:
            bundle = self.ehr.must(200, "GET", link).json
            self.assertLessEqual(len(bundle.get("entry", [])), count)
            for entry in bundle.get("entry", []):
                found.append(("/".join(entry["fullUrl"].split("/")[-2:]), int(entry["response"]["etag"].strip('W/"')),
                              entry["response"]["status"]))
            link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
            link = link and link[link.index("/fhir/"):]
            step += 1
            self.ehr.must(201, "POST", "/fhir/Basic", {"resourceType": "Basic", "code": {"text": f"written after page {step}"}})
        return found

    def test_histories(self):
        slot = {"resourceType": "Substance", "code": {"text": "x"}}
        times = []
        for version in range(1, 6):
            slot["description"] = f"version {version}"
            answer = self.ehr.request("PUT", "/fhir/Substance/history", {**slot, "id": "history"})
            self.assertIn(answer.status, (200, 201))
            times.append(answer.json["meta"]["lastUpdated"])
            time.sleep(0.02)
        self.ehr.must(204, "DELETE", "/fhir/Substance/history")
        reference = "Substance/history"
        every = [(reference, 6, "204"), *((reference, v, "200") for v in (5, 4, 3, 2)), (reference, 1, "201")]
        self.assertEqual(self.history("Substance/history/_history", 4), every)
        self.assertEqual(self.history("Substance/_history", 2), every)
        quoted = [urllib.parse.quote(t) for t in times]
        self.assertEqual(self.history(f"Substance/_history?_since={quoted[2]}", 2), every[:4])
        # Current at an instant: the one version that was then; over a day: all of them.
        between = datetime.datetime.fromisoformat(times[2].replace("Z", "+00:00")) + datetime.timedelta(milliseconds=9)
        between = between.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30))).isoformat(timespec="milliseconds")
        self.assertEqual(self.history(f"Substance/_history?_at={urllib.parse.quote(between)}", 2), [every[3]])
        self.assertEqual(self.history(f"Substance/_history?_at={times[0][:10]}", 4), every)
        self.assertEqual(self.history("Substance/_history?_at=2001-01-01", 4), [])
        whole = self.history("_history", 40)
        self.assertEqual(len(set(whole)), len(whole))
        for resource in self.resources:
            self.assertIn((f"{resource['resourceType']}/{resource['id']}", 1, "201"), whole)
        bundle = self.ehr.must(200, "GET", "/fhir/Substance/_history?_count=2").json
        link = next(item["url"] for item in bundle["link"] if item["relation"] == "next")
        link = link[link.index("/fhir/"):]
        for broken in (link[:-1] + ("A" if link[-1] != "A" else "B"), link.replace("/Substance/", "/Patient/"),
                       link.replace("_count=2", "_count=3"), link + "x"):
            self.assertEqual(self.ehr.get(broken).status, 400, broken)
        for wrong in ("_since=x", "_at=2024-13", "_count=-1"):
            self.assertEqual(self.ehr.get(f"/fhir/Substance/_history?{wrong}").status, 400)

    def test_pages_stay_while_others_write(self):
        """Rows that move in the order, come or go are neither doubled nor missed; what was changed is shown as it was."""
        names = [f"page-{i:02}" for i in range(30)]
        entries = [{"resource": {"resourceType": "Location", "id": n, "name": n}, "request": {"method": "PUT", "url": f"Location/{n}"}}
                   for n in names]
        self.ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
        for query in ("name=page&_sort=name", "name=page&_sort=-name", "name=page&_sort=_lastUpdated,_id", "name=page",
                      "name=page&_sort=-_lastUpdated"):
            found, link, step = [], f"/fhir/Location?{query}&_count=7", 0
            while link:
                bundle = self.ehr.must(200, "GET", link).json
                for entry in bundle["entry"]:
                    found.append(entry["resource"]["id"])
                    self.assertEqual(entry["resource"]["name"], entry["resource"]["id"])
                link = next((item["url"] for item in bundle["link"] if item["relation"] == "next"), None)
                link = link and link[link.index("/fhir/"):]
                step += 1
                for n in names[step::5]:   # to the front, to the end, and out of the search
                    for name in (f"page-{99 - int(n[-2:])}", "elsewhere"):
                        self.ehr.must(200, "PUT", f"/fhir/Location/{n}", {"resourceType": "Location", "id": n, "name": name})
                self.ehr.must(201, "PUT", f"/fhir/Location/new-{step}-{abs(hash(query))}",
                              {"resourceType": "Location", "id": f"new-{step}-{abs(hash(query))}", "name": "page-50"})
            self.assertEqual(sorted(found), names, query)
            for number, n in enumerate(self.references(self.ehr.must(200, "GET", "/fhir/Location?_count=1000").json)):
                n = n.split("/")[1]
                if n in names:
                    self.ehr.must(200, "PUT", f"/fhir/Location/{n}", {"resourceType": "Location", "id": n, "name": n})
                else:
                    self.ehr.must(204, "DELETE", f"/fhir/Location/{n}")


@unittest.skipUnless(os.path.isdir(DATA), "Synthea's bundles are not here: ../shared/data/synthea-20 is missing")
class Synthea(Comparison):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(("riverside",)).start()
        cls.ehr = cls.server.client("riverside", "ehr")
        cls.counts = {}
        for path in sorted(glob.glob(os.path.join(DATA, "*.json.gz"))):
            with gzip.open(path) as file:
                body = file.read()
            cls.ehr.must(200, "POST", "/fhir", body)
            for entry in json.loads(body)["entry"]:
                kind = entry["resource"]["resourceType"]
                cls.counts[kind] = cls.counts.get(kind, 0) + 1
        cls.world = read_back(cls.ehr, PARAMETERS)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_everything_is_there(self):
        for kind, number in self.counts.items():
            if kind in self.world.by_type and kind not in ("Organization", "Practitioner"):
                self.assertGreaterEqual(len(self.world.by_type[kind]), number, kind)

    def each(self, kind, path, most):
        """Some values of what stands at a path, spread over the resources."""
        from search_oracle import walk
        values = []
        for resource in self.world.by_type[kind]:
            for value in walk(resource, path):
                if value not in values:
                    values.append(value)
        step = max(1, len(values) // most)
        return values[::step][:most]

    def test_searches(self):
        q = urllib.parse.quote
        paths = []
        patients = [r["id"] for r in self.world.by_type["Patient"] if not r["id"].startswith("demo")][:20:4]
        for family in self.each("Patient", "name.family", 4):
            paths += [f"Patient?family={q(family)}", f"Patient?family={q(family[:3])}", f"Patient?name={q(family.upper())}",
                      f"Patient?family:exact={q(family)}", f"Patient?family:contains={q(family[1:4])}"]
        for day in self.each("Patient", "birthDate", 4):
            paths += [f"Patient?birthdate={p}{day}" for p in ("", "ne", "gt", "lt", "ge", "le", "sa", "eb")]
            paths += [f"Patient?birthdate={day[:4]}", f"Patient?birthdate=ge{day[:7]}&gender=female", f"Patient?birthdate={day}&family:missing=false"]
        for identifier in self.each("Patient", "identifier", 3):
            paths += [f"Patient?identifier={q(identifier['system'] + '|' + identifier['value'])}", f"Patient?identifier={q(identifier['value'])}"]
            for coding in identifier.get("type", {}).get("coding", []):
                paths.append(f"Patient?identifier:of-type={q('|'.join([coding['system'], coding['code'], identifier['value']]))}")
        for code in self.each("Observation", "code.coding.code", 8):
            paths += [f"Observation?code={code}&_sort=-date", f"Observation?code=http://loinc.org%7C{code}&date=ge2015&_sort=date",
                      f"Observation?code={code}&_sort=value-quantity", f"Patient?_has:Observation:patient:code={code}&_sort=family"]
            paths += [f"Observation?patient={p}&code={code}&_sort=-date" for p in patients[:2]]
        for text in self.each("Observation", "code.text", 4):
            paths.append(f"Observation?code:text={q(text[:9])}&date=lt2014")
        for value in self.each("Observation", "valueQuantity", 6):
            number = str(value["value"])[:6].rstrip(".")
            paths += [f"Observation?value-quantity={p}{number}" for p in ("", "ap")] + [
                f"Observation?value-quantity=gt{number}%7C{q(UCUM)}%7C{q(value['code'])}", f"Observation?value-quantity=lt{number}%7C%7C{q(value['unit'])}"]
        paths += [f"Observation?combo-code-value-quantity=8480-6%24gt{n}" for n in (110, 130, 150)]
        paths += [f"Observation?component-code-value-quantity=http://loinc.org%7C8462-4%24{p}" for p in ("lt80", "ge90", "ap85")]
        paths += [f"Observation?code-value-quantity=8302-2%24{p}" for p in ("gt170", "lt120%7C%7Ccm", "178")]
        for code in self.each("Condition", "code.coding.code", 5):
            paths += [f"Condition?code={code}", f"Condition?code:not={code}&clinical-status=active", f"Patient?_has:Condition:patient:code={code}",
                      f"Encounter?_has:Condition:encounter:code={code}", f"Condition?code={code}&subject:Patient.gender=female"]
        for when in self.each("Encounter", "period.start", 4):
            paths += [f"Encounter?date={p}{q(when)}" for p in ("", "gt", "le", "sa", "eb")] + [f"Encounter?date={when[:10]}", f"Encounter?date={when[:7]}"]
        for p in patients[:3]:   # the requests that us-core's reference run makes
            paths += [f"Encounter?patient={p}&class=AMB", f"Condition?patient={p}&clinical-status=active,resolved", f"Procedure?patient={p}&status=completed",
                      f"Observation?patient={p}&category=laboratory&date=ge2010", f"Observation?category=vital-signs&patient={p}&status=final,amended",
                      f"MedicationRequest?patient={p}&intent=order&status=active,stopped", f"Immunization?patient={p}&date=gt2010",
                      f"CarePlan?patient={p}&category=assess-plan", f"Goal?patient={p}&lifecycle-status=active,accepted,in-progress",
                      f"DiagnosticReport?patient={p}&category=LAB&date=ge2012&_include=DiagnosticReport:result",
                      f"Condition?patient={p}&_revinclude=Provenance:target", f"AllergyIntolerance?patient={p}",
                      f"MedicationRequest?patient={p}&_include=MedicationRequest:requester", f"Procedure?patient={p}&date=le2015&_sort=-date",
                      f"Observation?patient={p}&_include=Observation:encounter&_include:iterate=Encounter:service-provider",
                      f"Patient?_id={p}&_revinclude=Encounter:patient&_revinclude=Condition:patient", f"Encounter?patient={p}&_include=*"]
        paths += ["Encounter?practitioner.family:missing=false&class=AMB&_sort=date", "Encounter?service-provider.address-city=BOS",
                  "Encounter?patient.birthdate=lt1960&date=ge2015", "CarePlan?condition.code:missing=false&patient.gender=male",
                  "Observation?encounter.class=AMB&date=ge2017&code=8302-2", "Observation?encounter:Encounter.service-provider.name:contains=a&date=ge2018",
                  "DiagnosticReport?result.code=2093-3", "Patient?_has:Encounter:patient:reason-code:missing=false&_sort=-birthdate",
                  "Patient?_has:Encounter:patient:_has:Procedure:encounter:status=completed", "Patient?gender:not=male&_sort=-birthdate",
                  "Patient?_has:CarePlan:patient:condition.code:missing=false", "Procedure?reason-reference.code:missing=false",
                  "Patient?address-state=MA,Massachusetts&_sort=address-city,family", "Patient?language=en-US&death-date:missing=true",
                  "Patient?_tag=synthea-5-2019", "ImagingStudy?modality:missing=false&_sort=started", "Claim?created=ge2016&status=active"]
        self.check_all(self.world, self.ehr, list(dict.fromkeys(paths)), count=400)

    def test_pages_of_any_size_are_one_list(self):
        for count in (1, 7, 50, 1000):
            self.check(self.world, self.ehr, "Condition?_sort=-onset-date", count)
            self.check(self.world, self.ehr, "Patient?_sort=family", count)


class Dates(unittest.TestCase):
    def test_the_oracle_knows_calendars(self):
        day = 86400 * 10 ** 6
        self.assertEqual(interval("2024-02-29")[1] - interval("2024-02-28")[0], 2 * day)
        self.assertEqual(interval("2024-02")[1] - interval("2024-02")[0], 29 * day)
        self.assertEqual(interval("2024-02-28T23:30:00-05:00")[0], interval("2024-02-29T04:30:00Z")[0])


if __name__ == "__main__":
    unittest.main(verbosity=1)
