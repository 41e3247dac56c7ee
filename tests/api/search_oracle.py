"""FHIR R4 search over plain resources, written apart from the server and read straight from the JSON: what a search must find. Knows
the parameters in PARAMETERS only. Dates without a zone are UTC; a written number is a point; pages go by age unless sorted."""
import datetime
import decimal
import re
import unicodedata
import urllib.parse

Decimal = decimal.Decimal
decimal.getcontext().prec = 60
FAR = 10 ** 20

# (type, code): (kind, paths, targets). A path's last step may be "x[y]" for a choice type, or "(key=value)" to filter before it.
PARAMETERS = {
    "Patient": {
        "family": ("string", ["name.family"]), "given": ("string", ["name.given"]), "name": ("string", ["name"]),
        "address": ("string", ["address"]), "address-city": ("string", ["address.city"]),
        "address-state": ("string", ["address.state"]), "address-postalcode": ("string", ["address.postalCode"]),
        "gender": ("token", ["gender"]), "birthdate": ("date", ["birthDate"]), "identifier": ("token", ["identifier"]),
        "death-date": ("date", ["deceasedDateTime"]), "telecom": ("token", ["telecom"]), "phone": ("token", ["telecom(system=phone)"]),
        "email": ("token", ["telecom(system=email)"]), "active": ("token", ["active"]),
        "language": ("token", ["communication.language"]),
        "general-practitioner": ("reference", ["generalPractitioner"], ["Organization", "Practitioner", "PractitionerRole"]),
        "organization": ("reference", ["managingOrganization"], ["Organization"]),
    },
    "Observation": {
        "code": ("token", ["code"]), "category": ("token", ["category"]), "status": ("token", ["status"]),
        "identifier": ("token", ["identifier"]), "date": ("date", ["effectiveDateTime", "effectivePeriod", "effectiveInstant"]),
        "value-quantity": ("quantity", ["valueQuantity"]), "value-concept": ("token", ["valueCodeableConcept"]),
        "value-string": ("string", ["valueString"]),
        "combo-code": ("token", ["code", "component.code"]), "component-code": ("token", ["component.code"]),
        "component-value-quantity": ("quantity", ["component.valueQuantity"]),
        "combo-value-quantity": ("quantity", ["valueQuantity", "component.valueQuantity"]),
        "subject": ("reference", ["subject"], ["Group", "Device", "Patient", "Location"]),
        "patient": ("reference", ["subject"], ["Patient"]), "encounter": ("reference", ["encounter"], ["Encounter", "EpisodeOfCare"]),
        "performer": ("reference", ["performer"], ["Practitioner", "Organization"]),
        "derived-from": ("reference", ["derivedFrom"], ["Observation", "DocumentReference", "QuestionnaireResponse"]),
    },
    "Encounter": {
        "class": ("token", ["class"]), "status": ("token", ["status"]), "type": ("token", ["type"]),
        "date": ("date", ["period"]), "reason-code": ("token", ["reasonCode"]), "length": ("quantity", ["length"]),
        "identifier": ("token", ["identifier"]),
        "subject": ("reference", ["subject"], ["Group", "Patient"]), "patient": ("reference", ["subject"], ["Patient"]),
        "service-provider": ("reference", ["serviceProvider"], ["Organization"]),
        "participant": ("reference", ["participant.individual"], ["Practitioner", "PractitionerRole", "RelatedPerson"]),
        "practitioner": ("reference", ["participant.individual"], ["Practitioner"]),
    },
    "Condition": {
        "code": ("token", ["code"]), "clinical-status": ("token", ["clinicalStatus"]),
        "verification-status": ("token", ["verificationStatus"]), "category": ("token", ["category"]),
        "onset-date": ("date", ["onsetDateTime", "onsetPeriod"]), "abatement-date": ("date", ["abatementDateTime", "abatementPeriod"]),
        "recorded-date": ("date", ["recordedDate"]), "subject": ("reference", ["subject"], ["Group", "Patient"]),
        "patient": ("reference", ["subject"], ["Patient"]), "encounter": ("reference", ["encounter"], ["Encounter"]),
    },
    "Procedure": {
        "code": ("token", ["code"]), "status": ("token", ["status"]), "date": ("date", ["performedDateTime", "performedPeriod"]),
        "patient": ("reference", ["subject"], ["Patient"]), "encounter": ("reference", ["encounter"], ["Encounter"]),
        "subject": ("reference", ["subject"], ["Group", "Patient"]),
        "reason-reference": ("reference", ["reasonReference"], ["Condition", "Observation", "Procedure"]),
    },
    "MedicationRequest": {
        "status": ("token", ["status"]), "intent": ("token", ["intent"]), "code": ("token", ["medicationCodeableConcept"]),
        "authoredon": ("date", ["authoredOn"]), "patient": ("reference", ["subject"], ["Patient"]),
        "subject": ("reference", ["subject"], ["Group", "Patient"]),
        "encounter": ("reference", ["encounter"], ["Encounter"]),
        "requester": ("reference", ["requester"], ["Practitioner", "Organization"]),
    },
    "Immunization": {
        "vaccine-code": ("token", ["vaccineCode"]), "date": ("date", ["occurrenceDateTime"]), "status": ("token", ["status"]),
        "patient": ("reference", ["patient"], ["Patient"]),
    },
    "AllergyIntolerance": {
        "clinical-status": ("token", ["clinicalStatus"]), "code": ("token", ["code", "reaction.substance"]),
        "patient": ("reference", ["patient"], ["Patient"]),
    },
    "CarePlan": {
        "category": ("token", ["category"]), "status": ("token", ["status"]), "date": ("date", ["period"]),
        "patient": ("reference", ["subject"], ["Patient"]), "subject": ("reference", ["subject"], ["Group", "Patient"]),
        "condition": ("reference", ["addresses"], ["Condition"]), "encounter": ("reference", ["encounter"], ["Encounter"]),
        "goal": ("reference", ["goal"], ["Goal"]),
    },
    "Goal": {
        "lifecycle-status": ("token", ["lifecycleStatus"]), "patient": ("reference", ["subject"], ["Patient"]),
        "target-date": ("date", ["target.dueDate"]),
    },
    "DiagnosticReport": {
        "code": ("token", ["code"]), "category": ("token", ["category"]), "status": ("token", ["status"]),
        "date": ("date", ["effectiveDateTime", "effectivePeriod"]), "patient": ("reference", ["subject"], ["Patient"]),
        "result": ("reference", ["result"], ["Observation"]), "encounter": ("reference", ["encounter"], ["Encounter"]),
    },
    "Claim": {"patient": ("reference", ["patient"], ["Patient"]), "status": ("token", ["status"]), "created": ("date", ["created"])},
    "Organization": {"name": ("string", ["name", "alias"]), "address": ("string", ["address"]),
                     "address-city": ("string", ["address.city"]), "identifier": ("token", ["identifier"])},
    "Practitioner": {"name": ("string", ["name"]), "family": ("string", ["name.family"]), "identifier": ("token", ["identifier"])},
    "ImagingStudy": {"started": ("date", ["started"]), "patient": ("reference", ["subject"], ["Patient"]),
                     "series": ("token", ["series.uid"]), "modality": ("token", ["series.modality"])},
    "RiskAssessment": {"probability": ("number", ["prediction.probabilityDecimal"]), "patient": ("reference", ["subject"], ["Patient"])},
    "Questionnaire": {"url": ("uri", ["url"]), "title": ("string", ["title"]), "status": ("token", ["status"]),
                      "date": ("date", ["date"])},
    "DocumentReference": {"relatesto": ("reference", ["relatesTo.target"], ["DocumentReference"]),
                          "relation": ("token", ["relatesTo.code"])},
    "Provenance": {"target": ("reference", ["target"], []), "recorded": ("date", ["recorded"])},
}
COMMON = {"_tag": ("token", ["meta.tag"]), "_profile": ("uri", ["meta.profile"]), "_security": ("token", ["meta.security"]),
          "_source": ("uri", ["meta.source"])}
