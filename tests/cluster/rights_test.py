#!/usr/bin/python3
"""An environment's whole way with an account that has exactly what deploy/kubernetes/rbac-cluster.yml gives."""
import json
import pathlib
import re
import signal
import tempfile
import unittest

import cluster_test
import layout
from environments_test import ENVSPECS, Server, kubectl, until

DEPLOY = ENVSPECS.parent / "deploy" / "kubernetes"
SYSTEM = "mayfly-system"


def token():
    return kubectl("-n", SYSTEM, "create", "token", "mayfly", "--duration=1h").strip()


def kubeconfig(folder):
    text = layout.KUBECONFIG.read_text()
    text = re.sub(r"user: \{client-[^}]*\}", "user: {token: " + token() + "}", text)
    assert "token:" in text
    path = pathlib.Path(folder) / "kubeconfig"
    path.write_text(text)
    path.chmod(0o600)
    return path


class ClusterProfile(unittest.TestCase):
    def setUp(self):
        kubectl("apply", "-f", "-", data=(DEPLOY / "rbac-cluster.yml").read_text())

    def tearDown(self):
        kubectl("delete", "--wait=false", "-f", "-", data=(DEPLOY / "rbac-cluster.yml").read_text())
        until("the account is gone", lambda: SYSTEM not in kubectl("get", "namespaces", "-o", "name"))

    def test_a_whole_environment_needs_no_more(self):
        with tempfile.TemporaryDirectory(prefix="mayfly-rights-") as folder:
            server = Server(pathlib.Path(folder))
            server.kubeconfig = kubeconfig(folder)
            server.start()
            try:
                said = server.run("doctor")
                self.assertRegex(said, r"rights +all that environments need")
                self.assertRegex(said, r"API server +https://.*, v1\.\d+.*, answered in ")
                server.run("up", "-f", ENVSPECS / "hello")
                self.assertIn("passed", server.run("test", "--name", "hello", "greets"))
                self.assertEqual(server.run("exec", "-T", "--name", "hello", "greeter", "--", "echo", "inside").strip(), "inside")
                server.run("down", "hello")
                without = json.dumps([{"op": "remove", "path": "/rules/0"}])
                kubectl("patch", "clusterrole", "mayfly", "--type=json", "-p", without)
                until("rights that are taken away are missed",
                      lambda: "missing: get namespaces, list namespaces" in server.run("doctor", good=False))
            finally:
                server.run("down", "--all", good=False)
                server.kill(signal.SIGTERM)


if __name__ == "__main__":
    cluster_test.main()
