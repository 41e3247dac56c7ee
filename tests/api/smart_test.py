#!/usr/bin/env python3
"""SMART Backend Services: discovery, tokens for clients by signed assertion, secret or certificate, and scopes that only narrow.
Keys and assertions are made by the openssl command line, not by the server's code."""
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from urllib.parse import quote, urlencode

from careloop import PROGRAM, ROOT, Client, Server, patient, referral, wait_for

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


class Key:
    """A private key in a file, its public part as a JSON Web Key, signatures as RFC 7518 wants them."""

    def __init__(self, name, kid, curve=None, bits=2048):
        self.path, self.kid, self.curve = os.path.join(folder, name + ".pem"), kid, curve
        if curve:
            openssl("ecparam", "-name", {"P-256": "prime256v1", "P-384": "secp384r1"}[curve], "-genkey", "-noout", "-out", self.path)
        else:
            openssl("genrsa", "-out", self.path, str(bits))
        self.algorithm = {None: "RS384", "P-256": "ES256", "P-384": "ES384"}[curve]

    def public(self):
        if self.curve:
            half = 48 if self.curve == "P-384" else 32
            point = openssl("ec", "-in", self.path, "-pubout", "-outform", "DER")[-2 * half:]
            return {"kty": "EC", "crv": self.curve, "kid": self.kid, "x": encode(point[:half]), "y": encode(point[half:])}
        modulus = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().partition("=")[2]
        return {"kty": "RSA", "kid": self.kid, "n": encode(bytes.fromhex(modulus)), "e": "AQAB"}

    def sign(self, data):
        signature = openssl("dgst", "-sha256" if self.curve == "P-256" else "-sha384", "-sign", self.path, data=data)
        if not self.curve:
            return signature
        numbers, at = b"", 3 if signature[1] & 0x80 else 2
        for _ in range(2):
            size = signature[at + 1]
            numbers += int.from_bytes(signature[at + 2:at + 2 + size], "big").to_bytes(48 if self.curve == "P-384" else 32, "big")
            at += 2 + size
        return numbers

    def token(self, claims, header=None):
        """A signed token; claims and header may be texts, for what no library would write."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **(header or {})} if not isinstance(header, str) else header
        parts = [part if isinstance(part, str) else json.dumps({k: v for k, v in part.items() if v is not None})
                 for part in (header, claims)]
        text = ".".join(encode(part.encode()) for part in parts)
        return text + "." + encode(self.sign(text.encode()))


class From(Client):
    """A client without a certificate from an address of its own, so that one test's failures are not another's."""
    last = 1

    def __init__(self, organization="riverside", certificate=None, **options):
        From.last += 1
        self.source = f"127.0.1.{From.last}"
        super().__init__(server, organization, certificate, **options)

    def connect(self, timeout=30):
        import socket
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=timeout, source_address=(self.source, 0))
        return self.context.wrap_socket(raw, server_hostname=self.server_name)

    def ask(self, path="/oauth2/token", headers=None, **form):
        return self.request("POST", path, urlencode(form), {**FORM, **(headers or {})})

    def with_token(self, token, path, method="GET", body=None, **headers):
        return self.request(method, path, body, {"Authorization": "Bearer " + token, **headers})


counter = 0


def claims(client, **changes):
    global counter
    counter += 1
    return {"iss": client, "sub": client, "aud": url, "exp": int(time.time()) + 240, "jti": f"jti-{os.getpid()}-{counter}", **changes}


def form_of(key, client, scope=None, header=None, **changes):
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION,
            "client_assertion": key.token(claims(client, **changes), header)}
    if scope is not None:
        form["scope"] = scope
    return form


def token(scope=None, key=None, client="registry"):
    answer = From().ask(**form_of(key or elliptic, client, scope))
    if answer.status != 200:
        raise AssertionError(f"no token for {scope}: {answer}")
    return answer.json["access_token"]


def setUpModule():
    global server, folder, url, elliptic, rsa, other, ehr, person, task, observation, secret
    folder = tempfile.mkdtemp(prefix="careloop-smart-")
    elliptic, rsa, other = Key("elliptic", "e1", "P-384"), Key("rsa", "r1"), Key("other", "e1", "P-384")
    with open(os.path.join(ROOT, "config", "orgs", "riverside.lua")) as file:
        text = file.read()
    server = Server({"riverside": "return {}", "lakeside": None})
    text = text.replace("localhost:8443", f"localhost:{server.port}").replace("	principals = {", """	principals = {
		registry = { kind = "client", roles = { "ehr" }, jwks_file = "registry.json" },
		dashboard = { kind = "client", roles = { "ehr" }, jwks_file = "registry.json", scopes = "system/*.rs" },
		visits = { kind = "client", roles = { "manager" }, jwks_file = "registry.json" },""")
    with open(os.path.join(server.orgs, "riverside.lua"), "w") as file:
        file.write(text)
    shutil.copytree(os.path.join(ROOT, "config", "orgs", "riverside"), os.path.join(server.orgs, "riverside"))
    with open(os.path.join(server.orgs, "registry.json"), "w") as file:
        json.dump({"keys": [elliptic.public(), rsa.public()]}, file)
    server.start()
    url = f"https://riverside.localhost:{server.port}/oauth2/token"
    ehr = server.client("riverside", "ehr")
    person = ehr.create(patient("Scoped")).reference
    observation = ehr.create({"resourceType": "Observation", "status": "final", "code": {"coding": [
        {"system": "http://loinc.org", "code": "44261-6"}]}, "subject": {"reference": person}, "valueInteger": 12}).reference
    task = referral(server.client("riverside"), family="Scoped-Referral")
    must_console("client add bulk ehr system/Patient.rs system/Observation.rs")
    secret = must_console("client secret bulk").strip()


def tearDownModule():
    server.stop()
    shutil.rmtree(folder)


def must_console(line, organization="riverside"):
    result = server.console("-e", line, organization=organization)
    if result.returncode != 0:
        raise AssertionError(f"{line}: {result.stdout} {result.stderr}")
    return result.stdout


class Discovery(unittest.TestCase):
    def test_where_it_is(self):
        for path in ("/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration",
                     "/fhir/R4/.well-known/smart-configuration"):
            answer = From().get(path)
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.assertIn("max-age", answer.headers["cache-control"])
            self.assertEqual(answer.json["token_endpoint"], url)
            self.assertIn("client-confidential-asymmetric", answer.json["capabilities"])
            self.assertEqual(sorted(answer.json["token_endpoint_auth_signing_alg_values_supported"]), ["ES384", "RS384"])
            self.assertNotIn("authorization_endpoint", answer.json)
            again = From().request("GET", path, headers={"If-None-Match": answer.headers["etag"]})
            self.assertEqual((again.status, again.body), (304, b""))

    def test_below_the_alias(self):
        answer = From(host="localhost").get("/riverside/fhir/.well-known/smart-configuration")
        self.assertEqual(answer.json["token_endpoint"], f"https://localhost:{server.port}/riverside/oauth2/token")

    def test_what_is_not_there(self):
        for path in ("/.well-known/openid-configuration", "/fhir/.well-known/openid-configuration"):
            answer = From().request("GET", path, headers={"Accept": "application/fhir+json,application/json"})
            self.assertEqual(answer.status, 404, answer)
            self.assertEqual(answer.json["resourceType"], "OperationOutcome")
        self.assertEqual(From().post("/.well-known/smart-configuration", {}).status, 405)

    def test_metadata_says_it_too(self):
        security = From().get("/fhir/metadata").json["rest"][0]["security"]
        uris = security["extension"][0]
        self.assertTrue(uris["url"].endswith("/oauth-uris"))
        self.assertIn({"url": "token", "valueUri": url}, uris["extension"])
        self.assertIn("SMART-on-FHIR", json.dumps(security["service"]))


class Assertions(unittest.TestCase):
    def test_both_kinds_of_keys(self):
        for key in (elliptic, rsa):
            answer = From().ask(**form_of(key, "registry", "system/*.rs"))
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.assertEqual(answer.headers["cache-control"], "no-store")
            self.assertEqual(answer.json["token_type"], "bearer")
            self.assertEqual(answer.json["expires_in"], 300)
            self.assertEqual(answer.json["scope"], "system/*.rs")
            self.assertNotIn(".", answer.json["access_token"])
            self.assertEqual(From().with_token(answer.json["access_token"], "/fhir/" + person).status, 200)

    def refused(self, form, error="invalid_client", status=401):
        answer = From().ask(**form)
        self.assertEqual((answer.status, answer.json.get("error")), (status, error), answer)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertTrue(answer.json["error_description"])
        self.assertNotIn("access_token", answer.json)
        return answer.json["error_description"]

    def test_claims(self):
        now = int(time.time())
        for changes in ({"aud": f"https://lakeside.localhost:{server.port}/oauth2/token"}, {"aud": None}, {"aud": url + "/"},
                        {"aud": ["https://there.example/"]}, {"sub": "bulk"}, {"iss": "bulk"}, {"iss": None}, {"sub": None},
                        {"exp": now - 1}, {"exp": now + 400}, {"exp": None}, {"exp": str(now + 60)}, {"exp": 1e300},
                        {"nbf": now + 60}, {"iat": now + 60}, {"jti": None}, {"jti": ""}, {"jti": 7}, {"jti": "x" * 256}):
            self.refused(form_of(elliptic, "registry", "system/*.rs", **changes))
        self.assertEqual(From().ask(**form_of(elliptic, "registry", "system/*.rs", aud=["https://there.example/", url])).status, 200)
        self.assertEqual(From().ask(**form_of(elliptic, "registry", "system/*.rs", exp=now + 60.5)).status, 200)

    def test_an_assertion_is_good_once(self):
        form = form_of(elliptic, "registry", "system/*.rs")
        self.assertEqual(From().ask(**form).status, 200)
        self.assertIn("used before", self.refused(form))
        again = form_of(rsa, "registry", "system/*.rs", jti="the-same")
        self.assertEqual(From().ask(**again).status, 200)
        self.refused(form_of(elliptic, "registry", "system/*.rs", jti="the-same"))
        # Another client's ids are its own.
        self.assertEqual(From().ask(**form_of(elliptic, "dashboard", "system/*.rs", jti="the-same")).status, 200)

    def test_keys(self):
        small, wrong_curve = Key("small", "r1", bits=1024), Key("curve", "e1", "P-256")
        for key in (other, small, wrong_curve):
            self.refused(form_of(key, "registry"))
        self.refused(form_of(elliptic, "registry", header={"kid": "e2"}))
        self.refused(form_of(elliptic, "registry", header={"kid": None}))
        self.refused(form_of(elliptic, "nobody"))
        self.refused(form_of(elliptic, "bulk"))  # has a secret and no key
        self.refused(form_of(elliptic, "coordinator"))  # has a certificate and no key

    def test_headers(self):
        good = claims("registry")
        text = json.dumps(good)
        for header in ({"alg": "none"}, {"alg": "RS384"}, {"alg": "ES256"}, {"alg": "HS384"}, {"alg": None}, {"crit": ["exp"]},
                       '{"alg":"ES384","kid":"e1","alg":"ES384"}', "[]", "x"):
            self.refused(form_of(elliptic, "registry", header=header))
        unsigned = encode(b'{"alg":"none","kid":"e1"}') + "." + encode(text.encode()) + "."
        base = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION}
        for assertion in (unsigned, "", "a.b", "x" * 20000, elliptic.token(text[:-1] + ', "iss": "registry"}'), elliptic.token("[]"),
                          elliptic.token("{}"), elliptic.token("null")):
            self.refused({**base, "client_assertion": assertion})
        self.refused({**base, "client_assertion_type": "jwt", "client_assertion": elliptic.token(claims("registry"))})

    def test_the_form(self):
        good = form_of(elliptic, "registry", "system/*.rs")
        self.refused({**good, "grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type", 400)
        self.refused({**good, "client_secret": "x"}, "invalid_request", 400)
        self.refused({key: value for key, value in good.items() if key != "grant_type"}, "invalid_request", 400)
        self.refused({**good, "client_id": "dashboard"})
        for body, headers in ((urlencode(good) + "&scope=system/*.r", FORM), (json.dumps(good), {"Content-Type": "application/json"}),
                              (urlencode(good) + "&x=%zz", FORM), ("", FORM)):
            answer = From().request("POST", "/oauth2/token", body, headers)
            self.assertEqual((answer.status, answer.json["error"]), (400, "invalid_request"), answer)
        answer = From().get("/oauth2/token")
        self.assertEqual((answer.status, answer.json["error"], answer.headers["allow"]), (405, "invalid_request", "POST"))
        # None of that used the assertion up; unknown parameters are passed over.
        self.assertEqual(From().ask(**good, client_id="registry", resource="x").status, 200)


class Secrets(unittest.TestCase):
    def test_post_and_basic(self):
        answer = From().ask(grant_type="client_credentials", client_id="bulk", client_secret=secret)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json["scope"], "system/Patient.rs system/Observation.rs")
        basic = base64.b64encode(f"{quote('bulk')}:{quote(secret)}".encode()).decode()
        answer = From().ask(grant_type="client_credentials", scope="system/Patient.r", headers={"Authorization": "Basic " + basic})
        self.assertEqual((answer.status, answer.json.get("scope")), (200, "system/Patient.r"), answer)

    def test_wrong_ones(self):
        for form in ({"client_id": "bulk", "client_secret": secret[:-1] + "_"}, {"client_id": "bulk", "client_secret": "x" * 4000},
                     {"client_id": "nobody", "client_secret": secret}, {"client_id": "registry", "client_secret": secret},
                     {"client_id": "bulk"}):
            answer = From().ask(grant_type="client_credentials", **form)
            self.assertEqual((answer.status, answer.json["error"]), (401, "invalid_client"), answer)
        for basic in ("bulk", "bulk:" + secret[:-1] + "_", ":", ""):
            answer = From().ask(grant_type="client_credentials",
                                headers={"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()})
            self.assertIn(answer.status, (400, 401), answer)
            self.assertNotIn("access_token", answer.json)
        answer = From().ask(grant_type="client_credentials", client_secret=secret, client_id="bulk",
                            headers={"Authorization": "Basic " + base64.b64encode(b"bulk:x").decode()})
        self.assertEqual(answer.json["error"], "invalid_request")

    def test_a_new_secret_and_revocation(self):
        must_console("client add passing ehr system/*.rs")
        first = must_console("client secret passing").strip()
        ask = {"grant_type": "client_credentials", "client_id": "passing"}
        held = From().ask(**ask, client_secret=first).json["access_token"]
        second = must_console("client secret passing").strip()
        self.assertEqual(From().ask(**ask, client_secret=first).status, 401)
        self.assertEqual(From().with_token(held, "/fhir/" + person).status, 200)
        self.assertEqual(From().ask(**ask, client_secret=second).status, 200)
        self.assertIn("passing", {row["client"] for row in server.rows("client list", "riverside")})
        must_console("client revoke passing")
        self.assertEqual(From().with_token(held, "/fhir/" + person).status, 401)
        self.assertEqual(From().ask(**ask, client_secret=second).status, 401)

    def test_keys_by_the_console(self):
        key = Key("console", "k1", "P-384")
        must_console("client add signing ehr")
        must_console("client key signing " + json.dumps(key.public(), separators=(",", ":")))
        self.assertEqual(From().ask(**form_of(key, "signing", "system/Patient.rs")).status, 200)
        for bad in ('{"kty":"oct","k":"AAAA","kid":"1"}', "{", json.dumps({**key.public(), "kid": None}, separators=(",", ":"))):
            self.assertNotEqual(server.console("-e", "client key signing " + bad, organization="riverside").returncode, 0, bad)
        for bad in ("client add registry ehr", "client add signing ehr", "client add new nobody", "client add new ehr system/Pateint.r",
                    "client add ne/w ehr", "client secret nobody", "client key registry {}"):
            self.assertNotEqual(server.console("-e", bad, organization="riverside").returncode, 0, bad)

    def test_nothing_secret_is_logged_or_kept(self):
        token_text = token("system/*.rs")
        with open(os.path.join(server.data, "admin.log"), "rb") as file:
            admin = file.read()
        for held in (secret, token_text):
            self.assertNotIn(held, server.log())
            self.assertNotIn(held.encode(), admin)
            for place, _, files in os.walk(os.path.join(server.data, "organizations", "riverside")):
                for name in files:
                    with open(os.path.join(place, name), "rb") as file:
                        self.assertNotIn(held.encode(), file.read(), name)


class Certificates(unittest.TestCase):
    def test_a_bound_token_needs_its_certificate(self):
        certificate = os.path.join(server.certificates, "clients", "riverside-ehr")
        with_it = From(certificate=certificate)
        answer = with_it.ask(grant_type="client_credentials", client_id="ehr", scope="system/*.rs")
        self.assertEqual(answer.status, 200, answer)
        held = answer.json["access_token"]
        self.assertEqual(with_it.with_token(held, "/fhir/" + person).status, 200)
        self.assertEqual(with_it.with_token(held, "/fhir/Patient", "POST", patient("Narrow")).status, 403)
        stolen = From().with_token(held, "/fhir/" + person)
        self.assertEqual(stolen.status, 401, stolen)
        self.assertIn("invalid_token", stolen.headers["www-authenticate"])
        manager = From(certificate=os.path.join(server.certificates, "clients", "riverside-manager"))
        self.assertEqual(manager.with_token(held, "/fhir/" + person).status, 401)

    def test_the_certificate_must_be_the_client_s(self):
        certificate = From(certificate=os.path.join(server.certificates, "clients", "riverside-manager"))
        for client in ("ehr", "registry", "bulk", "nobody"):
            answer = certificate.ask(grant_type="client_credentials", client_id=client)
            self.assertEqual((answer.status, answer.json["error"]), (401, "invalid_client"), answer)


class Tokens(unittest.TestCase):
    def test_unknown_and_revoked(self):
        held, second = token("system/*.rs"), token("system/*.rs")
        stranger = From()
        answer = stranger.with_token("x" * 43, "/fhir/" + person)
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers["www-authenticate"], 'Bearer realm="careloop", error="invalid_token"')
        self.assertEqual(stranger.get("/fhir/" + person).headers["www-authenticate"], 'Bearer realm="careloop"')
        for path in ("/fhir/Patient", "/fhir/Patient/x/_history", "/views"):
            self.assertIn("invalid_token", stranger.with_token("x" * 43, path).headers["www-authenticate"], path)
        self.assertIn("invalid_token", stranger.with_token("x" * 43, "/fhir/Patient", "POST", patient()).headers["www-authenticate"])
        # RFC 7009: its owner takes it back; another client cannot, and is not told whether it is known.
        proof = form_of(elliptic, "dashboard")
        proof.pop("grant_type")
        self.assertEqual(From().ask("/oauth2/revoke", token=held, **proof).status, 200)
        self.assertEqual(stranger.with_token(held, "/fhir/" + person).status, 200)
        proof = form_of(elliptic, "registry")
        proof.pop("grant_type")
        self.assertEqual(From().ask("/oauth2/revoke", token=held, **proof).status, 200)
        self.assertEqual(stranger.with_token(held, "/fhir/" + person).status, 401)
        self.assertEqual(stranger.with_token(second, "/fhir/" + person).status, 200)
        self.assertEqual(From().ask("/oauth2/revoke", token=second).json["error"], "invalid_request")

    def test_another_organization(self):
        held = token("system/*.cruds")
        self.assertEqual(From("lakeside").with_token(held, "/fhir/Patient").status, 401)

    def test_audit(self):
        From().ask(**form_of(other, "registry"))
        token("system/*.rs")
        rows = server.rows("audit 400", "riverside")
        outcomes = {(row["principal"], row["target"], row["outcome"]) for row in rows if row["action"] == "token"}
        self.assertIn(("registry", "client/registry", "ok"), outcomes)
        self.assertIn(("registry", "client/registry", "invalid_client"), outcomes)

    def test_who_fails_again_and_again_waits(self):
        guesser = From()
        statuses = [guesser.ask(grant_type="client_credentials", client_id="nobody", client_secret=str(i)).status for i in range(24)]
        self.assertEqual(statuses[0], 401)
        self.assertEqual(statuses[-1], 429)
        answer = guesser.ask(**form_of(elliptic, "registry", "system/*.rs"))
        self.assertEqual((answer.status, answer.json["error"]), (429, "temporarily_unavailable"))
        self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.assertEqual(From().ask(**form_of(elliptic, "registry", "system/*.rs")).status, 200)

    def test_guessing_holds_up_nobody(self):
        """Proofs run on a thread of their own: reads go on while secrets are checked."""
        import threading
        guessers = [From() for _ in range(6)]
        threads = [threading.Thread(target=lambda one=one: [one.ask(grant_type="client_credentials", client_id="bulk",
                                                                    client_secret=str(i)) for i in range(15)]) for one in guessers]
        for thread in threads:
            thread.start()
        reads = 0
        while any(thread.is_alive() for thread in threads):
            self.assertEqual(ehr.get("/fhir/" + person).status, 200)
            reads += 1
        for thread in threads:
            thread.join()
        self.assertGreater(reads, 90)  # more than there were guesses


class Scopes(unittest.TestCase):
    def test_what_is_granted(self):
        for client, scope, granted in (
                ("registry", "system/Patient.rs openid fhirUser", "system/Patient.rs"),
                ("registry", "system/Patient.read", "system/Patient.rs"),
                ("dashboard", "system/Patient.cruds system/Task.s", "system/Patient.rs system/Task.s"),
                ("dashboard", None, "system/*.rs"),
                ("dashboard", "system/Observation.rs?code=44261-6", "system/Observation.rs?code=44261-6")):
            answer = From().ask(**form_of(elliptic, client, scope))
            self.assertEqual((answer.status, answer.json.get("scope")), (200, granted), answer)
        for client, scope in (("registry", "patient/*.read"), ("registry", "user/Patient.r"), ("registry", "system/Pateint.r"),
                              ("registry", "system/Patient.sr"), ("registry", "openid"), ("dashboard", "system/Patient.cud"),
                              ("registry", "system/Patient.r?nothing=x")):
            answer = From().ask(**form_of(elliptic, client, scope))
            self.assertEqual((answer.status, answer.json["error"]), (400, "invalid_scope"), answer)

    def check(self, scope, cases):
        held, client = token(scope), From()
        for method, path, status, *body in cases:
            answer = client.with_token(held, path, method, body[0] if body else None)
            self.assertEqual(answer.status, status, f"{scope}: {method} {path} {answer}")

    def test_paths(self):
        parameters = {"resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "send"}]}
        self.check("system/Patient.r", (
            ("GET", "/fhir/" + person, 200), ("GET", "/fhir/" + person + "/_history/1", 200),
            ("GET", "/fhir/" + person + "/_history", 200), ("GET", "/fhir/Patient/_history", 403), ("GET", "/fhir/_history", 403),
            ("GET", "/fhir/Patient", 403), ("GET", "/fhir/" + observation, 403), ("GET", "/fhir/" + task, 403),
            ("PUT", "/fhir/" + person, 403, {**patient(), "id": person.partition("/")[2]}), ("DELETE", "/fhir/" + person, 403),
            ("POST", "/fhir/Patient", 403, patient()), ("GET", "/metrics", 403), ("GET", f"/fhir/{person}/Observation", 403)))
        self.check("system/Patient.s", (
            ("GET", "/fhir/" + person, 403), ("GET", "/fhir/Patient", 200), ("GET", "/events", 403)))
        self.check("system/Task.cud", (
            ("GET", "/fhir/" + task, 403), ("GET", "/fhir/Task", 403), ("GET", "/views/coordinator_worklist", 403)))
        self.check("system/Task.rs", (("POST", f"/fhir/{task}/$transition", 403, parameters),))

    def test_includes_and_chains(self):
        held, client = token("system/Observation.rs"), From()
        bundle = client.with_token(held, f"/fhir/Observation?code=44261-6&_include=Observation:subject").json
        self.assertEqual({entry["resource"]["resourceType"] for entry in bundle["entry"]}, {"Observation"})
        bundle = client.with_token(held, "/fhir/Observation?subject:Patient.name=Scoped").json
        self.assertEqual(bundle.get("entry", []), [])
        both = token("system/Observation.rs system/Patient.rs")
        bundle = client.with_token(both, f"/fhir/Observation?code=44261-6&_include=Observation:subject").json
        self.assertEqual({entry["resource"]["resourceType"] for entry in bundle["entry"]}, {"Observation", "Patient"})
        bundle = client.with_token(token("system/Patient.rs"), "/fhir/Patient?_has:Observation:subject:code=44261-6").json
        self.assertEqual(bundle.get("entry", []), [])
        bundle = client.with_token(both, "/fhir/Patient?name=Scoped&_revinclude=Task:patient&_revinclude=Observation:subject").json
        self.assertEqual({entry["resource"]["resourceType"] for entry in bundle["entry"]}, {"Observation", "Patient"})

    def test_conditions(self):
        held, client = token("system/Observation.rs?code=70274-6"), From()
        self.assertEqual(client.with_token(held, "/fhir/" + observation).status, 403)
        self.assertEqual(client.with_token(held, "/fhir/Observation").json.get("total", 0), 0)
        held = token("system/Observation.rs?code=44261-6")
        self.assertEqual(client.with_token(held, "/fhir/" + observation).status, 200)

    def test_entries_of_bundles(self):
        held, client = token("system/Patient.crs"), From()
        entries = [{"request": {"method": "GET", "url": person}}, {"request": {"method": "GET", "url": observation}},
                   {"request": {"method": "POST", "url": "Patient"}, "resource": patient("Batched")},
                   {"request": {"method": "DELETE", "url": person}}, {"request": {"method": "GET", "url": "../oauth2/token"}}]
        answer = client.with_token(held, "/fhir", "POST", {"resourceType": "Bundle", "type": "batch", "entry": entries})
        self.assertEqual([entry["response"]["status"][:3] for entry in answer.json["entry"]][:4], ["200", "403", "201", "403"], answer)
        self.assertEqual(answer.json["entry"][4]["response"]["status"][0], "4")
        answer = client.with_token(held, "/fhir", "POST", {"resourceType": "Bundle", "type": "transaction", "entry": entries[2:4]})
        self.assertEqual(answer.status, 403, answer)

    def test_the_event_stream(self):
        class Listener(From):
            pass
        held = token("system/Patient.r")
        listener = Listener()
        head = (f"GET /events HTTP/1.1\r\nHost: {listener.host}:{server.port}\r\nAuthorization: Bearer {held}\r\n\r\n").encode()
        connection = listener.connect(5)
        connection.sendall(head)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        self.assertIn(b" 200 ", received.split(b"\r\n")[0])
        hidden = ehr.create({"resourceType": "Condition", "subject": {"reference": person}, "code": {"text": "x"},
                             "clinicalStatus": {"coding": [{
                                 "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}}).id
        shown = ehr.create(patient("Streamed")).id
        while shown.encode() not in received:
            received += connection.recv(4096)
        connection.close()
        self.assertNotIn(hidden.encode(), received)

    def test_a_scope_never_widens(self):
        held, client = token("system/*.cruds", client="visits"), From()
        manager = server.client("riverside", "manager")
        for method, path in (("GET", "/fhir/Patient"), ("GET", "/fhir/" + person), ("GET", "/metrics"), ("DELETE", "/fhir/" + person)):
            self.assertEqual(client.with_token(held, path, method).status, manager.request(method, path).status, path)

    def test_metrics_and_views(self):
        self.assertEqual(From().with_token(token("system/MeasureReport.r", client="visits"), "/metrics/loop_closed").status, 200)
        self.assertEqual(From().with_token(token("system/*.s", client="visits"), "/metrics/loop_closed").status, 403)

    def test_exports(self):
        """What is exported is what the token could see when it was asked for; a narrower token does not get at it."""
        client, wide, narrow = From(), token("system/Patient.rs system/Observation.rs"), token("system/Observation.rs")

        def export(held):
            place = client.with_token(held, "/fhir/$export", Prefer="respond-async")
            self.assertEqual(place.status, 202, place)
            return place.headers["content-location"].partition(f":{server.port}")[2]
        status = export(narrow)
        manifest = wait_for(lambda: (lambda answer: answer.status == 200 and answer)(client.with_token(narrow, status)), "the export")
        self.assertEqual({output["type"] for output in manifest.json["output"]}, {"Observation"})
        status = export(wide)
        manifest = wait_for(lambda: (lambda answer: answer.status == 200 and answer)(client.with_token(wide, status)), "the export")
        self.assertEqual({output["type"] for output in manifest.json["output"]}, {"Observation", "Patient"})
        file = manifest.json["output"][0]["url"].partition(f":{server.port}")[2]
        for path in (status, file):
            self.assertEqual(client.with_token(narrow, path).status, 404, path)
            self.assertEqual(client.with_token(wide, path).status, 200, path)
            self.assertEqual(client.with_token(token("system/Patient.rs system/Observation.rs"), path).status, 200, path)

    def test_an_idempotency_key_is_of_its_scope(self):
        key = "key-" + hashlib.sha256(os.urandom(8)).hexdigest()[:8]
        wide, narrow = token("system/Patient.c"), token("system/Observation.rs")
        body = patient("Once")
        self.assertEqual(From().with_token(wide, "/fhir/Patient", "POST", body, **{"Idempotency-Key": key}).status, 201)
        self.assertEqual(From().with_token(narrow, "/fhir/Patient", "POST", body, **{"Idempotency-Key": key}).status, 403)

    def test_tokens_of_the_console(self):
        held = must_console("token create ehr 1 system/Patient.rs").strip()
        self.assertEqual(From().with_token(held, "/fhir/" + person).status, 200)
        self.assertEqual(From().with_token(held, "/fhir/" + observation).status, 403)
        self.assertNotEqual(server.console("-e", "token create ehr 1 openid", organization="riverside").returncode, 0)
        must_console("token revoke " + held)
        self.assertEqual(From().with_token(held, "/fhir/" + person).status, 401)


class Readme(unittest.TestCase):
    def test_the_commands_of_the_readme(self):
        with open(os.path.join(ROOT, "README.md")) as file:
            part = file.read().split("## Tokens for programs")[1].split("\n## ")[0]
        commands = re.search(r"```bash\n(.*?)```", part, re.S).group(1)
        commands = commands.replace("data/certificates/ca.pem", os.path.join(server.certificates, "ca.pem"))
        # The names of the tour; `registry` is one of this test's own already.
        script = (f"riverside=https://riverside.localhost:{server.port}\n"
                  f'console() {{ "{PROGRAM}" console --data "{server.data}" "$@"; }}\n' + commands.replace("registry", "readme"))
        result = subprocess.run(["bash", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
        self.assertEqual((result.returncode, result.stderr.replace("Generating RSA private key", "")), (0, ""), result.stdout)
        self.assertIn('"scope":"system/*.rs"', result.stdout)
        self.assertIn('"type":"searchset"', result.stdout)


class Configuration(unittest.TestCase):
    def test_bad_keys_do_not_load(self):
        path = os.path.join(server.orgs, "registry.json")
        with open(path) as file:
            good = file.read()
        try:
            for bad, word in (('{"keys":[{"kty":"RSA","n":"AAAA","e":"AQAB"}]}', "bits"), ("{", "registry.json")):
                with open(path, "w") as file:
                    file.write(bad)
                result = server.console("-e", "reload riverside")
                self.assertNotEqual(result.returncode, 0, result.stdout)
                self.assertIn(word, result.stdout + result.stderr)
        finally:
            with open(path, "w") as file:
                file.write(good)
        self.assertEqual(server.console("-e", "reload riverside").returncode, 0)
        self.assertTrue(token("system/*.rs"))


if __name__ == "__main__":
    unittest.main()
