#!/usr/bin/python3
"""Environments of a server that pods cannot call: their gates call a relay, which the server reaches through the API server."""
import json
import pathlib
import signal
import tempfile
import unittest

import cluster_test
import rights_test
from environments_test import ENVSPECS, MANAGED, Server, gates, kubectl, namespaces, until

RELAY = "mayfly.dev/node=relay.mayfly"


def relays():
    found = json.loads(kubectl("get", "pods", "-A", "-l", f"{MANAGED},{RELAY}", "-o", "json"))["items"]
    return {pod["metadata"]["uid"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}


def services():
    """What runs behind gates in the cluster. The gate of a job that has ended stays until its pod goes, and is nobody's process."""
    found = []
    for pid in gates():
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += [pathlib.Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in children]
        except OSError:
            pass  # It has ended meanwhile.
    return found


class Relays(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-kube-")
        self.server = Server(pathlib.Path(self.folder.name), "--gate-relay")

    def tearDown(self):
        if self.server.process is not None and self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
        until("the namespaces are gone", lambda: not namespaces())
        self.folder.cleanup()

    def test_a_whole_environment_lives_and_goes_behind_one(self):
        self.server.start()
        self.assertIn("PASSED", self.server.run("run", "-f", ENVSPECS / "hello"))
        until("the namespace is gone", lambda: not namespaces())
        self.assertEqual(gates(), [])

    def test_a_lost_relay_and_a_killed_server_are_come_back_from(self):
        self.server.start()
        self.server.run("up", "-f", ENVSPECS / "hello")
        pods = self.pods()
        self.assertEqual(len(services()), 2)
        (first, pod), = relays().items()
        kubectl("delete", "pod", pod["metadata"]["name"], "-n", pod["metadata"]["namespace"], "--wait=false")
        until("another relay stands in for it", lambda: relays() and first not in relays())
        # Through the gate of the new job, and of the service that it asks.
        self.assertIn("passed", self.server.run("test", "--name", "hello", "greets"))
        self.server.kill()
        self.server.start()
        self.assertIn("ACTIVE", self.server.run("get", "hello"))
        self.assertIn("passed", self.server.run("test", "--name", "hello", "greets"))
        self.assertEqual(self.pods(), pods, "nothing was started again")
        self.server.run("down", "hello")
        self.assertEqual(services(), [], "every process ended before `down` did")

    def pods(self):
        found = json.loads(kubectl("get", "pods", "-A", "-l", f"{MANAGED},mayfly.dev/node in (clock,greeter)", "-o", "json"))
        return sorted(pod["metadata"]["uid"] for pod in found["items"])

    def test_an_environment_that_called_the_server_itself_goes_on_doing_so(self):
        self.server.flags = ()
        self.server.start()
        self.server.run("up", "-f", ENVSPECS / "hello")
        self.server.kill()
        self.server.flags = ("--gate-relay",)
        self.server.start()
        self.assertIn("passed", self.server.run("test", "--name", "hello", "greets"))
        self.assertEqual(relays(), {})
        self.server.run("down", "hello")
        self.assertEqual(services(), [])

    def test_pods_that_do_not_reach_the_server_are_told_of_with_the_way_out(self):
        self.server.flags = ("--gate-listen", "127.0.0.1:9997")
        self.server.start()
        said = self.server.run("up", "-f", ENVSPECS / "hello", "--timeout", "25s", "-v", good=False, progress=True)
        self.assertIn("its pod runs, but has not reached the server at 127.0.0.1:9997", said)

    def test_without_the_right_to_reach_into_pods_the_cause_says_so(self):
        rules = (rights_test.DEPLOY / "rbac-cluster.yml").read_text().replace("pods/portforward", "pods/none")
        kubectl("apply", "-f", "-", data=rules)
        try:
            self.server.kubeconfig = rights_test.kubeconfig(self.folder.name)
            self.server.start()
            said = self.server.run("up", "-f", ENVSPECS / "hello", good=False, progress=True)
            self.assertRegex(said, r"its relay cannot be reached through the API server: .*pods/portforward")
        finally:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
            kubectl("delete", "--wait=false", "-f", "-", data=rules)
            until("the account is gone", lambda: rights_test.SYSTEM not in kubectl("get", "namespaces", "-o", "name"))


if __name__ == "__main__":
    cluster_test.main()