# composite: (nodes, [(code of the part, paths below the node)])
COMPOSITES = {("Observation", "code-value-quantity"): ([""], [("code", ["code"]), ("value-quantity", ["valueQuantity"])]),
              ("Observation", "code-value-concept"): ([""], [("code", ["code"]), ("value-concept", ["valueCodeableConcept"])]),
              ("Observation", "component-code-value-quantity"): (
                  ["component"], [("component-code", ["code"]), ("component-value-quantity", ["valueQuantity"])]),
              ("Observation", "combo-code-value-quantity"): (
                  ["", "component"], [("combo-code", ["code"]), ("combo-value-quantity", ["valueQuantity"])]),
              ("DocumentReference", "relationship"): (["relatesTo"], [("relatesto", ["target"]), ("relation", ["code"])])}


def definition(kind, code):
    return COMMON.get(code) or PARAMETERS[kind][code]


def walk(value, path):
    values = [value]
    for step in path.split(".") if path else []:
        name, _, condition = step.partition("(")
        found = []
        for item in values:
            inner = item.get(name) if isinstance(item, dict) else None
            if inner is not None:
                found += inner if isinstance(inner, list) else [inner]
        if condition:
            key, _, wanted = condition[:-1].partition("=")
            found = [item for item in found if item.get(key) == wanted]
        values = found
    return values


