#!/usr/bin/env python3
"""Stands in for gateways, organizations and the courier in supervisor_test.py: `careloop serve --executable THIS`.

What it does comes from $STUB_FOLDER/<name>.json (organization-riverside, gateway-0, courier): a list of behaviours, one for each
start, the last repeated. Every start and what happened is appended to $STUB_FOLDER/<name>.log as JSON lines."""
import ctypes
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

HELLO, REQUEST, RESPONSE, CANCEL, CONTROL = 1, 2, 3, 4, 10
GATEWAY, ORGANIZATION, COURIER = 1, 2, 4
KIND, LUA_SINCE, LUA_CALL, READY, TICKS, SUBJECT, PLUGIN, WHAT = 0, 8, 16, 24, 32, 40, 56, 120
QUARANTINE_COUNT, QUARANTINE, QUARANTINED_PLUGIN, PAGE_SIZE = 248, 252, 764, 1024


class Channel:
    """Frames over a stream socket, as in core/wire/frame.h."""

    def __init__(self, connection, role):
        self.connection, self.bytes = connection, b""
        connection.setblocking(True)
        self.send(HELLO, 0, struct.pack("<IB", 1, role))

    def send(self, kind, number, payload):
        self.connection.sendall(struct.pack("<IBBHQ", len(payload), kind, 0, 0, number) + payload)

    def control(self, **message):
        self.send(CONTROL, 0, json.dumps(message).encode())

    def receive(self):
        """Frames that are there after one read; None at the end."""
        more = self.connection.recv(65536)
        if not more:
            return None
        self.bytes += more
        frames = []
        while len(self.bytes) >= 16:
            length, kind, _, _, number = struct.unpack("<IBBHQ", self.bytes[:16])
            if len(self.bytes) < 16 + length:
                break
            frames.append((kind, number, self.bytes[16 : 16 + length]))
            self.bytes = self.bytes[16 + length :]
        return frames


def read_request(payload):
    at = 26
    texts = []
    for _ in range(8):
        (n,) = struct.unpack_from("<I", payload, at)
        texts.append(payload[at + 4 : at + 4 + n].decode())
        at += 4 + n
    at += 2
    (n,) = struct.unpack_from("<I", payload, at)
    names = ("anchor", "name", "fingerprint", "token", "address", "method", "target", "base")
    return dict(zip(names, texts), credential=payload[17], body=payload[at + 4 : at + 4 + n].decode())


def response(status, body):
    return struct.pack("<HBHI", status, 0, 0, len(body)) + body


class Page:
    def __init__(self, descriptor):
        self.map = mmap.mmap(descriptor, PAGE_SIZE)

    def put(self, layout, offset, value):
        struct.pack_into(layout, self.map, offset, value)

    def text(self, offset, size, value):
        self.map[offset : offset + size] = value.encode()[: size - 1].ljust(size, b"\0")

    def scene(self, scene):
        self.map[SUBJECT : SUBJECT + 16] = bytes.fromhex(scene.get("subject", "00" * 16))
        self.text(PLUGIN, 64, scene.get("plugin", ""))
        self.text(WHAT, 128, scene.get("what", ""))
        self.put("<I", KIND, scene.get("kind", 1))

    def quarantine(self):
        (count,) = struct.unpack_from("<I", self.map, QUARANTINE_COUNT)
        subjects = [self.map[QUARANTINE + 16 * i : QUARANTINE + 16 * (i + 1)].hex() for i in range(count)]
        plugins = [self.map[QUARANTINED_PLUGIN + 64 * i : QUARANTINED_PLUGIN + 64 * (i + 1)] for i in range(4)]
        return {"subjects": subjects, "plugins": [p.split(b"\0")[0].decode() for p in plugins if p[0]]}


