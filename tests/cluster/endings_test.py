#!/usr/bin/python3
"""Environments whose kube namespace does not end: what keeps it is told in the cluster's words, and holds nothing else up."""
import json
import pathlib
import signal
import subprocess
import tempfile
import unittest

import cluster_test
from environments_test import BIN, ENVSPECS, Server, kubectl, until

KEEPER = "mayfly.test/keep"
GROUP = "dead.mayfly.test"
NOWHERE = {"namespace": "default", "name": "mayfly-test-nowhere"}
SPEC = ENVSPECS / "hello"


class Endings(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-endings-")
        self.addCleanup(self.folder.cleanup)
        self.server = Server(pathlib.Path(self.folder.name))
        self.addCleanup(self.end)
        self.server.start()

    def end(self):
        if self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(signal.SIGTERM)
        until("no kube namespace of this server is left", lambda: not self.spaces(), 90)

    def spaces(self):
        own = pathlib.Path(self.folder.name, "installation").read_text().strip()
        said = kubectl("get", "namespaces", "-l", f"mayfly.dev/installation={own}", "-o", "name")
        return [name.split("/")[1] for name in said.split()]

    def up(self, spec=SPEC):
        """The new environment's kube namespace."""
        before = self.spaces()
        self.server.run("up", "-f", spec)
        (space,) = set(self.spaces()) - set(before)
        return space

    def told(self, name="hello"):
        return json.loads(self.server.run("get", name, "-o", "json"))

    def reported(self, name="hello"):
        return json.loads(self.server.run("report", "--name", name, "-o", "json"))["teardown"]

    def keep(self, kind, name, space):
        """A finalizer that nobody but the test takes away."""
        def patch(finalizers):
            data = json.dumps({"metadata": {"finalizers": finalizers}})
            kubectl("patch", kind, name, "-n", space, "--type=merge", "-p", data)

        def free():
            if space in self.spaces():
                patch([])
        patch([KEEPER])
        self.addCleanup(free)
        return free

    def conditions(self, space):
        found = json.loads(kubectl("get", "namespace", space, "-o", "json"))["status"].get("conditions", [])
        return {one["type"]: f"{one['type']}: {one['message']}" for one in found if one["status"] == "True"}

    def held_by(self, word, name="hello"):
        """The line with that word, once it is told."""
        def lines():
            return [line for line in self.told(name)["held_by"] if word in line]
        until(f"it is told what holds it: {word}", lines)
        return lines()[0]

    def make(self, thing):
        kubectl("create", "-f", "-", data=json.dumps(thing))
        kind, name = thing["kind"], thing["metadata"]["name"]

        def remove():
            kubectl("delete", kind, name, "--ignore-not-found")
        self.addCleanup(remove)
        return remove

    def refuse_deletes(self, resource, space):
        """A webhook that must be asked before these are deleted in (or as) that kube namespace, and does not answer."""
        hook = {"name": f"{resource}.{GROUP}", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 1,
                "admissionReviewVersions": ["v1"], "clientConfig": {"service": NOWHERE},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": [resource]}]}
        return self.make({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                          "metadata": {"name": f"mayfly-test-{resource}-{space}"}, "webhooks": [hook]})

    def test_an_environment_that_ends_as_usual_is_gone_some_seconds_after_its_release(self):
        space = self.up()
        said = self.server.run("down", "hello", progress=True)
        self.assertIn(f"kube namespace {space} is still ending: mayfly report --name hello tells when it is gone", said)
        told = self.told()
        self.assertEqual((told["state"], told["ending"]), ("DELETED", f"kube namespace {space}"))
        self.assertNotIn("gone_at", told)
        self.assertIsNone(self.reported()["gone_at"])
        said = self.server.run("down", "hello", "--wait", "gone", progress=True)
        self.assertNotIn(space, self.spaces())
        told = self.told()
        self.assertEqual((told["ending"], told["held_by"]), ("", []))
        self.assertLess(told["released_at"], told["gone_at"])
        report = self.reported()
        self.assertGreater(report["gone_ms"], report["took_ms"])
        self.assertLess(report["released_at"], report["gone_at"])
        self.assertIn("nothing is left", self.server.run("report", "--name", "hello"))

    def test_a_finalizer_is_named_kept_and_in_nobodys_way(self):
        space = self.up()
        kubectl("create", "configmap", "strange", "-n", space)
        free = self.keep("configmap", "strange", space)
        self.server.run("down", "hello")
        line = self.held_by("NamespaceFinalizersRemaining")
        self.assertIn(f"{KEEPER} in 1 resource instances", line)
        self.assertEqual(set(self.told()["held_by"]), set(self.conditions(space).values()))
        self.assertIn(line, self.reported()["held_by"])
        self.assertIn(f"held: {line}", self.server.run("report", "--name", "hello"))
        self.assertIn(f"held: {line}", self.server.run("get", "hello"))
        waits = subprocess.Popen([BIN / "mayfly", "down", "hello", "--wait", "gone"], text=True, stderr=subprocess.PIPE,
                                 env={"MAYFLY_STATE_DIR": self.folder.name, "PATH": "/usr/bin:/bin"})
        self.addCleanup(waits.stderr.close)
        self.addCleanup(waits.wait)
        self.addCleanup(waits.kill)
        head = waits.stderr.readline()
        # The next one of that name is up while the former one's place is still there, finalizer and all.
        self.up()
        self.assertEqual(self.told()["state"], "ACTIVE")
        found = json.loads(kubectl("get", "configmap", "strange", "-n", space, "-o", "json"))["metadata"]
        self.assertEqual(found["finalizers"], [KEEPER])
        self.assertIn("deletionTimestamp", found)
        self.assertIsNone(waits.poll())
        free()
        said = head + waits.communicate(timeout=60)[1]
        self.assertEqual(waits.returncode, 0, said)
        self.assertRegex(said, f"hello is gone: .*kube namespace {space} is gone after ")
        self.assertNotIn(space, self.spaces())
        self.assertEqual(self.told()["state"], "ACTIVE")

    def test_a_stuck_volume_is_told_by_the_next_servers_too(self):
        spec = pathlib.Path(self.folder.name, "spec")
        spec.mkdir()
        (spec / "envspec.yml").write_text(json.dumps({"name": "keeps", "services": {"db": {
            "type": "worker", "image": "hello/clock:1", "run": ["sleep", "1000"],
            "volumes": {"data": "/data"}}}}))
        space = self.up(spec)
        (claim,) = kubectl("get", "persistentvolumeclaims", "-n", space, "-o", "name").split()
        free = self.keep("persistentvolumeclaim", claim.split("/")[1], space)
        self.server.run("down", "keeps")
        self.assertIn("persistentvolumeclaims. has 1 resource instances", self.held_by("NamespaceContentRemaining", "keeps"))
        self.server.kill()
        self.server.start()
        self.assertIn(KEEPER, self.held_by("NamespaceFinalizersRemaining", "keeps"))
        self.assertEqual(self.told("keeps")["ending"], f"kube namespace {space}")
        self.server.kill()
        free()
        until("its end goes unseen", lambda: space not in self.spaces())
        self.server.start()
        until("it is told as gone", lambda: self.told("keeps").get("gone_at"))
        self.assertEqual((self.told("keeps")["ending"], self.reported("keeps")["held_by"]), ("", []))

    def test_a_dead_aggregated_api_is_named(self):
        space = self.up()
        remove = self.make({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                            "metadata": {"name": f"v1.{GROUP}"},
                            "spec": {"group": GROUP, "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                                     "insecureSkipTLSVerify": True, "service": NOWHERE}})
        self.server.run("down", "hello")
        line = self.held_by("NamespaceDeletionDiscoveryFailure")
        self.assertIn(f"{GROUP}/v1", line)
        remove()
        until("it is told as gone", lambda: self.told().get("gone_at"), 90)

    def test_a_dead_webhook_before_pods_is_named(self):
        space = self.up()
        remove = self.refuse_deletes("pods", space)
        self.server.run("down", "hello")
        self.assertIn(f'failed calling webhook "pods.{GROUP}"', self.held_by("NamespaceDeletionContentFailure"))
        remove()
        until("it is told as gone", lambda: self.told().get("gone_at"), 90)

    def test_a_dead_webhook_before_the_namespace_is_named_and_the_teardown_goes_on_without_it(self):
        space = self.up()
        remove = self.refuse_deletes("namespaces", space)
        said = self.server.run("down", "hello", "--timeout", "5s", good=False, progress=True)
        self.assertIn("teardown is blocked by", said)
        self.assertIn(f'failed calling webhook "namespaces.{GROUP}"', said)
        self.assertEqual(self.told()["state"], "DELETING")
        remove()
        self.server.run("down", "hello", "--wait", "gone", "--timeout", "90s")
        self.assertNotIn(space, self.spaces())


if __name__ == "__main__":
    cluster_test.main()
