"""One seed of chaos.py on the real cluster: the server alone is killed, at a random instant or at one of its writes.

The witness asks the API server with kubectl, its audit log, and the node's process table. Each seed's server is a user
of its own there, so that the log tells what it wrote.
"""
import collections
import contextlib
import json
import pathlib
import sys
import time
import uuid

import chaos_seed
from chaos_seed import BIN, Violation

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cluster  # noqa: E402
import layout  # noqa: E402
import supervise  # noqa: E402

AUDIT = layout.LOGS / "audit.log"
IMAGE = f"{layout.REGISTRY}/mayfly/workload:{layout.TAG}"
CATALOGUE = chaos_seed.CATALOGUE
# How soon the cluster's name server knows a name that was written is not the question here.
for was, now in (("connect top", "sleep 1000 connect top"), ("./workload", "./mayfly-workload"),
                 ("stop: {{", f"image: {IMAGE}, stop: {{{{"),
                 ("type: job,", f"type: job, image: {IMAGE},"), ("reach: {{", f"reach: {{{{image: {IMAGE}, "),
                 ("tcp 8080, needs: [base], env: {{", 'tcp 8080, needs: [base], env: {{CHANGES: "{changes}", ')):
    CATALOGUE = CATALOGUE.replace(was, now)
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
              "seccompProfile": {"type": "RuntimeDefault"}}
SERVICES = ["base", "left", "right", "top"]
WRITES = ("create", "update", "patch", "delete", "deletecollection")


def why_not():
    return cluster.why_not() or (None if supervise.first_process() else "no cluster runs; ./dev cluster up")


class Server(chaos_seed.Server):
    LIMIT = 30

    def __init__(self, state, user):
        super().__init__(state)
        self.kubeconfig = state / "kubeconfig"
        who = f'user: {{as: "{user}", as-groups: ["system:masters"], client-'
        self.kubeconfig.write_text(layout.KUBECONFIG.read_text().replace("user: {client-", who))

    def words(self):
        return ["nsenter", f"--net=/proc/{supervise.first_process()}/ns/net", *super().words(),
                "--engine", "kubernetes", "--kubeconfig", self.kubeconfig]


