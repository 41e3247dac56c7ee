#!/usr/bin/env python3
"""Bad input from outside: each kind gets a clear error, nothing changes, and nobody else is hurt."""
import os
import socket
import ssl
import threading
import time
import unittest

from careloop import FHIR, Client, Server, patient, referral

HOSTILE = """return {
	name = "Hostile Clinic", zone = "America/Chicago", reference = "Organization/hostile", plugins = { "hostile" },
	principals = {
		ehr = { kind = "client", certificate = "urn:careloop:hostile:client:ehr", roles = { "tester" } },
	},
}
"""
PLUGIN = """local function run(fn)
	return { summary = "Bad", roles = { "tester" }, run = fn }
end

return plugin {
	name = "hostile", api = 1, summary = "What a plugin must not do",
	roles = { tester = { summary = "Everything", allow = {
		{ "read search history create update delete transition events metrics", types = { "*" } },
	} } },
	operation "$loop" (run(function () while true do end end)),
	operation "$guarded-loop" (run(function ()
		while true do
			pcall(function () while true do end end)
		end
	end)),
	operation "$memory" (run(function ()
		local kept = {}
		for i = 1, 1e9 do
			kept[i] = string.rep("x", 10000) .. i
		end
	end)),
	operation "$one-allocation" (run(function () return string.rep("x", 1000000000) end)),
	operation "$doubling" (run(function ()
		local text = "xxxxxxxx"
		while true do
			text = text .. text
		end
	end)),
	operation "$pattern" (run(function ()
		return { resourceType = "Basic", code = { text = tostring(string.find(string.rep("a", 40000), string.rep("a-", 30) .. "b")) } }
	end)),
	operation "$recursion" (run(function ()
		local function deeper(n) return 1 + deeper(n + 1) end
		return deeper(1)
	end)),
	operation "$sort" (run(function ()
		local list_of = {}
		for i = 1, 1000 do list_of[i] = i end
		table.sort(list_of, function () while true do end end)
	end)),
	operation "$create-then-fail" (run(function (ctx)
		ctx:create { resourceType = "Patient", name = { { family = "Ghost" } } }
		error("on purpose")
	end)),
	operation "$create-then-loop" (run(function (ctx)
		ctx:create { resourceType = "Patient", name = { { family = "Ghost" } } }
		while true do end
	end)),
	operation "$outside" (run(function (ctx)
		return { resourceType = "Basic", code = { text = tostring(os) .. tostring(io) .. tostring(load) .. tostring(debug) } }
	end)),
	on "Patient.create" (function (_, change)
		if change.resource.name and change.resource.name[1].family == "Refused" then
			error("this name breaks the handler")
		end
	end),
}
"""


def setUpModule():
    global server, riverside, lakeside, hostile, ehr
    server = Server(("riverside", "lakeside"))
    server.add_organization("hostile", HOSTILE)
    os.makedirs(os.path.join(server.orgs, "hostile", "hostile"))
    with open(os.path.join(server.orgs, "hostile", "hostile", "plugin.lua"), "w") as file:
        file.write(PLUGIN)
    server.start()
    riverside, lakeside = server.client("riverside"), server.client("lakeside")
    ehr, hostile = server.client("riverside", "ehr"), server.client("hostile", "ehr")


def tearDownModule():
    server.stop()


class Case(unittest.TestCase):
    """Counts before and after: what is refused leaves nothing behind, and another organization answers."""

    def counts(self):
        return {kind: ehr.must(200, "GET", f"/fhir/{kind}?_summary=count").json["total"] for kind in ("Patient", "Task")}

    def setUp(self):
        self.before = self.counts()

    def tearDown(self):
        self.assertEqual(self.counts(), self.before, "something was changed")
        self.assertEqual(lakeside.get("/fhir/Patient?_count=1").status, 200)


