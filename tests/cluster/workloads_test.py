#!/usr/bin/python3
"""A service with replicas on the real cluster, through mayflyd: requests by its name, a pod deleted by hand, a killed server."""
import json
import os
import pathlib
import signal
import tempfile
import unittest

import cluster_test
import environments_test
from environments_test import gates, kubectl, until

SERVER = """
import http.server, socket
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())
    def log_message(self, *words):
        pass
print("serving", flush=True)
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""
CLIENT = """
import socket, sys, time, urllib.request
def ask(host):
    return urllib.request.urlopen(f"http://{host}:8080/", timeout=5).read().decode()
# Which one a resolver puts first is its own choice, and what a DNS server keeps of a pod that went is not ours.
end = time.monotonic() + 30
while True:
    try:
        addresses = {a[4][0] for a in socket.getaddrinfo("web", 8080, socket.AF_INET, socket.SOCK_STREAM)}
        answered = {ask(address) for address in addresses}
        print(sorted(addresses), sorted(answered), ask("web"))
        if len(addresses) == 3 and len(answered) == 3:
            break
    except OSError as error:
        print(error)
    if time.monotonic() > end:
        sys.exit(1)
    time.sleep(0.2)
"""


class Workloads(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-kube-")
        self.server = environments_test.Server(pathlib.Path(self.folder.name))
        self.server.start()
        self.specs = pathlib.Path(self.folder.name) / "specs"
        self.specs.mkdir()

    def tearDown(self):
        if self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
        until("its namespace is gone", lambda: not self.own())
        self.folder.cleanup()

    def write(self, **services):
        spec = {"name": "many", "services": services,
                "tests": {"asks": {"image": "hello/tests:1", "run": ["python3", "-c", CLIENT], "needs": ["web"],
                                   "within": "60s"}}}
        (self.specs / "envspec.yml").write_text(json.dumps(spec))  # JSON is YAML, too.

    def own(self):
        found = json.loads(kubectl("get", "namespaces", "-l", environments_test.MANAGED, "-o", "json"))["items"]
        return [one["metadata"]["name"] for one in found if one["metadata"]["annotations"]["mayfly.dev/environment"] == "many"]

    def pods(self):
        found = json.loads(kubectl("get", "pods", "-n", self.own()[0], "-l", "mayfly.dev/node=web", "-o", "json"))["items"]
        return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def test_three_replicas_serve_lose_one_and_go(self):
        self.write(web={"type": "http", "image": "hello/greeter:1", "run": ["python3", "-c", SERVER], "port": 8080,
                        "replicas": 3, "health": {"http": "/"}})
        self.server.run("up", "-f", self.specs)
        first = self.pods()
        self.assertEqual(len(first), 3)
        self.assertIn("passed", self.server.run("test", "--name", "many", "asks"))

        victim = sorted(first)[0]
        kubectl("delete", "pod", victim, "-n", self.own()[0], "--wait=false")
        until("another pod stands in for it", lambda: len(self.pods()) == 3 and victim not in self.pods())
        log = lambda: self.server.run("logs", "--name", "many", "web")  # noqa: E731
        until("it serves, too", lambda: all(f"[{name.rsplit('-', 1)[1]}] serving" in log() for name in self.pods()))
        until("its log tells of it", lambda: "is replaced: somebody deleted its pod" in log())
        self.assertIn("passed", self.server.run("test", "--name", "many", "asks"))
        self.assertIn("ACTIVE", self.server.run("get", "many"))

        self.server.kill()
        self.server.start()
        self.assertIn("ACTIVE", self.server.run("get", "many"))
        self.assertIn(self.server.run("exec", "-T", "--name", "many", "web", "--", "hostname").strip(), self.pods())
        # One gate that does not answer any more does not keep the others, nor the end of `down`.
        os.kill(gates()[0], signal.SIGSTOP)
        self.server.run("down", "many")
        until("its namespace is gone", lambda: not self.own())


if __name__ == "__main__":
    cluster_test.main()
