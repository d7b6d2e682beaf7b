"""kube-scale: many environments at once. kwok pretends to run their pods, kube_gates.py is the gates; API server, scheduler,
controllers and mayflyd are real.

Brings --live environments up, then makes and removes --rate a minute for --minutes, each new one while the oldest goes. The
watch's lag is asked of pods that change on purpose, until a client is told by mayflyd.
At last as many ordinary Services as were made in a minute show how the cluster's own controller keeps up.
"""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import build
import kube
import kube_gates
import layout

NODES = 20
SAMPLES_A_SECOND = 2
WARM_UP = 15  # Seconds.
OURS, THEIRS = "mayfly.dev", "endpointslice-controller.k8s.io"
MERGE = "application/strategic-merge-patch+json"


def await_that(what, done, limit=120):
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} within {limit} s")
        time.sleep(0.1)


class Machines:
    """Of kwok; the real one takes no pods meanwhile."""

    def __init__(self, api, folder):
        self.api = api
        with open(folder / "kwok.log", "wb") as log:
            self.kwok = subprocess.Popen(
                [build.tool("kwok"), "--kubeconfig", layout.KUBECONFIG, "--manage-nodes-with-annotation-selector",
                 "kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds", "120"], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)})
        self.cordon(True)
        self.names = [f"kwok-{i}" for i in range(NODES)]
        room = {"cpu": "1000", "memory": "1000Gi", "pods": "1000", "ephemeral-storage": "1000Gi"}
        for name in self.names:
            api.call("POST", "/api/v1/nodes", {
                "apiVersion": "v1", "kind": "Node", "status": {"capacity": room, "allocatable": room},
                "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"},
                             "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}}})
        await_that("kwok's nodes were not ready", lambda: all(map(self.ready, self.names)))

    def cordon(self, value):
        self.api.call("PATCH", f"/api/v1/nodes/{layout.NODE_NAME}", {"spec": {"unschedulable": value}}, kind=MERGE)

    def ready(self, name):
        node = self.api.call("GET", f"/api/v1/nodes/{name}")
        conditions = node.get("status", {}).get("conditions", [])
        return not node["spec"].get("taints") and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def stop(self):
        for name in self.names:
            self.api.call("DELETE", f"/api/v1/nodes/{name}")
        self.cordon(False)
        self.kwok.send_signal(signal.SIGTERM)
        self.kwok.wait(30)


class Lag:
    """Changes pods of an environment whose gates never call, and looks when mayflyd tells of it."""

    def __init__(self, api, server, run):
        self.api, self.ended = api, threading.Event()
        self.sent, self.answered, self.told = {}, {}, {}
        self.count = 0
        name = kube_gates.SILENT
        server.mayfly("up", "-q", "--no-wait", "-f", run.root, "--name", name)
        self.paths = []

        def all_there():
            self.paths = [f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}/status" for space in scopes(api, f"{name}-")
                          for pod in api.call("GET", f"/api/v1/namespaces/{space}/pods")["items"]
                          if pod["status"].get("phase") == "Running"]
            return len(self.paths) == len(run.services)

        await_that("the sentinel's pods did not run", all_there)
        self.follow = subprocess.Popen([server.binaries / "mayfly", "events", name, "--follow", "-v", "-o", "json"],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=server.env)
        self.threads = [threading.Thread(target=self.read), threading.Thread(target=self.write)]
        for thread in self.threads:
            thread.start()

    def patch(self, path, status, message):
        self.api.call("PATCH", path, {"status": {"conditions": [{"type": "PodScheduled", "status": status, "message": message}]}},
                      kind=MERGE)

    def write(self):
        while not self.ended.is_set():
            path = self.paths[self.count % len(self.paths)]
            stamp = f"stamp-{self.count}-"
            self.count += 1
            self.sent[stamp] = time.monotonic()
            self.patch(path, "False", stamp)
            self.answered[stamp] = time.monotonic()
            self.ended.wait(1 / SAMPLES_A_SECOND)
            self.patch(path, "True", "")

    def read(self):
        for line in self.follow.stdout:
            now = time.monotonic()
            if (at := line.find("stamp-")) >= 0:
                stamp = line[at:line.index("-", at + 6) + 1]
                self.told.setdefault(stamp, now)

    def stop(self):
        """Milliseconds of each change until a client was told, (from when it was sent, from when the API server had answered).

        It was made between the two. One that nobody was told of counts as until now.
        """
        self.ended.set()
        self.threads[1].join()
        time.sleep(2)
        self.follow.terminate()
        self.follow.wait()
        self.threads[0].join()
        now = time.monotonic()
        return tuple([max(0.0, self.told.get(stamp, now) - at) * 1000 for stamp, at in since.items()]
                     for since in (self.sent, self.answered))


def memory(pid, what="VmRSS"):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def busy():
    """(processor time of the machine that was used, all of it) so far, in ticks."""
    times = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return sum(times) - times[3] - times[4], sum(times)


