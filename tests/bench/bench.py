#!/usr/bin/python3
"""./dev bench NAME: figures of one bench as a table, and with --json FILE as
{bench, commit, rows: [{measure, unit, n, min, median, p95, goal, ok, samples}]}.

startup, teardown, churn and handover drive a mayflyd of their own through gRPC (bench_local.cc) and are measured from
outside: by the kernel's process events, by a prober that connects to each service in its own network, and by looking at
/proc, the control groups and the state folder. They need root. The kube benches (kube.py) run on the cluster
of ./dev cluster, with its images preloaded, beside peers in the same run. api, accept, order and plan are programs of their own.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "support"), str(REPOSITORY / "envspecs" / "w21")]
sys.dont_write_bytecode = True
import generate as w21  # noqa: E402
import oracle  # noqa: E402

BIN = pathlib.Path(os.environ.get("MAYFLY_BIN_DIR") or REPOSITORY / "build" / "release" / "bin")
PROGRAMS = {"api": "bench_api", "accept": "bench_store", "order": "bench_order",
            "plan": "bench_plan"}
CRITICAL_PATH = w21.critical_path(w21.services())
SHARED = bool(os.environ.get("MAYFLY_TEST_SHARED_MACHINE"))
MARK = f"m{os.getpid()}"


# ---- figures

def quantile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(measure, unit, samples, goal=None, at="p95", least=False):
    """One line of the table. `goal` holds for the column `at`; `least`: the figure must not be lower."""
    figures = {"min": min(samples), "median": quantile(samples, 0.5), "p95": quantile(samples, 0.95),
               "p99": quantile(samples, 0.99), "max": max(samples)}
    ok = None
    if goal is not None:
        ok = figures[at] >= goal if least else figures[at] <= goal
        goal = f"{at} {'>=' if least else '<='} {goal:g}"
    return {"measure": measure, "unit": unit, "n": len(samples), **figures, "goal": goal, "ok": ok,
            "samples": [round(sample, 4) for sample in samples]}


def show(rows):
    header = ("measure", "unit", "n", "min", "median", "p95", "p99", "goal", "ok")
    lines = [header] + [tuple(f"{r[key]:.2f}" if isinstance(r[key], float) else "" if r[key] is None else
                              {True: "yes", False: "NO"}.get(r[key], str(r[key])) if key == "ok" else str(r[key])
                              for key in header) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) if header[i] in ("measure", "unit", "goal") else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))).rstrip())


# ---- what the benches stand on

class Server:
    """A mayflyd with a state folder of its own."""

    def __init__(self, folder):
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="state-", dir=folder))
        self.log = open(self.state / "bench.log", "w", encoding="utf-8")
        self.process = subprocess.Popen([BIN / "mayflyd", "--state-dir", self.state], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        self.socket = self._wait()

    def _wait(self):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                path = json.loads((self.state / "server.json").read_text())["socket"]
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                    return path
            time.sleep(0.005)
        sys.exit(f"mayflyd does not serve; it said:\n{(self.state / 'bench.log').read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def local(*words):
    done = subprocess.run([BIN / "bench_local", *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_local {words[0]} failed with {done.returncode}")
    return json.loads(done.stdout)


def catalogue(folder, variant):
    root = pathlib.Path(tempfile.mkdtemp(prefix=f"{variant}-", dir=folder))
    w21.write(variant, root, BIN / "mayfly-workload", MARK)
    root.chmod(0o755)
    return root


def cycle(server, root, count, *words):
    return local("cycle", server.socket, root, MARK, 21, count, server.state, *words)


def warm(server, root):
    cycle(server, root, 3)


# ---- startup

MAKE_PROBE = "until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep {pace}; done"


def make_peer(folder, pace):
    """`make -j21`: a target per service that starts it and returns once its port answers. No isolation at all."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="make-", dir=folder))
    ports = {name: 21000 + i for i, (name, _, _) in enumerate(w21.services())}
    lines = ["SHELL := /bin/bash", f"all: {' '.join(ports)}"]
    for name, ms, needs in w21.services():
        probe = MAKE_PROBE.format(port=ports[name], pace=pace)
        lines += [f"{name}: {' '.join(needs)}",
                  f"\t@{BIN}/mayfly-workload sleep {ms} tcp {ports[name]} </dev/null >/dev/null 2>&1 & {probe}"]
    (root / "Makefile").write_text("\n".join(lines) + "\n")
    begin = time.monotonic()
    make = subprocess.Popen(["make", "-s", "-j21", "-C", root], start_new_session=True)
    pending = set(ports.values())
    while pending:
        for port in list(pending):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                pending.discard(port)
        time.sleep(0.001)
    taken = (time.monotonic() - begin) * 1000
    make.wait()
    for pid in oracle.descendants(os.getpid()):
        if "mayfly-workload sleep" in oracle.process_table().get(pid, (0, 0, 0, ""))[3]:
            os.kill(pid, 15)
    oracle.reap()
    return taken