def values_at(resource, paths):
    return [value for path in paths for value in walk(resource, path)]


def fold(text):
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return " ".join(text.casefold().split())


# ---- values ----

def strings(value):
    if isinstance(value, str):
        return [value]
    found = []
    for key in ("text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode", "country"):
        part = value.get(key)
        found += [part] if isinstance(part, str) else part or []
    return found


def tokens(value):
    if isinstance(value, bool):
        return [("", "true" if value else "false")]
    if isinstance(value, str):
        return [(None, value)]   # the system of a code element is implied
    if "coding" in value or ("text" in value and "value" not in value):
        return [(c.get("system", ""), c.get("code", "")) for c in value.get("coding", [])]
    return [(value.get("system", ""), value.get("code") or value.get("value") or "")]


def words(value):
    """What :text looks at."""
    if not isinstance(value, dict):
        return []
    found = [value.get("text"), value.get("display")] + [c.get("display") for c in value.get("coding", [])]
    if "value" in value:
        found = [value.get("type", {}).get("text")]
    return [text for text in found if text]


def micros(moment):
    return int((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


def interval(text):
    """[from, to) in microseconds that a date of any precision stands for."""
    match = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", text)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    utc = datetime.timezone.utc
    if zone and zone != "Z":
        sign = 1 if zone[0] == "+" else -1
        utc = datetime.timezone(sign * datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:])))
    begin = micros(datetime.datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
                                     tzinfo=utc))
    if month is None:
        return begin, micros(datetime.datetime(int(year) + 1, 1, 1, tzinfo=utc))
    if day is None:
        return begin, micros(datetime.datetime(int(year) + (month == "12"), int(month) % 12 + 1, 1, tzinfo=utc))
    if hour is None:
        return begin, begin + 86400 * 10 ** 6
    if second is None:
        return begin, begin + 60 * 10 ** 6
    if fraction is None:
        return begin, begin + 10 ** 6
    begin += int(Decimal("0" + fraction) * 10 ** 6)
    return begin, begin + 10 ** max(0, 6 - (len(fraction) - 1))


def dates(value):
    if isinstance(value, str):
        return [interval(value)]
    start, end = value.get("start"), value.get("end")
    if not start and not end:
        return []
    return [(interval(start)[0] if start else -FAR, interval(end)[1] if end else FAR)]


def references(value):
    if isinstance(value, str):
        return [value]
    return [value["reference"]] if "reference" in value else []


# ---- comparing ----

def parts(text, separator):
    found, now, escaped = [], "", False
    for c in text:
        if c == separator and not escaped:
            found.append(now)
            now = ""
            continue
        escaped = c == "\\" and not escaped
        now += c
    return found + [now]


def plain(text):
    return re.sub(r"\\([,|$\\])", r"\1", text)


def take_prefix(text):
    return (text[:2], text[2:]) if re.match(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)", text) else ("eq", text)


def date_holds(text, low, high, now):
    relation, text = take_prefix(text)
    begin, end = interval(text)
    inside = begin <= low and high <= end
    if relation == "ap":
        gap = abs(begin - now) // 10
        return low < end + gap and high > begin - gap
    return {"eq": inside, "ne": not inside, "gt": high > end, "lt": low < begin, "ge": high > end or inside,
            "le": low < begin or inside, "sa": low >= end, "eb": high <= begin}[relation]


def number_holds(text, value):
    relation, text = take_prefix(text)
    wanted = Decimal(text)
    half = Decimal(5) * Decimal(10) ** (wanted.as_tuple().exponent - 1)
    equal = wanted - half <= value < wanted + half
    return {"eq": equal, "ne": not equal, "gt": value > wanted, "lt": value < wanted, "ge": value >= wanted, "le": value <= wanted,
            "sa": value > wanted, "eb": value < wanted, "ap": abs(value - wanted) <= abs(wanted) / 10}[relation]


