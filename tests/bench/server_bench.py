#!/usr/bin/env python3
"""Measures a real server, over TLS with client certificates, against what the hardware and the peers allow, and prints ratios
inside one run: both sides of each ratio are measured in turn, several times; the median and the spread of the ratios count, the
absolute figures depend on the machine and on who else uses it.

    server_bench.py [--build FOLDER] [--repetitions 5] [--seconds 2] [NAME ...]

NAME: read search beside create transaction bulk transition hostile memory export (default: all). Needs nginx, and load, store_bench
and engine_bench, which scripts/build makes. Asserts nothing: a ratio below its target is printed as such."""
import argparse
import glob
import gzip
import json
import os
import re
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "api"), os.path.join(ROOT, "tests", "bench")]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--build", default=os.path.join(ROOT, "build-release"))
parser.add_argument("--repetitions", type=int, default=5)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("names", nargs="*", metavar="NAME")
options = parser.parse_args()
BUILD = os.path.abspath(options.build)
os.environ["CARELOOP"] = os.path.join(BUILD, "careloop")
import careloop  # noqa: E402  (it looks at CARELOOP)
import export_part  # noqa: E402

CONNECTIONS = 64     # where throughput is measured
GENTLE = 8           # where the time of one request is measured
BUNDLE = 5000
IDLE = 1000
ENTRIES = 11         # of a small transaction: a visit with its findings
CLIENT = "urn:careloop:bench:client:ehr"

ORGANIZATION = """return { name = "%s", zone = "America/Chicago", plugins = { "own" }, reference = "Organization/%s",
	principals = { ehr = { kind = "client", roles = { "all" }, certificate = "%s" },
		manager = { kind = "person", roles = { "all" }, certificate = "urn:careloop:bench:person:manager" } } }
"""
PLUGIN = """return plugin { name = "own", api = 1, summary = "bench",
	roles = { all = { summary = "everything", allow = { { "read search create update transition", types = "*" } } } },
	workflow "loop" { summary = "round and round", subject = "Patient", start = "here",
		here = { status = "requested", owner = "all", action = "go", within = "2 days", on = { stop = "gone", go = { "here",
			guard = function (ctx, task, data) return task.intent == "order" end,
			effect = function (ctx, task, data) %s end } } },
		gone = { status = "completed", final = true } },
	timer "look" (function (ctx, data) end) }
"""
GOOD = "ctx:set_timer('look:' .. task.id, '1 day', {})"
# Burns until its budget ends, every time.
BURN = "local n = 0 while true do n = n + 1 end"

PATIENT = {
    "resourceType": "Patient", "active": True,
    "identifier": [{"use": "usual", "system": "urn:oid:1.2.36.146.595.217.0.1", "value": "@N"}],
    "name": [{"use": "official", "family": "Chalmers@N", "given": ["Peter", "James"]}, {"use": "usual", "given": ["Jim"]}],
    "telecom": [{"system": "phone", "value": "(03) 5555 @N", "use": "work", "rank": 1}],
    "gender": "male", "birthDate": "1974-12-25",
    "address": [{"use": "home", "type": "both", "line": ["534 Erewhon St"], "city": "PleasantVille", "district": "Rainbow",
                 "state": "Vic", "postalCode": "3999"}],
}
PADDED = {**PATIENT, "text": {"status": "generated", "div": ""}}
SIZE = 1676          # of the stored resource: reference/performance.md's


def padded(size):
    """The patient with a narrative that makes its text about that long."""
    body = json.dumps(PADDED, separators=(",", ":"))
    filler = "x" * max(1, size - len(body) - 147)
    return body.replace('"div":""', '"div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">%s</div>"' % filler)


def median(values):
    return statistics.median(values)


def spread(values, format="%.2f"):
    return format % median(values) + " (" + format % min(values) + " - " + format % max(values) + ")"


rows = []


def note(name, compared, value, target, reached, spread_of=None):
    rows.append((name, compared, value, target, {True: "yes", False: "NO", None: ""}[reached]))
    print(f"  {name}: {value}   target {target or '-'} {rows[-1][4]}\n      {compared}", flush=True)


