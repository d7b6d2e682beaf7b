#!/usr/bin/python3
"""What goes wrong for the whole cluster or its machine: what a user is told first, and what helps.

Each of these changes something that all environments share, so none of it runs beside another test; a process of its own
takes the change back, also when the test dies.
"""
import contextlib
import json
import pathlib
import subprocess
import sys
import time
import unittest

import build
import cluster_test
import layout
import supervise
from environments_test import WithServer, kubectl, until

NODE = layout.NODE_NAME
IMAGE = "mayfly/workload:1"
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
              "seccompProfile": {"type": "RuntimeDefault"}}
UNDO = "import subprocess, sys; sys.stdin.read(); subprocess.run(sys.argv[1:], capture_output=True)"


@contextlib.contextmanager
def undone(*words):
    """Runs kubectl with `words` at the end of the block, or of this process, whichever comes first."""
    tool = ["nsenter", "-t", str(supervise.first_process()), "-m", "-n", "-p", "--", str(build.module("node")), "kubectl",
            "--kubeconfig", str(layout.KUBECONFIG), *words]
    with subprocess.Popen([sys.executable, "-c", UNDO, *tool], stdin=subprocess.PIPE, start_new_session=True) as keeper:
        try:
            yield
        finally:
            keeper.stdin.close()
            keeper.wait(60)


def apply(*objects):
    kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


class Causes(WithServer):
    def up(self, *services, wait=True, good=False):
        source = pathlib.Path(self.folder.name) / "source"
        source.mkdir(exist_ok=True)
        (source / "envspec.yml").write_text("name: wrong\nservices:\n" + "\n".join(services) + "\n")
        return self.server.run("up", "-f", source, *([] if wait else ["--no-wait"]), good=good, progress=True)

    def service(self, name, run="tcp 8080", within="20s", more=""):
        return (f"  - {{name: {name}, type: worker, port: 8080, health: {{tcp: true, within: {within}}}, image: '{IMAGE}', "
                f"run: ./mayfly-workload {run}, stop: {{grace: 200ms}}{more}}}")

    def told(self):
        return json.loads(self.server.run("get", "wrong", "-o", "json"))

    def expect(self, code, node, *words):
        """The verdict's cause: its first line says what happened, and a line after it what would help."""
        cause = self.told()["cause"]
        print(f"{cause['code']}: {cause['message']} | {cause.get('hint', '')}")
        self.assertEqual((cause["code"], cause.get("node")), (code, node), cause)
        for word in words:
            self.assertIn(word, cause["message"].splitlines()[0])

    def await_waiting(self, word):
        """That a service waits, is not failed, and says for what."""
        until(f"it waits: {word}", lambda: word in json.dumps(self.told()))
        self.assertEqual(self.told()["state"], "CREATING")

    def test_a_taint_is_waited_for_and_it_comes_up_without(self):
        with undone("taint", "node", NODE, "example.com/kept:NoSchedule-"):
            kubectl("taint", "node", NODE, "example.com/kept=yes:NoSchedule")
            self.up(self.service("a"), wait=False)
            self.await_waiting("had untolerated taint")  # Its name only some versions tell.
        self.up(self.service("a"), good=True)
        self.assertEqual(self.told()["state"], "ACTIVE")

    def test_capacity_that_comes_late_is_waited_for(self):
        free = 1000 * int(kubectl("get", "node", NODE, "-o", "jsonpath={.status.allocatable.cpu}"))
        blocker = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "blocker", "namespace": "default"}, "spec": {
            "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "containers": [
                {"name": "c", "image": f"{layout.REGISTRY}/{IMAGE}", "command": ["/work/mayfly-workload", "sleep", "600000"],
                 "resources": {"requests": {"cpu": f"{free - 5}m"}}}]}}
        with undone("delete", "pod", "blocker", "-n", "default", "--ignore-not-found"):
            apply(blocker)
            kubectl("wait", "pod/blocker", "-n", "default", "--for=condition=Ready", "--timeout=60s")
            self.up(self.service("a"), wait=False)
            self.await_waiting("Insufficient cpu")
            time.sleep(2)  # As a machine that is on its way would take.
            self.await_waiting("Insufficient cpu")
        self.up(self.service("a"), good=True)
        self.assertEqual(self.told()["state"], "ACTIVE")

    def test_a_machine_that_is_emptied_ends_what_runs(self):
        self.up(self.service("a"), good=True)
        with undone("taint", "node", NODE, "example.com/leaves:NoExecute-"):
            kubectl("taint", "node", NODE, "example.com/leaves=now:NoExecute")
            until("it is told", lambda: self.told()["state"] != "ACTIVE")
        self.expect("MACHINE_LOST", "a", "is being emptied", "NoExecute taint")

    def test_an_eviction(self):
        self.up(self.service("a"), good=True)
        pod = json.loads(kubectl("get", "pods", "-A", "-l", "mayfly.dev/node=a", "-o", "json"))["items"][0]["metadata"]
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod["name"], "namespace": pod["namespace"]}}
        kubectl("create", "--raw", f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}/eviction", "-f", "-",
                data=json.dumps(asked))
        until("it is told", lambda: self.told()["state"] != "ACTIVE")
        self.expect("EVICTED", "a", "was evicted on request")
        self.up(self.service("a"), good=True)
        self.assertEqual(self.told()["state"], "ACTIVE")

    def test_a_policy_that_refuses(self):
        name = "mayfly-test-refuses"
        policy = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
                  "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [
                      {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
                      "validations": [{"expression": "!object.metadata.name.startsWith('refused-')",
                                       "message": "workloads need a cost centre"}]}}
        binding = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
                   "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
        with undone("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name):
            apply(policy, binding)
            self.await_refusal("refused-probe")
            self.up(self.service("refused"))
            self.expect("ADMISSION_DENIED", "refused", name, "workloads need a cost centre")

    def await_refusal(self, name, labels=None):
        """Until the API server knows the rule."""
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": labels or {}},
               "spec": {"containers": [{"name": "c", "image": "none", "securityContext": RESTRICTED}]}}

        def refused():
            try:
                kubectl("create", "--dry-run=server", "-f", "-", data=json.dumps(pod))
            except AssertionError:
                return True
            return False
        until("the API server refuses", refused)

    def test_a_webhook_that_is_dead(self):
        name = "mayfly-test-dead"
        hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": name}, "webhooks": [{
                    "name": "dead.example.com", "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 1, "clientConfig": {"url": f"https://{layout.NODE_ADDRESS}:9/"},
                    "objectSelector": {"matchLabels": {"mayfly.dev/node": "hooked"}},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]}
        with undone("delete", "validatingwebhookconfiguration", name):
            apply(hook)
            self.await_refusal("probe", {"mayfly.dev/node": "hooked"})
            began = time.monotonic()
            self.up(self.service("hooked"))
            self.assertLess(time.monotonic() - began, 20)
            self.expect("ADMISSION_DENIED", "hooked", "dead.example.com")

    def test_a_probe_that_never_succeeds(self):
        self.up(self.service("a", run="sleep 60000", within="3s"))
        self.expect("NEVER_LISTENED", "a", "8080")


if __name__ == "__main__":
    cluster_test.main()
