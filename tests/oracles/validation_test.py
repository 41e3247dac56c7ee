#!/usr/bin/env python3
"""Our validator against two others, @medplum/core and npm "fhir", on published resources and thousands of changed ones. Every kind of
disagreement is in disagreements.json with its reason: a new one fails, and so does one that no longer comes.

Needs Node 18 or newer, npm and, the first time, its registry; skipped without."""
import json
import os
import shutil
import subprocess
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("CL_BUILD", os.path.join(ROOT, "build-release"))
DATA = os.path.join(os.path.dirname(ROOT), "shared", "data")
MUTANTS = 8  # of each resource


def prepare():
    """Why the comparison cannot run here, or nothing."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "Node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 18:
        return f"Node {version} is too old: 18 or newer"
    if not os.path.isdir(os.path.join(DATA, "r4-examples")):
        return "../shared/data/r4-examples is not there"
    if os.path.isdir(os.path.join(HERE, "node_modules", "fhir")):
        return None
    try:
        result = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"], cwd=HERE,
                                capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "npm ci did not end in five minutes"
    return None if result.returncode == 0 else "npm ci failed: " + result.stderr.strip()[-300:]


class Validation(unittest.TestCase):
    maxDiff = None

    def test_every_disagreement_has_its_reason(self):
        why_not = prepare()
        if why_not:
            self.skipTest(why_not)
        result = subprocess.run(["node", os.path.join(HERE, "compare.mjs"), DATA, os.path.join(BUILD, "validate_lines"), str(MUTANTS)],
                                capture_output=True, text=True, timeout=600)
        self.assertEqual(result.returncode, 0, result.stderr[-2000:])
        found = json.loads(result.stdout)
        counts, kinds = found["counts"], found["kinds"]
        print("{originals} resources, {cases} with their changed copies, {refused} refused by ours, {disagreements} disagreements"
              .format(**counts))
        self.assertGreater(counts["cases"], 4000)
        # Most changed copies are wrong: a validator that lets everything pass would agree with nobody.
        self.assertGreater(counts["refused"], counts["cases"] // 2)
        with open(os.path.join(HERE, "disagreements.json")) as file:
            known = json.load(file)
        new = {kind: kinds[kind] for kind in kinds if kind not in known}
        self.assertEqual(new, {}, "kinds of disagreement without a reason in disagreements.json")
        self.assertEqual(set(known) - set(kinds), set(), "kinds in disagreements.json that did not come")


if __name__ == "__main__":
    unittest.main()
