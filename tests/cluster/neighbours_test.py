#!/usr/bin/python3
"""What is not mayfly's own stays as it is, however much it looks so; the API server's audit log is the witness."""
import json
import pathlib
import signal
import tempfile
import threading
import unittest

import cluster_test
import layout
from environments_test import AUDIT, ENVSPECS, MANAGED, Server, gates, kubectl, namespaces, until

WRITES = ("create", "update", "patch", "delete", "deletecollection")
NEIGHBOURS = 60
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
              "seccompProfile": {"type": "RuntimeDefault"}}


def copy_of(found, name=None, space=None):
    """Of somebody else, but with all that mayfly finds its own by. A pod of it never runs."""
    meta = {key: found["metadata"].get(key, {}) for key in ("labels", "annotations")}
    meta["name"] = name or found["metadata"]["name"]
    copy = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": meta}
    if found["kind"] != "Namespace":
        meta["namespace"] = space or found["metadata"]["namespace"]
    if found["kind"] == "Pod":
        copy["spec"] = {"schedulingGates": [{"name": "example.com/never"}], "automountServiceAccountToken": False,
                        "containers": [{"name": "service", "image": "none", "securityContext": RESTRICTED}]}
    if found["kind"] == "Service":
        copy["spec"] = {"clusterIP": "None"}
    return copy