def quantity_holds(text, quantity):
    number, *rest = parts(text, "|")
    system, code = (plain(rest[0]), plain(rest[1])) if len(rest) == 2 else ("", "")
    if "value" not in quantity or not number_holds(number, quantity["value"]):
        return False
    if system:
        return quantity.get("system") == system and quantity.get("code") == code
    return not code or code in (quantity.get("code"), quantity.get("unit"))


def token_holds(text, system, code):
    given = parts(text, "|")
    if len(given) == 1:
        return plain(given[0]) == code
    if system is None:
        # Which system a code element implies is the definition's business: here any is right.
        return plain(given[1]) in ("", code)
    wanted, value = plain(given[0]), plain(given[1])
    return (wanted == system) and (not value or value == code)


def readable(client, references):
    """Those of the references that the client's principal may read, by asking for each: what it may find in any search, include,
    export or notification is among them."""
    found = set()
    for reference in references:
        status = client.get("/fhir/" + reference).status
        if status not in (200, 403):
            raise AssertionError(f"{reference}: {status}")
        if status == 200:
            found.add(reference)
    return found


class World:
    """`resources` in the order in which the server shows them: (type, list)."""

    def __init__(self, by_type, now):
        self.by_type, self.now = by_type, now
        self.by_reference = {f"{kind}/{r['id']}": r for kind, all_of in by_type.items() for r in all_of}
        self.place = {reference: i for i, reference in enumerate(self.by_reference)}

    def only(self, visible):
        """The world of somebody who sees no more than these references, in the same order."""
        return World({kind: [r for r in all_of if f"{kind}/{r['id']}" in visible] for kind, all_of in self.by_type.items()}, self.now)

    def one(self, kind, definition, modifier, text, resource, paths=None):
        """Does one value of one parameter hold?"""
        sort, where = definition[0], paths or definition[1]
        found = values_at(resource, where)
        if modifier == "of-type":
            system, code, value = (plain(part) for part in parts(text, "|"))
            return any(i.get("value") == value and any(c.get("code") == code and (not system or c.get("system") == system)
                                                       for c in i.get("type", {}).get("coding", [])) for i in found)
        if modifier == "text":
            return any(fold(w).startswith(fold(plain(text))) for v in found for w in words(v))
        if modifier == "identifier":
            return any(token_holds(text, *t) for v in found if "identifier" in v for t in tokens(v["identifier"]))
        if sort == "token":
            return any(token_holds(text, *t) for v in found for t in tokens(v))
        if sort == "string":
            all_of = [s for v in found for s in strings(v)]
            if modifier == "exact":
                return plain(text) in all_of
            wanted = fold(plain(text))
            return any(wanted in fold(s) if modifier == "contains" else fold(s).startswith(wanted) for s in all_of)
        if sort == "date":
            return any(date_holds(text, low, high, self.now) for v in found for low, high in dates(v))
        if sort == "quantity":
            return any(quantity_holds(text, v) for v in found)
        if sort == "number":
            return any(number_holds(text, v) for v in found)
        if sort == "uri":
            return any(v.startswith(plain(text)) if modifier == "below" else v == plain(text) for v in found)
        targets = [r for v in found for r in references(v)]
        targets = [r for r in targets if not definition[2] or r.split("/")[0] in definition[2] or "://" in r]
        if "/" not in text:
            return any(r.split("/")[-1] == text and (not modifier or r.startswith(modifier + "/")) for r in targets)
        return text in targets

    def composite(self, kind, code, text, resource):
        nodes, members = COMPOSITES[(kind, code)]
        texts = parts(text, "$")
        for node in (n for path in nodes for n in walk(resource, path)):
            if all(self.one(kind, definition(kind, member), "", value, node, paths)
                   for (member, paths), value in zip(members, texts)):
                return True
        return False

    def holds(self, kind, name, value, resource):
        """One parameter of a query: any of its values."""
        if name.startswith("_has:"):
            _, source, by, rest = name.split(":", 3)
            return any(f"{kind}/{resource['id']}" in self.targets(source, by, other) and self.holds(source, rest, value, other)
                       for other in self.by_type.get(source, []))
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if dot:
            return any((not modifier or target.startswith(modifier + "/")) and target in self.by_reference and
                       self.knows(target.split("/")[0], rest) and
                       self.holds(target.split("/")[0], rest, value, self.by_reference[target])
                       for target in self.targets(kind, code, resource))
        if modifier == "missing":
            return (value == "true") != self.present(kind, code, resource)
        if modifier == "not":
            return not self.holds(kind, code, value, resource)
        if code == "_id":
            return resource["id"] in value.split(",")
        if code == "_lastUpdated":
            begin, _ = interval(resource["meta"]["lastUpdated"])
            return any(date_holds(v, begin, begin + 1, self.now) for v in parts(value, ","))
        if (kind, code) in COMPOSITES:
            return any(self.composite(kind, code, v, resource) for v in parts(value, ","))
        return any(self.one(kind, definition(kind, code), modifier, v, resource) for v in parts(value, ","))

    @staticmethod
    def knows(kind, rest):
        code = re.split(r"[:.]", rest)[0]
        return code in ("_id", "_lastUpdated", "_has") or code in COMMON or code in PARAMETERS.get(kind, {}) or (kind, code) in COMPOSITES

    def present(self, kind, code, resource):
        found = values_at(resource, definition(kind, code)[1])
        if definition(kind, code)[0] == "reference":
            return any(references(v) or "identifier" in v for v in found)
        return bool(found)

    def targets(self, kind, code, resource):
        wanted = definition(kind, code)
        return [r for v in values_at(resource, wanted[1]) for r in references(v)
                if not wanted[2] or r.split("/")[0] in wanted[2]]

    # ---- a whole query ----

    def key(self, kind, code, resource, descending):
        """(missing, key) of one sort."""
        if code in ("_id", "_lastUpdated"):
            return 0, resource["id"] if code == "_id" else interval(resource["meta"]["lastUpdated"])[0]
        sort, paths = definition(kind, code)[:2]
        found = values_at(resource, paths)
        keys = {"date": lambda: [low for v in found for low, high in dates(v)],
                "string": lambda: [fold(s).encode() for v in found for s in strings(v)],
                "token": lambda: [t[1].encode() for v in found for t in tokens(v) if t[1]],
                "number": lambda: list(found), "quantity": lambda: [v["value"] for v in found if "value" in v]}[sort]()
        if not keys:
            return 1, 0
        return 0, max(keys) if descending else min(keys)

    def search(self, path):
        """References of the matches, in order, and of what is included (a set)."""
        kind, _, query = path.partition("?")
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        found = [r for r in self.by_type.get(kind, [])
                 if all(self.holds(kind, name, value, r) for name, value in pairs
                        if name.split(":")[0] not in ("_sort", "_count", "_total", "_include", "_revinclude"))]
        sorts = [part for name, value in pairs if name == "_sort" for part in value.split(",")]
        found.sort(key=lambda r: self.place[f"{kind}/{r['id']}"], reverse=bool(sorts) and sorts[0][0] == "-")
        for sort in reversed(sorts):
            descending, code = sort[0] == "-", sort.lstrip("-")
            self.sort_by(found, kind, code, descending)
        matches = [f"{kind}/{r['id']}" for r in found]
        return matches, self.include(matches, pairs)

    def sort_by(self, found, kind, code, descending):
        """Stable; what has no key comes last both ways."""
        keyed = [(self.key(kind, code, r, descending), r) for r in found]
        there = [item for item in keyed if not item[0][0]]
        if descending:
            there.reverse()   # so that equal ones keep their order when the whole is reversed again
            there.sort(key=lambda item: item[0][1])
            there.reverse()
        else:
            there.sort(key=lambda item: item[0][1])
        found[:] = [r for _, r in there] + [r for key, r in keyed if key[0]]

    def include(self, matches, pairs):
        included, begin = [], matches
        for depth in range(3):
            reached = []
            for name, value in pairs:
                reverse = name.startswith("_revinclude")
                if not (reverse or name.startswith("_include")) or (depth and not name.endswith(":iterate")):
                    continue
                source, code, target = (value.split(":") + ["", ""])[:3]
                if reverse:
                    codes = [c for c, d in PARAMETERS[source].items() if d[0] == "reference"] if code == "*" else [code]
                    wanted = {b for b in begin if not target or b.startswith(target + "/")}
                    reached += [f"{source}/{r['id']}" for r in self.by_type.get(source, [])
                                if any(wanted & set(self.targets(source, c, r)) for c in codes)]
                    continue
                for reference in begin:
                    kind = reference.split("/")[0]
                    if source not in ("*", kind):
                        continue
                    codes = [code] if code not in ("", "*") else [c for c, d in PARAMETERS[kind].items() if d[0] == "reference"]
                    for c in codes:
                        reached += [t for t in self.targets(kind, c, self.by_reference[reference])
                                    if t in self.by_reference and (not target or t.startswith(target + "/"))]
            fresh = [r for r in dict.fromkeys(reached) if r not in included and r not in matches]
            included += fresh
            begin = fresh
        return set(included)
