"""The benches on the real cluster of ./dev cluster: kube-startup and kube-teardown. They speak to the API server directly,
from inside the cluster's network."""
import concurrent.futures
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import signal
import ssl
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))
import cluster  # noqa: E402
import layout  # noqa: E402
import supervise  # noqa: E402

CLONE_NEWNET = 0x40000000
IMAGE = f"{layout.REGISTRY}/w21/workload:{layout.TAG}"


class Api:
    """The cluster's API server, with as many connections as threads ask for."""

    def __init__(self):
        self.tls = ssl.create_default_context(cafile=layout.PKI / "ca.crt")
        self.tls.load_cert_chain(layout.PKI / "admin.crt", layout.PKI / "admin.key")
        self.local = threading.local()

    def open(self):
        return http.client.HTTPSConnection(layout.NODE_ADDRESS, layout.API_PORT, context=self.tls)

    def call(self, method, path, body=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.open()
        self.local.connection.request(method, path, json.dumps(body) if body else None,
                                      {"content-type": "application/json"})
        answer = self.local.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {text[:300]!r}")
        return json.loads(text)


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


def floor(api, names):
    """The same pods at once, without order, delay or gate: seconds until the watch shows the last one Ready."""
    space = f"floor-{os.getpid()}-{time.monotonic_ns()}"
    begin = time.monotonic()
    api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    api.call("POST", f"/api/v1/namespaces/{space}/serviceaccounts",
             {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}})
    watch = api.open()
    watch.request("GET", f"/api/v1/namespaces/{space}/pods?watch=1")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = [pool.submit(api.call, "POST", f"/api/v1/namespaces/{space}/pods", bare_pod(name)) for name in names]
        ready, answer = set(), watch.getresponse()
        while len(ready) < len(names):
            pod = json.loads(answer.readline())["object"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])):
                ready.add(pod["metadata"]["name"])
        took = time.monotonic() - begin
        for one in made:
            one.result()
    watch.close()
    api.call("DELETE", f"/api/v1/namespaces/{space}")
    return took, space


def await_gone(api, limit=60):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        names = [item["metadata"]["name"] for item in api.call("GET", "/api/v1/namespaces")["items"]]
        if not [name for name in names if name.startswith(("floor-", "w21-", "empty-"))]:
            return
        time.sleep(0.1)
    raise RuntimeError("namespaces stay")


class Server:
    def __init__(self, binaries, folder):
        self.binaries, self.folder = binaries, folder
        with open(folder / "server.log", "wb") as log:
            ready, child = os.pipe()
            self.process = subprocess.Popen([binaries / "mayflyd", "--state-dir", folder, "--engine", "kubernetes",
                                             "--kubeconfig", layout.KUBECONFIG, "--registry", layout.REGISTRY,
                                             f"--ready-fd={child}"], pass_fds=[child], stdout=log, stderr=log)
            os.close(child)
            if not os.read(ready, 100):
                raise RuntimeError((folder / "server.log").read_text())

    def mayfly(self, *words):
        return subprocess.run([self.binaries / "mayfly", *map(str, words)], check=True, capture_output=True, text=True,
                              env={**os.environ, "MAYFLY_STATE_DIR": str(self.folder)}).stdout

    def stop(self):
        self.mayfly("down", "--all")
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def seconds(text):
    """Of a duration as events tell it: "1m2.5s", "3.35s", "85ms"."""
    total = 0.0
    for number, unit in re.findall(r"([0-9.]+)(ms|us|ns|h|m|s)", text):
        total += float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[unit]
    return total


def bound(events, services):
    """(the longest path in which each service may start once its pod was there, when the last one was ready)."""
    launched, ready = {}, {}
    for event in events:
        if event["kind"] != "NODE":
            continue
        at = seconds(event["offset"])
        if event["node_state"] == "STARTING" and event["attributes"].get("phase") == "launch":
            launched[event["node"]] = at
        elif event["node_state"] == "READY":
            ready[event["node"]] = at
    usable = {}
    for name, milliseconds, needs in services:
        met = max((ready[need] for need in needs), default=0.0)
        # Started later than its needs were met: it was its pod that came late, at that moment.
        pod = launched[name] if launched[name] > met + 0.005 else 0.0
        usable[name] = max([pod, *(usable[need] for need in needs)]) + milliseconds / 1000
    return max(usable.values()), max(ready.values())


def workloads():
    """Processes of services, by the kernel's own list."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"./workload\0"):
                found.append(entry.name)
        except OSError:
            pass
    return found


def startup(binaries, folder, root, services, count):
    """Pairs, in random order: the floor, and mayfly. Rows of (measure, unit, samples, goal, at)."""
    enter()
    api, names = Api(), [name for name, _, _ in services]
    server = Server(binaries, folder)
    over, ready, floors, ratios = [], [], [], []
    try:
        for i in range(count + 1):
            taken = {}
            for what in random.sample(["floor", "mayfly"], 2):
                if what == "floor":
                    taken[what], _ = floor(api, names)
                else:
                    name = f"w21-{i}"
                    server.mayfly("up", "-q", "-f", root, "--name", name)
                    lines = server.mayfly("events", name, "-o", "json").splitlines()
                    least, taken[what] = bound(list(map(json.loads, lines)), services)
                    server.mayfly("down", name)
                await_gone(api)
            if i > 0:  # The first pair warms caches.
                over.append((taken["mayfly"] - least) * 1000)
                ready.append(taken["mayfly"])
                floors.append(taken["floor"])
                ratios.append(taken["mayfly"] / taken["floor"])
    finally:
        server.stop()
    return [("over the bound", "ms", over, 30, "median"), ("over the bound", "ms", over, 50, "p95"),
            ("ready", "s", ready, None, "median"), ("21 pods at once, no order", "s", floors, None, "median"),
            ("ready / 21 pods at once", "", ratios, 1.05, "median")]


def teardown(binaries, folder, root, services, count):
    """Deleted right after ready and 6 s later, each beside the delete of an empty namespace."""
    del services
    enter()
    api = Api()
    server = Server(binaries, folder)
    rows = {"0 s": [], "6 s": []}
    gone, empty = [], []
    try:
        for i in range(count):
            for pause in rows:
                name = f"w21-{i}-{pause[0]}"
                server.mayfly("up", "-q", "-f", root, "--name", name)
                time.sleep(float(pause[0]))
                begin = time.monotonic()
                server.mayfly("down", name, "--no-wait")
                while workloads():
                    time.sleep(0.002)
                rows[pause].append((time.monotonic() - begin) * 1000)
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