class Bench:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="careloop-bench-")
        os.environ["TMPDIR"] = self.folder
        tempfile.tempdir = self.folder
        self.nginx = self.nginx_port = None
        self.creators = [f"create{i}" for i in range(options.repetitions)]
        names = ["bench", "hostile", *self.creators]
        careloop.certificates(names)
        self.server = careloop.Server({name: ORGANIZATION % (name, name, CLIENT) for name in names}, settings="""
	limits = { connections_per_address = 20000, handshakes_per_second = 20000, in_flight_per_organization = 4096 },
	timeouts = { request = 120 },""")
        for name in names:
            own = os.path.join(self.server.orgs, name, "own")
            os.makedirs(own)
            with open(os.path.join(own, "plugin.lua"), "w") as file:
                file.write(PLUGIN % (BURN if name == "hostile" else GOOD))
        self.certificate = os.path.join(careloop.certificates(("bench",)), "clients", "bench-ehr")
        self.server.start()

    def close(self):
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait()
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, organization="bench"):
        return careloop.Client(self.server, organization, self.certificate)

    def start_load(self, target, organization="bench", connections=CONNECTIONS, seconds=None, method="GET", body=None, port=None,
                   requests=0, principal="ehr"):
        command = [os.path.join(BUILD, "load"), "--port", str(port or self.server.port), "--host", organization + ".localhost",
                   "--connections", str(connections), "--seconds", str(seconds or options.seconds), "--cert",
                   f"{self.certificate[:-3]}{principal}.pem", "--key", f"{self.certificate[:-3]}{principal}.key", "--method", method]
        if body is not None:
            path = os.path.join(self.folder, f"body-{abs(hash(body))}")
            if not os.path.exists(path):
                with open(path, "w") as file:
                    file.write(body)
            command += ["--body", path]
        if requests:
            command += ["--requests", str(requests)]
        return subprocess.Popen([*command, target], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, load, may_fail=False):
        out, problems = load.communicate(timeout=180)
        result = json.loads(out)
        if result["errors"] and not may_fail:
            raise SystemExit(f"{result['errors']} of {result['requests']} requests failed: {problems[:800]}")
        return result

    def load(self, target, **how):
        return self.finish(self.start_load(target, **how))

    def processes(self):
        return {name: int(process) for name, process in self.server.processes().items()}

    def cpu(self):
        """CPU seconds that the whole server used until now."""
        return sum(ticks(process) for process in [self.server.process.pid, *self.processes().values()])

    def commits(self, organization):
        return next(int(row["commits"]) for row in self.server.rows("organizations") if row["organization"] == organization)

    def start_nginx(self, answer):
        """nginx with the same certificate, bytes and kinds of headers."""
        self.nginx_port = careloop.free_port()
        headers = "".join(f"add_header {name} '{answer.headers[name]}'; " for name in ("etag", "last-modified"))
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as file:
            file.write(f"""daemon off; worker_processes 1; error_log {self.folder}/nginx.log; pid {self.folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {self.folder}/nginx-body;
	proxy_temp_path {self.folder}/nginx-proxy; fastcgi_temp_path {self.folder}/nginx-fastcgi;
	uwsgi_temp_path {self.folder}/nginx-uwsgi; scgi_temp_path {self.folder}/nginx-scgi;
	server {{ listen 127.0.0.1:{self.nginx_port} ssl; ssl_certificate {self.server.certificates}/server.pem;
		ssl_certificate_key {self.server.certificates}/server.key; ssl_protocols TLSv1.2 TLSv1.3;
		location / {{ default_type '{answer.headers["content-type"]}'; {headers}return 200 '{answer.body.decode()}'; }} }} }}
""")
        self.nginx = subprocess.Popen(["nginx", "-c", path], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        if self.nginx.poll() is not None:
            raise SystemExit(f"nginx did not start: see {path}")
        children = subprocess.run(["pgrep", "-P", str(self.nginx.pid)], capture_output=True, text=True).stdout.split()
        self.nginx_worker = int(children[0])

    def patient(self):
        return self.client().must(201, "POST", "/fhir/Patient", padded(SIZE).replace("@N", "1"))


def ticks(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def pss(process):
    """KiB that a process holds, its part of what it shares counted."""
    with open(f"/proc/{process}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))


def read(bench):
    answer = bench.patient()
    target = "/fhir/" + answer.reference
    got = bench.client().must(200, "GET", target)
    if not bench.nginx:
        bench.start_nginx(got)
    ratios, same, costs, ours_rates = [], [], [], []
    bench.load(target, seconds=0.5)
    bench.load(target, seconds=0.5, port=bench.nginx_port)
    for _ in range(options.repetitions):
        before = ticks(bench.nginx_worker)
        theirs = bench.load(target, port=bench.nginx_port)
        theirs_cost = (ticks(bench.nginx_worker) - before) / theirs["requests"]
        before = bench.cpu()
        ours = bench.load(target)
        cost = (bench.cpu() - before) / ours["requests"]
        again = bench.load(target, port=bench.nginx_port)
        ratios.append(ours["rate"] / theirs["rate"])
        same.append(again["rate"] / theirs["rate"])
        costs.append(cost / theirs_cost)
        ours_rates.append(ours["rate"])
    what = f"{len(got.body)} bytes over TLS, {CONNECTIONS} connections; nginx `return`, one worker, same certificate"
    note("machine", "nginx measured twice in turn: the second over the first", spread(same), "", None)
    note("read", f"{what}; ours {median(ours_rates):.0f}/s", spread(ratios), ">= 0.45", median(ratios) >= 0.45)
    note("read, CPU", "the server's CPU time for a request over nginx's", spread(costs), "<= 2.5", median(costs) <= 2.5)


def bundle():
    entries = []
    for i in range(BUNDLE):
        resource = {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org",
                    "code": "8867-4"}]}, "valueQuantity": {"value": i, "unit": "/min"}, "effectiveDateTime": "2026-10-01"}
        entries.append({"resource": resource, "request": {"method": "POST", "url": "Observation"}})
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}, separators=(",", ":"))


def beside(bench):
    target = "/fhir/" + bench.patient().reference
    text = bundle()
    excess, quiets, busies, twice, posted = [], [], [], [], 0
    for _ in range(options.repetitions):
        quiet = bench.load(target, connections=GENTLE)["p99"] / 1000
        again = bench.load(target, connections=GENTLE)["p99"] / 1000
        poster = bench.start_load("/fhir", connections=1, method="POST", body=text, seconds=options.seconds + 0.5)
        time.sleep(0.3)
        busy = bench.load(target, connections=GENTLE)["p99"] / 1000
        posted += bench.finish(poster)["requests"]
        quiets.append(quiet)
        busies.append(busy)
        twice.append(again / quiet)
        excess.append(busy - 2 * quiet)
    note("p99, twice", f"p99 of a read, {GENTLE} connections, measured twice in turn", spread(twice), "", None)
    note("read beside bundles", f"p99 of a read in ms, {GENTLE} connections, while one client posts bundles of {BUNDLE} entries "
         f"({posted} posted): {spread(busies)} against {spread(quiets)} quiet; here: what is above twice the quiet value",
         spread(excess, "%.1f ms"), "<= 2 ms", median(excess) <= 2)


def create(bench):
    text = padded(SIZE)
    ratios, whole, rates, groups, p99, costs = [], [], [], [], [], []
    for name in bench.creators:
        before = bench.commits(name)
        process = bench.processes()["org/" + name]
        cpu = ticks(process)
        ours = bench.load("/fhir/Patient", organization=name, method="POST", body=text)
        cpu = (ticks(process) - cpu) / ours["requests"]
        group = max(1, round(ours["requests"] / max(1, bench.commits(name) - before)))
        # A copy by SQLite's own means: the file is in use.
        copied = bench.server.console("-e", "backup bench.db", organization=name)
        file = os.path.join(bench.server.data, "organizations", name, "bench.db")
        if copied.returncode or not os.path.exists(file):
            raise SystemExit(f"backup: {copied.stdout} {copied.stderr}")
        command = [os.path.join(BUILD, "store_bench"), "rows", file, str(group), str(ours["requests"]), bench.folder]
        raw, raw_cost = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        more, _ = map(float, subprocess.run([*command, "all"], check=True, capture_output=True, text=True).stdout.split())
        ratios.append(ours["rate"] / raw)
        costs.append(raw_cost / cpu / 1e6)
        whole.append(ours["rate"] / more)
        rates.append(ours["rate"])
        groups.append(group)
        p99.append(ours["p99"] / 1000)
    what = f"{CONNECTIONS} connections, groups of {median(groups):.0f}; ours {median(rates):.0f}/s, p99 {median(p99):.0f} ms"
    note("create", f"against bare SQLite inserting the resources' and indexes' rows; {what}", spread(ratios), ">= 0.40",
         median(ratios) >= 0.4)
    note("create, CPU", "bare SQLite's CPU time for a resource over the organization process's for a request", spread(costs),
         "", None)
    note("create, all rows", "the same, events, answers and audit leaves inserted too", spread(whole), "", None)


