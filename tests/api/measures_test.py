#!/usr/bin/env python3
"""Measures of a population, computed twice: by the server, and by plain loops written from the published definitions over the
resources read back from it. A seeded random population sits on the edges of every window (domain 2.2, 2.9 to 2.13, 2.22).
One server for the file."""
import datetime
import random
import statistics
import threading
import time
import unittest
from zoneinfo import ZoneInfo

from careloop import Server

SEED, PATIENTS = 20261128, 160
ZONE = ZoneInfo("America/Los_Angeles")
FIRST, LAST = datetime.date(2025, 1, 1), datetime.date(2025, 12, 31)
ICD10, LOINC, SNOMED = "http://hl7.org/fhir/sid/icd-10-cm", "http://loinc.org", "http://snomed.info/sct"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
DISPOSITION = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
DAY = datetime.timedelta(days=1)

ORGANIZATION = """return { name = "Measured", zone = "America/Los_Angeles", reference = "Organization/clinic",
	model = "integrated", services = { "measures" },
	hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
	holidays = { "2025-01-01", "2025-05-26", "2025-07-04", "2025-11-27", "2025-12-25" },
	principals = {
		ehr = { kind = "client", certificate = "urn:careloop:clinic:client:ehr", roles = { "ehr" } },
		manager = { kind = "person", certificate = "urn:careloop:clinic:person:manager", roles = { "manager" } },
	} }
"""
HOLIDAYS = {datetime.date(2025, 1, 1), datetime.date(2025, 5, 26), datetime.date(2025, 7, 4), datetime.date(2025, 11, 27),
            datetime.date(2025, 12, 25)}
TYPES = ["Patient", "Condition", "Encounter", "Observation", "ServiceRequest", "Procedure", "MedicationRequest", "Appointment",
         "Coverage", "Claim", "ClaimResponse", "ExplanationOfBenefit", "EpisodeOfCare", "Task"]


# ---- the population ----

def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


