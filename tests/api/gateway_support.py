"""gateway_support.py: what gateway_test.py needs: certificates, clients, a gateway and its supervisor, a fake organization."""
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get("CL_BUILD", "build")
if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]):
    BUILD = sys.argv.pop(1)
BUILD = os.path.abspath(BUILD)
GATEWAY = [BUILD + "/gateway_alone"] if os.path.exists(BUILD + "/gateway_alone") else [BUILD + "/careloop", "gateway"]

HOST = "riverside.localhost"


def run(*arguments, **more):
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key, self.certificate = f"{folder}/{name}.key", f"{folder}/{name}.pem"
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)
        run("openssl", "req", "-x509", "-new", "-key", self.key, "-days", "30", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-out", self.certificate)
        open(f"{folder}/{name}.index", "w").close()
        with open(f"{folder}/{name}.cnf", "w") as out:
            out.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/{name}.index\ndefault_md=sha256\n"
                      f"default_crl_days=30\ncertificate={self.certificate}\nprivate_key={self.key}\n")

    def anchor(self):
        with open(self.certificate) as text:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text.read())).hexdigest()

    def issue(self, name, subject, alternative=None, usage="clientAuth"):
        key, request, certificate = (f"{self.folder}/{name}.{kind}" for kind in ("key", "csr", "pem"))
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        run("openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request)
        extensions = ["basicConstraints=CA:FALSE"]
        if usage:
            extensions.append(f"extendedKeyUsage={usage}")
        if alternative:
            extensions.append(f"subjectAltName={alternative}")
        with open(f"{self.folder}/{name}.ext", "w") as out:
            out.write("\n".join(extensions))
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
            "-CAcreateserial", "-days", "30", "-sha256", "-extfile", f"{self.folder}/{name}.ext", "-out", certificate)
        return certificate, key

    def revoke(self, certificate):
        run("openssl", "ca", "-config", f"{self.folder}/{self.name}.cnf", "-revoke", certificate)

    def revocation_list(self):
        out = f"{self.folder}/{self.name}.crl"
        run("openssl", "ca", "-config", f"{self.folder}/{self.name}.cnf", "-gencrl", "-out", out)
        return out


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection, with nothing between the test and the bytes."""

    def __init__(self, port, name=HOST, certificate=None, session=None, context=None, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.load_verify_locations(World.servers.certificate)
            if certificate:
                context.load_cert_chain(*certificate)
        self.tls = context.wrap_socket(self.socket, server_hostname=name, session=session)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.tls.close()

    def send(self, data):
        self.tls.sendall(data if isinstance(data, bytes) else data.encode("latin1"))

    def more(self):
        try:
            data = self.tls.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.rest += data
        return bool(data)

    def head(self):
        while b"\r\n\r\n" not in self.rest:
            if not self.more():
                raise EOFError(self.rest)
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        return int(lines[0].split(" ")[1]), headers

    def answer(self, head_only=False):
        status, headers = self.head()
        length = 0 if head_only or status in (204, 304) or status < 200 else int(headers["content-length"])
        while len(self.rest) < length:
            if not self.more():
                raise EOFError(self.rest)
        body, self.rest = self.rest[:length], self.rest[length:]
        return Answer(status, headers, body)

    def ask(self, method, target, body=None, host=HOST, headers=()):
        self.send(request(method, target, body, host, headers))
        return self.answer(method == "HEAD")

    def closed(self):
        """Whether the server ends the connection, without another byte."""
        try:
            return not self.more() and not self.rest
        except (socket.timeout, TimeoutError):
            return False


def request(method, target, body=None, host=HOST, headers=()):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"] + [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin1") + (body or b"")


class Control:
    """The supervisor's end of the control channel."""

    def __init__(self, sock):
        self.socket, self.buffer = sock, b""
        self.socket.settimeout(10)
        self.socket.sendall(self.frame(1, 0, struct.pack("<IB", 1, 3)))
        kind, _, payload = self.read()
        assert kind == 1 and payload == struct.pack("<IB", 1, 1), payload

    @staticmethod
    def frame(kind, number, payload):
        return struct.pack("<IBBHQ", len(payload), kind, 0, 0, number) + payload

    def read(self):
        while len(self.buffer) < 16 or len(self.buffer) < 16 + struct.unpack("<I", self.buffer[:4])[0]:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        length, kind, _, _, number = struct.unpack("<IBBHQ", self.buffer[:16])
        payload, self.buffer = self.buffer[16:16 + length], self.buffer[16 + length:]
        return kind, number, payload

    def message(self):
        kind, number, payload = self.read()
        assert kind == 10, kind
        return number, json.loads(payload)

    def order(self, what, number=5, **more):
        self.socket.sendall(self.frame(10, number, json.dumps({"do": what, "id": "q1", **more}).encode()))
        got, reply = self.message()
        assert got == number and reply["do"] == what and reply["id"] == "q1", reply
        return reply


