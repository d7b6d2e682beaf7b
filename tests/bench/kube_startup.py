"""kube-startup: W21 on the real cluster, beside the same pods without order and beside the ways of other tools."""
import calendar
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


def stamp(text):
    """Of "2026-11-22T05:42:56.602470940Z", in seconds."""
    whole, _, part = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{part or 0}")


def moments(events, log, name):
    """{what: {service: when}} of one start: "hello" and "endpoints" by the server's log, the others by its events."""
    found = {what: {} for what in ("hello", "endpoints", "launch", "running", "ready")}
    for event in events:
        if event["kind"] == "NODE" and event["node_state"] in ("STARTING", "READY"):
            what = event["attributes"].get("phase") if event["node_state"] == "STARTING" else "ready"
            found[what].setdefault(event["node"], stamp(event["time"]))
    for what, told in (("hello", "gate called"), ("endpoints", "endpoints written")):
        for match in re.finditer(rf'^time=(\S+) .*msg="{told}" scope={name}-[a-z0-9]{{10}} node=(\S+)$', log, re.M):
            found[what].setdefault(match[2], stamp(match[1]))
    found["begin"] = stamp(next(event["time"] for event in events if event["kind"] == "PLANNED"))
    return found


def least(at, services):
    """When the last one could have been ready: the longest path in which each is there when its gate says hello."""
    usable = {}
    for name, milliseconds, needs in services:
        usable[name] = max([at["hello"][name], *(usable[need] for need in needs)]) + milliseconds / 1000
    return max(usable.values())


def parts(at, services):
    """What the way to the last one that was ready lost where, in milliseconds."""
    known = {name: (milliseconds / 1000, needs) for name, milliseconds, needs in services}
    lost, name = dict.fromkeys(("needs met -> told to start", "told -> process runs", "listens -> ready",
                                "of that: endpoints"), 0.0), max(at["ready"], key=at["ready"].get)
    while name:
        work, needs = known[name]
        latest = max(needs, key=at["ready"].get, default=None)
        free = max(at["hello"][name], at["ready"][latest] if latest else 0.0)
        listens = at["running"][name] + work
        lost["needs met -> told to start"] += at["launch"][name] - free
        lost["told -> process runs"] += at["running"][name] - at["launch"][name]
        lost["listens -> ready"] += at["ready"][name] - listens
        lost["of that: endpoints"] += max(0.0, at["endpoints"].get(name, 0.0) - listens)
        name = latest if latest and at["ready"][latest] >= at["hello"][name] else None
    return {part: value * 1000 for part, value in lost.items()}


def ours(server, run, name):
    """(seconds until ready, seconds of that over the bound, parts()) of one environment, which is then taken away."""
    server.mayfly("up", "-q", "-f", run.root, "--name", name)
    lines = server.mayfly("events", name, "-o", "json").splitlines()
    at = moments(list(map(json.loads, lines)), (server.folder / "server.log").read_text(), name)
    server.mayfly("down", name)
    ready = max(at["ready"].values())
    return ready - at["begin"], ready - least(at, run.services), parts(at, run.services)


def startup(run):
    """Every way once per round, in random order, each in a cluster in which nothing of the one before is left."""
    kube.enter()
    api, names = kube.Api(), [name for name, _, _ in run.services]
    peers = kube_peers.Peers(run.folder, run.services) if run.peers else None
    ways = ["floor", "mayfly", "relay", *(peers.ways if peers else ())]
    taken, over, lost, order = {way: [] for way in ways}, [], [], random.Random(run.seed)
    server = kube.Server(run.binaries, run.folder, more=["--log-level=debug"])
    behind = run.folder / "behind-a-relay"
    behind.mkdir(exist_ok=True)
    relayed = kube.Server(run.binaries, behind, more=["--log-level=debug", "--gate-relay"])
    try:
        for i in range(run.count + 1):
            for way in order.sample(ways, len(ways)):
                if way == "floor":
                    taken[way].append(floor(api, names))
                elif way == "mayfly":
                    ready, more, where = ours(server, run, f"w21-{i}")
                    over.append(more * 1000)
                    lost.append(where)
                    taken[way].append(ready)
                elif way == "relay":
                    taken[way].append(ours(relayed, run, f"relay-{i}")[0])
                else:
                    taken[way].append(peers.take(api, way, i))
                kube.await_gone(api)
    finally:
        server.stop()
        relayed.stop()
    taken = {way: samples[1:] for way, samples in taken.items()}  # The first round warms caches.
    over, lost = over[1:], lost[1:]

    def by_ours(way):
        return [theirs / mine for theirs, mine in zip(taken[way], taken["mayfly"])]

    rows = [("over the bound", "ms", over, 30, "median"), ("over the bound", "ms", over, 50, "p95"),
            *((f"  {part}", "ms", [one[part] for one in lost], None, "median") for part in lost[0]),
            ("ready", "s", taken["mayfly"], None, "median"),
            ("21 pods at once, no order", "s", taken["floor"], None, "median"),
            ("ready / 21 pods at once", "", [1 / one for one in by_ours("floor")], 1.05, "median")]
    rows += [("ready, gates behind a relay", "s", taken["relay"], None, "median"),
             ("that / ready", "", by_ours("relay"), None, "median")]
    for way, label, goal in (("tier by tier", "kubectl apply + wait, tier by tier", 2.3),
                             ("init containers", "kubectl apply with waiting init containers", 4),
                             ("helm", "helm install --wait of these", 3.5)):
        if peers:
            rows += [(label, "s", taken[way], None, "median"),
                     (f"{label} / ready", "times", by_ours(way), goal, "median", True)]
    return rows
