#!/usr/bin/python3
"""Both profiles of rights, each with an account that has exactly what its file in deploy/kubernetes gives."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import cluster
import cluster_test
import layout
from environments_test import AUDIT, BIN, ENVSPECS, Server, kubectl, until

DEPLOY = ENVSPECS.parent / "deploy" / "kubernetes"
CONFORMANCE = BIN.parent / "tests" / "engine_conformance_test"
SYSTEM = "mayfly-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:mayfly"
PREFIX = "team-mf-"
GIVEN = [f"{PREFIX}{i}" for i in range(1, 9)]
# What everybody may ask, of oneself and of what there is.
OPEN = ("/version", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
KINDS = ("pods,deployments.apps,replicasets.apps,statefulsets.apps,services,endpointslices.discovery.k8s.io,secrets,configmaps,"
         "serviceaccounts,persistentvolumeclaims,networkpolicies,ingresses.networking.k8s.io,resourcequotas,limitranges")
KEEPS = """
import http.server, os, socket
with open("/data/name", "w") as file:
    file.write(socket.gethostname())
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(open("/data/name", "rb").read())
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""


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


class NamespacesProfile(unittest.TestCase):
    """--kube-namespaces: nothing in the cluster but what is in the kube namespaces that an administrator made."""

    @classmethod
    def setUpClass(cls):
        until("the other profile's account is gone", lambda: SYSTEM not in kubectl("get", "namespaces", "-o", "name"))
        kubectl("create", "namespace", SYSTEM)
        kubectl("-n", SYSTEM, "create", "serviceaccount", "mayfly")
        text = (DEPLOY / "rbac-namespaces.yml").read_text()
        kubectl("apply", "-f", "-", data="\n---\n".join(text.replace("team-mf-1", name) for name in GIVEN))

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", "--wait=true", SYSTEM, *GIVEN)

    def setUp(self):
        # What an administrator has put there, and what looks like mayfly's.
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "metadata": {
            "name": "theirs", "namespace": GIVEN[0], "labels": {"app.kubernetes.io/managed-by": "mayfly"}}}
        kubectl("apply", "-f", "-", data=json.dumps(theirs))
        until("what every kube namespace has is there", lambda: (found := self.contents()) and all(
            f"{name}/{own}" in found for name in GIVEN for own in ("ConfigMap/kube-root-ca.crt", "ServiceAccount/default")))
        self.before, self.begin = self.contents(), AUDIT.stat().st_size
        self.folders, self.servers, self.refusals_expected = [], [], False

    def tearDown(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.run("down", "--all", good=False)
                until("all are gone", lambda server=server: not list((server.folder / "kubernetes").glob("*.json")))
                server.kill(signal.SIGTERM)
        for folder in self.folders:
            folder.cleanup()
        until("nothing of mayfly is left", lambda: self.contents() == self.before)
        if not self.refusals_expected:
            self.assert_that_it_asked_for_nothing_more()

    def contents(self):
        found = json.loads(kubectl("get", KINDS, "-A", "-o", "json"))["items"]
        return sorted(f"{one['metadata']['namespace']}/{one['kind']}/{one['metadata']['name']}" for one in found
                      if one["metadata"]["namespace"] in GIVEN)

    def assert_that_it_asked_for_nothing_more(self):
        """By the API server's own audit log: no request for the whole cluster, none refused, none about what others have."""
        with open(AUDIT, "rb") as log:
            log.seek(self.begin)
            events = [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]
        asked = [event for event in events if event.get("user", {}).get("username") == ACCOUNT]
        self.assertGreater(len(asked), 3)
        wide = [event["requestURI"] for event in asked
                if event.get("objectRef", {}).get("namespace", "") not in GIVEN and not event["requestURI"].startswith(OPEN)]
        self.assertEqual(wide, [])
        # The trial of a pod that must be refused is one.
        refused = [f"{event['verb']} {event['requestURI']}: {event['responseStatus'].get('message')}" for event in asked
                   if event.get("responseStatus", {}).get("code") == 403 and "dryRun" not in event["requestURI"]]
        self.assertEqual(refused, [])
        touched = [f"{event['verb']} {event['requestURI']}" for event in asked
                   if event.get("objectRef", {}).get("name") in ("theirs", "environment", "kube-root-ca.crt", "default")]
        self.assertEqual(touched, [])
        print(f"{len(asked)} requests: 0 refused, 0 for the whole cluster, 0 about what others have", file=sys.stderr)

    def server(self, given, *more):
        self.folders.append(tempfile.TemporaryDirectory(prefix="mayfly-given-"))
        folder = self.folders[-1].name
        server = Server(pathlib.Path(folder), "--kube-namespaces", given, *more)
        server.kubeconfig = kubeconfig(folder)
        self.servers.append(server)
        return server

    def started(self, given, *more):
        server = self.server(given, *more)
        server.start()
        return server

    def in_first(self, kinds):
        return [one["metadata"] for one in json.loads(kubectl("-n", GIVEN[0], "get", kinds, "-o", "json"))["items"]]

    def test_the_conformance_suite_but_for_probes_which_need_no_rights(self):
        environment = {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG), "MAYFLY_CLUSTER_REQUIRED": "1",
                       "MAYFLY_TEST_KUBE_TOKEN": token(), "MAYFLY_TEST_KUBE_NAMESPACES": ",".join(GIVEN)}
        done = cluster.inside([CONFORMANCE, "--gtest_filter=*/Kubernetes-*Probe*"], env=environment, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout[-12000:] + done.stderr[-3000:])
        print(*re.findall(r".* ran\..*", done.stdout), file=sys.stderr)

    def test_whole_environments_come_up_are_tested_and_leave_nothing(self):
        server = self.started(f"{PREFIX}" + "{1..2}")
        self.assertRegex(server.run("doctor"), "rights +all that environments need, in 2 of 2 kube namespaces; 0 in use")
        server.run("up", "-f", ENVSPECS / "hello", "--label", "pr=7")
        [gate] = [one for one in self.in_first("configmaps") if one["name"] == "mayfly-gate"]
        self.assertEqual((gate["labels"]["mayfly.dev/environment"], gate["annotations"]["mayfly.dev/label.pr"]), ("hello", "7"))
        self.assertIn("passed", server.run("test", "--name", "hello", "greets"))
        self.assertEqual(server.run("exec", "-T", "--name", "hello", "greeter", "--", "echo", "inside").strip(), "inside")
        server.run("up", "-f", ENVSPECS / "hello", "--label", "pr=8")
        until("its label is kept true", lambda: any(
            one["annotations"].get("mayfly.dev/label.pr") == "8" for one in self.in_first("configmaps") if "annotations" in one))
        said = server.run("run", "-f", ENVSPECS / "shop")
        self.assertIn("3 test jobs passed (11 tests)", said)
        self.assertIn("ACTIVE", server.run("get", "hello"))

    def test_replicas_with_volumes_leave_nothing(self):
        server = self.started(f"{PREFIX}1")
        specs = server.folder / "specs"
        specs.mkdir()
        service = {"type": "http", "image": "hello/greeter:1", "run": ["python3", "-c", KEEPS], "port": 8080, "health": {"http": "/"}}
        (specs / "envspec.yml").write_text(json.dumps({"name": "many", "services": {
            "kept": {**service, "replicas": 2, "volumes": {"data": "/data"}},
            "light": {**service, "run": ["python3", "-c", KEEPS.replace("/data", "/tmp")], "replicas": 2}}}))
        server.run("up", "-f", specs)
        self.assertEqual(len(self.in_first("persistentvolumeclaims")), 2)
        self.assertEqual(len(self.in_first("pods")), 4)
        server.run("down", "many")
        # Its claims and what the cluster's controllers made are gone when it is told, not sometime.
        until("it is told as gone", lambda: not list((server.folder / "kubernetes").glob("*.json")))
        self.assertEqual([one["name"] for one in self.in_first("pods,replicasets.apps,persistentvolumeclaims,networkpolicies")], [])

    def test_one_waits_until_another_is_gone(self):
        server = self.started(f"{PREFIX}1")
        server.run("up", "-f", ENVSPECS / "hello", "--name", "first")
        server.run("up", "-f", ENVSPECS / "hello", "--name", "second", "--no-wait")
        until("it waits", lambda: "waiting for one of 1 kube namespaces; they are used by first" in server.run("events", "second"))
        server.kill()
        server.start()
        self.assertRegex(server.run("get", "second"), r"CREATING(.|\n)*greeter +service +WAITING +waiting for one of 1 kube namespaces")
        server.run("down", "first")
        until("it comes up", lambda: "ACTIVE" in server.run("get", "second"))

    def test_whoever_waits_too_long_is_told_by_whom_they_are_used(self):
        server = self.started(f"{PREFIX}1", "--kube-namespace-wait", "1s")
        server.run("up", "-f", ENVSPECS / "hello", "--name", "first")
        with self.assertRaisesRegex(AssertionError, "QUOTA_EXCEEDED: waited 1.* for one of 1 kube namespaces; they are used by first"):
            server.run("up", "-f", ENVSPECS / "hello", "--name", "second")

    def test_a_killed_server_finds_its_environment_and_takes_all_of_it_away(self):
        server = self.started(f"{PREFIX}1")
        server.run("up", "-f", ENVSPECS / "w21/w21", "--no-wait")
        until("pods are being made", lambda: len(self.in_first("pods")) > 8)
        server.kill()
        before = {one["uid"] for one in self.in_first("pods")}
        server.start()
        server.run("up", "-f", ENVSPECS / "w21/w21")  # Waits for the one that is on its way.
        after = {one["uid"] for one in self.in_first("pods")}
        self.assertEqual(len(after), 21)
        self.assertLessEqual(before, after, "a pod was made twice")
        server.run("down", "--all", "--no-wait", good=False)
        server.kill()
        server.start()

    def test_a_second_server_with_the_same_list_is_refused_by_name(self):
        first = self.started(f"{PREFIX}" + "{2..3}")
        second = self.server(f"{PREFIX}" + "{1..2}")
        with self.assertRaisesRegex(AssertionError, f"kube namespace {PREFIX}2 is another mayflyd's: .*{first.folder}"):
            second.start()
        second.process.wait(30)
        self.started(f"{PREFIX}1")  # Which the refused one has let go.

    def test_a_namespace_that_is_not_fit_is_told_with_what_to_do(self):
        self.refusals_expected = True
        kubectl("label", "namespace", GIVEN[6], "pod-security.kubernetes.io/enforce-")
        kubectl("-n", GIVEN[7], "delete", "rolebinding", "mayfly")
        kubectl("-n", GIVEN[5], "patch", "resourcequota", "environment", "--type=merge", "-p", '{"spec":{"hard":{"pods":"0"}}}')
        try:
            server = self.started(f"{PREFIX}" + "{5..9}")
            said = server.run("doctor", good=False)
            self.assertIn(f"kubectl label namespace {PREFIX}7 pod-security.kubernetes.io/enforce=restricted", said)
            self.assertIn(f"no rights in kube namespace {PREFIX}8", said)
            self.assertRegex(said, f"{PREFIX}6 takes no pod: .*exceeded quota")
            self.assertIn(f"no rights in kube namespace {PREFIX}9, or it is not there", said)
            server.run("up", "-f", ENVSPECS / "hello")  # In the only one that is.
            self.assertIn("pod/", kubectl("-n", GIVEN[4], "get", "pods", "-o", "name"))
            unfit = self.server(f"{PREFIX}9")
            with self.assertRaises(AssertionError) as refused:
                unfit.start()
            unfit.process.wait(30)
            self.assertIn("no kube namespace of --kube-namespaces can take an environment", str(refused.exception))
        finally:
            kubectl("label", "namespace", GIVEN[6], "pod-security.kubernetes.io/enforce=restricted")
            text = (DEPLOY / "rbac-namespaces.yml").read_text()
            kubectl("apply", "-f", "-", data="\n---\n".join(text.replace("team-mf-1", GIVEN[i]) for i in (5, 7)))

    def test_what_others_have_under_a_name_that_it_needs_is_not_touched(self):
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "greeter", "namespace": GIVEN[0]},
                   "spec": {"ports": [{"port": 1}]}}
        kubectl("create", "-f", "-", data=json.dumps(service))
        try:
            server = self.started(f"{PREFIX}1")
            done = subprocess.run([BIN / "mayfly", "up", "-f", ENVSPECS / "hello"], capture_output=True, text=True, check=False,
                                  timeout=120, env={**os.environ, "MAYFLY_STATE_DIR": str(server.folder)})
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("services/greeter in kube namespace team-mf-1 is somebody else's", done.stdout + done.stderr)
            server.run("down", "--all")
            self.assertEqual(json.loads(kubectl("-n", GIVEN[0], "get", "service", "greeter", "-o", "json"))["spec"]["ports"][0]["port"], 1)
        finally:
            kubectl("-n", GIVEN[0], "delete", "service", "greeter")


if __name__ == "__main__":
    cluster_test.main()
