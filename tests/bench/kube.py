"""What the benches on the real cluster of ./dev cluster share, and kube-teardown. They speak to the API server directly, from
inside the cluster's network."""
import ctypes
import http.client
import json
import os
import pathlib
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))
import cluster  # noqa: E402
import layout  # noqa: E402
import supervise  # noqa: E402

CLONE_NEWNET = 0x40000000
PEER_PREFIX = "peer-"  # Of kube namespaces.
IMAGE = f"{layout.REGISTRY}/w21/workload:{layout.TAG}"


class Run(NamedTuple):
    """What a bench is given; it returns rows of (measure, unit, samples, goal, column of the goal, True for "at least")."""
    binaries: pathlib.Path
    folder: pathlib.Path  # Its own, removed afterwards.
    root: pathlib.Path  # The catalogue W21.
    services: list  # Of W21: (name, milliseconds, needs).
    count: int
    peers: bool
    seed: int
    live: int  # kube-scale's, to the end.
    rate: float  # A minute.
    minutes: float
    concurrency: int


class Api:
    """The cluster's API server, with as many connections as threads ask for."""

    def __init__(self, port=layout.API_PORT):
        self.port = port
        self.tls = ssl.create_default_context(cafile=layout.PKI / "ca.crt")
        self.tls.load_cert_chain(layout.PKI / "admin.crt", layout.PKI / "admin.key")
        self.local = threading.local()

    def open(self):
        return http.client.HTTPSConnection(layout.NODE_ADDRESS, self.port, context=self.tls)

    def call(self, method, path, body=None, text=False, kind="application/json"):
        # The server closes what was idle for minutes.
        if not hasattr(self.local, "connection") or time.monotonic() - self.local.used > 30:
            self.local.connection = self.open()
        self.local.used = time.monotonic()
        self.local.connection.request(method, path, json.dumps(body) if body else None, {"content-type": kind})
        answer = self.local.connection.getresponse()
        said = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {said[:300]!r}")
        return said if text else json.loads(said)


def enter():
    """Into the cluster's network, for this process and all that it starts."""
    if why := cluster.why_not():
        sys.exit(why)
    if supervise.first_process() is None:
        sys.exit("no cluster runs; ./dev cluster up && ./dev cluster images preload")
    with open(f"/proc/{supervise.first_process()}/ns/net", encoding="utf-8") as net:
        if ctypes.CDLL(None, use_errno=True).setns(net.fileno(), CLONE_NEWNET) != 0:
            sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")


def bare_pod(name):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "automountServiceAccountToken": False, "enableServiceLinks": False, "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1, "serviceAccountName": "own",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "service", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                        "command": ["./workload", "tcp", "8080"],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}]}}


def begin_end(api, space):
    """Pods beside their kube namespace: that takes half as long as the namespace alone."""
    api.call("DELETE", f"/api/v1/namespaces/{space}/pods", {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1})
    api.call("DELETE", f"/api/v1/namespaces/{space}")


def await_gone(api, limit=60):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        names = [item["metadata"]["name"] for item in api.call("GET", "/api/v1/namespaces")["items"]]
        if not [name for name in names if name.startswith(("floor-", "w21-", "empty-", "sentinel-", PEER_PREFIX))]:
            return
        time.sleep(0.1)
    raise RuntimeError("namespaces stay")


class Server:
    def __init__(self, binaries, folder, kubeconfig=layout.KUBECONFIG, more=()):
        self.binaries, self.folder = binaries, folder
        self.env = {**os.environ, "MAYFLY_STATE_DIR": str(folder)}
        with open(folder / "server.log", "wb") as log:
            ready, child = os.pipe()
            self.process = subprocess.Popen([binaries / "mayflyd", "--state-dir", folder, "--engine", "kubernetes",
                                             "--kubeconfig", kubeconfig, "--registry", layout.REGISTRY,
                                             f"--ready-fd={child}", *more], pass_fds=[child], stdout=log, stderr=log)
            os.close(child)
            if not os.read(ready, 100):
                raise RuntimeError((folder / "server.log").read_text())

    def mayfly(self, *words):
        return subprocess.run([self.binaries / "mayfly", *map(str, words)], check=True, capture_output=True, text=True,
                              env=self.env).stdout

    def stop(self):
        self.mayfly("down", "--all")
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Ends:
    """Processes of services, by the kernel's own list, and when each of them ended: by pidfds, which cost nothing to wait for."""

    def __init__(self):
        self.poll, self.names = select.poll(), {}
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or not (entry / "cmdline").read_bytes().startswith(b"./workload\0"):
                    continue
                if f"/{layout.GROUP}/" not in (entry / "cgroup").read_text():
                    continue  # Of another cluster.
                variables = (entry / "environ").read_bytes().split(b"\0")
                fd = os.pidfd_open(int(entry.name))
            except OSError:
                continue
            self.names[fd] = next((one[9:].decode() for one in variables if one.startswith(b"HOSTNAME=")), entry.name)
            self.poll.register(fd, select.POLLIN)

    def wait(self, limit=60):
        """[(when, name)] in order; all have ended."""
        found, end = [], time.monotonic() + limit
        while self.names:
            for fd, _ in self.poll.poll((end - time.monotonic()) * 1000) or sys.exit(f"still there: {[*self.names.values()]}"):
                found.append((time.monotonic(), self.names.pop(fd)))
                self.poll.unregister(fd)
                os.close(fd)
        return found


def teardown(run):
    """Deleted right after ready and 6 s later, each beside the delete of an empty namespace."""
    enter()
    api = Api()
    server = Server(run.binaries, run.folder)
    rows = {"0 s": [], "6 s": []}
    gone, empty = [], []
    try:
        for i in range(run.count):
            for pause in rows:
                name = f"w21-{i}-{pause[0]}"
                server.mayfly("up", "-q", "-f", run.root, "--name", name)
                time.sleep(float(pause[0]))
                services = Ends()
                if len(services.names) != len(run.services):
                    raise RuntimeError(f"{len(services.names)} processes of {len(run.services)} services run")
                begin = time.monotonic()
                server.mayfly("down", name, "--no-wait")
                ends = services.wait()
                rows[pause].append((ends[-1][0] - begin) * 1000)
                await_gone(api)
                gone.append(time.monotonic() - begin)
            space = f"empty-{os.getpid()}-{i}"
            api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
            begin = time.monotonic()
            api.call("DELETE", f"/api/v1/namespaces/{space}")
            await_gone(api)
            empty.append(time.monotonic() - begin)
    finally:
        server.stop()
    middle = sorted(empty)[len(empty) // 2]
    return [("processes ended, deleted at once", "ms", rows["0 s"], 150, "p95"),
            ("processes ended, deleted 6 s later", "ms", rows["6 s"], 150, "p95"),
            ("gone", "s", gone, None, "median"), ("an empty namespace gone", "s", empty, None, "median"),
            ("gone over an empty one", "s", [one - middle for one in gone], 0.4, "median")]
