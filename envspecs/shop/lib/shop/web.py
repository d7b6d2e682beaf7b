"""A small HTTP/1.1 JSON server and client.

    @web.get("/products/{sku}")
    def product(request, sku): return {"sku": sku}
    web.serve()
"""
import http.client
import json
import re
import socketserver
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from shop import end_on_sigterm, log, setting

_routes = []


class Error(Exception):
    """Answered with its status and text; raised by call() for what another service answered."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


def route(method, pattern):
    regex = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern) + "$")

    def add(function):
        _routes.append((method, regex, function))
        return function
    return add


def get(pattern):
    return route("GET", pattern)


def post(pattern):
    return route("POST", pattern)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self):
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.json = json.loads(body) if body else {}
            self._send(200, self._dispatch(url.path))
        except Error as error:
            self._send(error.status, {"error": error.text})
        except (KeyError, ValueError) as error:
            self._send(400, {"error": f"bad request: {error!r}"})
        except Exception as error:  # A request must not end the service.
            log(f"{self.command} {self.path}: {error!r}")
            self._send(500, {"error": repr(error)})

    def _dispatch(self, path):
        if path == "/healthz":
            return {"status": "ok"}
        for method, regex, function in _routes:
            match = regex.match(path)
            if match and method == self.command:
                return function(self, **match.groupdict())
        raise Error(404, f"no {self.command} {path} here")

    def _send(self, status, value):
        html = isinstance(value, str)
        data = value.encode() if html else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if html else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer

    def log_request(self, code="-", size="-"):
        if self.path != "/healthz":
            log(f"{self.command} {self.path} {code}")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def serve():
    end_on_sigterm()
    port = int(setting("PORT", "8080"))
    with _Server((setting("HOST", "0.0.0.0"), port), _Handler) as server:
        log(f"listening on port {port}")
        server.serve_forever()


def call(method, base, path, body=None):
    """Sends JSON to another service and returns its JSON answer."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status >= 400:
        raise Error(answer.status, text)
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text
