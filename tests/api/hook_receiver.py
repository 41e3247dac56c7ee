"""A receiver of notifications: an HTTPS server of Python's own, that checks signatures as Standard Webhooks 1.0 says."""
import base64
import hashlib
import hmac
import http.server
import os
import ssl
import threading
import time


class Receiver:
    """Keeps what came as (method, path, headers, body). `answer(request)` says the status; it may sleep or return headers."""

    def __init__(self, certificates, answer=None, port=0):
        self.got, self.lock = [], threading.Lock()
        self.answer = answer or (lambda request: 200)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def take(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = (self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with receiver.lock:
                    receiver.got.append(request)
                answer = receiver.answer(request)
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_GET = take

            def log_message(self, *arguments):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass   # clients that were killed

        self.server = Quiet(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(certificates, "server.pem"), os.path.join(certificates, "server.key"))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def requests(self, subscription=None, event=None):
        with self.lock:
            return [request for request in self.got
                    if (subscription is None or request[2].get("careloop-subscription") == f"Subscription/{subscription}")
                    and (event is None or request[2].get("careloop-event") == event)]

    def notifications(self, subscription=None):
        return [request for request in self.requests(subscription) if request[2].get("careloop-event") != "handshake"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def verify(secret, headers, body, tolerance=300):
    """The example of core/courier/README.md."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < tolerance
    return fresh and any(hmac.compare_digest(given, expected) for given in headers["webhook-signature"].split(" "))


def main():
    """hook_receiver.py CERTIFICATES PORT: shows on standard output what comes, for the example of core/courier/README.md."""
    import sys
    folder, port = sys.argv[1], int(sys.argv[2])

    def show(request):
        method, path, headers, body = request
        print(f"{headers.get('careloop-event', '?')}: {method} {path} {headers.get('webhook-id', '')} {len(body)} bytes", flush=True)
        return 200
    receiver = Receiver(folder, show, port)
    print(f"waiting at {receiver.url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