def startup(flags, folder):
    plain, nothing = catalogue(folder, "w21"), catalogue(folder, "w21-0")
    ours, told, peer, fine = [], [], [], []
    with Server(folder) as server:
        warm(server, nothing)
        for _ in range(flags.count or 20):  # Alternating, so that both meet the same machine.
            one = cycle(server, plain, 1)
            ours += one["ready_ms"]
            told += one["told_ms"]
            peer.append(make_peer(folder, 0.1))
            fine.append(make_peer(folder, 0.01))
        empty = cycle(server, nothing, flags.count or 100, "paused")
        rushed = cycle(server, nothing, flags.count or 100)
    cold = []
    for _ in range(10):
        with Server(folder) as server:
            cold += cycle(server, nothing, 1)["ready_ms"]
    over = [ready - CRITICAL_PATH for ready in ours]
    ratio = [(theirs - CRITICAL_PATH) / mine for theirs, mine in zip(peer, over)]
    return [
        row("W21 ready, probed from outside", "ms", ours),
        row(f"W21 overhead over {CRITICAL_PATH:,} ms", "ms", over, 15),
        row("W21 overhead as a client is told", "ms", [value - CRITICAL_PATH for value in told]),
        row("W21-0 ready, warm pool", "ms", empty["ready_ms"], 15),
        row("W21-0 ready, right after the one before", "ms", rushed["ready_ms"]),
        row("W21-0 accepted", "ms", empty["accepted_ms"]),
        row("W21-0 ready, first environment of a server", "ms", cold),
        row("make -j21, 100 ms probe loop: overhead", "ms", [value - CRITICAL_PATH for value in peer]),
        row("make -j21, 10 ms probe loop: overhead", "ms", [value - CRITICAL_PATH for value in fine]),
        row("make's overhead (100 ms) by ours, pairs", "times", ratio, 15, "median", least=True),
    ]


# ---- teardown

def teardown(flags, folder):
    plain, deaf = catalogue(folder, "w21"), catalogue(folder, "w21-slowterm")
    before = oracle.snapshot()
    with Server(folder) as server:
        warm(server, catalogue(folder, "w21-0"))
        pool = settled(server)
        done = cycle(server, plain, flags.count or 30)
        slow = cycle(server, deaf, 10, "graceful")
        after = settled(server)
        begin = time.monotonic()
    gone = leaks(before)
    return [
        row("W21 delete -> released, by the witness", "ms", done["released_ms"], 30),
        row("W21 delete -> a client is told", "ms", done["told_released_ms"]),
        row("W21-slowterm delete -> released, over its grace of 1 s", "ms", [v - 1000 for v in slow["released_ms"]], 30),
        row("processes of an environment", "", done["processes"]),
        row("pool: kernel namespaces held, after less before", "", [float(len(after) - len(pool))], 0, "max"),
        row("server stopped -> pool let go, nothing left", "ms", [(time.monotonic() - begin) * 1000]),
        row("left after the server", "things", [float(len(gone))], 0, "max"),
    ]