def cpu(pid):
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    def __init__(self, run, server):
        self.run, self.server, self.live, self.next, self.ready = run, server, [], 0, []

    def up(self):
        name = f"w21-{self.next}"
        self.next += 1
        begin = time.monotonic()
        self.live.append(name)
        return name, begin

    def bring(self, name, begin):
        self.server.mayfly("up", "-q", "-f", self.run.root, "--name", name)
        self.ready.append((time.monotonic(), time.monotonic() - begin))

    def ramp(self, count):
        with concurrent.futures.ThreadPoolExecutor(self.run.concurrency) as pool:
            done = []
            for _ in range(count):
                name, _ = self.up()
                done.append(pool.submit(lambda name=name: self.bring(name, time.monotonic())))
            for i, one in enumerate(concurrent.futures.as_completed(done)):
                one.result()
                if (i + 1) % 25 == 0:
                    print(f"{i + 1} live, server {memory(self.server.process.pid):.0f} MiB", flush=True)

    def sustain(self, rate, minutes):
        """(environments a minute that were made, and that were removed; milliseconds of each make; of each removal)."""
        end, pause = time.monotonic() + minutes * 60, 60 / rate
        made, removed = [], []

        def make(name, begin):
            self.bring(name, begin)
            made.append((time.monotonic(), time.monotonic() - begin))

        def remove(name):
            begin = time.monotonic()
            self.server.mayfly("down", name)
            removed.append((time.monotonic(), time.monotonic() - begin))

        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            done, due = [], begin
            while due < end:
                time.sleep(max(0.0, due - time.monotonic()))
                due += pause
                done += [pool.submit(make, *self.up()), pool.submit(remove, self.live.pop(0))]
            # What was done within the time counts, once as much is on its way as always will be.
            steady = begin + min(WARM_UP, (end - begin) / 4)
            rates = [60 * len([at for at, _ in one if steady < at <= end]) / (end - steady) for one in (made, removed)]
            for one in done:
                one.result()
        return (*rates, [took for _, took in made], [took for _, took in removed])


def ordinary(api, names, spaces, pace):
    """As many Services with selectors, at that pace, beside those of live environments: {"NAMESPACE/NAME": when made}."""
    made = {}
    for space in spaces:
        for name in names:
            begin = time.monotonic()
            api.call("POST", f"/api/v1/namespaces/{space}/services", {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": f"plain-{name}"},
                "spec": {"clusterIP": "None", "selector": {"mayfly.dev/node": name}, "ports": [{"port": 8080}]}})
            made[f"{space}/plain-{name}"] = time.monotonic()
            time.sleep(max(0.0, pace - (time.monotonic() - begin)))
    return made


def scopes(api, prefix="w21-"):
    found = api.call("GET", "/api/v1/namespaces?labelSelector=app.kubernetes.io/managed-by%3Dmayfly")["items"]
    return [one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith(prefix)
            and "deletionTimestamp" not in one["metadata"]]


def slice_lags(seen, made):
    slices = seen["slices"].get(OURS, {})
    ours = [(slices[f"{key.split('/')[0]}/{key.split('/')[1].rsplit('-', 1)[0]}"] - at) * 1000
            for key, at in seen["hello"].items() if f"{key.split('/')[0]}/{key.split('/')[1].rsplit('-', 1)[0]}" in slices]
    theirs = seen["slices"].get(THEIRS, {})
    return ours, [(theirs.get(key, time.monotonic()) - at) * 1000 for key, at in made.items()]


def scale(run):
    kube.enter()
    api = kube.Api()
    machines = Machines(api, run.folder)
    server = gates = lag = None
    try:
        seen_file = run.folder / "gates.json"
        gates = subprocess.Popen([sys.executable, "-B", kube_gates.__file__, seen_file])
        server = kube.Server(run.binaries, run.folder)
        load, pid = Load(run, server), server.process.pid
        empty, begin = memory(pid), time.monotonic()
        load.ramp(run.live)
        ramp, full = time.monotonic() - begin, memory(pid)
        lag = Lag(api, server, run)
        used, clock, own = busy(), time.monotonic(), cpu(pid)
        made, removed, ready, down = load.sustain(run.rate, run.minutes)
        lags, lag = lag.stop(), None
        share = 100 * (busy()[0] - used[0]) / (busy()[1] - used[1])
        own = 100 * (cpu(pid) - own) / (time.monotonic() - clock)
        top = memory(pid, "VmHWM")
        plain = ordinary(api, [name for name, _, _ in run.services], scopes(api)[:max(1, round(run.rate / 2))],
                         60 / run.rate / len(run.services))
        time.sleep(10)
        gates.send_signal(signal.SIGUSR1)
        await_that("the gates did not tell what they saw", seen_file.exists)
        ours, theirs = slice_lags(json.loads(seen_file.read_text()), plain)
    finally:
        with contextlib.ExitStack() as stack:  # From the last one up, whatever fails.
            stack.callback(machines.stop)
            stack.callback(kube.await_gone, api, 900)
            if gates:
                stack.callback(gates.wait, 60)
                stack.callback(gates.terminate)
            if server:
                stack.callback(server.stop)
            if lag:
                stack.callback(lag.stop)
    return [("environments live, of 21 services", "", [len(load.live)], None, "max"),
            ("the way there: environments a minute", "", [60 * run.live / ramp], None, "median"),
            ("made a minute, while as many were removed", "", [made], 60, "min", True),
            ("removed a minute, meanwhile", "", [removed], 60, "min", True),
            ("create -> ready, meanwhile", "s", ready, None, "median"), ("down -> released, meanwhile", "s", down, None, "median"),
            ("server memory, most", "MiB", [top], 256, "max"), ("server memory, empty", "MiB", [empty], None, "max"),
            ("server memory of an environment", "KiB", [1024 * (full - empty) / run.live], None, "max"),
            ("a pod's change sent -> told to a client", "ms", lags[0], None, "p99"),
            ("a pod's change answered -> told to a client", "ms", lags[1], 100, "p99"),
            ("gate's hello -> endpoints seen, ours", "ms", ours, None, "p95"),
            ("ordinary Service made -> endpoints seen", "ms", theirs, None, "p95"),
            ("processor, all of it", "%", [share], None, "max"), ("processor, server's share of a core", "%", [own], None, "max")]
