#!/usr/bin/env python3
"""Real FHIR clients, unmodified, over TLS against a running server: curl, fhir-kit-client, @medplum/core and fhirclient log in, create,
search, page, include, patch, send transactions, subscribe and export, as their users do. The npm packages of package-lock.json are
installed on the first run; without Node 18 or npm only curl is tried, and it is said so."""
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "api"))
from careloop import Server, patient  # noqa: E402

CLIENT = "clients-test"


def text_of(result):
    if result.returncode:
        raise AssertionError(result.stdout + result.stderr)
    return json.loads(result.stdout).get("text", result.stdout)


def setUpModule():
    global server, base, secret
    server = Server(("riverside",)).start()
    # By path, because not every machine knows *.localhost.
    base = f"https://localhost:{server.port}/riverside"
    text_of(server.console("--json", "-e", f"client add {CLIENT} ehr system/*.cruds", organization="riverside"))
    secret = re.search(r"[A-Za-z0-9_\-]{30,}", text_of(
        server.console("--json", "-e", f"client secret {CLIENT}", organization="riverside"))).group()


def tearDownModule():
    server.stop()


def why_not():
    """Why the npm packages cannot be tried, or None; installs them."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "Node or npm is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 18:
        return f"Node {version} is too old: 18 or later is needed"
    stamp = os.path.join(HERE, "node_modules", ".package-lock.json")
    lock = os.path.join(HERE, "package-lock.json")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < os.path.getmtime(lock):
        result = subprocess.run([npm, "ci", "--omit=optional", "--ignore-scripts", "--legacy-peer-deps", "--no-audit",
                                 "--no-fund"], cwd=HERE,
                                capture_output=True, text=True)
        if result.returncode:
            return "npm could not fetch the packages: " + result.stderr.strip().splitlines()[-1][:200]
        os.utime(stamp)
    return None


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.reason = why_not()

    def setUp(self):
        if self.reason:
            print("tests/clients: skipped, " + self.reason, file=sys.stderr)
            self.skipTest(self.reason)

    def run_file(self, name):
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": os.path.join(server.certificates, "ca.pem"), "CARELOOP_BASE": base,
                       "CARELOOP_CLIENT": CLIENT, "CARELOOP_SECRET": secret, "NODE_NO_WARNINGS": "1"}
        result = subprocess.run(["node", "--test", "--test-reporter=tap", name], cwd=HERE, env=environment, capture_output=True,
                                text=True, timeout=120)
        passed = re.search(r"^# pass (\d+)", result.stdout, re.M)
        if result.returncode or not passed or int(passed.group(1)) < 3:
            self.fail(f"{name}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}\n{server.log()[-2000:]}")

    def test_fhir_kit_client(self):
        self.run_file("kit_test.mjs")

    def test_medplum_core(self):
        self.run_file("medplum_test.mjs")

    def test_fhirclient(self):
        self.run_file("fhirclient_test.mjs")


class Curl(unittest.TestCase):
    def curl(self, *arguments, status=200, certificate="ehr", data=None):
        command = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", os.path.join(server.certificates, "ca.pem"),
                   "--write-out", "\n%{http_code}"]
        if certificate:
            path = os.path.join(server.certificates, "clients", "riverside-" + certificate)
            command += ["--cert", path + ".pem", "--key", path + ".key"]
        result = subprocess.run(command + list(arguments), capture_output=True, text=True, input=data)
        self.assertEqual(result.returncode, 0, result.stderr)
        body, _, code = result.stdout.rpartition("\n")
        self.assertEqual(int(code), status, body)
        return body

    def put(self, name, **more):
        return self.curl("-X", "PUT", f"{base}/fhir/Patient/{name}", "-H", "Content-Type: application/fhir+json", "--data",
                         json.dumps({**patient(), "id": name, **more}), status=more.pop("status", 201))

    def test_certificate_etag_head_and_chunks(self):
        self.put("curl")
        head = self.curl("--head", f"{base}/fhir/Patient/curl")
        self.assertIn('etag: W/"1"', head.lower().replace('w/"', 'W/"'))
        changed = json.dumps({**patient(), "id": "curl", "active": True})
        update = ("-X", "PUT", f"{base}/fhir/Patient/curl", "-H", "Content-Type: application/fhir+json")
        self.curl(*update, "-H", 'If-Match: W/"7"', "--data", changed, status=412)
        self.curl(*update, "-H", 'If-Match: W/"1"', "-H", "Transfer-Encoding: chunked", "--data-binary", "@-", data=changed)
        self.curl(f"{base}/fhir/Patient/curl", "-H", 'If-None-Match: W/"2"', status=304)
        self.curl(f"{base}/fhir/Patient/curl", certificate=None, status=401)

    def test_patch_search_and_transaction(self):
        self.put("curl-patch")
        patched = self.curl("-X", "PATCH", f"{base}/fhir/Patient/curl-patch", "-H", "Content-Type: application/json-patch+json",
                            "--data", '[{"op":"add","path":"/active","value":true}]')
        self.assertTrue(json.loads(patched)["active"])
        found = json.loads(self.curl("--get", f"{base}/fhir/Patient", "--data-urlencode", "_id=curl-patch"))
        self.assertEqual(len(found["entry"]), 1)
        posted = json.loads(self.curl(f"{base}/fhir/Patient/_search", "--data-urlencode", "_id=curl-patch"))
        self.assertEqual(len(posted["entry"]), 1)
        answer = json.loads(self.curl(f"{base}/fhir/", "-H", "Content-Type: application/json", "--data", json.dumps(
            {"resourceType": "Bundle", "type": "transaction", "entry": [
                {"resource": patient(), "request": {"method": "POST", "url": "Patient"}}]})))
        self.assertEqual(answer["type"], "transaction-response")

    def test_subscribes_to_events(self):
        path = os.path.join(server.certificates, "clients", "riverside-ehr")
        stream = subprocess.Popen(["curl", "--silent", "-N", "--max-time", "20", "--cacert", os.path.join(server.certificates, "ca.pem"),
                                   "--cert", path + ".pem", "--key", path + ".key", base + "/events"], stdout=subprocess.PIPE, text=True)
        found, ready = [], threading.Event()

        def read():
            for line in stream.stdout:
                ready.set()
                if line.startswith("data: ") and "curl-event" in line:
                    found.append(json.loads(line[6:]))
                    return
        thread = threading.Thread(target=read)
        thread.start()
        self.assertTrue(ready.wait(10))
        self.put("curl-event")
        thread.join(10)
        stream.kill()
        stream.wait()
        stream.stdout.close()
        self.assertEqual([(event["type"], event["id"]) for event in found], [("Patient", "curl-event")])

    def test_logs_in_and_exports_with_a_token(self):
        granted = json.loads(self.curl(f"{base}/oauth2/token", "--user", f"{CLIENT}:{secret}", "--data", "grant_type=client_credentials",
                                       "--data", "scope=system/Patient.rs", certificate=None))
        token = ("-H", "Authorization: Bearer " + granted["access_token"])
        self.put("curl-export")
        self.curl("-X", "DELETE", f"{base}/fhir/Patient/curl-export", *token, certificate=None, status=403)
        head = self.curl(f"{base}/fhir/$export?_type=Patient", *token, "-H", "Prefer: respond-async", "--dump-header", "-", certificate=None,
                         status=202)
        status = re.search(r"(?i)^content-location: (\S+)", head, re.M).group(1)
        end = time.monotonic() + 20
        while True:
            answer = self.curl(status, *token, "--dump-header", "-", "-H", "Accept: application/json", certificate=None,
                               status=200) if self.done(status, token) else None
            if answer or time.monotonic() > end:
                break
            time.sleep(0.1)
        manifest = json.loads(answer[answer.index("{"):])
        self.assertTrue(manifest["requiresAccessToken"])
        lines = self.curl(manifest["output"][0]["url"], *token, certificate=None).splitlines()
        self.assertIn("curl-export", [json.loads(line)["id"] for line in lines])
        self.curl(manifest["output"][0]["url"], certificate=None, status=401)
        self.curl("-X", "DELETE", status, *token, certificate=None, status=202)
        self.curl(status, *token, certificate=None, status=404)

    def done(self, status, token):
        result = subprocess.run(["curl", "--silent", "--output", os.devnull, "--cacert", os.path.join(server.certificates, "ca.pem"),
                                 "--write-out", "%{http_code}", *token, status], capture_output=True, text=True)
        return result.stdout == "200"


if __name__ == "__main__":
    unittest.main()
