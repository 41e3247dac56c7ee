#!/usr/bin/env python3
"""Subscriptions end to end: a receiver on HTTPS is asked, told, told again after kill -9 of the courier and of the organization, and
let alone when it must be; event streams are filtered; the second wall and the proofs of the courier hold."""
import glob
import json
import os
import re
import signal
import socket
import struct
import sys
import time
import unittest

from careloop import ROOT, Server
from hook_receiver import Receiver, verify

DATA = os.path.join(ROOT, "..", "shared", "data", "subscriptions-r4")


def organization(name, extra):
    with open(os.path.join(ROOT, "config", "orgs", name + ".lua")) as file:
        text = re.sub(r"\n\tsubscriptions = .*", "", file.read())
    return text.replace("return {", "return {\n" + extra, 1)


def add_organization(name, text):
    own = os.path.join(ROOT, "config", "orgs", name)
    if os.path.isdir(own):
        os.symlink(own, os.path.join(server.orgs, name))
    server.add_organization(name, text)


def setUpModule():
    global server, receiver, ehr, outside
    server = Server({})
    receiver = Receiver(server.certificates)
    outside = Receiver(server.certificates)   # allowed by the organization, not by the server
    lists = f'destinations = {{ "{receiver.url}/hooks", "{outside.url}" }}'
    for name, more in (("riverside", ", private_addresses = true"), ("lakeside", "")):
        text = organization(name, f"\tsubscriptions = {{ {lists}{more} }},\n")
        add_organization(name, text.replace("localhost:8443", f"localhost:{server.port}"))
    with open(server.config) as file:
        text = file.read()
    with open(server.config, "w") as file:
        file.write(text.replace("courier = {", f'courier = {{ destinations = {{ "{receiver.url}", '
                                               f'"https://*.localhost:{server.port}" }},'))
    server.start()
    ehr = server.client("riverside", "ehr")


def tearDownModule():
    server.stop()
    receiver.close()
    outside.close()


def soon(condition, seconds=10):
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def hook(name, criteria="Observation?status=final", path="/hooks", url=None, client=None, **channel):
    """Makes a Subscription with this id; the answer."""
    return (client or ehr).put(f"/fhir/Subscription/{name}", {
        "resourceType": "Subscription", "id": name, "status": "requested", "reason": "test", "criteria": criteria,
        "channel": {"type": "rest-hook", "endpoint": (url or receiver.url) + path, **channel}})


def status(name, client=None):
    return (client or ehr).read(f"Subscription/{name}")["status"]


def active(name, client=None):
    if not soon(lambda: status(name, client) == "active", 10):
        raise AssertionError(f"{name}: {(client or ehr).read('Subscription/' + name)}\n{server.log()}")


def observation(name, state="final", client=None, **more):
    return (client or ehr).put(f"/fhir/Observation/{name}", {
        "resourceType": "Observation", "id": name, "status": state, "code": {"text": "a test"}, **more})


class RestHook(unittest.TestCase):
    def tearDown(self):
        receiver.answer = lambda request: 200

    def test_handshake_then_ping_then_resource(self):
        self.assertEqual(hook("ping").json["status"], "requested")
        self.assertEqual(hook("full", payload="application/fhir+json", header=["Authorization: Bearer Zanzibar"]).status, 201)
        active("ping")
        active("full")
        secret = ehr.must(200, "POST", "/fhir/Subscription/full/$secret").json["parameter"][0]["valueString"]
        observation("seen")
        observation("unseen", "preliminary")
        self.assertTrue(soon(lambda: receiver.notifications("ping") and receiver.notifications("full"), 10), server.log())
        method, path, headers, body = receiver.notifications("ping")[0]
        self.assertEqual((method, path, body), ("POST", "/hooks", b""))
        self.assertNotIn("content-type", headers)
        method, path, headers, body = receiver.notifications("full")[0]
        self.assertEqual((method, path), ("PUT", "/hooks/Observation/seen"))
        self.assertEqual(json.loads(body), ehr.read("Observation/seen"))
        self.assertEqual(headers["content-type"], "application/fhir+json")
        self.assertEqual(headers["authorization"], "Bearer Zanzibar")
        self.assertTrue(verify(secret, headers, body))
        self.assertFalse(verify(secret, headers, body + b" "))
        for request in receiver.requests("full"):
            self.assertTrue(verify(secret, request[2], request[3]))
        self.assertEqual(len(receiver.notifications("full")), 1)
        # Nobody reads the secret: not in resources, logs, or what administrators see.
        for text in (ehr.get("/fhir/Subscription?_id=full").body.decode(), server.log(),
                     server.console("-o", "riverside", "-e", "subscriptions", "-e", "outbox", "-e", "events 50", "-e",
                                    "audit 200").stdout):
            self.assertNotIn("Zanzibar", text)
        # What left the house stands in the audit log, with whose right it left.
        soon(lambda: any(row["action"] == "notify" for row in server.rows("audit 50 ehr Observation/seen", "riverside")), 5)
        leaf = [row for row in server.rows("audit 50 ehr Observation/seen", "riverside") if row["action"] == "notify"]
        self.assertEqual({row["principal"] for row in leaf}, {"ehr"})

    def test_id_only_is_the_bundle_of_the_backport(self):
        url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content"
        hook("ids", payload="application/fhir+json", _payload={"extension": [{"url": url, "valueCode": "id-only"}]})
        active("ids")
        observation("ids", valueString="Zanzibar")
        self.assertTrue(soon(lambda: receiver.notifications("ids"), 10))
        shake, note = json.loads(receiver.requests("ids", "handshake")[0][3]), json.loads(receiver.notifications("ids")[0][3])
        self.assertNotIn("Zanzibar", json.dumps(note))
        for bundle, kind in ((shake, "handshake"), (note, "event-notification")):
            self.assertEqual(bundle["type"], "history")
            parameters = {p["name"]: p for p in bundle["entry"][0]["resource"]["parameter"]}
            self.assertEqual(parameters["type"]["valueCode"], kind)
            self.assertEqual(ehr.post("/fhir/Bundle/$validate", bundle).json["issue"][0]["severity"], "information")
        focus = [part for part in parameters["notification-event"]["part"] if part["name"] == "focus"][0]
        self.assertEqual(focus["valueReference"]["reference"], "Observation/ids")

    def test_what_failed_is_sent_again_under_the_same_id(self):
        hook("again")
        active("again")
        answers = [503, (429, {"Retry-After": "1"}), 200]
        receiver.answer = lambda request: answers.pop(0) if "again" in request[2]["careloop-subscription"] and answers else 200
        observation("again-1")
        observation("again-2")
        self.assertTrue(soon(lambda: len(receiver.notifications("again")) >= 4, 30), server.log())
        ids = [request[2]["webhook-id"] for request in receiver.notifications("again")]
        self.assertEqual(len(set(ids[:3])), 1)
        self.assertEqual(len(set(ids)), 2)      # in order: the second waited for the first
        self.assertNotEqual(ids[3], ids[0])

    def test_a_redirect_is_not_followed(self):
        receiver.answer = lambda request: (302, {"Location": outside.url + "/elsewhere"}) \
            if "redirect" in request[2]["careloop-subscription"] else 200
        hook("redirect")
        self.assertTrue(soon(lambda: status("redirect") == "error", 10))
        self.assertIn("redirects are not followed", ehr.read("Subscription/redirect")["error"])
        self.assertEqual([path for _, path, _, _ in outside.requests()], [])

    def test_the_dead_are_shown_and_sent_again(self):
        hook("dead")
        active("dead")
        receiver.answer = lambda request: 410 if "dead" in request[2]["careloop-subscription"] else 200
        observation("dead-1")
        self.assertTrue(soon(lambda: status("dead") == "error", 10), server.log())
        observation("dead-2")    # it is in error: nobody waits for this
        dead = [row for row in server.rows("outbox dead", "riverside") if row["destination"] == "subscription:dead"]
        self.assertEqual(len(dead), 1)
        self.assertIn("410", dead[0]["problem"])
        refused = server.console("-o", "riverside", "-e", f"outbox replay {dead[0]['number']}")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("subscription restart dead", refused.stdout + refused.stderr)
        listed = [row for row in server.rows("subscriptions error", "riverside") if row["id"] == "dead"]
        self.assertEqual(listed[0]["dead"], 1)
        receiver.answer = lambda request: 200
        server.console("-o", "riverside", "-e", "subscription restart dead")
        active("dead")
        self.assertTrue(soon(lambda: len(receiver.notifications("dead")) == 2, 10), server.log())
        self.assertEqual(len({request[2]["webhook-id"] for request in receiver.notifications("dead")}), 1)

    def test_addresses_are_walled_twice(self):
        # The organization allows it, the server does not.
        hook("walled", url=outside.url)
        self.assertTrue(soon(lambda: status("walled") == "error", 10))
        self.assertIn("courier.destinations", ehr.read("Subscription/walled")["error"])
        self.assertEqual(outside.got, [])
        # Lakeside may not call its own network: seen at once from the name ...
        lakeside = server.client("lakeside", "ehr")
        refused = hook("inside", client=lakeside)
        self.assertEqual(refused.status, 422, refused.words)
        self.assertIn("private_addresses", refused.words)
        # ... and nobody what is not listed.
        refused = hook("unlisted", url="https://example.org")
        self.assertEqual(refused.status, 422, refused.words)
        self.assertIn("subscriptions.destinations", refused.words)
        self.assertIn("Subscription.channel.endpoint", refused.words)


