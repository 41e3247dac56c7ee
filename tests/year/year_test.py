"""One synthetic year of an organization of 2,000 patients under the virtual clock: how long it takes, that the same seed gives the
same file to the byte, and that a second reckoning (plain loops over the stored resources) agrees with every month's measures.
CARELOOP_YEAR_PATIENTS makes it smaller."""
import datetime
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import zoneinfo

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "api"))
from careloop import PROGRAM, certificates  # noqa: E402

ZONE = zoneinfo.ZoneInfo("America/Chicago")
# Of the transport, not of the care: reads stand in the audit log, kept answers and tokens are the gateway's.
NOT_COMPARED = {"audit", "request", "idempotency", "bearer", "sqlite_sequence", "sqlite_stat1"}


def run(patients, seed="1"):
    """The folder, what the measures said ({(name, month): (numerator, denominator)}), seconds (of the wall, of CPU)."""
    folder = tempfile.mkdtemp(prefix="careloop-year-")
    authority = os.path.join(certificates(("year",)), "ca.pem")
    config = os.path.join(folder, "careloop.lua")
    with open(config, "w") as file:
        file.write(f"""return {{
	data = "data", organizations_folder = "{ROOT}/tests/year/orgs", plugins = "{ROOT}/plugins", domain = "localhost",
	listen = {{ {{ address = "127.0.0.1", port = 1 }} }},
	tls = {{ certificate = "unused", key = "unused", client_authorities = {{ "{authority}" }} }},
}}""")
    begun, spent = time.monotonic(), os.times()
    done = subprocess.run([PROGRAM, "demo", "--config", config, "--weeks", "52", "--until", "2025-12-31T06:00:00Z", "--seed", seed,
                           os.path.join(ROOT, "tests", "year", "year.lua")], capture_output=True, text=True,
                          env={**os.environ, "CARELOOP_YEAR_PATIENTS": str(patients)})
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:] + done.stdout[-500:])
    told = {}
    for line in done.stdout.splitlines():
        if line.startswith("metric "):
            _, name, month, numerator, denominator = line.split()
            told[name, month] = tuple(None if value == "-" else float(value) for value in (numerator, denominator))
    cpu = os.times().children_user + os.times().children_system - spent.children_user - spent.children_system
    return folder, told, (time.monotonic() - begun, cpu)


def database(folder):
    return sqlite3.connect(f"file:{folder}/data/organizations/year/year.db?mode=ro", uri=True)


def fingerprint(folder):
    """A hash of each table that tells of the care."""
    connection, hashes = database(folder), {}
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"):
        if name in NOT_COMPARED:
            continue
        lines = hashlib.sha256()
        where = " WHERE name NOT LIKE 'audit.%'" if name == "meta" else ""
        for row in sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"{where}'))):
            lines.update(row.encode())
        hashes[name] = lines.hexdigest()
    return hashes


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def day(text):
    return datetime.date.fromisoformat(text) if len(text) == 10 else moment(text).astimezone(ZONE).date()


