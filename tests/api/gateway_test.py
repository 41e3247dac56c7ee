#!/usr/bin/env python3
"""The gateway, seen from outside: real TLS, a fake organization behind it. Python's standard library and openssl only.

    tests/api/gateway_test.py [BUILD_FOLDER] [unittest arguments]

needs BUILD_FOLDER/fake_organization and BUILD_FOLDER/gateway_alone (or careloop, which is then run as "careloop gateway").
"""
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

from gateway_support import GATEWAY, HOST, Case, Client, Gateway, World, kill_child, request, start_organization


def setUpModule():
    World.begin()


def tearDownModule():
    World.end()


class Http(Case):
    def test_keep_alive(self):
        client = self.client()
        ids = []
        for number in range(5):
            answer = client.ask("GET", f"/fhir/Patient/{number}")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.json()["target"], f"/fhir/Patient/{number}")
            self.assertEqual(answer.json()["base"], "https://riverside.localhost")
            self.assertEqual(answer.json()["id"], answer.headers["x-request-id"])
            self.assertEqual(answer.headers["cache-control"], "no-store")
            self.check_common(answer)
            ids.append(answer.headers["x-request-id"])
        self.assertEqual(ids, sorted(set(ids)))
        self.assertEqual(ids[0][14:16], "03")  # the gateway's index

    def test_close(self):
        client = self.client()
        self.assertEqual(client.ask("GET", "/x", headers=[("Connection", "close")]).headers["connection"], "close")
        self.assertTrue(client.closed())
        client = self.client()
        client.send("GET /x HTTP/1.0\r\n\r\n")  # without Host: the server name says which organization
        self.assertEqual(client.answer().status, 200)
        self.assertTrue(client.closed())

    def test_pipelining_keeps_the_order(self):
        client = self.client()
        client.send(request("GET", "/slow?ms=300") + request("GET", "/a") + request("POST", "/b", b"x" * 70000) +
                    request("GET", "/slow?ms=50") + request("HEAD", "/big?n=100000") + request("GET", "/big?n=100000") +
                    request("GET", "/nowhere/..") + request("GET", "/c"))
        self.assertEqual(client.answer().json(), {"slow": True})
        self.assertEqual(client.answer().json()["target"], "/a")
        self.assertEqual(client.answer().json()["length"], 70000)
        self.assertEqual(client.answer().json(), {"slow": True})
        self.assertEqual(client.answer(True).headers["content-length"], "100000")
        self.assertEqual(client.answer().body, b"b" * 100000)
        self.assertEqual(client.answer().status, 400)
        self.assertEqual(client.answer().json()["target"], "/c")

    def test_long_pipelines(self):
        client = self.client()
        threading.Thread(target=lambda: client.send(b"".join(request("GET", f"/healthz?{n}") for n in range(500)))).start()
        for _ in range(500):
            self.assertEqual(client.answer().status, 200)
        client.send(b"".join(request("GET", f"/n{n}") for n in range(8)))
        for number in range(8):
            self.assertEqual(client.answer().json()["target"], f"/n{number}")

    def test_head(self):
        client = self.client()
        answer = client.ask("HEAD", "/fixed")
        self.assertEqual((answer.status, answer.headers["content-length"]), (200, "1676"))
        self.assertEqual(client.ask("GET", "/fixed").headers["content-length"], "1676")
        self.assertEqual(client.ask("HEAD", "/healthz").headers["content-length"], "15")
        self.assertEqual(client.ask("GET", "/fixed").headers["etag"], 'W/"1"')

    def test_chunked(self):
        client = self.client()
        client.send(f"POST /p HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in ("5;x=y\r", "\nhel", "lo\r\n", "6\r\n world\r\n0\r\nX-Trailer: gone\r\n", "\r\n"):
            client.send(piece)
            time.sleep(0.02)
        got = client.answer().json()
        self.assertEqual(got["body"], "hello world")
        self.assertNotIn("x-trailer", got["headers"])

    def test_expect(self):
        client = self.client()
        client.send(f"PUT /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(client.head()[0], 100)
        client.send("hello")
        self.assertEqual(client.answer().json()["body"], "hello")
        # In a pipeline it waits for its turn.
        client.send(request("GET", "/slow?ms=200"))
        client.send(f"PUT /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(client.answer().json(), {"slow": True})
        self.assertEqual(client.head()[0], 100)
        client.send("again")
        self.assertEqual(client.answer().json()["body"], "again")
        # Refused before the body is sent.
        client.send(f"PUT /x HTTP/1.1\r\nHost: other.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(client.answer().status, 421)
        self.assertTrue(client.closed())

    def test_bodies(self):
        client = self.client(timeout=30)
        for size in (65536, 65537, 1000000, 16 << 20):
            answer = client.ask("POST", "/p", os.urandom(size))
            self.assertEqual((answer.status, answer.json()["length"]), (200, size))
            self.assertEqual(client.ask("GET", f"/big?n={size}").body, b"b" * size)
        client.send(f"POST /p HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {(16 << 20) + 1}\r\n\r\n")
        self.assertEqual(client.answer().status, 413)
        # The whole body is on its way: the refusal must still arrive.
        client = self.client(timeout=30)
        try:
            client.send(request("POST", "/p", b"x" * (20 << 20)))
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            self.fail("reset before the answer could be read")
        self.assertEqual(client.answer().status, 413)
        self.assertTrue(client.closed())
        self.wait_until(lambda: World.gateway.status()["held"] == 0)

    def test_smuggling(self):
        evil = "GET /evil HTTP/1.1\r\nHost: riverside.localhost\r\n\r\n"
        start = f"POST /p HTTP/1.1\r\nHost: {HOST}\r\n"
        for text in (start + f"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{evil}",
                     start + f"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{evil}",
                     start + f"Content-Length: 4\r\nContent-Length: 0\r\n\r\n{evil}",
                     start + f"Content-Length: +0\r\n\r\n{evil}", start + f"Content-Length : 0\r\n\r\n{evil}",
                     start + f"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{evil}",
                     start + f"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{evil}",
                     start + f"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{evil}",
                     start + f"X: y\r\n folded\r\n\r\n{evil}", start + f"X: y\n\r\n{evil}",
                     start + f"X: y\r\nHost: lakeside.localhost\r\n\r\n{evil}",
                     f"GET https://lakeside.localhost/p HTTP/1.1\r\nHost: {HOST}\r\n\r\n{evil}",
                     f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: a\x00b\r\n\r\n{evil}"):
            with Client(World.gateway.port) as client:
                before = World.gateway.status()["requests"]
                client.send(text)
                answer = client.answer()
                self.assertEqual((answer.status, answer.headers["connection"]), (400, "close"), text)
                self.assertEqual(answer.json()["resourceType"], "OperationOutcome")
                self.assertTrue(client.closed(), text)
                self.assertEqual(World.gateway.status()["requests"], before, text)

    def test_other_refusals(self):
        for text, status in ((f"BREW / HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 501),
                             (f"GET /{'a' * 9000} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", 414),
                             (f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {'a' * 17000}\r\n\r\n", 431),
                             (f"GET / HTTP/3.0\r\nHost: {HOST}\r\n\r\n", 505), ("x" * 20000, 414)):
            with Client(World.gateway.port) as client:
                client.send(text)
                self.assertEqual(client.answer().status, status)
                self.assertTrue(client.closed())
        client = self.client()
        answer = client.ask("OPTIONS", "/x", headers=[("Origin", "https://evil.example")])
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, POST, PUT, PATCH, DELETE"))
        self.check_common(answer)

    def test_headers_that_go_on(self):
        sent = [("Accept", "a/b"), ("Accept", "c/d"), ("Prefer", "return=minimal"), ("prefer", "respond-async"),
                ("If-Match", 'W/"1"'), ("X-Forwarded-For", "1.2.3.4"), ("Cookie", "a=b"), ("Origin", "https://o"),
                ("If-None-Exist", "x=y"), ("X-Careloop-Admin", "1"), ("Idempotency-Key", "k")]
        got = self.client().ask("GET", "/x", headers=sent).json()["headers"]
        self.assertEqual(got, {"accept": "a/b, c/d", "prefer": "return=minimal, respond-async", "if-match": 'W/"1"',
                               "origin": "https://o", "if-none-exist": "x=y", "idempotency-key": "k"})

    def test_headers_that_come_back(self):
        answer = self.client().ask("GET", "/odd")
        self.check_common(answer)
        self.assertEqual(answer.body, b"<script>alert(1)</script>")
        self.assertEqual(answer.headers["content-disposition"], "attachment")
        self.assertIn("sandbox", answer.headers["content-security-policy"])
        self.assertIn("set-cookie", answer.headers)
        for name in ("x-bad", "bad name", "transfer-encoding"):
            self.assertNotIn(name, answer.headers)
        answer = self.client(name=None).ask("GET", "/riverside/odd", host="127.0.0.1:8443")
        self.assertNotIn("set-cookie", answer.headers)  # one origin for all: no cookies

    def test_statuses_without_body(self):
        client = self.client()
        for status in (204, 304):
            answer = client.ask("GET", f"/status?n={status}")
            self.assertEqual(answer.status, status)
            self.assertNotIn("content-length", answer.headers)
        self.assertEqual(client.ask("GET", "/status?n=500").headers["content-length"], "0")
        self.assertEqual(client.ask("GET", "/status?n=150").status, 500)


class Routing(Case):
    def status(self, target, host, name=HOST):
        return self.client(name=name).ask("GET", target, host=host)

    def test_names(self):
        self.assertEqual(self.status("/x", HOST + ":8443").json()["base"], "https://riverside.localhost:8443")
        self.assertEqual(self.status("/x", "RiverSide.LOCALHOST").json()["base"], "https://riverside.localhost")
        self.assertEqual(self.status("/x", HOST, None).json()["target"], "/x")
        self.assertEqual(self.status("/x", HOST, "localhost").status, 200)

    def test_alias(self):
        got = self.status("/riverside/fhir/Patient?a=b", "localhost:8443", "localhost").json()
        self.assertEqual((got["target"], got["base"]), ("/fhir/Patient?a=b", "https://localhost:8443/riverside"))
        for target, below in (("/riverside", "/"), ("/riverside/", "/"), ("/riverside/?a", "/?a")):
            self.assertEqual(self.status(target, "127.0.0.1", None).json()["target"], below)
        for target in ("/riverside?a", "/riverside//x"):
            self.assertEqual(self.status(target, "127.0.0.1", None).status, 400)
        self.assertEqual(self.status("/riverside/x", HOST).json()["base"], "https://riverside.localhost/riverside")

    def test_contradictions(self):
        self.assertEqual(self.status("/x", "lakeside.localhost").status, 421)
        self.assertEqual(self.status("/x", "care.lakeside.example").status, 421)
        self.assertEqual(self.status("/lakeside/x", HOST).status, 421)
        self.assertEqual(self.status("/lakeside/x", "localhost").status, 421)
        self.assertEqual(self.status("/x", "evil.example").status, 421)
        self.assertEqual(self.status("/x", "evil.example", None).status, 421)

    def test_unknown(self):
        for target, host, name in (("/x", "nobody.localhost", None), ("/nobody/x", "localhost", "localhost"),
                                   ("/", "localhost", None)):
            answer = self.status(target, host, name)
            self.assertEqual((answer.status, answer.json()["resourceType"]), (404, "OperationOutcome"))
            self.assertEqual(answer.json()["issue"][0]["code"], "not-found")
            self.check_common(answer)

    def test_dot_segments(self):
        for target in ("/riverside/../lakeside/x", "/a/./b", "/a/..", "/%2e%2E/a", "/a/.%2e", "/%2e"):
            self.assertEqual(self.status(target, HOST).status, 400, target)
        for target in ("/a/...", "/.well-known/smart-configuration", "/a..b/", "/x?y=/../z"):
            self.assertEqual(self.status(target, HOST).json()["target"], target)

    def test_health(self):
        self.assertEqual(self.status("/healthz", "anything.example", None).json(), {"status": "ok"})
        answer = self.status("/readyz", "localhost", None)
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.json()["organizations"]["lakeside"], "unreachable")
        self.assertIn(answer.json()["organizations"]["riverside"], ("idle", "connected"))
        self.assertEqual(self.client().ask("POST", "/healthz", b"x").status, 405)

    def test_board(self):
        client = self.client()
        page = client.ask("GET", "/board/")
        self.assertEqual((page.status, page.body), (200, b"<!doctype html>"))
        self.assertEqual(page.headers["content-type"], "text/html; charset=utf-8")
        self.assertIn("script-src 'self'", page.headers["content-security-policy"])
        self.assertNotIn("unsafe", page.headers["content-security-policy"])
        self.check_common(page)
        script = client.ask("GET", "/board/assets/app-1a2b.js?x")
        self.assertEqual(len(script.body), 40005)
        self.assertIn("immutable", script.headers["cache-control"])
        tag = script.headers["etag"]
        again = client.ask("GET", "/board/assets/app-1a2b.js", headers=[("If-None-Match", f'"x", {tag}')])
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(client.ask("HEAD", "/board/assets/app-1a2b.js").headers["content-length"], "40005")
        self.assertEqual(client.ask("GET", "/board/patients/17").body, b"<!doctype html>")
        self.assertEqual(client.ask("GET", "/board").headers["location"], "/board/")
        for path in (".secret", "notes.unknown", "link.txt", "%2e%2e/careloop.lua", "..%2f..%2fetc/passwd.txt", "assets.",
                     "assets/../../main/careloop.lua", "//etc/passwd.txt", "absent.js"):
            answer = client.ask("GET", "/board/" + path)
            self.assertIn(answer.status, (400, 404), path)
            self.assertNotIn(b"root:", answer.body)
        self.assertEqual(client.ask("DELETE", "/board/index.html").status, 405)
        self.assertEqual(client.ask("GET", "/board/").status, 200)
        # Not where organizations share an origin.
        self.assertEqual(self.status("/board/", "localhost", None).status, 404)


class Credentials(Case):
    def credential(self, certificate=None, headers=(), **more):
        client = self.client(certificate=certificate, **more)
        return client.ask("GET", "/x", headers=headers).json()["credential"]

    def test_none(self):
        got = self.credential()
        self.assertEqual((got["kind"], got["anchor"], got["name"], got["address"]), ("none", "", "", "127.0.0.1"))

    def test_certificate(self):
        good = World.people.issue("good", "/CN=ignored", "URI:urn:careloop:org:a:client:b,DNS:c.example,URI:urn:second")
        got = self.credential(good)
        with open(good[0]) as text:
            fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text.read())).hexdigest()
        self.assertEqual((got["kind"], got["anchor"], got["name"], got["fingerprint"]),
                         ("certificate", World.people.anchor(), "urn:careloop:org:a:client:b", fingerprint))
        named = World.people.issue("dns", "/CN=ignored", "DNS:c.example")
        self.assertEqual(self.credential(named)["name"], "dns:c.example")
        common = World.people.issue("cn", "/O=x/CN=Old Client")
        self.assertEqual(self.credential(common)["name"], "cn:Old Client")
        # TLS 1.2 as well, and never from a ticket: each connection proves it anew.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(World.servers.certificate)
        context.load_cert_chain(*good)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            with Client(World.gateway.port, context=context) as first:
                self.assertEqual(first.ask("GET", "/x").json()["credential"]["kind"], "certificate")
                session = first.tls.session
            with Client(World.gateway.port, context=context, session=session) as second:
                self.assertFalse(second.tls.session_reused)
                self.assertEqual(second.ask("GET", "/x").json()["credential"]["anchor"], World.people.anchor())

    def refused(self, certificate):
        try:
            with Client(World.gateway.port, certificate=certificate) as client:
                client.ask("GET", "/x")
        except (ssl.SSLError, EOFError, ConnectionResetError):
            return True
        return False

    def test_wrong_certificates(self):
        uri = "URI:urn:careloop:org:a:client:b"
        for certificate in (World.strangers.issue("stranger", "/CN=x", uri),
                            World.people.issue("no-usage", "/CN=x", uri, None),
                            World.people.issue("server-usage", "/CN=x", uri, "serverAuth"),
                            World.people.issue("nameless", "/O=x"),
                            World.people.issue("forged", "/CN=x", "URI:dns:c.example"),
                            World.people.issue("forged2", "/CN=x", "URI:CN:Old Client"), World.revoked):
            self.assertTrue(self.refused(certificate), certificate)

    def test_listener_that_does_not_ask(self):
        good = World.people.issue("good2", "/CN=x", "URI:urn:x")
        self.assertEqual(self.credential(good, port=World.gateway.ports[1])["kind"], "none")

    def test_tokens_and_cookies(self):
        bearer = [("Authorization", "bearer abc.def")]
        got = self.credential(headers=bearer)
        self.assertEqual((got["kind"], got["token"]), ("bearer", "abc.def"))
        good = World.people.issue("good3", "/CN=x", "URI:urn:bound")
        got = self.credential(good, bearer)
        self.assertEqual((got["kind"], got["token"], got["name"]), ("bearer", "abc.def", "urn:bound"))
        self.assertEqual(self.credential(headers=[("Authorization", "Basic YTpi")])["kind"], "none")
        cookie = [("Cookie", "a=b; __Host-careloop=s3cret; c=d")]
        got = self.credential(headers=cookie)
        self.assertEqual((got["kind"], got["token"]), ("session", "s3cret"))
        self.assertEqual(self.credential(good, cookie)["kind"], "certificate")
        twice = [("Cookie", "__Host-careloop=a; __Host-careloop=b")]
        self.assertEqual(self.credential(headers=twice)["kind"], "none")
        got = self.client(name=None).ask("GET", "/riverside/x", host="localhost", headers=cookie).json()["credential"]
        self.assertEqual((got["kind"], got["token"]), ("none", ""))


class Tls(Case):
    def context(self, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(World.servers.certificate)
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    def test_versions_and_ciphers(self):
        client = self.client(context=self.context())
        self.assertEqual((client.tls.version(), client.tls.compression()), ("TLSv1.3", None))
        client = self.client(context=self.context(maximum_version=ssl.TLSVersion.TLSv1_2))
        self.assertRegex(client.tls.cipher()[0], "^ECDHE-ECDSA-.*(GCM|CHACHA20)")
        old = self.context(minimum_version=ssl.TLSVersion.TLSv1)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            Client(World.gateway.port, context=old)
        weak = self.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        weak.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            Client(World.gateway.port, context=weak)

    def test_protocols(self):
        context = self.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.assertEqual(self.client(context=context).tls.selected_alpn_protocol(), "http/1.1")
        context.set_alpn_protocols(["h2"])
        with self.assertRaises(ssl.SSLError):
            Client(World.gateway.port, context=context)

    def test_server_names(self):
        self.client(context=self.context(), name="care.lakeside.example")
        self.client(context=self.context(), name="anything.localhost")
        with self.assertRaises(ssl.SSLCertVerificationError):
            Client(World.gateway.port, context=self.context(), name="evil.example")

    def test_tickets(self):
        context = self.context()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            with Client(World.gateway.port, context=context) as first:
                first.ask("GET", "/x")
                session = first.tls.session
            with Client(World.gateway.port, context=context, session=session) as second:
                self.assertTrue(second.tls.session_reused, version)
                self.assertEqual(second.ask("GET", "/x").status, 200)

    def test_garbage(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(500), b"\x16\x03\x01\xff\xff" + b"a" * 200,
                     b"\x80\x2e\x01\x03\x01" + b"\0" * 60):
            raw = socket.create_connection(("127.0.0.1", World.gateway.port), 5)
            raw.sendall(data)
            self.read_to_end(raw)
        # Garbage inside an open session.
        client = self.client()
        self.assertEqual(client.ask("GET", "/x").status, 200)
        os.write(client.tls.fileno(), os.urandom(300))
        with self.assertRaises((ssl.SSLError, ConnectionResetError, EOFError)):
            client.ask("GET", "/x")
        self.assertEqual(self.client().ask("GET", "/x").status, 200)

    def read_to_end(self, raw):
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
        raw.close()

    def test_truncated_handshakes(self):
        out, into = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = self.context().wrap_bio(into, out, server_hostname=HOST)
        with self.assertRaises(ssl.SSLWantReadError):
            hello.do_handshake()
        data = out.read()
        sockets = []
        for size in range(0, len(data), 9):
            raw = socket.create_connection(("127.0.0.1", World.gateway.port), 5)
            raw.sendall(data[:size])
            sockets.append(raw)
        begun = time.monotonic()
        for raw in sockets:
            self.read_to_end(raw)
        self.assertLess(time.monotonic() - begun, 3)  # the handshake's second


class Patience(Case):
    def timed(self, action):
        begun = time.monotonic()
        result = action()
        return result, time.monotonic() - begun

    def test_slow_heads(self):
        clients = [self.client() for _ in range(20)]
        for client in clients:
            client.send("GET /x HTTP/1.1\r\n")
        end = time.monotonic() + 3
        for client in clients[:10]:  # one byte now and then does not help
            client.send("X")
        time.sleep(0.4)
        for client in clients[:10]:
            client.send("-")
        for client in clients:
            self.assertEqual(client.answer().status, 408)
            self.assertTrue(client.closed())
        self.assertLess(time.monotonic(), end)

    def test_slow_bodies(self):
        client = self.client()
        client.send(f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 100\r\n\r\nabc")
        answer, seconds = self.timed(client.answer)
        self.assertEqual(answer.status, 408)
        self.assertTrue(1.5 < seconds < 4, seconds)

    def test_idle(self):
        client = self.client()
        client.ask("GET", "/x")
        closed, seconds = self.timed(client.closed)
        self.assertTrue(closed and 2.5 < seconds < 5, seconds)

    def test_no_answer(self):
        answer, seconds = self.timed(lambda: self.client().ask("GET", "/hang"))
        self.assertEqual(answer.status, 503)
        self.assertIn("try again", answer.json()["issue"][0]["diagnostics"])
        self.assertTrue(answer.headers["retry-after"])
        self.assertTrue(2.5 < seconds < 4, seconds)
        answer = self.client().ask("POST", "/hang", b"{}")
        self.assertEqual(answer.status, 503)
        self.assertIn("outcome is unknown", answer.json()["issue"][0]["diagnostics"])

    def test_slow_subscribers_are_cut(self):
        client = self.client()
        client.send(request("GET", "/flood"))
        self.wait_until(lambda: "slow-subscriber" in World.gateway.log_text(), 15)
        while client.more():
            client.rest = b""

    def test_overload_is_refused_at_once(self):
        clients = [self.client() for _ in range(8)]
        for client in clients:
            client.send(request("GET", "/hang"))
        self.wait_until(lambda: World.gateway.status()["in_flight"] == 8)
        late = self.client()
        answer, seconds = self.timed(lambda: late.ask("POST", "/x", b"{}"))
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
        self.assertLess(seconds, 0.3)
        answer = self.client().ask("GET", "/x")
        self.assertEqual(answer.status, 503)
        self.assertIn("nothing was done", answer.json()["issue"][0]["diagnostics"])
        self.assertEqual(self.client().ask("GET", "/healthz").status, 200)
        for client in clients:  # gone clients free their places
            client.tls.close()
        self.wait_until(lambda: World.gateway.status()["in_flight"] == 0)
        self.assertEqual(self.client().ask("GET", "/x").status, 200)

    def test_nothing_leaks(self):
        def descriptors():
            return len(os.listdir(f"/proc/{World.gateway.process.pid}/fd"))
        self.wait_until(lambda: World.gateway.status()["connections"] == 0, 10)
        before = descriptors()
        for _ in range(50):
            with Client(World.gateway.port) as client:
                client.send(request("POST", "/x", b"x" * 100000) + request("GET", "/hang"))
                client.answer()
        self.wait_until(lambda: World.gateway.status()["connections"] == 0)
        status = World.gateway.status()
        self.assertEqual((status["in_flight"], status["held"], status["streams"]), (0, 0, 0))
        self.assertEqual(descriptors(), before)


class Resending(Case):
    def test_a_process_that_dies(self):
        client = self.client()
        before = client.ask("GET", "/x").json()["process"]
        for method, body in (("GET", None), ("POST", b"{}"), ("PUT", b"x" * 200000)):
            answer = client.ask(method, "/die", body)
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.json()["resent"])
            self.assertEqual(answer.json()["id"], answer.headers["x-request-id"])
            self.assertEqual(answer.json()["length"], len(body or b""))
        self.assertNotEqual(answer.json()["process"], before)
        self.assertFalse(client.ask("GET", "/x").json()["resent"])

    def test_a_process_that_keeps_dying(self):
        answer = self.client().ask("POST", "/die-always", b"{}")
        self.assertEqual(answer.status, 503)
        self.assertIn("outcome is unknown", answer.json()["issue"][0]["diagnostics"])
        answer = self.client().ask("GET", "/die-always")
        self.assertEqual(answer.status, 503)
        self.assertNotIn("unknown", answer.json()["issue"][0]["diagnostics"])

    def test_others_in_flight_are_sent_again(self):
        waiting = [self.client() for _ in range(6)]
        for client in waiting:
            client.send(request("GET", "/slow?ms=400"))
        time.sleep(0.1)
        self.assertTrue(self.client().ask("GET", "/die").json()["resent"])
        for client in waiting:
            self.assertEqual(client.answer().json(), {"slow": True})

    def test_going_away(self):
        client = self.client()
        for _ in range(3):
            self.assertFalse(client.ask("GET", "/goaway").json()["resent"])
        lost = client.ask("POST", "/goaway-lost", b"{}")
        self.assertTrue(lost.json()["resent"])
        # What was asked before is still answered by the process that goes.
        slow = self.client()
        slow.send(request("GET", "/slow?ms=60"))
        time.sleep(0.02)
        client.ask("GET", "/goaway")
        self.assertEqual(slow.answer().json(), {"slow": True})

    def test_while_the_organization_comes_and_goes(self):
        """Many requests while its process is killed again and again: every one answered, once, in order."""
        stop, problems, counts = threading.Event(), [], []

        def work(number):
            with Client(World.gateway.port) as client:
                count = 0
                while not stop.is_set():
                    answer = client.ask("POST", f"/w{number}-{count}", b"{}")
                    if answer.status != 200 or answer.json()["target"] != f"/w{number}-{count}":
                        problems.append((answer.status, answer.body))
                    count += 1
                counts.append(count)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            time.sleep(0.06)
            kill_child()
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(len(counts), 4)

    def test_unreachable(self):
        begun = time.monotonic()
        answer = self.client(name="lakeside.localhost").ask("POST", "/x", b"{}", "lakeside.localhost")
        self.assertEqual(answer.status, 503)
        self.assertIn("nothing was done", answer.json()["issue"][0]["diagnostics"])
        self.assertTrue(2.5 < time.monotonic() - begun < 4)
        client = self.client(name="care.lakeside.example")
        client.send(request("GET", "/x", host="care.lakeside.example"))
        time.sleep(0.5)
        late = start_organization(World.folder + "/main/run/lakeside.sock")
        try:
            self.assertEqual(client.answer().json()["base"], "https://care.lakeside.example")
        finally:
            late.kill()
            late.wait()
            os.unlink(World.folder + "/main/run/lakeside.sock")

    def test_garbled_answers(self):
        answer = self.client().ask("GET", "/garbled")
        self.assertEqual(answer.status, 500)
        self.assertEqual(self.client().ask("GET", "/x").status, 200)


class Streams(Case):
    def open(self, target="/events", headers=()):
        client = self.client()
        client.send(request("GET", target, headers=[("Accept", "text/event-stream"), *headers]))
        status, got = client.head()
        self.assertEqual((status, got["content-type"], got["cache-control"]), (200, "text/event-stream", "no-store"))
        self.assertNotIn("content-length", got)
        return client

    def events(self, client, count):
        found = []
        while len(found) < count:
            while b"\n\n" not in client.rest:
                self.assertTrue(client.more())
            text, client.rest = client.rest.split(b"\n\n", 1)
            if text.startswith(b":"):
                continue
            fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
        return found

    def test_events(self):
        client = self.open()
        for number, (id_, kind, data) in enumerate(self.events(client, 5), 1):
            self.assertEqual((id_, kind), (f"7-{number}", "update"))
            self.assertEqual(data, {"type": "Patient", "id": f"p{number}", "kind": "update", "detail": ""})
        status = World.gateway.status()
        self.assertEqual((status["streams"], status["in_flight"]), (1, 0))
        client.tls.close()
        self.wait_until(lambda: World.gateway.status()["streams"] == 0)

    def test_resuming(self):
        client = self.open(headers=[("Last-Event-ID", "7-40")])
        self.assertEqual([e[0] for e in self.events(client, 3)], ["7-41", "7-42", "7-43"])
        client = self.open(headers=[("Last-Event-ID", "6-40")])
        self.assertEqual([e[:2] for e in self.events(client, 2)], [("7-1", "resync"), ("7-2", "update")])

    def test_the_process_dies(self):
        clients = [self.open() for _ in range(3)]
        seen = [[int(e[0][2:]) for e in self.events(client, 5)] for client in clients]
        for _ in range(3):
            kill_child()
            for client, numbers in zip(clients, seen):
                numbers += [int(e[0][2:]) for e in self.events(client, 10)]
        self.assertFalse(self.client().ask("GET", "/goaway").json()["resent"])
        for client, numbers in zip(clients, seen):
            numbers += [int(e[0][2:]) for e in self.events(client, 30)]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_nothing_follows_a_stream(self):
        client = self.client()
        client.send(request("GET", "/slow?ms=100") + request("GET", "/events") + request("GET", "/x"))
        self.assertEqual(client.answer().json(), {"slow": True})
        self.assertEqual(client.head()[0], 200)
        self.assertEqual(len(self.events(client, 3)), 3)
        client = self.client()
        client.send(request("HEAD", "/events"))
        self.assertEqual(client.head()[0], 200)
        self.assertTrue(client.closed())


class Supervision(Case):
    def gateway(self, name, **more):
        gateway = Gateway(f"{World.folder}/{name}", World.settings(**more))
        self.addCleanup(gateway.end)
        return gateway

    def organization(self, gateway, name):
        process = start_organization(f"{gateway.folder}/run/{name}.sock")
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_reload(self):
        gateway = self.gateway("reload", organizations='"riverside"')
        self.organization(gateway, "riverside")
        self.organization(gateway, "hillside")
        old = self.client(port=gateway.port)
        self.assertEqual(old.ask("GET", "/x").status, 200)
        self.assertEqual(self.client(port=gateway.port, name=None).ask("GET", "/hillside/x", host="localhost").status, 404)
        gateway.configure(World.settings(organizations='"hillside", "riverside"', limits="connections = 30"))
        self.assertTrue(gateway.control.order("reload")["ok"])
        self.assertEqual(old.ask("GET", "/x").status, 200)
        self.assertEqual(self.client(port=gateway.port, name=None).ask("GET", "/hillside/x", host="localhost").status, 200)
        # A bad configuration changes nothing and says where it is wrong.
        gateway.configure(World.settings(limits="connection = 3"))
        reply = gateway.control.order("reload")
        self.assertFalse(reply["ok"])
        self.assertIn("limits.connection", reply["where"])
        self.assertIn("no known setting", reply["error"])
        self.assertEqual(old.ask("GET", "/x").status, 200)
        self.assertFalse(gateway.control.order("dance")["ok"])
        self.assertFalse(gateway.control.order("log", level="loud")["ok"])
        self.assertTrue(gateway.control.order("log", level="debug")["ok"])
        socket.create_connection(("127.0.0.1", gateway.port)).sendall(b"GET / HTTP/1.1")
        self.wait_until(lambda: "handshake-failed" in gateway.log_text())
        # An organization that is no longer served.
        gateway.configure(World.settings(organizations='"hillside"'))
        waiting = self.client(port=gateway.port)
        waiting.send(request("GET", "/hang"))
        time.sleep(0.2)
        self.assertTrue(gateway.control.order("reload")["ok"])
        self.assertEqual(waiting.answer().status, 503)
        self.assertEqual(old.ask("GET", "/x").status, 404)

    def test_reload_of_certificates(self):
        gateway = self.gateway("certificates")
        old = self.client(port=gateway.port)
        gateway.configure(World.settings(certificate="other"))
        self.assertTrue(gateway.control.order("reload")["ok"])
        new = self.client(port=gateway.port)
        self.assertEqual(old.ask("GET", "/healthz").status, 200)
        self.assertNotEqual(old.tls.getpeercert(True), new.tls.getpeercert(True))
        os.chmod(World.folder + "/server.key", 0o644)
        gateway.configure(World.settings())
        reply = gateway.control.order("reload")
        os.chmod(World.folder + "/server.key", 0o600)
        self.assertFalse(reply["ok"])
        self.assertIn("chmod 600", reply["error"])

    def test_stop(self):
        gateway = self.gateway("stop")
        self.organization(gateway, "riverside")
        busy, idle, stream = (self.client(port=gateway.port) for _ in range(3))
        idle.ask("GET", "/x")
        stream.send(request("GET", "/events"))
        stream.head()
        busy.send(request("GET", "/slow?ms=700"))
        time.sleep(0.2)
        self.assertTrue(gateway.control.order("stop")["ok"])
        self.assertTrue(idle.closed())
        while stream.more():
            pass
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", gateway.port), 1)
        answer = busy.answer()
        self.assertEqual((answer.json(), answer.headers["connection"]), ({"slow": True}, "close"))
        busy.tls.close()
        self.assertEqual(gateway.process.wait(3), 0)

    def test_stop_does_not_wait_for_ever(self):
        gateway = self.gateway("stop-hard", more="", limits="")
        self.organization(gateway, "riverside")
        client = self.client(port=gateway.port)
        client.send(f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n")
        time.sleep(0.2)
        gateway.process.send_signal(signal.SIGTERM)
        self.assertEqual(gateway.process.wait(8), 0)

    def test_the_supervisor_goes(self):
        gateway = self.gateway("orphan")
        gateway.control.socket.close()
        self.assertEqual(gateway.process.wait(3), 0)

    def test_connection_limits(self):
        gateway = self.gateway("limits", limits="connections = 8, connections_per_address = 5")
        clients = [self.client(port=gateway.port) for _ in range(5)]
        with self.assertRaises((OSError, EOFError)):
            Client(gateway.port)
        self.assertEqual(gateway.status()["connections"], 5)
        self.assertEqual(gateway.status()["refused"], 1)
        clients[0].tls.close()
        self.wait_until(lambda: gateway.status()["connections"] == 4)
        self.assertEqual(self.client(port=gateway.port).ask("GET", "/healthz").status, 200)

    def test_handshakes_are_spread(self):
        gateway = self.gateway("handshakes", limits="handshakes_per_second = 20")
        begun = time.monotonic()
        for _ in range(40):
            with Client(gateway.port) as client:
                self.assertEqual(client.ask("GET", "/healthz").status, 200)
        self.assertTrue(0.7 < time.monotonic() - begun < 4)

    def test_held_bytes_are_bounded(self):
        gateway = self.gateway("held", limits="held = 300000")
        self.organization(gateway, "riverside")
        first = self.client(port=gateway.port)
        first.send(request("POST", "/slow?ms=700", b"x" * 200000))
        time.sleep(0.3)
        self.assertEqual(self.client(port=gateway.port).ask("POST", "/x", b"x" * 200000).status, 503)
        self.assertEqual(self.client(port=gateway.port).ask("POST", "/x", b"x" * 50000).status, 200)
        self.assertEqual(first.answer().json(), {"slow": True})
        self.assertEqual(self.client(port=gateway.port).ask("POST", "/x", b"x" * 200000).status, 200)

    def test_bad_settings(self):
        folder = World.folder + "/bad"
        os.makedirs(folder)
        good = World.settings()
        for change, complaint in ((('"../server.pem"', '"../absent.pem"'), "absent.pem"),
                                  (('"../server.key"', '"../other.key"'), "other.key"),
                                  (('"../people.pem"', '"../people.key"'), "people.key"),
                                  (("127.0.0.1", "localhost"), "numeric address"),
                                  (('"riverside"', '"fhir"'), "organization's id"),
                                  (('"riverside"', '"../etc"'), "organization's id"),
                                  (('"riverside"', '"lakeside"'), "there twice"),
                                  (("care.lakeside.example", "riverside.localhost"), "there twice"),
                                  (('"none"', '"maybe"'), "optional"),
                                  (('data = "."', 'date = "."'), "data folder"),
                                  (("port = 0", "port = 99999"), "65535"),
                                  (("domain", "domain.."), "careloop.lua")):
            with open(folder + "/careloop.lua", "w") as out:
                out.write("return {" + good.replace(change[0], change[1], 1) + "}")
            done = subprocess.run(GATEWAY + ["--config", folder + "/careloop.lua"], stderr=subprocess.PIPE, timeout=10)
            self.assertEqual(done.returncode, 1, change)
            self.assertIn(complaint, done.stderr.decode(), change)
        self.assertEqual(subprocess.run(GATEWAY + ["--what"], stderr=subprocess.DEVNULL).returncode, 2)


if __name__ == "__main__":
    unittest.main()
