#!/usr/bin/python3
"""Into, out of and between environments on the real cluster."""
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import cluster_test
import layout
import supervise
from environments_test import ENVSPECS, Server, kubectl, until

DOMAIN = "preview.test"


def inside(*words, good=True):
    """In the cluster's network, as its node."""
    done = subprocess.run(["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net", *map(str, words)],
                          capture_output=True, text=True, timeout=60, check=False)
    if good and done.returncode != 0:
        raise AssertionError(f"{words}: {done.stderr}")
    return done.stdout


def browse(host):
    """Status and body, as the ingress controller answers for the host."""
    said = inside("curl", "-s", "-m", "10", "-w", "\n%{http_code}", "-H", f"Host: {host}",
                  f"http://{layout.NODE_ADDRESS}:{layout.INGRESS_PORT}/")
    body, status = said.rsplit("\n", 1)
    return int(status), body


def from_pod(space, code):
    """Whether the Python code ends well in a pod of the kube namespace."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asks", "namespace": space},
           "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [
               {"name": "asks", "image": f"{layout.REGISTRY}/hello/tests:{layout.TAG}", "command": ["python3", "-c", code]}]}}
    until("the former pod is gone", lambda: not kubectl("get", "pods", "-n", space, "-o", "name"))
    until("the account is there", lambda: kubectl("get", "serviceaccounts", "-n", space, "-o", "name"))
    kubectl("create", "-f", "-", data=json.dumps(pod))
    try:
        def phase():
            return kubectl("get", "pod", "asks", "-n", space, "-o", "jsonpath={.status.phase}")
        until("the pod has ended", lambda: phase() in ("Succeeded", "Failed"))
        return phase() == "Succeeded"
    finally:
        kubectl("delete", "pod", "asks", "-n", space, "--grace-period=0", "--force")


class Traffic(unittest.TestCase):
    def serve(self, *flags):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-traffic-")
        self.server = Server(pathlib.Path(self.folder.name), *flags)
        self.addCleanup(self.clean)
        self.server.start()
        return self.server

    def clean(self):
        if self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
        until("no namespace of this server is left", lambda: not self.places())
        self.folder.cleanup()

    def places(self):
        """The kube namespaces of this server's environments."""
        own = pathlib.Path(self.folder.name, "installation").read_text().strip()
        said = kubectl("get", "namespaces", "-l", f"mayfly.dev/installation={own}", "-o", "name")
        return [name.split("/")[1] for name in said.split()]

    def test_an_exposed_service_has_a_host_of_its_own(self):
        server = self.serve("--ingress-domain", DOMAIN, "--ingress-namespace", "mayfly-test-controller")
        said = server.run("up", "-f", ENVSPECS / "hello", "-o", "env")
        self.assertIn(f"http://greeter-hello.{DOMAIN}", said)
        # It was told because it answers: no waiting here.
        status, body = browse(f"greeter-hello.{DOMAIN}")
        self.assertEqual((status, body[:6]), (200, "Hello!"))
        self.assertEqual(browse(f"greeter-other.{DOMAIN}")[0], 404)
        server.kill()
        server.start()
        self.assertIn(f"http://greeter-hello.{DOMAIN}", server.run("get", "hello"))
        self.assertEqual(browse(f"greeter-hello.{DOMAIN}")[0], 200)
        server.run("down", "hello")
        until("nobody has the host any more", lambda: browse(f"greeter-hello.{DOMAIN}")[0] == 404, limit=5)
        # The next one of the same name has it at once, though the former namespace still ends.
        server.run("up", "-f", ENVSPECS / "hello")
        self.assertEqual(browse(f"greeter-hello.{DOMAIN}")[0], 200)

    def test_what_is_not_exposed_any_more_has_no_host(self):
        server = self.serve("--ingress-domain", DOMAIN, "--ingress-namespace", "mayfly-test-controller")
        spec = pathlib.Path(self.folder.name, "hello")
        shutil.copytree(ENVSPECS / "hello", spec)
        server.run("up", "-f", spec)
        self.assertEqual(browse(f"greeter-hello.{DOMAIN}")[0], 200)
        text = (spec / "greeter/service.yml").read_text()
        (spec / "greeter/service.yml").write_text(text.replace("expose: true", "expose: false"))
        server.run("up", "-f", spec)
        until("its Ingress is gone", lambda: not kubectl("get", "ingresses", "-n", self.places()[0], "-o", "name"), limit=5)
        until("nobody has the host any more", lambda: browse(f"greeter-hello.{DOMAIN}")[0] == 404, limit=5)
        self.assertNotIn(DOMAIN, server.run("get", "hello", "-o", "json"))
        (spec / "greeter/service.yml").write_text(text)
        self.assertIn(f"http://greeter-hello.{DOMAIN}", server.run("up", "-f", spec, "-o", "env"))
        self.assertEqual(browse(f"greeter-hello.{DOMAIN}")[0], 200)

    def test_only_the_controllers_namespace_is_let_in(self):
        spaces = {"mayfly-test-controller": True, "mayfly-test-stranger": False}
        server = self.serve("--ingress-domain", DOMAIN, "--ingress-namespace", "mayfly-test-controller")
        server.run("up", "-f", ENVSPECS / "hello")
        place = self.places()[0]
        address = {name: kubectl("get", "endpointslice", name, "-n", place, "-o", "jsonpath={.endpoints[0].addresses[0]}")
                   for name in ("greeter", "clock")}
        ports = {name: json.loads(kubectl("get", "service", name, "-n", place, "-o", "json"))["spec"]["ports"][0]["port"]
                 for name in address}
        for space, may in spaces.items():
            kubectl("create", "namespace", space)
            self.addCleanup(kubectl, "delete", "namespace", space, "--wait=false")
            for name in address:
                code = ("import socket; socket.create_connection(" + repr((address[name], ports[name])) + ", 2)")
                self.assertEqual(from_pod(space, code), may and name == "greeter", f"{space} to {name}")

    def test_a_class_that_nobody_serves_is_told_and_holds_nothing_up(self):
        server = self.serve("--ingress-domain", DOMAIN, "--ingress-class", "nobody")
        self.assertNotIn(DOMAIN, server.run("up", "-f", ENVSPECS / "hello", "-o", "env"))
        self.assertIn("ACTIVE", server.run("get", "hello"))
        self.assertIn("does not lead to it", server.run("events", "hello"))

    def write(self, text):
        """A folder with this envspec.yml."""
        folder = tempfile.TemporaryDirectory(prefix="mayfly-traffic-spec-")
        self.addCleanup(folder.cleanup)
        pathlib.Path(folder.name, "envspec.yml").write_text(text)
        return folder.name

    def test_only_what_egress_names_is_reached(self):
        outside = "198.51.100.7"
        inside("ip", "address", "add", outside + "/32", "dev", "lo")
        self.addCleanup(inside, "ip", "address", "del", outside + "/32", "dev", "lo")
        listener = subprocess.Popen(["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net", "python3", "-m", "http.server",
                                     "--bind", outside, "443"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(listener.wait)
        self.addCleanup(listener.kill)
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-traffic-")
        folder = pathlib.Path(self.folder.name)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{outside} api.outside.test also.outside.test\n"
                                      f"{layout.NODE_ADDRESS} door.outside.test\n169.254.169.254 metadata.outside.test\n")
        self.server = server = Server(folder)
        server.hosts = folder / "hosts"
        self.addCleanup(self.clean)
        server.start()
        service = 'type: http, image: "hello/tests:1", run: [python3, -m, http.server, "8080"], port: 8080, health: tcp'
        spec = self.write(f"""
name: out
services:
  named: {{{service}, egress: ["api.outside.test:443", "door.outside.test:{layout.INGRESS_PORT}", "metadata.outside.test:443"]}}
  addressed: {{{service}, egress: ["{outside}:443"]}}
  closed: {{{service}}}
""")
        server.run("up", "-f", spec)

        def answers(service, host, port=443):
            code = (f"import http.client; c = http.client.HTTPConnection({host!r}, {port}, timeout=2); "
                    "c.request('GET', '/'); print(c.getresponse().status)")
            return server.run("exec", "-T", "--name", "out", service, "--", "python3", "-c", code, good=False).strip() != ""
        until("the listener listens", lambda: inside("curl", "-s", f"http://{outside}:443/", good=False))
        self.assertTrue(answers("named", "api.outside.test"))
        self.assertTrue(answers("addressed", outside))
        for service, host, port in [("named", outside, 443), ("named", "also.outside.test", 443), ("closed", outside, 443),
                                    ("closed", "api.outside.test", 443), ("addressed", "api.outside.test", 443),
                                    ("named", "metadata.outside.test", 443), ("named", "door.outside.test", layout.INGRESS_PORT)]:
            self.assertFalse(answers(service, host, port), f"{service} to {host}")


if __name__ == "__main__":
    cluster_test.main()
