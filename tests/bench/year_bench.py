#!/usr/bin/env python3
"""year_bench.py: how long one synthetic year of an organization takes under the virtual clock, by tests/bench/year.

  tests/bench/year_bench.py            100, 500 and 2,000 patients
  tests/bench/year_bench.py 2000       so many

Prints what each size did, and how the cost of a patient grows from the first size to each other: near 1, a year of a large
organization costs as much for a patient as that of a small one.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CARELOOP = os.environ.get("CARELOOP", os.path.join(HERE, "../../build-release/careloop"))


def year(patients):
    done = subprocess.run([CARELOOP, "plugin", "test", os.path.join(HERE, "year")], capture_output=True, text=True,
                          env={**os.environ, "PATIENTS": str(patients)}, timeout=1800, check=False)
    found = re.search(r"patients=.*", done.stdout)
    if done.returncode or not found:
        sys.exit(done.stdout + done.stderr)
    print(found.group(0), flush=True)
    return float(re.search(r"seconds=([\d.]+)", found.group(0)).group(1)) / patients


def main():
    sizes = [int(word) for word in sys.argv[1:]] or [100, 500, 2000]
    costs = [year(size) for size in sizes]
    for size, cost in zip(sizes[1:], costs[1:]):
        print(f"cost of a patient, {size} to {sizes[0]}: {cost / costs[0]:.2f}")


if __name__ == "__main__":
    main()
