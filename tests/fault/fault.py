"""What the tests of this folder share: a server whose organization can be made to fail while it runs, and writers that know what
was acknowledged to them. Python's standard library only.

CARELOOP names the program under test, CL_BUILD the folder that it was built in (default: where the program is)."""
import http.client
import math
import mmap
import os
import struct
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "api"))

from careloop import PROGRAM, Server, patient, referral, wait_for  # noqa: E402,F401

BUILD = os.environ.get("CL_BUILD", os.path.dirname(PROGRAM))
PRELOAD = os.path.join(os.path.abspath(BUILD), "libfault_preload.so")
SYSTEM = "urn:test:fault"


class Fault:
    """The page that fault_preload.c reads: struct control."""

    FIELDS = {"position": 32, "writes": 40, "syncs": 48, "truncations": 56, "clock_offset": 64}

    def __init__(self, path):
        with open(path, "wb") as file:
            file.truncate(4096)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)

    def __getattr__(self, name):
        return struct.unpack_from("<q", self.page, Fault.FIELDS[name])[0]

    def put(self, name, value):
        struct.pack_into("<q", self.page, Fault.FIELDS[name], value)

    def begin(self, mode, after=0):
        """From now on, or at the `after`-th operation from now. One-shot modes fail once."""
        self.put("position", 0)
        self.page[0:32] = mode.encode().ljust(32, b"\0")
        counter = {"s": "syncs", "t": "truncations", "w": "writes"}[mode[0]]
        self.put("position", getattr(self, counter) + 1 + after)

    def end(self):
        self.put("position", 0)

    def jump(self, seconds):
        """Moves the wall clock of all of the server's processes."""
        self.put("clock_offset", self.clock_offset + int(seconds * 1000000))


class FaultyServer(Server):
    """A server under fault_preload.c: `fault` makes operations below the folder of `victim` fail."""

    def __init__(self, *arguments, victim="riverside", **options):
        super().__init__(*arguments, **options)
        self.fault = Fault(os.path.join(self.folder, "fault"))
        self.victim_folder = os.path.join(self.data, "organizations", victim)

    def start(self, wait=True):
        added = {"LD_PRELOAD": PRELOAD, "CL_FAULT_FOLDER": os.path.realpath(self.victim_folder),
                 "CL_FAULT_CONTROL": os.path.join(self.folder, "fault")}
        os.environ.update(added)
        try:
            return super().start(wait)
        finally:
            for name in added:
                del os.environ[name]


def preload_missing():
    """Why the tests that need it must be skipped; None when they need not."""
    if not os.path.exists(PRELOAD):
        return f"{PRELOAD} was not built (ninja fault_preload)"
    if b"libasan" in subprocess.run(["ldd", PROGRAM], capture_output=True).stdout:
        return "a program with AddressSanitizer takes no other preloaded library"
    return None


class Writer(threading.Thread):
    """Creates patients, one after the other, each with an identifier of its own, and remembers what was acknowledged. Every
    third is updated once. It does not repeat what failed: a failure is an answer too, and `unanswered` should stay empty."""

    def __init__(self, server, organization="riverside", name="w", pause=0.0, principal="ehr", timeout=30):
        super().__init__(daemon=True)
        self.client = server.client(organization, principal)
        self.name, self.pause, self.timeout = name, pause, timeout
        self.done = threading.Event()
        self.acknowledged = {}   # identifier -> id
        self.updated = set()     # identifiers
        self.refused = []        # (monotonic time, identifier or None, Answer)
        self.unanswered = []     # (identifier, exception)
        self.latest = 0.0        # when the last write was acknowledged
        self.longest = 0.0       # the longest time that one request took

    def ask(self, method, path, body, key):
        begun = time.monotonic()
        try:
            answer = self.client.request(method, path, body, timeout=self.timeout)
        except (OSError, http.client.HTTPException) as problem:
            self.client.close()
            self.unanswered.append((key, problem))
            return None
        self.longest = max(self.longest, time.monotonic() - begun)
        if answer.status in (200, 201):
            self.latest = time.monotonic()
            return answer
        self.refused.append((time.monotonic(), key if method == "POST" else None, answer))
        return None

    def run(self):
        count = 0
        while not self.done.is_set():
            count += 1
            key = f"{self.name}-{count}"
            created = self.ask("POST", "/fhir/Patient", patient("Before", identifier=[{"system": SYSTEM, "value": key}]), key)
            if created:
                self.acknowledged[key] = created.id
                if count % 3 == 0 and self.ask("PUT", f"/fhir/Patient/{created.id}", dict(created.json, name=[{"family": "After"}]), key):
                    self.updated.add(key)
            if self.pause:
                time.sleep(self.pause)

    def finish(self):
        self.done.set()
        self.join(60)
        assert not self.is_alive(), "a request waits for ever"
        return self


def stored(client, system=SYSTEM):
    """identifier -> list of Patients that have it, over all pages."""
    found, path = {}, f"/fhir/Patient?identifier={system}|&_count=500"
    while path:
        page = client.must(200, "GET", path).json
        for entry in page.get("entry", []):
            resource = entry["resource"]
            for identifier in resource["identifier"]:
                found.setdefault(identifier["value"], []).append(resource)
        following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
        path = "/" + following[0].split("//", 1)[1].split("/", 1)[1] if following else None
    return found


def check_kept(test, client, writers, refused_is_absent=True):
    """Everything acknowledged is there once and as acknowledged; what was refused is not there."""
    found = stored(client)
    for writer in writers:
        for key, identity in writer.acknowledged.items():
            test.assertIn(key, found, "an acknowledged create is lost")
            test.assertEqual([resource["id"] for resource in found[key]], [identity], f"{key} is doubled or another")
            version = found[key][0]["meta"]["versionId"]
            if key in writer.updated:
                test.assertEqual(found[key][0]["name"][0]["family"], "After", f"the acknowledged update of {key} is lost")
                test.assertEqual(version, "2", f"{key} was updated twice")
            elif refused_is_absent and not any(key == lost for lost, _ in writer.unanswered):
                test.assertEqual(version, "1", f"{key} has an update that was refused")
        for _, key, answer in writer.refused:
            if key and refused_is_absent:
                test.assertNotIn(key, found, f"refused with {answer.status}, and done")
    doubled = [key for key, resources in found.items() if len(resources) != 1]
    test.assertEqual(doubled, [])
    return found


def check_sound(test, server, *organizations):
    """The audit log and the file are whole, the former also to the program that needs no server."""
    for organization in organizations:
        for line in ("audit verify", "check"):
            result = server.console("-e", line, organization=organization)
            test.assertEqual(result.returncode, 0, f"{line} of {organization}: {result.stdout} {result.stderr}")


def check_replay(test, server, *organizations):
    """`careloop replay` makes the same rows out of the events."""
    for organization in organizations:
        result = subprocess.run([PROGRAM, "replay", "--config", server.config, "--organization", organization],
                                capture_output=True, text=True, timeout=120)
        test.assertEqual(result.returncode, 0, f"replay of {organization}: {result.stdout} {result.stderr}")
        test.assertIn("every row equal", result.stdout)


def log_lines(server, *words):
    return [line for line in server.log().splitlines() if all(word in line for word in words)]


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share) - 1)]


def processor_seconds(pid):
    """CPU time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, file=sys.stderr, flush=True)