class Stub:
    def __init__(self, arguments):
        self.role = arguments[0]
        options = dict(zip(arguments[1::2], arguments[2::2]))
        self.name = "-".join([self.role] + [options[o] for o in ("--id", "--index") if o in options])
        self.folder = os.environ["STUB_FOLDER"]
        self.stage = "--stage" in arguments
        self.options = options

    def log(self, **entry):
        entry.update(pid=os.getpid(), monotonic=time.monotonic())
        with open(f"{self.folder}/{self.name}.log", "a") as file:
            file.write(json.dumps(entry) + "\n")

    def behaviour(self):
        try:
            with open(f"{self.folder}/{self.name}.json") as file:
                behaviours = json.load(file)
        except FileNotFoundError:
            return {}
        try:
            with open(f"{self.folder}/{self.name}.log") as file:
                starts = sum('"event": "start"' in line for line in file)
        except FileNotFoundError:
            starts = 0
        return behaviours[min(starts, len(behaviours) - 1)] if behaviours else {}

    def run_stage(self):
        try:
            with open(f"{self.folder}/{self.name}.stage.json") as file:
                wanted = json.load(file)
        except FileNotFoundError:
            wanted = {}
        self.log(event="stage")
        print(wanted.get("output", ""), file=sys.stderr)
        return wanted.get("exit", 0)

    def run(self):
        if self.stage:
            return self.run_stage()
        behaviour = self.behaviour()
        names = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                names[number] = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                pass
        page = Page(int(self.options["--watch-fd"])) if "--watch-fd" in self.options else None
        self.log(event="start", quarantine=page.quarantine() if page else None, files=names,
                 core=resource.getrlimit(resource.RLIMIT_CORE)[0])
        if "exit" in behaviour:
            return behaviour["exit"]
        if "crash" in behaviour:
            page.scene(behaviour["crash"])
            os.kill(os.getpid(), signal.SIGSEGV)
        role = {"gateway": GATEWAY, "organization": ORGANIZATION, "courier": COURIER}[self.role]
        control = Channel(socket.socket(fileno=int(self.options["--control-fd"])), role)
        if behaviour.get("ignore_stop"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not behaviour.get("silent"):
            control.control(do="ready")
        for size, root, at in behaviour.get("heads", []):
            control.control(do="head", organization=self.options["--id"], size=size, root=root, at=at)
        if "lua" in behaviour:
            page.scene(behaviour["lua"])
            page.put("<I", LUA_CALL, 7)
            page.put("<q", LUA_SINCE, int(time.monotonic() * 1e6))
        if "stall" in behaviour:
            page.scene(behaviour["stall"])
        return self.loop(control, behaviour, page)

    def loop(self, control, behaviour, page):
        listener = socket.socket(fileno=int(self.options["--listen-fd"])) if "--listen-fd" in self.options else None
        channels = {}
        sockets = [control.connection] + ([listener] if listener else [])
        busy_until = time.monotonic() + behaviour.get("many_calls", 0)
        calls = 0
        while True:
            if time.monotonic() < busy_until:
                calls += 1
                page.put("<I", LUA_CALL, calls)
                page.put("<q", LUA_SINCE, int(time.monotonic() * 1e6) - 10_000_000)
            elif calls:
                page.put("<q", LUA_SINCE, 0)
            for ready in select.select(sockets, [], [], 0.02 if calls else None)[0]:
                if ready is listener:
                    connection, _ = listener.accept()
                    channels[connection] = Channel(connection, ORGANIZATION)
                    sockets.append(connection)
                elif ready is control.connection:
                    frames = control.receive()
                    if frames is None:
                        self.log(event="control-closed")
                        return 0
                    for kind, _, payload in frames:
                        if kind == CONTROL and not self.on_control(control, behaviour, json.loads(payload)):
                            return 0
                else:
                    frames = channels[ready].receive()
                    if frames is None:
                        sockets.remove(ready)
                        del channels[ready]
                        continue
                    for kind, number, payload in frames:
                        self.on_frame(channels[ready], behaviour, kind, number, payload)

    def on_control(self, control, behaviour, message):
        self.log(event="control", message=message)
        if message["do"] == "stop" and not behaviour.get("ignore_stop"):
            for size, root, at in behaviour.get("last_heads", []):
                control.control(do="head", organization=self.options["--id"], size=size, root=root, at=at)
            return False
        if message["do"] == "reload" and self.role == "organization":
            answer = behaviour.get("reload", {"ok": True, "plugins": "abc"})
            if answer:
                control.control(do="reloaded", **answer)
        if message["do"] == "reload" and self.role == "gateway":
            control.control(**behaviour.get("reload", {"do": "reload", "ok": True}))
        if message["do"] == "status":
            control.control(do="status", id=message["id"], connections=3, streams=1)
        return True

    def on_frame(self, channel, behaviour, kind, number, payload):
        if kind == CANCEL:
            self.log(event="cancel")
        if kind != REQUEST:
            return
        request = read_request(payload)
        self.log(event="request", request=request)
        command = json.loads(request["body"])
        if behaviour.get("crash_on") == command["command"]:
            os.kill(os.getpid(), signal.SIGABRT)
        if behaviour.get("mute"):
            return
        if command["command"] == "search":
            body = {"ok": True, "columns": ["n", "text"], "rows": [[i, "x" * 100] for i in range(2000)]}
        elif command["command"] == "read":
            body = {"ok": False, "error": "there is no such resource", "where": "Task/x"}
        else:
            body = {"ok": True, "columns": ["name", "count"], "rows": [["référral", 3], ["x\x1b[2J", 14]]}
        status = 404 if command["command"] == "read" else 200
        text = json.dumps(body).encode()
        if len(text) <= 65536:
            channel.send(RESPONSE, number, response(status, text))
            return
        # A large body is passed as a sealed memory file.
        file = os.memfd_create("body", os.MFD_ALLOW_SEALING)
        os.write(file, text)
        libc = ctypes.CDLL(None)
        libc.fcntl(file, 1033, 1 | 2 | 4 | 8)
        payload = struct.pack("<HBHI", status, 2, 0, len(text))
        head = struct.pack("<IBBHQ", len(payload), RESPONSE, 1, 0, number)
        socket.send_fds(channel.connection, [head + payload], [file])
        os.close(file)


if __name__ == "__main__":
    sys.exit(Stub(sys.argv[1:]).run())