class Gateway:
    """One gateway process with its own configuration."""

    def __init__(self, folder, settings):
        self.folder = folder
        os.makedirs(folder + "/run", exist_ok=True)
        self.config = folder + "/careloop.lua"
        self.configure(settings)
        ours, theirs = socket.socketpair()
        self.log = open(folder + "/log", "w+")
        self.process = subprocess.Popen(GATEWAY + ["--config", self.config, "--index", "3", "--control-fd",
                                                   str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()], stderr=self.log)
        theirs.close()
        self.control = Control(ours)
        _, ready = self.control.message()
        assert ready["do"] == "ready", ready
        self.ports = [int(name.rsplit(":", 1)[1]) for name in ready["listen"]]
        self.port = self.ports[0]

    def configure(self, settings):
        with open(self.config, "w") as out:
            out.write("return {\n" + settings + "\n}\n")

    def log_text(self):
        with open(self.folder + "/log") as text:
            return text.read()

    def status(self):
        return self.control.order("status")

    def end(self):
        self.control.socket.close()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.log.close()
        return code


def start_organization(path):
    process = subprocess.Popen([BUILD + "/fake_organization", path])
    while not os.path.exists(path):
        time.sleep(0.01)
    return process


class World:
    """What all tests share: certificates, an organization, a gateway."""

    @classmethod
    def begin(cls):
        cls.folder = tempfile.mkdtemp(prefix="careloop-gateway-")
        cls.servers = Authority(cls.folder, "servers")
        cls.people, cls.strangers = Authority(cls.folder, "people"), Authority(cls.folder, "strangers")
        cls.server = cls.servers.issue("server", "/CN=localhost", "DNS:localhost,DNS:riverside.localhost,DNS:lakeside.localhost,DNS:anything.localhost,IP:127.0.0.1",
                                       "serverAuth")
        cls.other = cls.servers.issue("other", "/CN=other", "DNS:care.lakeside.example", "serverAuth")
        cls.revoked = cls.people.issue("revoked", "/CN=revoked", "URI:urn:careloop:revoked")
        cls.people.revoke(cls.revoked[0])
        cls.board = cls.folder + "/board"
        os.makedirs(cls.board + "/assets")
        for name, text in (("index.html", "<!doctype html>"), ("assets/app-1a2b.js", "let a" + "x" * 40000),
                           (".secret", "no"), ("notes.unknown", "no")):
            with open(f"{cls.board}/{name}", "w") as out:
                out.write(text)
        os.symlink("/etc/passwd", cls.board + "/link.txt")
        cls.gateway = Gateway(cls.folder + "/main", cls.settings())
        cls.organization = start_organization(cls.folder + "/main/run/riverside.sock")

    @classmethod
    def settings(cls, more="", limits="in_flight_per_organization = 8", organizations='"riverside", '
                 '{ id = "lakeside", hosts = { "care.lakeside.example" } }', certificate="server"):
        return f"""
  listen = {{ {{ address = "127.0.0.1", port = 0 }},
             {{ address = "127.0.0.1", port = 0, client_certificates = "none" }} }},
  tls = {{ certificate = "../{certificate}.pem", key = "../{certificate}.key",
          client_authorities = {{ "../people.pem" }}, crl = "{cls.people.revocation_list()}",
          certificates = {{ {{ certificate = "../other.pem", key = "../other.key" }} }} }},
  domain = "localhost", data = ".", board = "../board",
  organizations = {{ {organizations} }},
  limits = {{ {limits} }},
  timeouts = {{ handshake = 1, head = 1, idle = 3, body = 2, request = 3 }},
  {more}"""

    @classmethod
    def end(cls):
        code = cls.gateway.end()
        cls.organization.kill()
        cls.organization.wait()
        log = cls.gateway.log_text()
        shutil.rmtree(cls.folder)
        assert code == 0, f"gateway ended with {code}:\n{log}"
        assert "Sanitizer" not in log and "runtime error" not in log, log


class Case(unittest.TestCase):
    def client(self, **more):
        client = Client(more.pop("port", World.gateway.port), **more)
        self.addCleanup(client.tls.close)
        return client

    def wait_until(self, condition, seconds=5):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "waited too long")
            time.sleep(0.02)

    def check_common(self, answer):
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertIn("max-age", answer.headers["strict-transport-security"])
        self.assertRegex(answer.headers["x-request-id"], "^[0-9a-f]{32}$")
        self.assertRegex(answer.headers["date"], "^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT$")
        self.assertNotIn("access-control-allow-origin", answer.headers)


def kill_child():
    """The process that serves, not the one that replaces it."""
    with open(f"/proc/{World.organization.pid}/task/{World.organization.pid}/children") as text:
        for child in text.read().split():
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass
