"""A real server for black-box tests: certificates, a temporary folder with a configuration, `careloop serve` on a free port,
TLS clients with certificates, the console. Python's standard library only.

CARELOOP names the program under test (default: build-release/careloop). CARELOOP_KEEP=1 keeps the temporary folders."""
import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(os.environ.get("CARELOOP", os.path.join(ROOT, "build-release", "careloop")))
FHIR = "application/fhir+json"

_certificates = None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificates(organizations=("riverside", "lakeside", "hillside", "clinic", "hostile")):
    """A folder that scripts/certificates filled, made once for each run of a test file. The server's certificate has the names
    of its first call only."""
    global _certificates
    if _certificates is None:
        _certificates = tempfile.mkdtemp(prefix="careloop-certificates-")
        atexit.register(shutil.rmtree, _certificates, ignore_errors=True)
    subprocess.run([os.path.join(ROOT, "scripts", "certificates"), _certificates, *organizations], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return _certificates


def client_certificate(folder, name, uri, authority=None):
    """A further client certificate, folder/name.pem and .key; `authority` is the path of a .pem whose .key lies beside it, None a
    new authority that the server does not know."""
    path = os.path.join(folder, name)
    openssl = ["openssl"]
    if authority is None:
        authority = path + "-ca.pem"
        subprocess.run([*openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=Somebody", "-keyout", path + "-ca.key", "-out", authority], check=True,
                       stderr=subprocess.DEVNULL)
    subprocess.run([*openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Client",
                    "-keyout", path + ".key", "-out", path + ".csr"], check=True, stderr=subprocess.DEVNULL)
    extensions = path + ".ext"
    with open(extensions, "w") as file:
        file.write(f"subjectAltName=URI:{uri}\nextendedKeyUsage=clientAuth\nbasicConstraints=critical,CA:FALSE\n")
    subprocess.run([*openssl, "x509", "-req", "-in", path + ".csr", "-CA", authority, "-CAkey", authority[:-4] + ".key",
                    "-set_serial", "77", "-days", "2", "-extfile", extensions, "-out", path + ".pem"], check=True,
                   stderr=subprocess.DEVNULL)
    return path


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def id(self):
        return self.json["id"]

    @property
    def reference(self):
        return f"{self.json['resourceType']}/{self.json['id']}"

    @property
    def words(self):
        """What an OperationOutcome says, in one line."""
        try:
            return "; ".join(f"{issue.get('code')}: {issue.get('diagnostics', '')} {' '.join(issue.get('expression', []))}"
                             for issue in self.json.get("issue", []))
        except ValueError:
            return self.body.decode(errors="replace")

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Client:
    """HTTP/1.1 over TLS to one organization, as one principal. Keeps its connection."""

    def __init__(self, server, organization, certificate=None, host=None, server_name=None, authority=None):
        self.server, self.organization = server, organization
        self.host = host or f"{organization}.localhost"
        self.server_name = server_name if server_name is not None else self.host
        self.context = ssl.create_default_context(cafile=authority or os.path.join(server.certificates, "ca.pem"))
        if certificate:
            self.context.load_cert_chain(certificate + ".pem", certificate + ".key")
        self.connection = None
        server.clients.append(self)

    def connect(self, timeout=30):
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return self.context.wrap_socket(raw, server_hostname=self.server_name)
        except BaseException:
            raw.close()
            raise

    def raw(self, data, timeout=10, half_close=False):
        """Sends bytes as they are and reads until the server closes or is silent."""
        with self.connect(timeout) as connection:
            connection.sendall(data)
            received = b""
            try:
                while True:
                    block = connection.recv(65536)
                    if not block:
                        break
                    received += block
                    if not half_close and complete(received):
                        break
            except (TimeoutError, ssl.SSLError, ConnectionError):
                pass
            return received

    def request(self, method, path, body=None, headers=None, timeout=30):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        sent = {"Host": f"{self.host}:{self.server.port}", "Accept": FHIR}
        if body is not None:
            sent["Content-Type"] = FHIR
        sent.update(headers or {})
        for attempt in (1, 2):
            fresh = self.connection is None
            if fresh:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=timeout)
                connection.sock = self.connect(timeout)
                self.connection = connection
            self.connection.sock.settimeout(timeout)
            try:
                self.connection.request(method, path, body, sent)
                response = self.connection.getresponse()
                answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
            except (http.client.HTTPException, OSError):
                self.close()
                # An idle connection may have been closed meanwhile; a fresh one that breaks is news for the test.
                if fresh or attempt == 2:
                    raise
                continue
            if response.will_close:
                self.close()
            return answer
        raise AssertionError("not reached")

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def get(self, path, **headers):
        return self.request("GET", path, headers=fix(headers))

    def post(self, path, body, **headers):
        return self.request("POST", path, body, fix(headers))

    def put(self, path, body, **headers):
        return self.request("PUT", path, body, fix(headers))

    def delete(self, path, **headers):
        return self.request("DELETE", path, headers=fix(headers))

    def must(self, status, method, path, body=None, **headers):
        answer = self.request(method, path, body, fix(headers))
        if answer.status != status:
            raise AssertionError(f"{method} {path}: {answer.status} instead of {status}: {answer.words}")
        return answer

    def create(self, resource):
        return self.must(201, "POST", "/fhir/" + resource["resourceType"], resource)

    def read(self, reference):
        return self.must(200, "GET", "/fhir/" + reference).json

    def search(self, query):
        return [entry["resource"] for entry in self.must(200, "GET", "/fhir/" + query).json.get("entry", [])
                if entry.get("search", {}).get("mode", "match") == "match"]

    def transition(self, task, event, status=200, on_behalf_of=None, source=None, **data):
        parameters = [{"name": "event", "valueString": event}]
        if on_behalf_of:
            parameters.append({"name": "on-behalf-of", "valueString": on_behalf_of})
        if source:
            parameters.append({"name": "source", "valueString": source})
        for name, value in data.items():
            kind = "valueInteger" if isinstance(value, int) else "valueString"
            parameters.append({"name": name, kind: value})
        return self.must(status, "POST", f"/fhir/{task}/$transition", {"resourceType": "Parameters", "parameter": parameters})

    def events(self, last_event_id=None, timeout=10, query=""):
        return Events(self, last_event_id, timeout, query)


def fix(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def complete(received):
    """Whether one whole answer with a length is there."""
    head, blank, body = received.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if blank and line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


class Events:
    """A server-sent event stream: `next()` gives (id, event, data), None when nothing comes in time."""

    def __init__(self, client, last_event_id, timeout, query=""):
        self.socket = client.connect(timeout)
        head = f"GET /events{query} HTTP/1.1\r\nHost: {client.host}:{client.server.port}\r\nAccept: text/event-stream\r\n"
        if last_event_id:
            head += f"Last-Event-ID: {last_event_id}\r\n"
        self.socket.sendall((head + "\r\n").encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while True:
            line = self.file.readline().strip()
            if not line:
                break
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.pending = b""
        self.last_id = last_event_id

    def _line(self):
        if not self.chunked:
            return self.file.readline()
        while b"\n" not in self.pending:
            size = int(self.file.readline() or b"0", 16)
            if size == 0:
                return b""
            self.pending += self.file.read(size)
            self.file.readline()
        line, _, self.pending = self.pending.partition(b"\n")
        return line + b"\n"

    def next(self, seconds=5):
        self.socket.settimeout(seconds)
        event, data = None, None
        try:
            while True:
                line = self._line()
                if not line:
                    return None
                line = line.decode().rstrip("\r\n")
                if line == "" and data is not None:
                    return self.last_id, event, json.loads(data)
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data = value
        except TimeoutError:
            return None

    def until(self, condition, seconds=10):
        """The first event for which condition(event, data) holds; None when there is none in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.next(max(0.1, end - time.monotonic()))
            if found is None:
                return None
            if condition(found[1], found[2]):
                return found
        return None

    def close(self):
        # Without this a reader that timed out keeps the file object's lock on the socket.
        self.file.close()
        self.socket.close()


class Server:
    """`careloop serve` over a temporary folder. Organizations are those of config/orgs, with the test's port in partners' urls;
    `organizations` may also map a name to the text of its file."""

    def __init__(self, organizations=("riverside", "lakeside"), gateways=2, settings="", plugins=None):
        self.folder = tempfile.mkdtemp(prefix="careloop-test-")
        self.port = free_port()
        self.gateways, self.settings = gateways, settings
        self.plugins = plugins or os.path.join(ROOT, "plugins")
        self.data = os.path.join(self.folder, "data")
        self.orgs = os.path.join(self.folder, "orgs")
        self.config = os.path.join(self.folder, "careloop.lua")
        self.certificates = certificates()
        self.log_path = os.path.join(self.folder, "log")
        self.process, self.started, self.clients = None, False, []
        os.mkdir(self.orgs)
        for name in organizations:
            self.add_organization(name, organizations[name] if isinstance(organizations, dict) else None)
        self.write_config()

    def add_organization(self, name, text=None):
        if text is None:
            with open(os.path.join(ROOT, "config", "orgs", name + ".lua")) as file:
                text = file.read().replace("localhost:8443", f"localhost:{self.port}")
            own = os.path.join(ROOT, "config", "orgs", name)
            if os.path.isdir(own):
                shutil.copytree(own, os.path.join(self.orgs, name), dirs_exist_ok=True)
        certificates((name,))
        with open(os.path.join(self.orgs, name + ".lua"), "w") as file:
            file.write(text)

    def write_config(self, extra=""):
        with open(self.config, "w") as file:
            file.write(f"""return {{
	data = "data", organizations_folder = "orgs", plugins = "{self.plugins}", domain = "localhost",
	gateways = {self.gateways},
	listen = {{ {{ address = "127.0.0.1", port = {self.port} }} }},
	tls = {{
		certificate = "{self.certificates}/server.pem", key = "{self.certificates}/server.key",
		client_authorities = {{ "{self.certificates}/clients-ca.pem" }},
	}},
	courier = {{ certificates = "{self.certificates}/clients", authority = "{self.certificates}/ca.pem" }},
	{self.settings} {extra}
}}
""")

    def __enter__(self):
        return self.start()

    def __exit__(self, *problem):
        self.stop()
        if problem[0] and os.environ.get("CARELOOP_LOGS"):
            print(self.log())

    def start(self, wait=True):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([PROGRAM, "serve", "--config", self.config], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=log)
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise
        return self

    def wait_ready(self, seconds=20):
        begun = os.path.getsize(self.log_path) if self.started else 0
        self.started = True
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}\n{self.log()}")
            with open(self.log_path) as file:
                file.seek(begun)
                if " supervisor ready " in file.read():
                    return
            time.sleep(0.02)
        raise AssertionError(f"not ready within {seconds} s\n{self.log()}")

    def stop(self):
        """Stops the server in good order; its exit code."""
        code = None
        for client in self.clients:
            client.close()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not stop\n" + self.log())
        if not os.environ.get("CARELOOP_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def halt(self):
        """Stops the server and keeps its folder, so that it may be started again."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def client(self, organization, principal="coordinator", **options):
        """A client with the certificate <organization>-<principal>; None: without a certificate."""
        certificate = principal and os.path.join(self.certificates, "clients", f"{organization}-{principal}")
        return Client(self, organization, certificate, **options)

    def console(self, *arguments, organization=None, **options):
        command = [PROGRAM, "console", "--data", self.data]
        if organization:
            command += ["-o", organization]
        return subprocess.run(command + list(arguments), capture_output=True, text=True, timeout=60,
                              stdin=options.pop("stdin", subprocess.DEVNULL), **options)

    def rows(self, line, organization=None):
        """A console command's table as a list of dictionaries."""
        result = self.console("--json", "-e", line, organization=organization)
        if result.returncode != 0:
            raise AssertionError(f"{line}: {result.returncode} {result.stdout} {result.stderr}")
        return json.loads(result.stdout)

    def processes(self):
        return {row["name"]: row["process"] for row in self.rows("processes")}


def wait_for(condition, what, seconds=10, pause=0.05):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


# ---- resources ----

def patient(family="Rivera", given="Ana", **more):
    return {"resourceType": "Patient", "name": [{"family": family, "given": [given]}], "birthDate": "1980-05-01", **more}


def referral(client, partner="lakeside", priority=None, family="Rivera"):
    """Patient, ServiceRequest and a drafted referral; the Task's reference."""
    person = client.create(patient(family)).reference
    request = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": person},
               "code": {"text": "Evaluation for depression"}}
    if priority:
        request["priority"] = priority
    request = client.create(request).reference
    return client.create({
        "resourceType": "Task", "status": "draft", "intent": "order",
        "code": {"coding": [{"system": "urn:careloop:workflow", "code": "referral"}]},
        "focus": {"reference": request}, "for": {"reference": person},
        "input": [{"type": {"text": "party"}, "valueString": "initiator"},
                  {"type": {"text": "partner"}, "valueString": partner}],
    }).reference