def observation(number):
    return {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "valueQuantity": {"value": number, "unit": "/min"}, "effectiveDateTime": "2026-10-01"}


def transaction(bench):
    entries = [{"resource": observation(i), "request": {"method": "POST", "url": "Observation"}} for i in range(ENTRIES)]
    text = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}, separators=(",", ":"))
    single = json.dumps(observation(1), separators=(",", ":"))
    ratios, rates = [], []
    for _ in range(options.repetitions):
        alone = bench.load("/fhir/Observation", method="POST", body=single)["rate"]
        rates.append(bench.load("/fhir", method="POST", body=text)["rate"] * ENTRIES)
        ratios.append(rates[-1] / alone)
    note("transaction", f"transactions of {ENTRIES} creates, {CONNECTIONS} connections, counted in resources ({median(rates):.0f}/s), over "
         "single creates of the same", spread(ratios), ">= 1.2", median(ratios) >= 1.2)


def bulk(bench):
    """Synthea's bundles, one patient's record each, posted by one client."""
    paths = sorted(glob.glob(os.path.join(ROOT, "..", "shared", "data", "synthea-20", "*.json.gz")))
    if not paths:
        print("bulk: skipped, ../shared/data is not here")
        return
    bundles, resources, size = [], 0, 0
    for path in paths:
        with gzip.open(path) as file:
            bundles.append(file.read())
        resources += len(json.loads(bundles[-1])["entry"])
        size += len(bundles[-1])
    single, ratios, rates = json.dumps(observation(1), separators=(",", ":")), [], []
    for name in bench.creators:
        client = bench.client(name)
        alone = bench.load("/fhir/Observation", organization=name, method="POST", body=single)["rate"]
        begun = time.monotonic()
        for text in bundles:
            client.must(200, "POST", "/fhir", text, Prefer="return=minimal")
        rates.append(resources / (time.monotonic() - begun))
        ratios.append(rates[-1] / alone)
    note("bulk load", f"{len(bundles)} bundles of Synthea, {resources} resources of {size / resources / 1024:.1f} KiB, one client: "
         f"{median(rates):.0f} resources/s; over single creates of small Observations by {CONNECTIONS} connections", spread(ratios), "", None)


def task_of(patient):
    return {"resourceType": "Task", "status": "draft", "intent": "order", "focus": {"reference": patient},
            "code": {"coding": [{"system": "urn:careloop:workflow", "code": "loop"}]}, "for": {"reference": patient}}