class Faults(unittest.TestCase):
    def test_kill_9_loses_none_and_doubles_only_ids(self):
        hook("killed", "Observation?code=kill")
        active("killed")
        expected = 0
        for cycle in range(int(os.environ.get("HOOK_KILLS", "6"))):
            for number in range(8):
                answer = observation(f"k{cycle}-{number}", code={"coding": [{"code": "kill"}]})
                expected += answer.status == 201
                if number == 3:
                    pid = server.processes()[("courier", "org/riverside")[cycle % 2]]
                    if pid:
                        os.kill(pid, signal.SIGKILL)
        self.assertGreater(expected, 40)

        def arrived():
            return len({request[2]["webhook-id"] for request in receiver.notifications("killed")})
        self.assertTrue(soon(lambda: arrived() >= expected, 60), (arrived(), expected, server.log()[-3000:]))
        time.sleep(0.5)
        self.assertEqual(arrived(), expected)
        # In the order of the changes, but for what was sent twice.
        ids = list(dict.fromkeys(request[2]["webhook-id"] for request in receiver.notifications("killed")))
        sequences = [int(name.split("-")[1]) for name in ids]
        self.assertEqual(sequences, sorted(sequences))
        waiting = [row for row in server.rows("outbox waiting", "riverside") if "killed" in row["destination"]]
        self.assertEqual(waiting, [])


class Streams(unittest.TestCase):
    def test_a_stream_tells_what_was_asked_for_and_resumes(self):
        stream = ehr.events(query="?criteria=Observation%3Fcode%3Dstream%26status%3Dfinal")
        self.assertEqual(stream.status, 200)
        code = {"coding": [{"code": "stream"}]}
        observation("st-1", "preliminary", code=code)
        observation("st-2", code=code)
        ehr.create({"resourceType": "Patient", "name": [{"family": "Zanzibar"}]})
        observation("st-1", "final", code=code)
        first, second = stream.next(), stream.next()
        self.assertEqual([first[2]["id"], second[2]["id"]], ["st-2", "st-1"])
        self.assertEqual(set(first[2]), {"type", "id", "kind", "detail"})
        self.assertIsNone(stream.next(0.5))
        stream.close()
        # It no longer matches when it is asked for again, but it did then.
        observation("st-1", "amended", code=code)
        resumed = ehr.events(first[0], query="?criteria=Observation%3Fcode%3Dstream%26status%3Dfinal")
        self.assertEqual(resumed.next()[2]["id"], "st-1")
        self.assertIsNone(resumed.next(0.5))
        resumed.close()

    def test_a_stream_of_a_subscription_ends_with_it(self):
        hook("streamed", "Observation?code=streamed")
        active("streamed")
        stream = ehr.events(query="?subscription=streamed")
        observation("sd-1", code={"coding": [{"code": "streamed"}]})
        observation("sd-2")
        observation("sd-3", code={"coding": [{"code": "streamed"}]})
        self.assertEqual([stream.next()[2]["id"], stream.next()[2]["id"]], ["sd-1", "sd-3"])
        ehr.must(204, "DELETE", "/fhir/Subscription/streamed")
        begun = time.monotonic()
        self.assertIsNone(stream.next(20))
        self.assertLess(time.monotonic() - begun, 10)
        stream.close()

    def test_what_cannot_be_watched_is_refused(self):
        for query, code in (("?criteria=Observation%3Fshoesize%3D3", 422), ("?criteria=", 400), ("?subscription=none", 404),
                            ("?colour=red", 400)):
            answer = ehr.get("/events" + query)
            self.assertEqual(answer.status, code, (query, answer.words))