def create(items):
    kubectl("create", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def state_of(*words):
    """UID and version of each: what was written to has another one."""
    items = json.loads(kubectl("get", *words, "-o", "json"))["items"]
    return {(o["kind"], o["metadata"]["namespace"] if "namespace" in o["metadata"] else "", o["metadata"]["name"]):
            (o["metadata"]["uid"], o["metadata"]["resourceVersion"], o["metadata"].get("deletionTimestamp")) for o in items}


class Installation(Server):
    """A user of its own to the cluster, so that the audit log tells what it wrote."""

    def __init__(self, folder, user):
        super().__init__(folder)
        self.user, self.audit_from = user, AUDIT.stat().st_size
        self.kubeconfig = folder / "kubeconfig"
        who = f'user: {{as: {user}, as-groups: ["system:masters"], client-'
        self.kubeconfig.write_text(layout.KUBECONFIG.read_text().replace("user: {client-", who))

    def writes(self):
        """(verb, namespace, what, code) of each."""
        with AUDIT.open(encoding="utf-8") as log:
            log.seek(self.audit_from)
            events = [json.loads(line) for line in log if self.user in line]
        return [(e["verb"], r["name"] if r["resource"] == "namespaces" else r.get("namespace"),
                 f"{r['resource']}/{r.get('name', '')}", e["responseStatus"]["code"]) for e in events
                if e.get("impersonatedUser", {}).get("username") == self.user and e["verb"] in WRITES
                for r in [e["objectRef"]] if r.get("apiGroup") != "authorization.k8s.io"]  # These only ask.

    def own(self):
        return {space for verb, space, what, code in self.writes()
                if verb == "create" and what.startswith("namespaces/") and code == 201}

    def foreign_writes(self):
        own = self.own()
        return [write for write in self.writes() if write[1] not in own]


class Neighbours(unittest.TestCase):
    def setUp(self):
        self.foreign, self.servers, self.folders = [], [], []
        self.server = self.install("first")

    def install(self, name):
        folder = tempfile.TemporaryDirectory(prefix="mayfly-kube-")
        server = Installation(pathlib.Path(folder.name), f"installation-{name}")
        server.start()
        self.folders.append(folder)
        self.servers.append(server)
        return server

    def tearDown(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.run("down", "--all", good=False)
                server.kill(signal.SIGTERM)
        if self.foreign:
            kubectl("delete", "namespace", "--ignore-not-found", "--wait=true", *self.foreign)
        until("no namespace of mayfly is left", lambda: not namespaces())
        self.assertEqual(gates(), [])
        for folder in self.folders:
            folder.cleanup()

    def objects(self):
        """Namespace, pods and Services of the only environment."""
        return json.loads(kubectl("get", "namespaces,pods,services", "-A", "-l", MANAGED, "-o", "json"))["items"]

    def test_sixty_with_copied_labels(self):
        self.server.run("up", "-f", ENVSPECS / "hello")
        own = self.objects()
        self.foreign = [f"neighbour-{i}" for i in range(NEIGHBOURS)]
        create([copy_of(o, name) for name in self.foreign for o in own if o["kind"] == "Namespace"])
        create([copy_of(o, space=name) for name in self.foreign[:20] for o in own if o["kind"] != "Namespace"])
        before = state_of("pods,services", "-A", "-l", MANAGED) | state_of("namespaces", "-l", MANAGED)
        self.server.run("test", "--name", "hello", "greets")
        self.server.kill()
        self.server.start()
        self.assertIn("ACTIVE", self.server.run("get", "hello"))
        self.server.run("down", "hello")
        self.server.kill(signal.SIGTERM)
        after = state_of("pods,services", "-A", "-l", MANAGED) | state_of("namespaces", "-l", MANAGED)
        mine = lambda key: key[1] in self.foreign or key[2] in self.foreign  # noqa: E731
        self.assertEqual({k: v for k, v in after.items() if mine(k)}, {k: v for k, v in before.items() if mine(k)})
        self.assertEqual(self.server.foreign_writes(), [])

    def make_anew(self):
        """Somebody deletes the environment's namespace and makes one of the same name, which looks the same."""
        own = self.objects()
        name = next(o["metadata"]["name"] for o in own if o["kind"] == "Namespace")
        kubectl("delete", "namespace", name, "--wait=true")
        self.foreign = [name]
        create([copy_of(o) for o in own if o["kind"] == "Namespace"])
        create([copy_of(o) for o in own if o["kind"] != "Namespace"])
        begin = AUDIT.stat().st_size
        return name, state_of("pods,services", "-n", name) | state_of("namespaces", "-l", MANAGED), begin

    def check_left_alone(self, name, before, begin):
        self.assertEqual(state_of("pods,services", "-n", name) | state_of("namespaces", "-l", MANAGED), before)
        self.server.audit_from = begin
        self.assertEqual([write for write in self.server.writes() if write[1] == name], [])

    def test_a_namespace_made_again_by_somebody_else_while_the_server_was_down(self):
        self.server.run("up", "-f", ENVSPECS / "hello")
        self.server.kill()
        made = self.make_anew()
        self.server.start()
        self.assertIn("LOST", self.server.run("get", "hello", good=False))
        self.server.run("down", "hello")
        self.server.run("up", "-f", ENVSPECS / "hello", "--name", "next")
        self.server.run("down", "next")
        self.server.kill(signal.SIGTERM)
        until("the next one is gone", lambda: namespaces() == [f"namespace/{made[0]}"])
        self.check_left_alone(*made)

    def test_a_namespace_made_again_by_somebody_else_under_the_servers_eyes(self):
        self.server.run("up", "-f", ENVSPECS / "hello")
        made = self.make_anew()
        self.server.run("down", "hello")
        self.server.kill(signal.SIGTERM)
        self.check_left_alone(*made)

    def test_a_pod_replaced_by_one_of_the_same_name(self):
        self.server.run("up", "-f", ENVSPECS / "hello")
        pod = next(o for o in self.objects() if o["kind"] == "Pod" and o["metadata"]["labels"]["mayfly.dev/node"] == "clock")
        where = ("-n", pod["metadata"]["namespace"])
        self.server.kill()
        kubectl("delete", "pod", *where, pod["metadata"]["name"], "--wait=true")
        create([copy_of(pod)])
        before = state_of("pods", *where, f"--field-selector=metadata.name={pod['metadata']['name']}")
        self.server.start()
        self.assertIn("LOST", self.server.run("get", "hello", good=False))
        self.assertEqual(state_of("pods", *where, f"--field-selector=metadata.name={pod['metadata']['name']}"), before)
        self.server.run("down", "hello")

    def test_a_second_installation_with_the_same_names(self):
        other = self.install("second")
        failures = []

        def live(server):
            try:
                for _ in range(2):
                    server.run("up", "-f", ENVSPECS / "hello")
                    server.run("test", "--name", "hello", "greets")
                    server.run("down", "hello")
                server.run("run", "-f", ENVSPECS / "hello")
            except AssertionError as error:
                failures.append(str(error))
        callers = [threading.Thread(target=live, args=(server,)) for server in self.servers]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        self.assertEqual(failures, [])
        for server in self.servers:
            self.assertEqual(len(server.own()), 3)
            self.assertEqual(server.foreign_writes(), [])
        self.assertEqual(self.server.own() & other.own(), set())


if __name__ == "__main__":
    cluster_test.main()