class Tls(Case):
    def raw(self, data):
        with socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
            try:
                connection.sendall(data)
                received = b""
                while True:
                    block = connection.recv(4096)
                    if not block:
                        return received
                    received += block
            except ConnectionError:
                return b""

    def test_plain_http_on_the_tls_port(self):
        answer = self.raw(b"GET / HTTP/1.1\r\nHost: riverside.localhost\r\n\r\n")
        self.assertNotIn(b"200", answer[:20])

    def test_garbage(self):
        self.raw(os.urandom(4096))
        self.raw(b"\x16\x03\x01\xff\xff" + b"A" * 200)

    def test_a_handshake_that_never_ends_is_closed(self):
        begun = time.monotonic()
        self.raw(b"\x16\x03\x01\x02\x00\x01")
        self.assertLess(time.monotonic() - begun, 8)

    def test_old_versions(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        except ValueError:
            self.skipTest("this Python has no TLS 1.1")
        with self.assertRaises(OSError):
            with socket.create_connection(("127.0.0.1", server.port), timeout=8) as raw:
                context.wrap_socket(raw, server_hostname="riverside.localhost")


class Http(Case):
    HEAD = b"POST /fhir/Patient HTTP/1.1\r\nHost: riverside.localhost\r\nContent-Type: application/fhir+json\r\n"
    BODY = b'{"resourceType":"Patient","name":[{"family":"Smuggled"}]}'

    def status(self, data, **options):
        answer = riverside.raw(data, **options)
        return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    def test_requests_that_two_readers_could_read_differently(self):
        length = str(len(self.BODY)).encode()
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.BODY), self.BODY)
        for name, data in {
            "length and chunks": self.HEAD + b"Content-Length: " + length + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
            "two lengths": self.HEAD + b"Content-Length: " + length + b"\r\nContent-Length: 1\r\n\r\n" + self.BODY,
            "signed length": self.HEAD + b"Content-Length: +" + length + b"\r\n\r\n" + self.BODY,
            "space before the colon": self.HEAD + b"Content-Length : " + length + b"\r\n\r\n" + self.BODY,
            "folded header": self.HEAD + b"X-A: b\r\n c\r\nContent-Length: " + length + b"\r\n\r\n" + self.BODY,
            "bare line feeds": self.HEAD.replace(b"\r\n", b"\n") + b"Content-Length: " + length + b"\n\n" + self.BODY,
            "another encoding": self.HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked,
            "bad chunk": self.HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + self.BODY + b"\r\n0\r\n\r\n",
            "two hosts": b"Host: lakeside.localhost\r\n".join([self.HEAD[:self.HEAD.index(b"Host")], self.HEAD[self.HEAD.index(b"Host"):]])
                         + b"Content-Length: " + length + b"\r\n\r\n" + self.BODY,
            "no host": b"POST /fhir/Patient HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n" + self.BODY,
            "NUL in a header": self.HEAD + b"X-A: a\x00b\r\nContent-Length: " + length + b"\r\n\r\n" + self.BODY,
        }.items():
            with self.subTest(name):
                self.assertIn(self.status(data), (0, 400, 501), name)

    def test_limits(self):
        self.assertIn(self.status(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: riverside.localhost\r\n\r\n"), (0, 414, 431))
        self.assertIn(self.status(b"GET / HTTP/1.1\r\nHost: riverside.localhost\r\n" + b"".join(
            b"X-%d: a\r\n" % number for number in range(1000)) + b"\r\n"), (0, 431))
        self.assertEqual(self.status(self.HEAD + b"Content-Length: 99999999999\r\n\r\n"), 413)
        self.assertIn(self.status(b"GET / HTTP/3.7\r\nHost: riverside.localhost\r\n\r\n"), (400, 505))
        self.assertIn(self.status(b"NONSENSE / HTTP/1.1\r\nHost: riverside.localhost\r\n\r\n"), (400, 405, 501))

    def test_dots_in_the_path(self):
        self.assertEqual(self.status(b"GET /fhir/../lakeside/fhir/Patient HTTP/1.1\r\nHost: riverside.localhost\r\n\r\n"), 400)

    def test_a_body_that_never_comes_is_given_up_with_the_connection(self):
        with riverside.connect() as connection:
            connection.sendall(self.HEAD + b"Content-Length: 500\r\n\r\n{")
        # Closed by us: nothing was created; tearDown counts.


class Json(Case):
    def test_broken_json_names_the_place(self):
        for name, text in {
            "trailing comma": '{"resourceType":"Patient",}', "no quotes": "{resourceType: 1}", "cut off": '{"resourceType":"Pat',
            "twice": '{"resourceType":"Patient","gender":"male","gender":"female"}', "not a number": '{"a":NaN}',
            "leading zero": '{"a":01}', "control character": '{"a":"\x01"}', "lone surrogate": '{"a":"\\ud800"}',
            "more behind": '{"resourceType":"Patient"} {}', "comment": '{"resourceType":"Patient"/**/}', "only spaces": "  ",
        }.items():
            with self.subTest(name):
                answer = ehr.post("/fhir/Patient", text)
                self.assertEqual(answer.status, 400, answer)
                self.assertRegex(answer.json["issue"][0]["diagnostics"], r"Line \d+ column \d+|no body")

    def test_bytes_that_are_no_text(self):
        for data in (b'{"resourceType":"Patient","id":"\xff\xfe"}', b"\xef\xbb\xbf{}", b"\x00\x01\x02", b'{"a":"\xc0\x80"}'):
            with self.subTest(data):
                self.assertEqual(ehr.post("/fhir/Patient", data).status, 400)

    def test_depth_and_width(self):
        answer = ehr.post("/fhir/Patient", "[" * 100000)
        self.assertEqual(answer.status, 413, answer)
        self.assertIn("too deeply", answer.words)
        answer = ehr.post("/fhir/Patient", '{"resourceType":"Patient","x":[' + ",".join(["{}"] * 2000000) + "]}")
        self.assertIn(answer.status, (400, 413, 422), answer)

    def test_no_object(self):
        for text in ("[]", "1", '"Patient"', "null", "{}"):
            with self.subTest(text):
                self.assertIn(ehr.post("/fhir/Patient", text).status, (400, 422))


class Fhir(Case):
    def test_structure(self):
        for name, resource in {
            "unknown element": {"resourceType": "Patient", "nickname": "A"},
            "array for one": {"resourceType": "Patient", "gender": ["male"]},
            "one for an array": {"resourceType": "Patient", "name": {"family": "A"}},
            "wrong primitive": {"resourceType": "Patient", "active": "yes"},
            "empty text": {"resourceType": "Patient", "gender": ""},
            "null": {"resourceType": "Patient", "gender": None},
            "two of a choice": {"resourceType": "Patient", "deceasedBoolean": True, "deceasedDateTime": "2020"},
            "a date that is none": {"resourceType": "Patient", "birthDate": "2023-02-30"},
            "an empty object": {"resourceType": "Patient", "name": [{}]},
        }.items():
            with self.subTest(name):
                answer = ehr.post("/fhir/Patient", resource)
                self.assertEqual(answer.status, 422, answer)
                self.assertTrue(answer.json["issue"][0].get("expression"), answer)


class Workflow(Case):
    def setUp(self):
        self.task = referral(riverside)
        super().setUp()

    def event(self, name, **headers):
        return riverside.post(f"/fhir/{self.task}/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": name}]}, **headers)

    def version(self):
        return riverside.get("/fhir/" + self.task).headers["etag"]

    def test_illegal_transition(self):
        before = self.version()
        answer = self.event("confirm_cancel")
        self.assertEqual(answer.status, 422, answer)
        self.assertIn("send", answer.words, "the legal moves are named")
        self.assertEqual(self.event("no_such_event").status, 422)
        self.assertEqual(self.version(), before)

    def test_stale_version(self):
        before = self.version()
        self.assertEqual(self.event("send", If_Match='W/"99"').status, 412)
        stale = riverside.read(self.task)
        self.assertEqual(riverside.put("/fhir/" + self.task, stale, If_Match='W/"99"').status, 412)
        self.assertEqual(self.version(), before)

    def test_no_instance(self):
        answer = riverside.post("/fhir/Task/no-such-task/$transition", {
            "resourceType": "Parameters", "parameter": [{"name": "event", "valueString": "send"}]})
        self.assertEqual(answer.status, 404, answer)

    def test_a_workflow_that_does_not_exist(self):
        answer = riverside.post("/fhir/Task", {
            "resourceType": "Task", "status": "draft", "intent": "order",
            "code": {"coding": [{"system": "urn:careloop:workflow", "code": "no-such-workflow"}]}})
        self.assertEqual(answer.status, 422, answer)


class Plugins(Case):
    """Each error names plugin, file and line; the organization serves on, and its neighbour is not slowed down."""

    def bad(self, operation, words, status=500):
        worst = [0.0]
        done = threading.Event()

        def neighbour():
            client = server.client("riverside", "ehr")
            while not done.is_set():
                begun = time.monotonic()
                client.must(200, "GET", "/fhir/Patient?_count=1")
                worst[0] = max(worst[0], time.monotonic() - begun)
        thread = threading.Thread(target=neighbour)
        thread.start()
        begun = time.monotonic()
        answer = hostile.post("/fhir/" + operation, {"resourceType": "Parameters"})
        spent = time.monotonic() - begun
        done.set()
        thread.join()
        self.assertGreaterEqual(answer.status, 400, answer)
        for word in words:
            self.assertIn(word, answer.words)
        self.assertLess(spent, 3)
        self.assertLess(worst[0], 1)
        self.assertEqual(hostile.get("/fhir/Patient?_count=1").status, 200, "it serves on")

    def test_endless_loop(self):
        self.bad("$loop", ["hostile", "plugin.lua:10", "CPU"])

    def test_endless_loop_in_pcall(self):
        self.bad("$guarded-loop", ["hostile", "plugin.lua"])

    def test_endless_loop_in_a_comparison(self):
        self.bad("$sort", ["hostile", "plugin.lua"])

    def test_memory_bomb(self):
        self.bad("$memory", ["hostile", "memory"])
        self.bad("$doubling", ["hostile"])
        self.bad("$one-allocation", ["hostile"])

    def test_catastrophic_pattern(self):
        self.bad("$pattern", ["hostile", "plugin.lua"])

    def test_recursion(self):
        self.bad("$recursion", ["hostile"])

    def test_what_it_did_before_it_failed_is_undone(self):
        self.bad("$create-then-fail", ["hostile", "on purpose"])
        self.bad("$create-then-loop", ["hostile"])
        self.assertEqual(hostile.search("Patient?family=Ghost"), [])

    def test_an_error_in_a_handler_refuses_the_request(self):
        answer = hostile.post("/fhir/Patient", patient("Refused"))
        self.assertGreaterEqual(answer.status, 400)
        self.assertIn("this name breaks the handler", answer.words)
        self.assertEqual(hostile.search("Patient?family=Refused"), [])
        self.assertEqual(hostile.post("/fhir/Patient", patient("Welcome")).status, 201)

    def test_there_is_no_outside(self):
        answer = hostile.post("/fhir/$outside", {"resourceType": "Parameters"})
        if answer.status == 200:
            self.assertEqual(answer.json["code"]["text"], "nilnilnilnil")
        else:
            self.assertIn("os", answer.words)

    def test_no_process_was_lost(self):
        restarts = {row["organization"]: row["restarts"] for row in server.rows("organizations")}
        self.assertEqual(set(restarts.values()), {0}, restarts)


class Credentials(Case):
    def test_a_certificate_for_the_server_is_none_for_a_client(self):
        path = os.path.join(server.certificates, "server")
        try:
            answer = Client(server, "riverside", path).get("/fhir/Patient")
        except OSError:
            return
        self.assertEqual(answer.status, 401, answer)

    def test_media_types(self):
        self.assertEqual(ehr.request("POST", "/fhir/Patient", b"{}", {"Content-Type": "text/html"}).status, 415)
        self.assertIn(ehr.request("GET", "/fhir/Patient?_count=1", None, {"Accept": FHIR}).status, (200,))


if __name__ == "__main__":
    unittest.main()