def transition(bench):
    out = subprocess.run([os.path.join(BUILD, "engine_bench"), str(options.seconds * options.repetitions)], check=True,
                         capture_output=True, text=True).stdout
    inside = [float(value) for value in re.findall(r"transition/update ([0-9.]+)", out)]
    note("transition, inside", "one with a Lua guard and effect against a plain update, durable, groups of 32, without network",
         spread(inside), ">= 0.50", median(inside) >= 0.5)
    update = padded(SIZE).replace('"resourceType"', '"id":"p@C","resourceType"', 1)
    task = json.dumps({**task_of("Patient/p@C"), "id": "t@C"})
    go = json.dumps({"resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "go"}]})
    bench.load("/fhir/Patient/p@C", method="PUT", body=update, requests=1)
    bench.load("/fhir/Task/t@C", method="PUT", body=task, requests=1)
    ratios, rates = [], []
    for _ in range(options.repetitions):
        plain = bench.load("/fhir/Patient/p@C", method="PUT", body=update)
        moved = bench.load("/fhir/Task/t@C/$transition", method="POST", body=go)
        ratios.append(moved["rate"] / plain["rate"])
        rates.append(moved["rate"])
    note("transition, over TLS", f"the same over TLS, {CONNECTIONS} connections, each with its own task and patient; {median(rates):.0f}/s", spread(ratios), ">= 0.50",
         median(ratios) >= 0.5)


def hostile(bench):
    target = "/fhir/" + bench.patient().reference
    evil = bench.client("hostile")
    patient = evil.create(careloop.patient()).reference
    task = evil.create(task_of(patient)).reference
    go = json.dumps({"resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "go"}]})
    excess, quiets, busies = [], [], []
    for _ in range(options.repetitions):
        quiet = bench.load(target, connections=GENTLE)["p99"] / 1000
        burner = bench.start_load(f"/fhir/{task}/$transition", organization="hostile", connections=16, method="POST", body=go,
                                  seconds=options.seconds + 0.5)
        time.sleep(0.3)
        busy = bench.load(target, connections=GENTLE)["p99"] / 1000
        burned = bench.finish(burner, may_fail=True)
        quiets.append(quiet)
        busies.append(busy)
        excess.append(busy - 1.2 * quiet)
    note("beside a hostile plugin", f"p99 of a read in ms, {GENTLE} connections, while another organization's plugin burns CPU "
         f"({burned['requests']} calls stopped): {spread(busies)} against {spread(quiets)} quiet; here: what is above 1.2 times the "
         "quiet value", spread(excess, "%.1f ms"), "<= 5 ms", median(excess) <= 5)


def memory(bench):
    idle = [pss(process) for name, process in bench.processes().items() if name.removeprefix("org/") in bench.creators]
    note("memory, organization", "PSS of an organization's process", spread(idle, "%.0f KiB"), "", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    client = bench.client()
    target = "/fhir/" + bench.patient().reference
    gateways = [process for name, process in bench.processes().items() if name.startswith("gateway")]

    def opened(count):
        held = []
        for _ in range(count):
            connection = client.connect()
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: bench.localhost:{bench.server.port}\r\n\r\n".encode())
            received = b""
            while not careloop.complete(received):
                received += connection.recv(65536)
            held.append(connection)
        return held

    # Once before, so that what the gateways keep for good is there.
    for connection in opened(50):
        connection.close()
    time.sleep(0.3)
    before = sum(map(pss, gateways))
    held = opened(IDLE)
    time.sleep(0.3)
    after = sum(map(pss, gateways))
    for connection in held:
        connection.close()
    note("memory, TLS connection", f"of the gateways, for each of {IDLE} idle connections that were served once",
         f"{(after - before) / IDLE:.1f} KiB", "", None)
    out = subprocess.run([os.path.join(BUILD, "engine_bench"), "0.1"], check=True, capture_output=True, text=True).stdout
    note("memory, plugin state", "one small plugin, in Lua's own count", re.search(r"plugin state: (.*)", out).group(1), "", None)


def people(count, observations):
    """A batch of patients, each with an encounter and observations of some codes."""
    for number in range(count):
        yield {**json.loads(json.dumps(PATIENT).replace("@N", str(number))), "id": f"person-{number}",
               "birthDate": f"19{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}"}
        yield {"resourceType": "Encounter", "id": f"visit-{number}", "status": "finished", "class": {"code": "AMB"},
               "subject": {"reference": f"Patient/person-{number}"}, "period": {"start": "2026-01-05"}}
        for k in range(observations):
            yield {"resourceType": "Observation", "id": f"value-{number}-{k}", "status": "final",
                   "code": {"coding": [{"system": "http://loinc.org", "code": f"80{k % 10}-1", "display": f"Measured thing {k % 10}"}]},
                   "subject": {"reference": f"Patient/person-{number}"}, "encounter": {"reference": f"Encounter/visit-{number}"},
                   "effectiveDateTime": f"2026-0{k % 9 + 1}-0{number % 9 + 1}T10:00:00Z",
                   "valueQuantity": {"value": k * 1.5, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}}


def search(bench):
    resources, client = list(people(500, 40)), bench.client()
    for begin in range(0, len(resources), BUNDLE):
        entries = [{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
                   for r in resources[begin:begin + BUNDLE]]
        client.must(200, "POST", "/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    own = "/fhir/Patient/person-77"
    light = {"name and birthdate": ("/fhir/Patient?name=Chalmers77&birthdate=1987-06-17", 1, ">= 0.50"),
             "patient, code, date": ("/fhir/Observation?patient=person-77&code=http://loinc.org%7C803-1&date=ge2026-05", 3, ""),
             "with an include": ("/fhir/Observation?_id=value-77-3&_include=Observation:patient", 2, ""),
             "ten, sorted": ("/fhir/Observation?patient=person-77&_sort=-date&_count=10", 10, "")}
    for target, entries, _ in light.values():
        got = client.must(200, "GET", target).json
        assert len(got["entry"]) == entries, (target, len(got["entry"]))
    bench.load(own, seconds=0.5)
    for name, (target, entries, goal) in light.items():
        ratios, rates = [], []
        for _ in range(options.repetitions):
            reads = bench.load(own)["rate"]
            rates.append(bench.load(target)["rate"])
            ratios.append(rates[-1] / reads)
        note(f"search, {name}", f"{target}: {entries} resources; its rate over that of a read by id; {median(rates):.0f}/s",
             spread(ratios), goal, median(ratios) >= 0.5 if goal else None)
    heavy = "/fhir/Observation?code:text=nothing&value-quantity=ne1&_total=accurate&code:not=a&_sort=-value-quantity"
    post = padded(SIZE)
    for what, how in (("read", {"target": own}), ("create", {"target": "/fhir/Patient", "method": "POST", "body": post}),
                      ("search", {"target": light["name and birthdate"][0]})):
        ratios = []
        for _ in range(options.repetitions):
            quiet = bench.load(connections=GENTLE, **how)["p99"]
            other = bench.start_load(heavy, connections=4, principal="manager", seconds=options.seconds + 0.5)
            time.sleep(0.3)
            busy = bench.load(connections=GENTLE, **how)["p99"]
            bench.finish(other)
            ratios.append(busy / quiet)
        note(f"{what} beside heavy searches", f"p99 with {GENTLE} connections while 4 connections of another principal run searches "
             f"that look at every Observation; over the quiet p99", spread(ratios), "<= 2" if what == "read" else "",
             median(ratios) <= 2 if what == "read" else None)


ALL = {"memory": memory, "read": read, "search": search, "beside": beside, "create": create, "transaction": transaction, "bulk": bulk,
       "transition": transition, "hostile": hostile,
       "export": lambda bench: export_part.export(bench, note, spread, median, options.repetitions, GENTLE)}


def main():
    chosen = options.names or list(ALL)
    for name in chosen:
        if name not in ALL:
            parser.error(f"there is no {name}; there are {' '.join(ALL)}")
    bench = Bench()
    try:
        print(f"{os.cpu_count()} cores, {options.repetitions} repetitions of {options.seconds:g} s, in turn; median (spread)")
        for name in ALL:
            if name in chosen:
                ALL[name](bench)
    finally:
        bench.close()
    print()
    width = [max(len(row[i]) for row in rows) for i in (0, 2, 3)]
    for name, _, value, target, reached in rows:
        print(f"{name:{width[0]}}  {value:{width[1]}}  {target:{width[2]}}  {reached}")


main()