class Proofs(unittest.TestCase):
    def test_a_process_is_not_what_it_says_it_is(self):
        """A neighbour that can open the organization's socket greets as the supervisor, as the courier and as a test."""
        path = os.path.join(server.data, "run", "riverside.sock")

        for role in (3, 4, 5):
            for kind, method, target in ((4, b"CONSOLE", b"riverside"), (5, b"COURIER", b"/outbox")):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(10)
                    connection.connect(path)
                    hello = struct.pack("<IB", 1, role)
                    connection.sendall(struct.pack("<IBBHQ", len(hello), 1, 0, 0, 0) + hello)
                    body = b'{"command":"principals","arguments":{}}'
                    frame = request_frame(kind, method, target, body)
                    connection.sendall(struct.pack("<IBBHQ", len(frame), 2, 0, 0, 1) + frame)
                    got = b""
                    while b"not from this process" not in got:
                        block = connection.recv(65536)
                        self.assertTrue(block, got)
                        got += block
                    self.assertNotIn(b"coordinator", got)

    def test_strangers_leave_a_leaf(self):
        stranger = server.client("lakeside", "manager", host="riverside.localhost")
        self.assertEqual(stranger.get("/fhir/Patient/x").status, 401)
        self.assertEqual(stranger.get("/fhir/Patient?name=x").status, 401)
        self.assertEqual(stranger.post("/fhir/Patient", {"resourceType": "Patient"}).status, 401)

        def leaves():
            return [row for row in server.rows("audit 100 -", "riverside") if row["outcome"] == "unauthenticated"]
        self.assertTrue(soon(lambda: len(leaves()) >= 3, 10), leaves())
        self.assertEqual({row["target"].split(" from ")[0] for row in leaves()} & {"GET Patient", "POST Patient"},
                         {"GET Patient", "POST Patient"})
        self.assertTrue(all("urn:careloop:lakeside" in row["rule"] or row["rule"] == "no credential" for row in leaves()))

    def test_the_courier_learns_of_an_organization_that_a_reload_adds(self):
        text = organization("hillside", f'\tsubscriptions = {{ destinations = {{ "{receiver.url}" }}, private_addresses = true }},\n')
        add_organization("hillside", text)
        self.assertEqual(server.console("-e", "reload").returncode, 0)
        hillside = server.client("hillside", "ehr")
        self.assertTrue(soon(lambda: hillside.get("/fhir/Patient").status == 200, 20))
        self.assertEqual(hook("new", client=hillside).status, 201)
        active("new", hillside)
        observation("new", client=hillside)
        self.assertTrue(soon(lambda: receiver.notifications("new"), 15), server.log())


def request_frame(kind, method, target, body):
    """A REQUEST payload as core/wire/frame.c writes it."""
    texts = (b"", b"somebody", b"", b"", b"", method, target, b"")
    return (os.urandom(16) + struct.pack("<BBq", 0, kind, 0) + b"".join(struct.pack("<I", len(text)) + text for text in texts) +
            struct.pack("<H", 0) + struct.pack("<I", len(body)) + body)


@unittest.skipUnless(os.path.isdir(DATA), "../shared/data is not here")
class ThirdParty(unittest.TestCase):
    def test_the_backport_examples_load(self):
        loaded = 0
        for path in sorted(glob.glob(os.path.join(DATA, "*.json"))):
            with open(path) as file:
                resource = json.load(file)
            name = resource.get("id") or "x"
            answer = ehr.put(f"/fhir/{resource['resourceType']}/{name}", dict(resource, id=name))
            self.assertIn(answer.status, (200, 201), (path, answer.words))
            stored = ehr.read(f"{resource['resourceType']}/{name}")
            for document in (resource, stored):
                document.pop("id", None)
                document.setdefault("meta", {}).pop("versionId", None)
                document["meta"].pop("lastUpdated", None)
            self.assertEqual(stored, resource, path)
            loaded += 1
        self.assertEqual(loaded, 20)
        # Past their end they are records. Asked for now, their criteria are a topic, which is refused clearly.
        with open(os.path.join(DATA, "Subscription-subscription-admission.json")) as file:
            wanted = json.load(file)
        del wanted["end"]
        answer = ehr.put(f"/fhir/Subscription/{wanted['id']}", wanted)
        self.assertEqual(answer.status, 422)
        self.assertIn("topics are not supported", answer.words)
        self.assertIn("Subscription.criteria", answer.words)


if __name__ == "__main__":
    unittest.main(verbosity=1 if len(sys.argv) < 2 else 2)