class Population:
    def __init__(self, seed, patients):
        self.random = random.Random(seed)
        self.entries = []
        for number in range(patients):
            self.patient(number)

    def add(self, resource):
        identity = f"urn:uuid:00000000-0000-4000-8000-{len(self.entries):012d}"
        self.entries.append({"fullUrl": identity, "resource": resource,
                             "request": {"method": "POST", "url": resource["resourceType"]}})
        return identity

    def day(self, first, last):
        first, last = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
        return first + DAY * self.random.randint(0, (last - first).days)

    def moment(self, day):
        """As a date, or a time of that local day near its edges, in UTC."""
        if self.random.random() < 0.6:
            return day.isoformat()
        hour = self.random.choice([0, 1, 9, 15, 22, 23])
        local = datetime.datetime(day.year, day.month, day.day, hour, self.random.randint(0, 59), tzinfo=ZONE)
        return local.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def condition(self, patient, code, onset, confirmed=True):
        condition = {"resourceType": "Condition", "subject": {"reference": patient}, "code": concept(ICD10, code),
                     "clinicalStatus": concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
                     "onsetDateTime": onset.isoformat(),
                     "verificationStatus": concept("http://terminology.hl7.org/CodeSystem/condition-ver-status",
                                                   "confirmed" if confirmed else "provisional")}
        if self.random.random() < 0.1:
            condition["clinicalStatus"]["coding"][0]["code"] = "resolved"
            condition["abatementDateTime"] = (onset + DAY * self.random.randint(30, 900)).isoformat()
        return self.add(condition)

    def visit(self, patient, first, last=None, kind="AMB", **more):
        last = last or first
        return self.add({"resourceType": "Encounter", "status": self.random.choice(["finished"] * 12 + ["cancelled"]),
                         "class": {"system": ACT, "code": kind}, "subject": {"reference": patient},
                         "period": {"start": first.isoformat(), "end": last.isoformat()}, **more})

    def observation(self, patient, code, day, value=None, **more):
        status = self.random.choice(["final"] * 9 + ["amended", "corrected", "preliminary", "entered-in-error"])
        observation = {"resourceType": "Observation", "status": status, "code": concept(LOINC, code),
                       "subject": {"reference": patient}, "effectiveDateTime": self.moment(day), **more}
        if value is not None:
            observation["valueQuantity"] = {"value": value, "unit": "1"}
        return self.add(observation)

    def patient(self, number):
        r = self.random
        patient = {"resourceType": "Patient", "name": [{"family": f"Sample{number}"}],
                   "birthDate": self.day("1930-01-01", "2019-12-31").isoformat()}
        if r.random() < 0.05:
            patient["deceasedDateTime"] = self.day("2024-10-01", "2025-12-31").isoformat()
        who = self.add(patient)
        visits = [self.day("2023-09-01", "2025-12-31") for _ in range(r.randint(1, 6))]
        for day in visits:
            self.visit(who, day, kind=r.choice(["AMB", "AMB", "AMB", "VR", "HH", "EMER"]),
                       reasonCode=[concept(ICD10, r.choice(["F32.1", "F41.1", "E11.9", "I10", "J06.9", "R45.851"]))])
        for code, chance in [("F32.1", 0.6), ("F31.9", 0.06), ("F20.0", 0.04), ("F84.0", 0.03), ("F60.3", 0.03), ("E11.9", 0.5),
                             ("I10", 0.6), ("N18.6", 0.04), ("O09.90", 0.04), ("R54", 0.1), ("I50.1", 0.1), ("Z51.5", 0.05)]:
            if r.random() < chance:
                self.condition(who, code, self.day("2019-01-01", "2025-12-31") if chance < 0.5 or r.random() < 0.3
                               else self.day("2019-01-01", "2023-06-01"), r.random() < 0.9)
        self.scores(who, visits)
        self.chronic(who, visits)
        self.hospital(who)
        self.appointments(who)
        self.referrals(who)
        self.money(who)

    def scores(self, who, visits):
        r = self.random
        for day in visits:
            if r.random() < 0.8:
                near = day - DAY * r.choice([0, 0, 1, 6, 7, 8, 14, 15])
                more = {"extension": [{"url": "urn:careloop:score:prorated", "valueBoolean": True}]} if r.random() < 0.05 else {}
                index = r.randint(4, 24)
                self.observation(who, "44261-6", near, index, **more)
                later = near + DAY * r.choice([119, 120, 121, 200, 240, 241, 304, 305, 306, 330, 365, 424, 425, 426])
                if r.random() < 0.9 and later <= LAST + DAY * 20:
                    self.observation(who, "44261-6", later, r.choice([index // 2, index // 2 + 1, 4, 5, r.randint(0, 20)]))
            if r.random() < 0.5:
                positive = r.random() < 0.5
                screened = day - DAY * r.choice([0, 1, 13, 14, 15])
                self.observation(who, r.choice(["73832-8", "73832-8", "73831-0"]), screened,
                                 valueCodeableConcept=concept(SNOMED, "428181000124104" if positive else "428171000124102"))
                if positive and r.random() < 0.7:
                    self.add({"resourceType": "ServiceRequest", "status": r.choice(["active", "completed", "revoked"]),
                              "intent": "order", "subject": {"reference": who},
                              "authoredOn": (day + DAY * r.choice([-1, 0, 1, 2, 3])).isoformat(),
                              "code": concept("urn:careloop:service", "behavioral_health")})

    def chronic(self, who, visits):
        r = self.random
        for _ in range(r.randint(0, 3)):
            day = self.day("2024-11-15", "2025-12-31")
            for _ in range(r.choice([1, 1, 2])):
                self.observation(who, r.choice(["4548-4", "97506-0", "2345-7"]), day,
                                 r.choice([6.5, 8.9, 9, 9.0, 9.1, 11.2]) if r.random() < 0.9 else None)
        for _ in range(r.randint(0, 3)):
            day = self.day("2024-11-15", "2025-12-31")
            for _ in range(r.choice([1, 2])):
                parts = [{"code": concept(LOINC, "8480-6"), "valueQuantity": {"value": r.choice([120, 139, 140, 150]), "unit": "mm"}},
                         {"code": concept(LOINC, "8462-4"), "valueQuantity": {"value": r.choice([70, 89, 90, 95]), "unit": "mm"}}]
                if r.random() < 0.15:
                    parts = parts[:1]
                more = {}
                if r.random() < 0.15:
                    more["encounter"] = {"reference": self.visit(who, day, kind="EMER")}
                self.observation(who, "85354-9", day, component=parts, **more)

    def hospital(self, who):
        r = self.random
        if r.random() < 0.4:
            return
        day = self.day("2024-12-01", "2025-11-30")
        for _ in range(r.randint(1, 4)):
            last = day + DAY * r.choice([0, 1, 3, 9])
            disposition = r.choice(["home"] * 6 + ["exp", "other-hcf", "other-hcf"])
            reason = r.choice(["F32.2", "F32.2", "I50.1", "O80", "Z51.11", "F41.0", "R45.851"])
            self.visit(who, day, last, r.choice(["IMP", "ACUTE", "OBSENC", "SS"]), reasonCode=[concept(ICD10, reason)],
                       hospitalization={"dischargeDisposition": concept(DISPOSITION, disposition)})
            if r.random() < 0.7:
                self.visit(who, last + DAY * r.choice([0, 1, 6, 7, 8, 29, 30, 31]),
                           reasonCode=[concept(ICD10, r.choice(["F32.1", "F41.1", "J06.9"]))])
            day = last + DAY * r.choice([0, 1, 2, 5, 29, 30, 31, 60])
        for _ in range(r.randint(0, 2)):
            day = self.day("2025-01-01", "2025-12-31")
            self.visit(who, day, kind="EMER", reasonCode=[concept(ICD10, r.choice(["F41.0", "S52.5", "T14.91XA"]))])

    def appointments(self, who):
        r = self.random
        for _ in range(r.randint(0, 3)):
            day = self.day("2025-11-25", "2026-01-05")
            start = datetime.datetime(day.year, day.month, day.day, r.choice([0, 9, 23]), 15, tzinfo=ZONE)
            status = r.choice(["fulfilled", "fulfilled", "noshow", "cancelled", "arrived", "booked"])
            appointment = {"resourceType": "Appointment", "status": status, "start": start.isoformat(),
                           "end": (start + datetime.timedelta(minutes=30)).isoformat(),
                           "participant": [{"actor": {"reference": who}, "status": "accepted"}]}
            if status == "cancelled":
                appointment["cancelationReason"] = concept(
                    "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason", r.choice(["pat", "pat-cpp", "prov"]))
                if r.random() < 0.8:
                    appointment["extension"] = [{"url": "urn:careloop:appointment:cancelled-at", "valueDateTime": (
                        start - datetime.timedelta(hours=r.choice([1, 23, 24, 25]))).isoformat()}]
            self.add(appointment)

    def referrals(self, who):
        r = self.random
        if r.random() < 0.5:
            return
        for _ in range(r.randint(1, 2)):
            day = self.day("2024-12-20", "2025-11-15")
            request = self.add({"resourceType": "ServiceRequest", "status": r.choice(["active", "completed", "revoked"]),
                                "intent": r.choice(["order", "order", "proposal"]), "subject": {"reference": who},
                                "authoredOn": day.isoformat(), "code": {"text": "referral"}})
            if r.random() < 0.7:
                ended = self.day("2025-01-01", "2026-01-20")
                self.add({"resourceType": "Task", "status": r.choice(["completed", "completed", "in-progress"]), "intent": "order",
                          "for": {"reference": who}, "basedOn": [{"reference": request}],
                          "code": concept(SNOMED, r.choice(["371530004", "371530004", "405172000"])),
                          "executionPeriod": {"start": ended.isoformat(), "end": ended.isoformat()}})
        if r.random() < 0.6:
            day = self.day("2024-12-20", "2025-12-20")
            self.add({"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": who},
                      "authoredOn": day.isoformat(), "code": {"text": "Wants care"},
                      "category": [concept("urn:careloop:contact", "first")]})
            if r.random() < 0.8:
                later = day + DAY * r.randint(0, 20)
                self.visit(who, later, type=[concept("urn:careloop:encounter", "initial_evaluation")])

    def money(self, who):
        r = self.random
        for _ in range(r.choice([0, 1, 1, 2])):
            first = self.day("2024-06-01", "2025-09-01")
            coverage = {"resourceType": "Coverage", "status": r.choice(["active"] * 8 + ["cancelled"]),
                        "beneficiary": {"reference": who}, "payor": [{"display": "plan"}], "period": {"start": first.isoformat()}}
            if r.random() < 0.7:
                coverage["period"]["end"] = (first + DAY * r.randint(10, 500)).isoformat()
            self.add(coverage)
        common = {"patient": {"reference": who}, "provider": {"display": "clinic"}, "insurer": {"display": "payer"},
                  "type": concept("http://terminology.hl7.org/CodeSystem/claim-type", "professional"), "use": "claim",
                  "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "plan"}}]}
        for _ in range(r.randint(0, 3)):
            day = self.day("2025-09-01", "2025-12-31")
            charge = r.randint(50, 900)
            claim = self.add({"resourceType": "Claim", "status": r.choice(["active"] * 8 + ["cancelled"]), "created": day.isoformat(),
                              "billablePeriod": {"start": day.isoformat()}, "total": {"value": charge, "currency": "USD"},
                              "priority": concept("http://terminology.hl7.org/CodeSystem/processpriority", "normal"), **common})
            for _ in range(r.choice([0, 1, 1, 2])):
                answered = day + DAY * r.randint(5, 60)
                totals = [{"category": concept("urn:careloop:adjudication", name),
                           "amount": {"value": r.randint(1, charge // 3), "currency": "USD"}}
                          for name in ("contractual", "writeoff", "credit", "denied") if r.random() < 0.35]
                response = {"resourceType": "ClaimResponse", "status": "active", "created": answered.isoformat(),
                            "request": {"reference": claim}, "outcome": r.choice(["complete", "complete", "error"]), **common}
                for name in ("provider", "insurance"):
                    response.pop(name)
                if totals:
                    response["total"] = totals
                if r.random() < 0.7:
                    response["payment"] = {"type": {"text": "payment"}, "date": answered.isoformat(),
                                           "amount": {"value": r.randint(1, charge // 2), "currency": "USD"}}
                self.add(response)
        for _ in range(r.randint(0, 4)):
            day = self.day("2024-12-01", "2026-01-10")
            self.add({"resourceType": "ExplanationOfBenefit", "status": "active", "outcome": "complete", "created": day.isoformat(),
                      "billablePeriod": {"start": day.isoformat()},
                      "payment": {"amount": {"value": r.randint(20, 4000), "currency": "USD"}},
                      **{**common, "insurance": [{"focal": True, "coverage": {"display": "plan"}}]}})

    def load(self, client):
        start, bundles = 0, [] # a bundle ends before a patient: references into another one would dangle
        for at, entry in enumerate(self.entries):
            if entry["resource"]["resourceType"] == "Patient" and at - start > 1500:
                bundles.append(self.entries[start:at])
                start = at
        bundles.append(self.entries[start:])
        for entries in bundles:
            client.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries})


# ---- the second computation ----

def local_day(text):
    if text is None:
        return None
    if len(text) == 10:
        return datetime.date.fromisoformat(text)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(ZONE).date()


def instant(text):
    if len(text) == 10:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=ZONE)
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def codes(*concepts):
    return [coding.get("code", "") for each in concepts for one in (each if isinstance(each, list) else [each])
            if one for coding in one.get("coding", [])]


def starts(*prefixes):
    return lambda found: any(code.startswith(prefixes) for code in found)


def months_later(day, count):
    month = day.year * 12 + day.month - 1 + count
    year, month = divmod(month, 12)
    length = (datetime.date(year + (month == 11), (month + 1) % 12 + 1, 1) - DAY).day
    return datetime.date(year, month + 1, min(day.day, length))


def age(birth, day):
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


DEPRESSION = starts("F32.1", "F33", "F34.1")
MENTAL = starts("F2", "F3", "F40", "F41", "F42", "F43", "F60", "F84", "T14.91", "R45.851")


class Chart:
    """One patient's resources, as lists of plain values."""

    def __init__(self, patient, resources):
        self.reference = "Patient/" + patient["id"]
        self.birth = datetime.date.fromisoformat(patient["birthDate"])
        self.death = local_day(patient.get("deceasedDateTime"))
        self.of = resources
        self.visits = sorted(
            ({"id": e["id"], "first": local_day(e["period"]["start"]), "last": local_day(e["period"]["end"]),
              "class": e["class"]["code"], "reasons": codes(e.get("reasonCode", [])), "types": codes(e.get("type", [])),
              "disposition": codes(e.get("hospitalization", {}).get("dischargeDisposition"))}
             for e in resources["Encounter"] if e["status"] == "finished"), key=lambda v: (v["first"], v["id"]))
        self.office = [v for v in self.visits if v["class"] in ("AMB", "VR", "HH", "FLD")]
        self.conditions = [(codes(c["code"]), local_day(c["onsetDateTime"]), local_day(c.get("abatementDateTime")),
                            "confirmed" in codes(c["verificationStatus"])) for c in resources["Condition"]]

    def has(self, wanted, first=None, last=None, confirmed=False):
        return any(wanted(found) and (last is None or onset <= last) and (first is None or end is None or end >= first)
                   and (sure or not confirmed) for found, onset, end, sure in self.conditions)

    def anything(self, wanted, first, last):
        return self.has(wanted, first, last) or any(
            wanted(v["reasons"] + v["types"]) and v["first"] <= last and v["last"] >= first for v in self.visits)

    def observations(self, *wanted):
        return [o for o in self.of["Observation"] if o["status"] in ("final", "amended", "corrected")
                and any(code in wanted for code in codes(o["code"]))]

    def phq9(self):
        found = [(local_day(o["effectiveDateTime"]), instant(o["effectiveDateTime"]), o["valueQuantity"]["value"])
                 for o in self.observations("44261-6") if not o.get("extension")]
        return sorted(found, key=lambda score: score[1])

    # depression

    def index(self, first, last):
        for day, _, value in self.phq9():
            if value > 9 and any(v["first"] - 7 * DAY <= day <= v["last"] and first <= v["last"] <= last
                                 and self.has(DEPRESSION, v["first"], v["last"], True) for v in self.office):
                return day, value
        return None

    def depression_exclusion(self, first, last):
        return (self.has(starts("F30", "F31"), None, last) or self.has(starts("F60.3", "F34.0", "F60.4"), None, last)
                or self.has(starts("F20", "F22", "F23", "F24", "F25", "F28", "F29"), None, last)
                or self.has(starts("F84"), None, last) or self.anything(starts("Z51.5"), first, last)
                or (self.death is not None and self.death <= last))

    def last_score(self, first, last):
        inside = [value for day, _, value in self.phq9() if first <= day <= last]
        return inside[-1] if inside else None

    def cms159(self):
        first, last = months_later(FIRST, -14), months_later(FIRST, -2) - DAY
        found = self.index(first, last)
        if not found or age(self.birth, found[0]) < 12:
            return []
        center = months_later(found[0], 12)
        score = self.last_score(center - 60 * DAY, center + 60 * DAY)
        return [(self.depression_exclusion(first, center + 60 * DAY), False, score is not None and score < 5)]

    def drr(self, reached):
        first, last = months_later(FIRST, -8), months_later(FIRST, 4) - DAY
        found = self.index(first, last)
        if not found or age(self.birth, first) < 12:
            return []
        score = self.last_score(found[0] + 120 * DAY, found[0] + 240 * DAY)
        return [(self.depression_exclusion(first, LAST), False, score is not None and reached(found[1], score))]

    def cms2(self):
        years = age(self.birth, FIRST)
        visits = [v for v in self.office if v["first"] >= FIRST and v["last"] <= LAST]
        if years < 12 or not visits:
            return []
        screens = []
        for o in self.of["Observation"]:
            if o["status"] not in ("final", "amended", "corrected"):
                continue
            day, result = local_day(o["effectiveDateTime"]), None
            code = codes(o["code"])[0]
            if (code == "73832-8" and years >= 17) or (code == "73831-0" and years <= 17):
                result = "428181000124104" in codes(o.get("valueCodeableConcept"))
            elif code == "44261-6" and not o.get("extension"):
                result = o["valueQuantity"]["value"] >= 10
            near = [v for v in visits if 0 <= (v["first"] - day).days <= 14]
            if result is not None and near:
                screens.append((day, o["effectiveDateTime"], o["id"], result, near))
        met = False
        if screens:
            _, _, _, positive, near = max(screens, key=lambda s: s[:3])
            met = not positive or any(
                s["status"] in ("active", "completed") and "behavioral_health" in codes(s["code"])
                and any(v["first"] <= local_day(s["authoredOn"]) <= v["last"] + 2 * DAY for v in near)
                for s in self.of["ServiceRequest"])
        return [(self.has(starts("F30", "F31"), None, visits[0]["first"]), False, met)]

    # chronic

    def common_exclusion(self, years, alone):
        frail = self.anything(starts("R54"), FIRST, LAST)
        ill = self.has(starts("I50", "N18.6"), months_later(FIRST, -12), LAST)
        return (self.anything(starts("Z51.5"), FIRST, LAST)
                or years >= 66 and frail and (ill or alone is not None and years >= alone))

    def seen(self):
        return any(v["first"] <= LAST and v["last"] >= FIRST for v in self.office)

    def cms122(self):
        years = age(self.birth, LAST)
        if not 18 <= years <= 75 or not self.has(starts("E08", "E09", "E10", "E11", "E13"), FIRST, LAST) or not self.seen():
            return []
        tests = [(local_day(o["effectiveDateTime"]), o.get("valueQuantity", {}).get("value"))
                 for o in self.observations("4548-4", "17856-6", "4549-2", "97506-0")]
        tests = [test for test in tests if FIRST <= test[0] <= LAST]
        latest = []
        if tests:
            last_day = max(day for day, _ in tests)
            latest = [value for day, value in tests if day == last_day and value is not None]
        return [(self.common_exclusion(years, None), False, not latest or min(latest) > 9)]

    def cms165(self):
        years = age(self.birth, LAST)
        if (not 18 <= years <= 85 or not self.has(starts("I10"), FIRST, datetime.date(2025, 6, 30)) or not self.seen()):
            return []
        outside = {v["id"] for v in self.visits if v["class"] in ("EMER", "IMP", "ACUTE", "NONAC", "OBSENC", "SS")}
        emergency = {"Encounter/" + e["id"] for e in self.of["Encounter"] if e["class"]["code"] == "EMER"}
        days = {}
        for o in self.observations("85354-9"):
            day = local_day(o["effectiveDateTime"])
            if not FIRST <= day <= LAST or o.get("encounter", {}).get("reference") in emergency:
                continue
            for part in o["component"]:
                days.setdefault(day, {}).setdefault(codes(part["code"])[0], []).append(part["valueQuantity"]["value"])
        both = sorted(day for day, values in days.items() if len(values) == 2)
        met = bool(both) and min(days[both[-1]]["8480-6"]) < 140 and min(days[both[-1]]["8462-4"]) < 90
        excluded = (self.anything(starts("N18.5", "N18.6", "Z99.2", "Z94.0"), datetime.date(1, 1, 1), LAST)
                    or self.has(starts("O"), FIRST, LAST) or self.common_exclusion(years, 81))
        return [(excluded, False, met)]

    # hospital

    def stays(self):
        found = []
        for v in self.visits:
            if v["class"] not in ("IMP", "ACUTE", "OBSENC"):
                continue
            before = found[-1] if found else None
            if before and 0 <= (v["first"] - before["last"]).days < 2 and "other-hcf" in before["disposition"]:
                before.update(last=v["last"], disposition=v["disposition"], reasons=v["reasons"])
            else:
                found.append({**v, "came_for": v["reasons"]})
        return found

    def readmission(self):
        result, stays = [], self.stays()
        for at, stay in enumerate(stays):
            if not FIRST <= stay["last"] <= LAST - 30 * DAY or age(self.birth, stay["last"]) < 18:
                continue
            excluded = ("exp" in stay["disposition"] or starts("O")(stay["came_for"]) or stay["first"] == stay["last"])
            again = any(0 <= (other["first"] - stay["last"]).days <= 30 and not starts("Z51.0", "Z51.1", "Z51.89")(other["came_for"])
                        for other in stays[at + 1:])
            result.append((excluded, False, again))
        return result

    def seen_for_mind(self, first, last):
        return any(first <= v["first"] <= last and starts("F2", "F3", "F4", "F6", "F8")(v["reasons"]) for v in self.office)

    def fuh(self, days):
        result, stays = [], self.stays()
        for at, stay in enumerate(stays):
            if not FIRST <= stay["last"] <= LAST - 30 * DAY or not MENTAL(stay["reasons"]) or age(self.birth, stay["last"]) < 6:
                continue
            if at + 1 < len(stays) and (stays[at + 1]["first"] - stay["last"]).days <= 30:
                continue
            result.append((False, False, self.seen_for_mind(stay["last"] + DAY, stay["last"] + days * DAY)))
        return result

    def fum(self, days):
        result, stays, before = [], self.stays(), None
        for v in self.visits:
            if (v["class"] != "EMER" or not FIRST <= v["last"] <= LAST - 30 * DAY or not MENTAL(v["reasons"])
                    or before and (v["last"] - before).days <= 30):
                continue
            before = v["last"]
            if age(self.birth, v["last"]) < 6 or any(0 <= (s["first"] - v["last"]).days <= 30 for s in stays):
                continue
            result.append((False, False, self.seen_for_mind(v["last"], v["last"] + days * DAY)))
        return result

    def member_months(self, rule="mid_month"):
        spans = [(local_day(c["period"]["start"]), local_day(c["period"].get("end")) or datetime.date(9999, 1, 1))
                 for c in self.of["Coverage"] if c["status"] == "active"]
        return sum(any(first <= datetime.date(2025, month, 15) <= last for first, last in spans) for month in range(1, 13))

    def emergencies(self):
        months = self.member_months()
        if not months:
            return None
        return sum(v["class"] == "EMER" and FIRST <= v["first"] <= LAST
                   and not any((s["first"] - v["last"]).days in (0, 1) for s in self.stays()) for v in self.visits), months

    # access

    def appointments(self, late):
        result = []
        for a in self.of["Appointment"]:
            day = local_day(a["start"])
            if not datetime.date(2025, 12, 1) <= day <= LAST:
                continue
            told = [e["valueDateTime"] for e in a.get("extension", [])]
            short = (a["status"] == "cancelled" and told and codes(a["cancelationReason"])[0].startswith("pat")
                     and instant(a["start"]) - instant(told[0]) < datetime.timedelta(hours=24))
            if a["status"] in ("fulfilled", "arrived", "checked-in"):
                result.append((False, False, False))
            elif a["status"] == "noshow" or late and short:
                result.append((False, False, True))
        return result

    def waits(self):
        result = []
        for s in self.of["ServiceRequest"]:
            if "first" not in codes(s.get("category", [])):
                continue
            day = local_day(s["authoredOn"])
            if not FIRST <= day <= LAST:
                continue
            reached = [v["first"] for v in self.visits if "initial_evaluation" in v["types"] and v["first"] >= day]
            if reached:
                count, at = 0, day
                while at < min(reached):
                    at += DAY
                    count += at.weekday() < 5 and at not in HOLIDAYS
                result.append(count)
        return result

    def cms50(self):
        requests = sorted(((s["authoredOn"], s["id"]) for s in self.of["ServiceRequest"]
                           if s["status"] in ("active", "completed") and s["intent"] == "order"
                           and FIRST <= local_day(s["authoredOn"]) <= datetime.date(2025, 10, 31)))
        if not requests:
            return []
        authored, request = requests[0]
        return [(False, False, any(
            t["status"] == "completed" and t["basedOn"][0]["reference"] == "ServiceRequest/" + request
            and "371530004" in codes(t["code"]) and t["executionPeriod"]["end"] > authored
            and local_day(t["executionPeriod"]["end"]) <= LAST for t in self.of["Task"] if t.get("basedOn")))]

    # money

    def claims(self):
        result = []
        for c in self.of["Claim"]:
            if c["status"] != "active":
                continue
            answers = [(local_day(r.get("payment", {}).get("date") or r["created"]), r.get("payment", {}).get("amount", {}).get("value", 0),
                        {codes(t["category"])[0]: t["amount"]["value"] for t in r.get("total", [])}, r["outcome"])
                       for r in self.of["ClaimResponse"] if r["request"]["reference"] == "Claim/" + c["id"]]
            result.append((local_day(c["created"]), c["total"]["value"], answers))
        return result


def proportion(cases):
    rows = list(cases)
    open_rows = [row for row in rows if not row[0]]
    met = sum(bool(row[2]) for row in open_rows)
    excepted = sum(bool(row[1]) and not row[2] for row in open_rows)
    return {"initial-population": len(rows), "denominator-exclusion": len(rows) - len(open_rows), "denominator-exception": excepted,
            "numerator": met}, 100 * met / (len(open_rows) - excepted) if len(open_rows) > excepted else None


# ---- the test ----

def setUpModule():
    global server, ehr, manager, charts
    server = Server({"clinic": ORGANIZATION}).start()
    ehr, manager = server.client("clinic", "ehr"), server.client("clinic", "manager")
    Population(SEED, PATIENTS).load(ehr)
    ehr.create({"resourceType": "Coverage", "status": "active", "beneficiary": {"display": "nobody"}, "payor": [{"display": "x"}]})
    resources = {name: everything(name) for name in TYPES}
    by_patient = {"Patient/" + p["id"]: {name: [] for name in TYPES} for p in resources["Patient"]}
    for name, found in resources.items():
        for resource in found:
            about = (resource.get("subject") or resource.get("patient") or resource.get("for") or resource.get("beneficiary")
                     or (resource.get("participant") or [{}])[0].get("actor") or {}).get("reference")
            if about in by_patient:
                by_patient[about][name].append(resource)
    charts = [Chart(p, by_patient["Patient/" + p["id"]]) for p in resources["Patient"]]


def tearDownModule():
    server.stop()


def everything(name):
    found, path = [], f"/fhir/{name}?_count=1000"
    while path:
        bundle = ehr.must(200, "GET", path).json
        found += [entry["resource"] for entry in bundle.get("entry", [])]
        path = next((link["url"].split("8443")[-1] for link in bundle["link"] if link["relation"] == "next"), None)
        if path:
            path = path[path.index("/fhir"):]
    return found


def measured(name, period="2025", query=""):
    report = ehr.must(200, "GET", f"/fhir/Measure/{name.replace('_', '-')}/$evaluate-measure?period={period}{query}").json
    group = report["group"][0]
    return ({p["code"]["coding"][0]["code"]: p.get("count") for p in group["population"]},
            group.get("measureScore", {}).get("value"), report)


class Agreement(unittest.TestCase):
    def proportion(self, name, compute, period="2025", least=5):
        counts, score, _ = measured(name, period)
        expected, rate = proportion(case for chart in charts for case in compute(chart))
        self.assertEqual({key: counts[key] for key in expected}, expected, name)
        self.assertGreaterEqual(expected["initial-population"], least, f"{name}: too few cases to prove anything")
        self.assertAlmostEqual(score, rate, 3, name)

    def ratio(self, name, pairs, scale, period="2025"):
        _, score, _ = measured(name, period)
        pairs = [pair for pair in pairs if pair is not None]
        self.assertGreater(len(pairs), 20, name)
        self.assertAlmostEqual(score, scale * sum(a for a, _ in pairs) / sum(b for _, b in pairs), 2, name)

    def test_depression(self):
        self.proportion("cms159", Chart.cms159)
        self.proportion("cms2", Chart.cms2, least=40)
        self.proportion("drr_follow_up", lambda chart: chart.drr(lambda index, score: True))
        self.proportion("drr_response", lambda chart: chart.drr(lambda index, score: score <= index / 2))
        self.proportion("drr_remission", lambda chart: chart.drr(lambda index, score: score < 5))

    def test_chronic_disease(self):
        self.proportion("cms122", Chart.cms122, least=20)
        self.proportion("cms165", Chart.cms165, least=20)

    def test_hospital(self):
        self.proportion("readmission_30", Chart.readmission, least=20)
        for days in (7, 30):
            self.proportion(f"fuh_{days}", lambda chart: chart.fuh(days), least=10)
            self.proportion(f"fum_{days}", lambda chart: chart.fum(days), least=10)
        self.ratio("ed_per_1000", [chart.emergencies() for chart in charts], 12000)
        lengths = [max(1, (stay["last"] - stay["first"]).days) for chart in charts for stay in chart.stays()
                   if FIRST <= stay["last"] <= LAST]
        self.assertAlmostEqual(measured("average_stay")[1], statistics.mean(lengths), 3)

    def test_access(self):
        self.proportion("no_show", lambda chart: chart.appointments(False), "2025-12", least=50)
        self.proportion("no_show_with_late", lambda chart: chart.appointments(True), "2025-12", least=50)
        self.assertAlmostEqual(measured("iserv_evaluation")[1], statistics.mean(w for chart in charts for w in chart.waits()), 3)
        self.proportion("cms50", Chart.cms50, least=10)

    def test_money(self):
        claims = [claim for chart in charts for claim in chart.claims()]
        quarter = [claim for claim in claims if datetime.date(2025, 10, 1) <= claim[0] <= LAST]

        def total(answers, name):
            return sum(sums.get(name, 0) for _, _, sums, _ in answers)

        def denied(charge, answers):
            return max([sums.get("denied", 0) or (charge if outcome == "error" else 0) for _, _, sums, outcome in answers] or [0])

        self.ratio("net_collection", [(sum(paid for _, paid, _, _ in answers) - total(answers, "credit"),
                                       charge - total(answers, "contractual")) for _, charge, answers in quarter], 100, "2025-Q4")
        self.ratio("denial_dollars", [(min(denied(charge, answers), charge), charge) for _, charge, answers in quarter], 100, "2025-Q4")
        counts, score, _ = measured("denial_count", "2025-Q4")
        refused = sum(denied(charge, answers) > 0 for _, charge, answers in quarter)
        self.assertEqual((counts["numerator"], counts["denominator"]), (refused, len(quarter)))
        for name, net in (("days_in_receivables", False), ("days_in_receivables_net", True)):
            owed, daily = 0, 0
            for day, charge, answers in claims:
                known = [answer for answer in answers if answer[0] <= LAST]
                owed += (charge - sum(paid for _, paid, _, _ in known) + total(known, "credit") - total(known, "contractual")
                         - total(known, "writeoff"))
                if day >= LAST - 89 * DAY:
                    daily += (charge - total(known, "contractual" if net else "credit")) / 90
            self.assertAlmostEqual(measured(name, "2025-12")[1], owed / daily, 2, name)
        costs = []
        for chart in charts:
            spent = sum(b["payment"]["amount"]["value"] for b in chart.of["ExplanationOfBenefit"]
                        if FIRST <= local_day(b["billablePeriod"]["start"]) <= LAST)
            costs.append((spent, chart.member_months()) if chart.member_months() else None)
        self.ratio("pmpm", costs, 1)

    def test_individual_reports_sum_up(self):
        counts, _, _ = measured("cms159")
        _, _, listed = measured("cms159", query="&reportType=subject-list")
        named = {entry["item"]["reference"] for contained in listed["contained"] if contained["id"] == "initial-population"
                 for entry in contained["entry"]}
        self.assertEqual(len(named), counts["initial-population"])
        for chart in charts[:40]:
            individual, _, report = measured("cms159", query="&subject=" + chart.reference)
            self.assertEqual(individual["initial-population"], int(chart.reference in named), chart.reference)
            facts = [part for case in report["extension"] if case["url"] == "urn:careloop:measure:case" for part in case["extension"]]
            self.assertTrue(any(part["url"] == "fact" for part in facts), "a reason, whether in or out")


class Service(unittest.TestCase):
    def test_a_pending_report_is_filled_in(self):
        pending = {"resourceType": "MeasureReport", "status": "pending", "type": "summary",
                   "measure": "urn:careloop:measure:cms159", "period": {"start": "2025-01-01", "end": "2025-12-31"}}
        created = ehr.create(pending).json
        end = time.monotonic() + 20
        while (report := ehr.read("MeasureReport/" + created["id"]))["status"] == "pending" and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(report["status"], "complete")
        self.assertEqual(report["group"], measured("cms159")[2]["group"])

    def test_every_measure_is_in_the_list_with_its_category(self):
        answer = manager.must(200, "GET", "/metrics?months=1").json
        order = [{"outcomes": 0, "operations": 1, "finance": 2}[metric["category"]] for metric in answer["metrics"]]
        self.assertEqual(order, sorted(order))
        failed = [(metric["name"], row["not_computable"]) for metric in answer["metrics"] for row in metric.get("periods", [])
                  if "not_computable" in row]
        self.assertEqual(failed, [])
        self.assertGreaterEqual(sum("periods" in metric for metric in answer["metrics"]), 30)

    def test_the_console_explains(self):
        chart = next(chart for chart in charts if chart.cms159())
        result = server.console("-e", f"explain-measure cms159 {chart.reference} 2025", organization="clinic")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("index: PHQ-9 of", result.stdout)
        self.assertIn("=> ", result.stdout)

    def test_a_batch_does_not_compute(self):
        answer = ehr.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "batch", "entry": [
            {"request": {"method": "GET", "url": "Measure/cms159/$evaluate-measure"}}]}).json
        self.assertTrue(answer["entry"][0]["response"]["status"].startswith(("4", "5")), answer)

    def test_others_go_on_meanwhile(self):
        """Writes are answered while all measures are computed: they are never behind a whole computation."""
        done, slowest, count = threading.Event(), 0, 0

        def compute():
            other = server.client("clinic", "manager")
            other.must(200, "GET", "/metrics?months=36")
            done.set()

        thread = threading.Thread(target=compute)
        begun = time.monotonic()
        thread.start()
        while not done.is_set():
            at = time.monotonic()
            ehr.create({"resourceType": "Basic", "code": {"text": "beside"}})
            slowest, count = max(slowest, time.monotonic() - at), count + 1
        thread.join()
        took = time.monotonic() - begun
        self.assertGreater(count, 3)
        self.assertLess(slowest, max(took / 2, 0.5), f"{count} writes, the slowest {slowest:.3f} s beside {took:.3f} s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
