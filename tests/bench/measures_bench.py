#!/usr/bin/env python3
"""Measures over a population of 2,000, against what one measure and plain reading cost in the same run; prints ratios. Needs a
release build: measures_bench.py [--patients 2000]. Asserts nothing."""
import argparse
import os
import statistics
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("CARELOOP", os.path.join(ROOT, "build-release", "careloop"))
sys.path.insert(0, os.path.join(ROOT, "tests", "api"))
import measures_test  # noqa: E402
from careloop import Server  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--patients", type=int, default=2000)
options = parser.parse_args()


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def create_times(client, until):
    found = []
    while not until():
        found.append(timed(lambda: client.create({"resourceType": "Basic", "code": {"text": "beside"}})))
    return found


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]


server = Server({"clinic": measures_test.ORGANIZATION}).start()
try:
    client, other = server.client("clinic", "ehr"), server.client("clinic", "manager")
    population = measures_test.Population(1, options.patients)
    loading = timed(lambda: population.load(client))
    entries = len(population.entries)
    other.must(200, "GET", "/metrics/cms2?months=1")
    one = timed(lambda: other.must(200, "GET", "/fhir/Measure/cms2/$evaluate-measure?period=2025"))
    count = sum("periods" in metric for metric in other.must(200, "GET", "/metrics?months=1").json["metrics"])
    everything = statistics.median(timed(lambda: other.request("GET", "/metrics?months=1", timeout=120)) for _ in range(3))
    end = time.monotonic() + 3
    quiet = create_times(client, lambda: time.monotonic() > end)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (other.request("GET", "/metrics?months=1", timeout=120), done.set()))
    thread.start()
    busy = create_times(client, done.is_set)
    thread.join()
    print(f"{options.patients} patients, {entries} resources, loaded in {loading:.1f} s")
    print(f"{count} measures {everything:.2f} s; one (cms2) {one:.2f} s: all cost {everything / one:.1f} times one")
    print(f"patients x measures a second: {options.patients * count / everything:.0f}")
    print(f"create beside it: p50 {statistics.median(busy) * 1000:.2f} ms, {statistics.median(busy) / statistics.median(quiet):.2f} "
          f"times quiet; p99 {p99(busy) * 1000:.2f} ms, {p99(busy) / p99(quiet):.2f} times quiet ({len(busy)} creates)")
finally:
    server.stop()