class KubernetesSeed(chaos_seed.Seed):
    LIMIT = 90  # A namespace's end alone takes several, and all seeds share one machine.
    KINDS = ("run", "stay", "delete", "change")
    VICTIMS = ("server",)
    DELETE_WITHIN, KILL_WITHIN = 4, 6

    def __init__(self, seed, folder, messages):
        super().__init__(seed, folder, messages)
        self.audit_from = AUDIT.stat().st_size
        self.neighbour = None

    def make_server(self, state):
        self.user = f"chaos-{self.mark}"
        return Server(state, self.user)

    def look(self):
        return {}

    def catalogue(self):
        self.delays = [self.random.choice((0, 5, 20, 60)) for _ in range(5)]
        # At a moment, or when so many writes were seen, whose answers may be on their way.
        self.after_write = self.random.randint(1, 45) if self.random.random() < 0.5 else None
        return ""

    def source(self, name, changes):
        root = self.folder / name
        root.mkdir(exist_ok=True)
        (root / "envspec.yml").write_text(CATALOGUE.format(*self.delays, mark=self.mark, changes=changes))
        return str(root)

    # --- what happens

    def live(self, name, kind, wait):
        self.root = self.source(name, 0)
        super().live(name, kind, wait)
        if kind != "change":
            return
        self.eventually(lambda: self.settled(name) == "ACTIVE", lambda: f"{name} to be changed is {self.settled(name)}")
        request = self.service.CreateEnvironmentRequest(
            environment_id=name, request_id=str(uuid.UUID(int=self.ids[name] ^ 1)), source=self.source(name, 1),
            keep=self.service.CreateEnvironmentRequest.ALWAYS, allow_update=True)
        if self.call("CreateEnvironment", request).uid != self.acknowledged[name]:
            raise Violation(f"{name}: the change made another environment")
        self.eventually(lambda: self.settled(name) == "ACTIVE", lambda: f"{name}, changed, is {self.settled(name)}")
        self.call("RunTests", self.service.RunTestsRequest(
            name=name, tests=["reach"], request_id=str(uuid.UUID(int=self.ids[name] ^ 2))))

    def settled(self, name):
        found = self.get(name)
        state = self.environment.Environment.State.Name(found.state)
        if state == "FAILED":
            raise Violation(f"{name} is FAILED: {found.cause.code} {found.cause.node} {found.cause.message}")
        return state

    def await_moment(self, kill_after):
        if self.after_write is None:
            return time.sleep(kill_after)
        seen, end = 0, time.monotonic() + 3 * self.KILL_WITHIN
        with AUDIT.open(encoding="utf-8") as log:
            log.seek(self.audit_from)
            while seen < self.after_write and time.monotonic() < end:
                line = log.readline()
                seen += self.user in line
                if not line:
                    time.sleep(0.001)

    # --- what must hold

    def check(self, kinds):
        self.installation = self.call("GetServerInfo", self.service.GetServerInfoRequest()).installation
        self.copy_labels()
        super().check({name: "stay" if kind == "change" else kind for name, kind in kinds.items()})

    def services(self):
        """Of the cluster's processes those that bear our mark, without gates."""
        return {pid: words for pid, words in self.marked().items() if not words.startswith("/.mayfly/gate")}

    def marked(self):
        found, mark = {}, f"CHAOS={self.mark}".encode()
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def kubectl(self, *words, data=None):
        done = cluster.kubectl(*words, input=data, capture_output=True)
        if done.returncode != 0:
            raise Violation(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def ours(self, kinds):
        label = f"mayfly.dev/installation={self.installation}"
        found = json.loads(self.kubectl("get", kinds, "-A", "-o", "json", "-l", label))["items"]
        return [item for item in found
                if self.neighbour not in (item["metadata"].get("namespace"), item["metadata"]["name"])]

    def copy_labels(self):
        """A namespace of somebody else with a pod and a Service that look like ours, under the same names."""
        self.neighbour = f"neighbour-{self.mark}"
        copies = []
        for item in self.ours("namespaces,pods,services")[:20]:
            meta = {key: item["metadata"].get(key, {}) for key in ("labels", "annotations")}
            space = item["kind"] == "Namespace"
            meta |= {"name": self.neighbour} if space else {"name": item["metadata"]["name"], "namespace": self.neighbour}
            copy = {"apiVersion": "v1", "kind": item["kind"], "metadata": meta}
            if item["kind"] == "Pod":  # It is never to run.
                container = {"name": "c", "image": "none", "securityContext": RESTRICTED}
                copy["spec"] = {"schedulingGates": [{"name": "example.com/never"}],
                                "automountServiceAccountToken": False, "containers": [container]}
            elif item["kind"] == "Service":
                copy["spec"] = {"clusterIP": "None"}
            if (copy["kind"], meta["name"]) not in [(c["kind"], c["metadata"]["name"]) for c in copies]:
                copies.append(copy)
        if any(copy["kind"] == "Namespace" for copy in copies):
            copies.sort(key=lambda copy: copy["kind"] != "Namespace")
            self.kubectl("create", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": copies}))
            self.copies = sorted((copy["kind"], copy["metadata"]["name"]) for copy in copies)
        else:
            self.neighbour = None

    def check_processes(self, kinds):
        staying = {name: "stay" for name, kind in kinds.items() if kind in ("stay", "change")}
        super().check_processes(staying)
        wrong = []

        def right():
            wrong[:] = [self.wrong_objects(len(staying))]
            return not wrong[0]
        self.eventually(right, lambda: wrong[0])

    def wrong_objects(self, staying):
        """What the cluster holds beside, or instead of, one pod a service and the name of each that leads to it."""
        objects = self.ours("namespaces,pods,services,endpointslices.discovery.k8s.io")
        spaces = [o["metadata"]["name"] for o in objects
                  if o["kind"] == "Namespace" and not o["metadata"].get("deletionTimestamp")]
        if len(spaces) != staying:
            return f"{staying} environments stay, but these kube namespaces: {spaces}"
        for space in spaces:
            inside = [o for o in objects if o["metadata"].get("namespace") == space]
            pods = collections.defaultdict(list)
            for pod in (o for o in inside if o["kind"] == "Pod"):
                pods[pod["metadata"]["labels"].get("mayfly.dev/node")].append(pod)
            addresses = {}
            for name in SERVICES:
                seen = [(pod["metadata"]["name"], pod["status"]["phase"]) for pod in pods[name]]
                if [phase for _, phase in seen] != ["Running"]:
                    return f"{space}: {name} has these pods: {seen}"
                addresses[name] = [pods[name][0]["status"]["podIP"]]
            for kind in ("Service", "EndpointSlice"):
                found = {o["metadata"]["name"]: o for o in inside if o["kind"] == kind}
                if sorted(found) != SERVICES:
                    return f"{space}: these {kind}s: {sorted(found)}"
                told = {name: [a for e in o["endpoints"] for a in e["addresses"]]
                        for name, o in found.items() if kind == "EndpointSlice"}
                if told and told != addresses:
                    return f"{space}: names lead to {told}, pods are at {addresses}"
        return ""

    def check_witness(self):
        def spaces():
            return [o["metadata"]["name"] for o in self.ours("namespaces")]
        self.eventually(lambda: not spaces(), lambda: f"these kube namespaces are left: {spaces()}")
        self.eventually(lambda: not self.marked(), lambda: f"still running: {sorted(self.marked().values())}")
        if self.neighbour:
            space = json.loads(self.kubectl("get", "namespace", self.neighbour, "-o", "json"))
            items = json.loads(self.kubectl("get", "pods,services", "-n", self.neighbour, "-o", "json"))["items"]
            left = sorted((o["kind"], o["metadata"]["name"]) for o in [space, *items]
                          if not o["metadata"].get("deletionTimestamp"))
            if left != self.copies:
                raise Violation(f"a neighbour had {self.copies}, and now {left}")
        self.check_audit()

    def check_audit(self):
        made, asked, strange = collections.Counter(), set(), []
        for event in self.writes():
            ref, code = event["objectRef"], event["responseStatus"]["code"]
            space = ref["name"] if ref["resource"] == "namespaces" else ref.get("namespace")
            text = f"{event['verb']} {ref['resource']} {space}/{ref.get('name', '')}: {code}"
            if ref["resource"] == "namespaces" and event["verb"] == "create":
                made[space, "", ""] += code == 201
                # From 500 on: the caller had gone, whatever became of it.
                asked |= {space} if code == 201 or code >= 500 else set()
            elif space not in asked:
                strange.append(f"not in a place of its own: {text}")
            elif event["verb"] == "create" and code == 201:
                made[space, ref["resource"], ref["name"]] += 1
            message = event["responseStatus"].get("message", "")
            if 400 <= code < 500 and code not in (404, 409) and "being terminated" not in message:
                strange.append(f"refused: {text} {message}")
        twice = [" ".join(key) for key, count in made.items() if count > 1]
        if twice or strange:
            raise Violation(f"made twice: {twice}; {'; '.join(strange)}")

    def writes(self):
        with AUDIT.open(encoding="utf-8") as log:
            log.seek(self.audit_from)
            found = [json.loads(line) for line in log if self.user in line]
        return [event for event in found if event.get("impersonatedUser", {}).get("username") == self.user
                and event["verb"] in WRITES and event["stage"] == "ResponseComplete"
                and event["objectRef"].get("apiGroup") != "authorization.k8s.io"]  # Questions in the form of writes.

    def clean(self):
        super().clean()
        names = [self.neighbour] if self.neighbour else []
        with contextlib.suppress(Violation, AttributeError):
            names += [o["metadata"]["name"] for o in self.ours("namespaces")]
        if names:
            cluster.kubectl("delete", "namespace", "--wait=false", *names, capture_output=True)