class Reckoning:
    """The measures again, by loops over the stored resources."""

    def __init__(self, folder):
        self.by_type = {}
        for (body,) in database(folder).execute("SELECT body FROM resource"):
            if body:
                resource = json.loads(body)
                self.by_type.setdefault(resource["resourceType"], []).append(resource)
        self.now = moment("2025-12-31T06:00:00Z")

    def bounds(self, month):
        year, number = map(int, month.split("-"))
        first = datetime.datetime(year, number, 1, tzinfo=ZONE)
        last = datetime.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=ZONE)
        return first, last

    def scores(self):
        """Patient -> [(date, total)] of PHQ-9 totals that were not prorated, oldest first; the last one of a day counts."""
        found = {}
        for one in self.by_type.get("Observation", []):
            if any(c.get("code") == "44261-6" for c in one["code"].get("coding", [])) and one["status"] in ("final", "amended", "corrected"):
                found.setdefault(one["subject"]["reference"], []).append((moment(one["effectiveDateTime"]), float(one["valueQuantity"]["value"])))
        return {patient: [(at.astimezone(ZONE).date(), value) for at, value in sorted(values)] for patient, values in found.items()}

    def episodes(self):
        return [e for e in self.by_type.get("EpisodeOfCare", [])
                if any(c.get("code") == "depression-care" for t in e.get("type", []) for c in t.get("coding", []))]

    def share_at_240(self, month, good):
        """DRR-E's shape: of index scores of 10 or more whose 240th day lies in the month, the last score of days 120 to 240."""
        first, last = self.bounds(month)
        numerator = denominator = 0
        scores = self.scores()
        for episode in self.episodes():
            series = scores.get(episode["patient"]["reference"], [])
            earliest = day(episode["period"]["start"]) - datetime.timedelta(days=14)
            index = next(((at, value) for at, value in series if at >= earliest), None)
            if not index or index[1] <= 9:
                continue
            if not first.date() <= index[0] + datetime.timedelta(days=240) < last.date():
                continue
            denominator += 1
            window = [value for at, value in series if index[0] + datetime.timedelta(days=120) <= at <= index[0] + datetime.timedelta(days=240)]
            if window and good(index[1], window[-1]):
                numerator += 1
        return (numerator, denominator) if denominator else (None, None)

    def phq9_response(self, month):
        return self.share_at_240(month, lambda index, value: value <= index / 2)

    def phq9_remission(self, month):
        return self.share_at_240(month, lambda index, value: value < 5)

    def contacted_30_days(self, month):
        first, last = self.bounds(month)
        at = min(last, self.now)
        today = at.astimezone(ZONE).date()
        numerator = denominator = 0
        for episode in self.episodes():
            period = episode["period"]
            if moment(period["start"]) > at or "end" in period and moment(period["end"]) < at:
                continue
            denominator += 1
            for encounter in self.by_type.get("Encounter", []):
                if encounter["subject"]["reference"] == episode["patient"]["reference"] and encounter["status"] == "finished":
                    seen = day(encounter["period"].get("end", encounter["period"]["start"]))
                    if today - datetime.timedelta(days=30) <= seen <= today:
                        numerator += 1
                        break
        return (numerator, denominator) if denominator else (None, None)

    def loop_closed(self, month):
        first, last = self.bounds(month)
        numerator = denominator = 0
        for task in self.by_type.get("Task", []):
            if not any(c.get("code") == "referral" for c in task["code"].get("coding", [])):
                continue
            history = self.moves[task["id"]]
            sent = next((at for at, _, state in history if state == "received"), None)
            if sent is None or not first <= sent < last:
                continue
            denominator += 1
            if any(state == "completed" and at <= sent + datetime.timedelta(days=60) for at, _, state in history):
                numerator += 1
        return (numerator, denominator)

    def load_moves(self, folder):
        self.moves = {}
        for task, at, _, state in database(folder).execute("SELECT task, at, sequence, state_to FROM transition ORDER BY task, sequence"):
            self.moves.setdefault(task, []).append((datetime.datetime.fromtimestamp(at / 1e6, datetime.timezone.utc), 0, state))


class Year(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.patients = int(os.environ.get("CARELOOP_YEAR_PATIENTS", "2000"))
        cls.folder, cls.told, cls.seconds = run(cls.patients)
        events = database(cls.folder).execute("SELECT count(*) FROM event").fetchone()[0]
        print(f"one year of {cls.patients} patients: {events} events in {cls.seconds[0]:.1f} s, {cls.seconds[1]:.1f} s of CPU, "
              f"{events / cls.seconds[1]:.0f} events a second of CPU")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    def test_the_year_happened(self):
        connection = database(self.folder)
        states = dict(connection.execute("SELECT state_to, count(*) FROM transition GROUP BY 1"))
        for state in ("received", "completed", "current", "done", "closed"):
            self.assertGreater(states.get(state, 0), 0, state)
        if self.patients >= 1000:
            self.assertGreater(states.get("closed_unresponsive", 0), 0, "some partner never answered")
        self.assertEqual(connection.execute("SELECT count(*) FROM event WHERE outcome NOT IN ('', 'ok')").fetchone()[0], 0, "no timer failed")

    def test_a_second_reckoning_agrees(self):
        reckoning = Reckoning(self.folder)
        reckoning.load_moves(self.folder)
        compared = 0
        for (name, month), said in sorted(self.told.items()):
            if hasattr(reckoning, name):
                own = getattr(reckoning, name)(month)
                self.assertEqual(tuple(v or 0 for v in said), tuple(float(v or 0) for v in own), f"{name} {month}")
                compared += said[1] is not None and said[1] > 0
        self.assertGreater(compared, 20 if self.patients >= 1000 else 8)

    def test_the_same_seed_gives_the_same_file(self):
        a, b, c = run(60, "x"), run(60, "x"), run(60, "y")
        try:
            self.assertEqual(fingerprint(a[0]), fingerprint(b[0]))
            self.assertEqual(a[1], b[1])
            self.assertNotEqual(fingerprint(a[0])["resource"], fingerprint(c[0])["resource"], "another seed, other ids")
        finally:
            for one in (a, b, c):
                shutil.rmtree(one[0], ignore_errors=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
