"""The part of server_bench.py about bulk exports: how fast the files are made, how fast they come, and what others notice."""
import json
import os
import sqlite3
import subprocess
import threading
import time

import careloop

BLOCKS, BLOCK, NARRATIVE = 6, 5000, 1400


def load_data(client):
    div = '<div xmlns="http://www.w3.org/1999/xhtml">' + "x" * NARRATIVE + "</div>"
    for block in range(BLOCKS):
        entries = [{"resource": {"resourceType": "Observation", "status": "final", "text": {"status": "generated", "div": div},
                                 "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
                                 "valueQuantity": {"value": i, "unit": "/min"}, "effectiveDateTime": "2026-10-01"},
                    "request": {"method": "POST", "url": "Observation"}} for i in range(BLOCK)]
        client.must(200, "POST", "/fhir", json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries},
                                                     separators=(",", ":")).encode())


def path_of(url):
    return "/" + url.split("/", 3)[3]


def make(client):
    """Seconds from asking to the manifest, the manifest's first file, the status."""
    begun = time.perf_counter()
    answer = client.must(202, "GET", "/fhir/$export?_type=Observation", Prefer="respond-async")
    status = path_of(answer.headers["content-location"])
    while (answer := client.get(status)).status == 202:
        time.sleep(0.005)
    return time.perf_counter() - begun, path_of(answer.json["output"][0]["url"]), status


def read_raw(bench, kind):
    """Seconds to read the same rows from the same file, and to write them as lines to the same disk."""
    name = os.path.join(bench.server.data, "organizations", "bench", "bench.db")
    begun = time.perf_counter()
    file = sqlite3.connect(f"file:{name}?mode=ro", uri=True)
    size = 0
    with open(os.path.join(bench.server.data, "raw"), "wb", buffering=1 << 20) as out:
        for body, in file.execute("SELECT CAST(body AS BLOB) FROM resource WHERE type = ? ORDER BY row", (kind,)):
            size += out.write(body) + out.write(b"\n")
        out.flush()
        os.fsync(out.fileno())
    file.close()
    return time.perf_counter() - begun, size


def serve_file(bench, path):
    """An nginx of its own for a file on the disk; its port and process."""
    port, config = careloop.free_port(), os.path.join(bench.folder, "nginx-file.conf")
    with open(config, "w") as file:
        file.write(f"""daemon off; worker_processes 1; user root; error_log {bench.folder}/nginx-file.log; pid {bench.folder}/nginx-file.pid;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {bench.folder}/nginx-body; proxy_temp_path {bench.folder}/nginx-proxy;
	fastcgi_temp_path {bench.folder}/nginx-fastcgi; uwsgi_temp_path {bench.folder}/nginx-uwsgi; scgi_temp_path {bench.folder}/nginx-scgi;
	server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {bench.server.certificates}/server.pem;
		ssl_certificate_key {bench.server.certificates}/server.key; ssl_protocols TLSv1.3;
		root {os.path.dirname(path)}; }} }}
""")
    process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    if process.poll() is not None:
        raise SystemExit(f"nginx did not start: see {config}")
    return port, process


def download(bench, port, path):
    """Bytes a second as curl sees it."""
    out = subprocess.run(["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--write-out", "%{speed_download}",
                          "--cacert", os.path.join(bench.server.certificates, "ca.pem"), "--cert", bench.certificate + ".pem", "--key",
                          bench.certificate + ".key", "--resolve", f"bench.localhost:{port}:127.0.0.1",
                          f"https://bench.localhost:{port}{path}"], check=True, capture_output=True, text=True).stdout
    return float(out)


def anonymous(process):
    with open(f"/proc/{process}/status") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def peak(process, work):
    most, stop = [anonymous(process)], threading.Event()

    def watch():
        while not stop.wait(0.005):
            most.append(anonymous(process))
    thread = threading.Thread(target=watch)
    thread.start()
    work()
    stop.set()
    thread.join()
    return (max(most) - most[0]) / 1024


def export(bench, note, spread, median, repetitions, gentle):
    client = bench.client()
    load_data(client)
    kind = sqlite3.connect(f"file:{bench.server.data}/organizations/bench/bench.db?mode=ro", uri=True).execute(
        "SELECT number FROM type_name WHERE name = 'Observation'").fetchone()[0]
    growth = peak(bench.processes()["org/bench"], lambda: client.request("DELETE", make(client)[2]))
    made, raw, served, speeds = [], [], [], []
    nginx = None
    for _ in range(repetitions):
        seconds, size = read_raw(bench, kind)
        own, path, status = make(client)
        made.append(seconds / own)
        raw.append(size / own / 1e6)
        if not nginx:
            port, nginx = serve_file(bench, os.path.join(bench.server.data, "raw"))
        theirs = download(bench, port, "/raw")
        ours = download(bench, bench.server.port, path)
        served.append(ours / theirs)
        speeds.append(ours / 1e6)
        client.must(202, "DELETE", status)
    nginx.terminate()
    nginx.wait()
    note("export, files made", f"{size / 1e6:.0f} MB, {spread(raw, '%.0f')} MB/s from asking to the manifest; over reading the same rows "
         "with SQLite alone and writing them to the same disk", spread(made), ">= 1", median(made) >= 1)
    note("export, download", f"{spread(speeds, '%.0f')} MB/s by one curl; over the same bytes by nginx, TLS, from a file", spread(served),
         ">= 0.8", median(served) >= 0.8)
    note("export, memory", f"growth of the organization's process while it makes {size / 1e6:.0f} MB", f"{growth:.1f} MiB", "<= 20 MiB",
         growth <= 20)

    target = "/fhir/" + bench.patient().reference
    excess, quiets, busies, count = [], [], [], 0
    for _ in range(repetitions):
        quiet = bench.load(target, connections=gentle)["p99"] / 1000
        stop = threading.Event()
        exports = [0]

        def go_on():
            other = bench.client()
            while not stop.is_set():
                other.request("DELETE", make(other)[2])
                exports[0] += 1
        thread = threading.Thread(target=go_on)
        thread.start()
        time.sleep(0.2)
        busy = bench.load(target, connections=gentle)["p99"] / 1000
        stop.set()
        thread.join()
        count += exports[0]
        quiets.append(quiet)
        busies.append(busy)
        excess.append(busy - 2 * quiet)
    note("read beside exports", f"p99 of a read in ms, {gentle} connections, while exports follow each other ({count} made): "
         f"{spread(busies)} against {spread(quiets)} quiet; here: what is above twice the quiet value", spread(excess, "%.1f ms"), "<= 2 ms",
         median(excess) <= 2)
