"""kube-startup: W21 on the real cluster, beside the same pods without order and beside the ways of other tools."""
import concurrent.futures
import json
import os
import random
import re
import time

import kube
import kube_peers


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
        made = [pool.submit(api.call, "POST", f"/api/v1/namespaces/{space}/pods", kube.bare_pod(name)) for name in names]
        ready, answer = set(), watch.getresponse()
        while len(ready) < len(names):
            pod = json.loads(answer.readline())["object"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])):
                ready.add(pod["metadata"]["name"])
        took = time.monotonic() - begin
        for one in made:
            one.result()
    watch.close()
    kube.begin_end(api, space)
    return took


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


def ours(server, run, name):
    """(seconds over the bound, seconds until ready) of one environment, which is then taken away."""
    server.mayfly("up", "-q", "-f", run.root, "--name", name)
    lines = server.mayfly("events", name, "-o", "json").splitlines()
    least, ready = bound(list(map(json.loads, lines)), run.services)
    server.mayfly("down", name)
    return ready - least, ready


def startup(run):
    """Every way once per round, in random order, each in a cluster in which nothing of the one before is left."""
    kube.enter()
    api, names = kube.Api(), [name for name, _, _ in run.services]
    peers = kube_peers.Peers(run.folder, run.services) if run.peers else None
    ways = ["floor", "mayfly", *(peers.ways if peers else ())]
    taken, over, order = {way: [] for way in ways}, [], random.Random(run.seed)
    server = kube.Server(run.binaries, run.folder)
    try:
        for i in range(run.count + 1):
            for way in order.sample(ways, len(ways)):
                if way == "floor":
                    taken[way].append(floor(api, names))
                elif way == "mayfly":
                    more, ready = ours(server, run, f"w21-{i}")
                    over.append(more * 1000)
                    taken[way].append(ready)
                else:
                    taken[way].append(peers.take(api, way, i))
                kube.await_gone(api)
    finally:
        server.stop()
    taken = {way: samples[1:] for way, samples in taken.items()}  # The first round warms caches.
    over = over[1:]

    def by_ours(way):
        return [theirs / mine for theirs, mine in zip(taken[way], taken["mayfly"])]

    rows = [("over the bound", "ms", over, 30, "median"), ("over the bound", "ms", over, 50, "p95"),
            ("ready", "s", taken["mayfly"], None, "median"),
            ("21 pods at once, no order", "s", taken["floor"], None, "median"),
            ("ready / 21 pods at once", "", [1 / one for one in by_ours("floor")], 1.05, "median")]
    for way, label, goal in (("tier by tier", "kubectl apply + wait, tier by tier", 2.3),
                             ("init containers", "kubectl apply with waiting init containers", 4),
                             ("helm", "helm install --wait of these", 3.5)):
        if peers:
            rows += [(label, "s", taken[way], None, "median"),
                     (f"{label} / ready", "times", by_ours(way), goal, "median", True)]
    return rows
