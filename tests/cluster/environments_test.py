#!/usr/bin/python3
"""mayflyd --engine kubernetes on the real cluster: the shop's whole way, and a server that is killed."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import cluster
import cluster_test
import layout
import supervise

BIN = pathlib.Path(os.environ.get("MAYFLY_BIN_DIR", layout.HERE.parent.parent / "build/dev/bin"))
ENVSPECS = layout.HERE.parent.parent / "envspecs"
AUDIT = layout.LOGS / "audit.log"
MANAGED = "app.kubernetes.io/managed-by=mayfly"


class Server:
    """In the cluster's network, on a state folder of its own."""

    def __init__(self, folder, *flags):
        self.folder, self.flags, self.process, self.kubeconfig = folder, flags, None, layout.KUBECONFIG
        self.hosts = None  # A file to be seen in place of /etc/hosts.

    def start(self):
        ready, child = os.pipe()
        place = ["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net"]
        if self.hosts:
            place += ["unshare", "-m", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self.hosts]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*place, BIN / "mayflyd", "--state-dir", self.folder, "--engine", "kubernetes", "--kubeconfig", self.kubeconfig, "--registry", layout.REGISTRY,
                 f"--ready-fd={child}", *self.flags], pass_fds=[child], stdout=log, stderr=log)
        os.close(child)
        said = os.read(ready, 100)
        os.close(ready)
        if not said:
            raise AssertionError("the server did not start:\n" + (self.folder / "server.log").read_text())

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(60)

    def run(self, *words, good=True, progress=False):
        """What it printed as its result, and before it what it told meanwhile if that is asked for."""
        done = subprocess.run([BIN / "mayfly", *map(str, words)], capture_output=True, text=True, timeout=240, check=False,
                              env={**os.environ, "MAYFLY_STATE_DIR": str(self.folder)})
        if good and done.returncode != 0:
            raise AssertionError(f"mayfly {words} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n"
                                 + (self.folder / "server.log").read_text()[-3000:])
        return done.stderr * progress + done.stdout


def kubectl(*words, data=None):
    done = cluster.kubectl(*words, input=data, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"kubectl {words}: {done.stderr}")
    return done.stdout


def namespaces():
    return kubectl("get", "namespaces", "-l", MANAGED, "-o", "name").split()


def until(what, ask, limit=60):
    end = time.monotonic() + limit
    while not ask():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.1)


def gates():
    """Processes of the cluster that are a gate or run behind one, by the kernel's own list."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdigit() and words[0] == b"/.mayfly/gate" and layout.GROUP in (entry / "cgroup").read_text():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


class WithServer(unittest.TestCase):
    """One server, and nothing of mayfly in the cluster before and after."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-kube-")
        self.server = Server(pathlib.Path(self.folder.name))
        self.server.start()

    def tearDown(self):
        if self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
        until("no namespace of mayfly is left", lambda: not namespaces())
        self.assertEqual(gates(), [])
        self.folder.cleanup()


class Environments(WithServer):
    def test_the_shop_comes_up_is_tested_and_goes(self):
        said = self.server.run("run", "-f", ENVSPECS / "shop")
        self.assertIn("3 test jobs passed (11 tests)", said)
        self.assertRegex(said, r"(?s)teardown\s+complete\s+in .*kube\s+namespace\s+\S+\s+is\s+still\s+ending")
        self.assertEqual(gates(), [])

    def test_a_killed_server_goes_on_where_it_was(self):
        self.server.run("up", "-f", ENVSPECS / "w21/w21", "--no-wait")
        until("pods are being made", lambda: len(kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "name").split()) > 10)
        self.server.kill()
        before = kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "jsonpath={.items[*].metadata.uid}").split()
        self.server.start()
        self.server.run("up", "-f", ENVSPECS / "w21/w21")  # Waits for the one that is on its way.
        after = kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "jsonpath={.items[*].metadata.uid}").split()
        self.assertEqual(len(after), 21)
        self.assertLessEqual(set(before), set(after), "a pod was made twice")

    def test_an_environment_that_stands_outlives_its_server(self):
        self.server.run("up", "-f", ENVSPECS / "hello")
        running = gates()
        self.server.kill()
        # One for this machine would find nothing of its own, and call it lost.
        other = subprocess.run([BIN / "mayflyd", "--state-dir", self.server.folder], capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(other.returncode, 0)
        self.assertIn("holds environments of the engine kubernetes", other.stderr)
        self.server.start()
        self.assertIn("ACTIVE", self.server.run("get", "hello"))
        self.assertEqual(gates(), running)

    def test_a_namespace_tells_whose_it_is_and_until_when(self):
        def notes():
            found = json.loads(kubectl("get", "namespaces", "-l", f"{MANAGED},mayfly.dev/environment=hello", "-o", "json"))["items"]
            return {key.split("/")[1]: value for key, value in found[0]["metadata"]["annotations"].items() if "mayfly.dev/" in key}

        self.server.run("up", "-f", ENVSPECS / "hello", "--label", "pr=7", "--label", "branch=søm/é", "--ttl", "2h")
        self.assertEqual({"environment": "hello", "label.pr": "7", "label.branch": "søm/é"},
                         {key: value for key, value in notes().items() if key in ("environment", "label.pr", "label.branch")})
        self.assertIn("owner", notes())
        shown = json.loads(self.server.run("get", "hello", "-o", "json"))
        self.assertEqual(shown["labels"], {"pr": "7", "branch": "søm/é"})
        self.assertEqual(notes()["expires"], shown["expire_time"][:19] + "Z")
        self.assertEqual(self.server.run("list", "--label", "pr=7", "-o", "name").split(), ["hello"])
        self.assertEqual(self.server.run("list", "--label", "pr=8", "-o", "name").split(), [])
        self.server.run("extend", "hello", "--ttl", "9h")
        later = json.loads(self.server.run("get", "hello", "-o", "json"))["expire_time"][:19] + "Z"
        until("the expiry is kept true", lambda: notes()["expires"] == later)
        self.server.run("up", "-f", ENVSPECS / "hello", "--label", "pr=8")
        until("labels are replaced", lambda: notes().get("label.pr") == "8" and "label.branch" not in notes())

    def test_a_command_starts_the_server_for_a_cluster_by_itself(self):
        state = self.server.folder / "own"
        around = {**os.environ, "MAYFLY_STATE_DIR": str(state), "KUBECONFIG": str(layout.KUBECONFIG),
                  "MAYFLY_REGISTRY": layout.REGISTRY, "MAYFLY_ENGINE": "kubernetes", "MAYFLY_GATE_RELAY": "1"}

        def mayfly(*words):
            done = subprocess.run(["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net", BIN / "mayfly", *words],
                                  capture_output=True, text=True, timeout=120, check=False, env=around)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        try:
            mayfly("up", "-f", ENVSPECS / "hello", "--name", "by-itself")
            self.assertEqual(json.loads(mayfly("get", "by-itself", "-o", "json"))["engine"], "kubernetes")
            self.assertEqual(len(namespaces()), 1)
            self.assertIn("relay.mayfly-1", kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "name"))
            mayfly("down", "by-itself")
        finally:
            mayfly("server", "stop", "--force")


if __name__ == "__main__":
    cluster_test.main()