def leaks(before):
    """What is left a while after a server was stopped. Where others make environments, too, control groups may be theirs."""
    kinds = {"process", "mount", "namespace", "port"} | (set() if SHARED else {"cgroup"})
    end = time.monotonic() + 20
    while (left := oracle.leaks(before, lineage=os.getpid(), kinds=kinds)) and time.monotonic() < end:
        oracle.reap()
        time.sleep(0.02)
    return left


def settled(server):
    """The pool's network namespaces once it neither fills up nor gives back what a burst has made (after 3 s)."""
    end, since, seen = time.monotonic() + 20, time.monotonic(), held(server)
    while time.monotonic() - since < 5 and time.monotonic() < end:
        time.sleep(0.05)
        if (now := held(server)) != seen:
            since, seen = time.monotonic(), now
    return seen


def held(server):
    pids = oracle.descendants(os.getpid())
    return {name for name in oracle._namespaces(pids)[0] if name.startswith("net:")}


# ---- churn

def churn(flags, folder):
    root, count = catalogue(folder, "w21-0"), flags.count or 2000
    before = oracle.snapshot()
    with Server(folder) as server:
        warm(server, root)
        done = local("churn", server.socket, root, count, flags.concurrency, server.process.pid)
    left = leaks(before)
    for line in left:
        print("left:", line, file=sys.stderr)
    ends, tenth = done["end_s"], max(1, count // 10)
    rates = [tenth / (ends[i + tenth - 1] - (ends[i - 1] if i else 0)) for i in range(0, count - tenth + 1, tenth)]
    memory = done["server_mib"] or [0.0]
    return [
        row(f"W21-0 life cycles, {flags.concurrency} at a time", "/s", [count / ends[-1]], 40, "min", least=True),
        row("each tenth of them", "/s", rates),
        row("last tenth slower than the first", "%", [100 * (1 - rates[-1] / rates[0])], 10, "max"),
        row("create -> ready", "ms", done["ready_ms"]),
        row("whole cycle", "ms", done["cycle_ms"]),
        row("server memory", "MiB", memory),
        row("server memory, last tenth over the second", "%", [100 * (memory[-1] / memory[len(memory) // 10] - 1)], 5, "max"),
        row("left after the server", "things", [float(len(left))], 0, "max"),
    ]


# ---- handover

def chain(folder, kind, length=50):
    root = pathlib.Path(tempfile.mkdtemp(prefix=f"chain-{kind}-", dir=folder))
    usable = {"notify": ("{notify: true}", "sleep 20 stamp notify READY=1"), "tcp": ("{tcp: true}", "sleep 20 tcp 8080 stamp"),
              "http": ("{http: /}", "sleep 20 http 8080 stamp")}[kind]
    lines = [f"name: chain-{kind}", f"types: {{link: {{port: 8080, health: {usable[0]}}}}}", "services:"]
    for i in range(length):
        need = f", needs: [c{i - 1}]" if i else ""
        lines.append(f"  - {{name: c{i}, type: link, run: ./workload {usable[1]}, env: {{W21: {MARK}/c{i}}}{need}}}")
    (root / "envspec.yml").write_text("\n".join(lines) + "\n")
    shutil.copy(BIN / "mayfly-workload", root / "workload")
    root.chmod(0o755)
    return root


def pending(server, folder, kind):
    """CPU time of everything that is mayfly's while 21 services are probed that do not answer yet, in % of a core."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="pending-", dir=folder))
    services = "".join(f"  - {{name: p{i}, type: late, run: ./workload}}\n" for i in range(21))
    (root / "envspec.yml").write_text(f"name: pending\ntypes: {{late: {{port: 8080, health: {{{kind}, within: 60s}}}}}}\nservices:\n{services}")
    shutil.copy(BIN / "mayfly-workload", root / "workload")
    root.chmod(0o755)
    words = ["--state-dir", server.state, "--name", "pending"]
    subprocess.run([BIN / "mayfly", "up", "--no-wait", "-f", root, *words], check=True, stdout=subprocess.DEVNULL)
    time.sleep(2)
    shares = []
    for _ in range(8):
        begin, used = time.monotonic(), cpu_seconds()
        time.sleep(1)
        shares.append(100 * (cpu_seconds() - used) / (time.monotonic() - begin))
    subprocess.run([BIN / "mayfly", "down", *words], check=True, capture_output=True)
    return shares


def cpu_seconds():
    table, total = oracle.process_table(), 0
    for pid in oracle.descendants(os.getpid(), table):
        if "./workload" in table[pid][3]:
            continue
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def handover(flags, folder):
    rows, count = [], flags.count or 10
    with Server(folder) as server:
        for kind, goal in (("notify", 1), ("tcp", 3), ("http", 3)):
            root = chain(folder, kind)
            local("chain", server.socket, root, MARK, 50, 1)
            done = local("chain", server.socket, root, MARK, 50, count)
            rows.append(row(f"parent ready -> dependent executed, {kind}", "ms", done["handover_ms"], goal, "p99"))
        for kind in ("tcp: true", "http: /"):
            rows.append(row(f"21 pending probes ({kind.split(':')[0]}), of a core", "%", pending(server, folder, kind), 3, "median"))
    return rows


# ---- main

def on_cluster(flags, folder):
    import kube  # Needs ./dev cluster.
    import kube_requests
    import kube_scale
    import kube_startup
    root = pathlib.Path(folder) / "w21"
    w21.write("w21", root, BIN / "mayfly-workload")
    state = pathlib.Path(folder) / "state"
    state.mkdir(mode=0o700)
    bench = {"kube-startup": kube_startup.startup, "kube-teardown": kube.teardown,
             "kube-requests": kube_requests.requests, "kube-scale": kube_scale.scale}[flags.name]
    seed = flags.seed if flags.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    made = bench(kube.Run(BIN, state, root, w21.services(), flags.count or 20, flags.peers == "all", seed, flags.live,
                          flags.rate, flags.minutes, flags.concurrency))
    return [row(*one) for one in made]


def dispatch(flags):
    program = BIN / PROGRAMS[flags.name]
    words = ["--json", flags.json] if flags.json else []
    return subprocess.run([program, *words], check=False).returncode


def main():
    benches = {"startup": startup, "teardown": teardown, "churn": churn, "handover": handover,
               "kube-startup": on_cluster, "kube-teardown": on_cluster, "kube-requests": on_cluster,
               "kube-scale": on_cluster}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*benches, *PROGRAMS])
    parser.add_argument("--json", metavar="FILE", help="also write the rows with all samples")
    parser.add_argument("--count", type=int, help="samples instead of the usual number")
    parser.add_argument("--peers", choices=["all", "none"], default="all", help="kube-startup: other tools beside it")
    parser.add_argument("--seed", type=int, help="kube benches: of the order of what is compared")
    parser.add_argument("--concurrency", type=int, default=4, help="churn, kube-scale: environments at a time")
    parser.add_argument("--live", type=int, default=450, help="kube-scale: environments")
    parser.add_argument("--rate", type=float, default=66, help="kube-scale: made and removed a minute")
    parser.add_argument("--minutes", type=float, default=3, help="kube-scale: of that")
    flags = parser.parse_args()
    if flags.name in PROGRAMS:
        return dispatch(flags)
    if os.geteuid() != 0:
        sys.exit("this bench looks into other processes' networks and needs root")
    oracle.adopt_orphans()
    folder = tempfile.mkdtemp(prefix="mayfly-bench-")
    os.chmod(folder, 0o755)
    try:
        rows = benches[flags.name](flags, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(rows)
    if flags.json:
        commit = subprocess.run(["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        pathlib.Path(flags.json).write_text(json.dumps({"bench": flags.name, "commit": commit, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
