#!/usr/bin/python3
"""Kills mayflyd, its launcher or both at random instants of create, run and delete, and asks an independent witness.

    chaos.py --engine local --seeds 100 [--seed S] [--jobs J]

A seed creates up to three environments (some run their tests and end by themselves, some stay, some are deleted on the
way) and kills once while that happens: the server, which is started again, in a fifth of the seeds its launcher with it,
in another fifth the launcher alone, which the server is to start again; in a fifth of the seeds also while it recovers.
Callers repeat what was not answered, with the same request_id. Then it must hold, within 10 s of the last kill:
  - everything acknowledged is there, under the uid that was acknowledged, and nothing exists twice;
  - what was to end has ended with a verdict, what was deleted is DELETED, what was to stay is ACTIVE and really runs,
    each service once and with the process it had before if it was ready before;
  - once all are deleted and the server is stopped, nothing is left.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import api  # noqa: E402
import grpc  # noqa: E402
import oracle  # noqa: E402
from world import BIN, SHARED, require  # noqa: E402

LIMIT = 10  # Seconds until everything is terminal.
TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

CATALOGUE = """name: chaos
types:
  w: {{port: 8080, health: {{tcp: true, within: 20s}}, stop: {{grace: 200ms}}}}
services:
  - {{name: base, type: w, run: ./workload say started sleep {0} tcp 8080, env: {{CHAOS: "{mark}"}}}}
  - {{name: once, type: job, run: ./workload sleep {1} exit 0, needs: [base], env: {{CHAOS: "{mark}"}}}}
  - {{name: left, type: w, run: ./workload say started sleep {2} tcp 8080, needs: [{{once: completed}}], env: {{CHAOS: "{mark}"}}}}
  - {{name: right, type: w, run: ./workload say started sleep {3} hide tcp 8080, needs: [base], env: {{CHAOS: "{mark}"}}}}
  - {{name: top, type: w, run: ./workload say started tcp 8080, needs: [left, right], env: {{CHAOS: "{mark}"}}}}
tests:
  reach: {{run: "./workload sleep {4} connect top:8080 exit 0", needs: [top], within: 20s}}
"""


class Violation(Exception):
    pass


class Server:
    def __init__(self, state):
        self.state, self.process = state, None
        self.log = open(state / "chaos.log", "a", encoding="utf-8")

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            (self.state / "server.json").unlink()
        self.process = subprocess.Popen([BIN / "mayflyd", "--state-dir", self.state], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        self.started = time.monotonic()

    def socket(self):
        """Where it listens, once it does."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return json.loads((self.state / "server.json").read_text())["socket"]
            if self.process.poll() is not None:
                raise Violation(f"mayflyd ended with {self.process.returncode}: {self.tail()}")
            time.sleep(0.002)
        raise Violation(f"mayflyd does not serve: {self.tail()}")

    def tail(self):
        return (self.state / "chaos.log").read_text()[-2000:]

    def launcher(self):
        """Its only child; none while one is being started."""
        table = oracle.process_table()
        return next((pid for pid, (parent, *_) in table.items() if parent == self.process.pid), None)

    def strike(self, victim):
        """Kills, and what the server is to be restarted for is restarted."""
        launcher = self.launcher() if victim != "server" else None
        if launcher:
            os.kill(launcher, signal.SIGKILL)
            self.started = time.monotonic()
        if victim != "launcher":
            self.process.kill()
            self.process.wait()
            self.start()


class Seed:
    def __init__(self, seed, folder, messages):
        self.random = random.Random(seed)
        self.mark = f"{os.getpid()}-{seed}"
        self.environment, self.service = messages
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=folder))
        self.before = oracle.snapshot()
        (self.folder / "state").mkdir(mode=0o700)
        self.server = Server(self.folder / "state")
        self.lock = threading.Lock()
        self.client = None
        self.acknowledged = {}  # Name -> uid.
        self.over = threading.Event()

    def catalogue(self):
        root = self.folder / "catalogue"
        root.mkdir()
        self.folder.chmod(0o755)
        delays = [self.random.choice((0, 5, 20, 60)) for _ in range(5)]
        (root / "envspec.yml").write_text(CATALOGUE.format(*delays, mark=self.mark))
        shutil.copy(BIN / "mayfly-workload", root / "workload")
        return str(root)

    def connect(self):
        """A client of the server as it is now; a new channel after each start, so that no back-off hides a fault."""
        socket = self.server.socket()
        with self.lock:
            if self.client:
                self.client.close()
            self.client = api.Client(socket, self.environment, self.service)

    def call(self, method, request):
        """Repeats until it is answered."""
        end = time.monotonic() + 3 * LIMIT
        while True:
            with self.lock:
                client = self.client
            try:
                return getattr(client, method)(request)
            except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed under us.
                code = error.code() if isinstance(error, grpc.RpcError) else grpc.StatusCode.UNAVAILABLE
                if code not in TRY_AGAIN or time.monotonic() > end:
                    raise
            time.sleep(0.005)

    # --- what happens

    def live(self, name, kind, wait):
        """One environment as its caller sees it."""
        keep = self.service.CreateEnvironmentRequest.NEVER if kind == "run" else self.service.CreateEnvironmentRequest.ALWAYS
        request = self.service.CreateEnvironmentRequest(
            environment_id=name, request_id=str(uuid.UUID(int=self.ids[name])), source=self.root, keep=keep,
            all_tests=kind == "run")
        self.acknowledged[name] = self.call("CreateEnvironment", request).uid
        again = self.call("CreateEnvironment", request).uid
        if again != self.acknowledged[name]:
            raise Violation(f"{name}: the same request_id made {self.acknowledged[name]} and {again}")
        if kind == "delete":
            time.sleep(wait)
            self.call("DeleteEnvironment", self.service.DeleteEnvironmentRequest(name=name, uid=self.acknowledged[name]))

    def act(self):
        self.root = self.catalogue()
        kinds = {f"e{i}": self.random.choice(("run", "stay", "delete")) for i in range(self.random.randint(1, 3))}
        self.ids = {name: self.random.getrandbits(128) for name in kinds}
        waits = {name: self.random.uniform(0, 0.3) for name in kinds}
        kill_after = self.random.uniform(0, 0.35)
        again_after = self.random.uniform(0, 0.1) if self.random.random() < 0.2 else None
        victim = self.random.choice(("server", "server", "server", "launcher", "both"))
        self.server.start()
        self.connect()
        errors = []

        def guarded(name, kind):
            try:
                self.live(name, kind, waits[name])
            except Exception as error:
                errors.append(f"{name}: {error}")
        callers = [threading.Thread(target=guarded, args=item) for item in kinds.items()]
        for caller in callers:
            caller.start()
        time.sleep(kill_after)
        self.pids = self.services()
        self.server.strike(victim)
        if again_after is not None:
            time.sleep(again_after)
            self.server.strike(victim)
        self.connect()
        for caller in callers:
            caller.join()
        if errors:
            raise Violation("; ".join(errors))
        return kinds

    def services(self):
        """Command lines of our services that run now, by pid."""
        found = {}
        for pid in oracle.descendants(os.getpid()):
            with contextlib.suppress(OSError):
                if f"CHAOS={self.mark}".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found[pid] = oracle._read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        return found

    # --- what must hold

    def get(self, name):
        return self.call("GetEnvironment", self.service.GetEnvironmentRequest(name=name))

    def check(self, kinds):
        wanted = {"run": "DELETED", "delete": "DELETED", "stay": "ACTIVE"}
        end = self.server.started + LIMIT
        waiting = dict(kinds)
        while waiting:
            for name, kind in list(waiting.items()):
                found = self.get(name)
                state = self.environment.Environment.State.Name(found.state)
                if found.uid != self.acknowledged[name]:
                    raise Violation(f"{name}: acknowledged as {self.acknowledged[name]}, now {found.uid}")
                if state == wanted[kind]:
                    del waiting[name]
                    self.check_one(name, kind, found)
                elif state == "FAILED" or time.monotonic() > end:
                    raise Violation(f"{name} ({kind}) is {state} after {time.monotonic() - self.server.started:.1f} s: "
                                    f"{found.cause.code} {found.cause.node} {found.cause.message}")
            time.sleep(0.01)
        listed = self.call("ListEnvironments", self.service.ListEnvironmentsRequest(show_deleted=True)).environments
        if sorted(e.name for e in listed) != sorted(kinds):
            raise Violation(f"created {sorted(kinds)}, listed {sorted(e.name for e in listed)}")

    def check_one(self, name, kind, found):
        if kind == "run" and found.verdict != self.environment.VERDICT_PASSED:
            verdict = self.environment.Verdict.Name(found.verdict)
            raise Violation(f"{name}: {verdict}: {found.cause.code} {found.cause.node} {found.cause.message}")
        if kind != "stay":
            return
        with self.lock:
            lines = [line for line in self.client.logs(self.service.StreamLogsRequest(name=name)) if line.text == b"started"]
        for node in found.nodes:
            starts = sum(line.node == node.name for line in lines)
            if node.name in ("base", "left", "right", "top") and starts != max(node.attempt, 1):
                raise Violation(f"{name}: {node.name} was started {starts} times in {node.attempt} attempts")

    def check_processes(self, kinds):
        staying = sum(kind == "stay" for kind in kinds.values())
        # 4 services and the one that hides, in each environment that stays.
        self.eventually(lambda: len(self.services()) == 5 * staying,
                        lambda: f"{staying} environments stay, but these run: {sorted(self.services().values())}")

    def eventually(self, condition, describe):
        end = time.monotonic() + LIMIT
        while not condition():
            if time.monotonic() > end:
                raise Violation(describe())
            time.sleep(0.02)

    def check_nothing_left(self, kinds):
        for name in kinds:
            self.call("DeleteEnvironment", self.service.DeleteEnvironmentRequest(name=name, uid=self.acknowledged[name]))
        for name in kinds:
            self.eventually(lambda: self.environment.Environment.State.Name(self.get(name).state) == "DELETED",
                            lambda: f"{name} is not DELETED")
        self.eventually(lambda: not self.services(), lambda: f"still running: {sorted(self.services().values())}")
        self.installation = self.call("GetServerInfo", self.service.GetServerInfoRequest()).installation
        self.client.close()
        self.server.process.terminate()
        if self.server.process.wait(LIMIT) != 0:
            raise Violation(f"mayflyd ended with {self.server.process.returncode}: {self.server.tail()}")
        self.check_witness()

    def check_witness(self):
        """Other seeds run beside this one: only what is there at every look is left over."""
        left, end = None, time.monotonic() + LIMIT
        while left is None or left:
            oracle.reap()
            found = set(oracle.leaks(self.before, lineage=os.getpid(), kinds={"process", "mount", "cgroup", "namespace", "port", "link"}))
            if SHARED:
                found = {line for line in found if not line.startswith("cgroup") or self.installation in line}
            left = found if left is None else left & found
            if left and time.monotonic() > end:
                raise Violation("left: " + "; ".join(sorted(left)))
            time.sleep(0.02)

    def run(self):
        try:
            kinds = self.act()
            self.check(kinds)
            self.check_processes(kinds)
            self.check_nothing_left(kinds)
            return ""
        except Violation as violation:
            return f"{violation}\n{self.story()}"
        except Exception:
            return traceback.format_exc()
        finally:
            self.clean()

    def story(self):
        """What the server says about it, for whoever has to find out."""
        words = ["--state-dir", self.server.state]
        told = [subprocess.run([BIN / "mayfly", "events", *words, name], capture_output=True, text=True, timeout=20).stdout
                for name in self.acknowledged] if (BIN / "mayfly").exists() and self.server.process.poll() is None else []
        return "".join(told) + self.server.tail()

    def clean(self):
        for _ in range(50):
            remaining = oracle.descendants(os.getpid())
            for pid in remaining:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            oracle.reap()
            if not remaining:
                break
            time.sleep(0.02)
        self.server.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_seed(seed, folder, messages, keep_log):
    """In a process of its own, which becomes the parent of whatever the seed leaves behind. Returns the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    oracle.adopt_orphans()
    trial = Seed(seed, folder, messages)
    failure = trial.run()
    if failure:
        with open(keep_log, "w", encoding="utf-8") as file:
            file.write(failure)
    os._exit(1 if failure else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["local"], default="local")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="at the same time")
    flags = parser.parse_args()
    require("mayflyd", "mayfly-workload")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oracle-chaos-"))
    folder.chmod(0o755)
    messages = api.load(folder)
    begin, running, failed = time.monotonic(), {}, {}
    seeds = list(range(flags.seed, flags.seed + flags.seeds))
    try:
        while seeds or running:
            while seeds and len(running) < flags.jobs:
                seed = seeds.pop(0)
                running[run_seed(seed, folder, messages, folder / f"{seed}.failure")] = seed
            pid, status = os.wait()
            seed = running.pop(pid)
            if status:
                file = folder / f"{seed}.failure"
                failed[seed] = file.read_text() if file.exists() else f"ended with status {status}"
                print(f"seed {seed} FAILED: {failed[seed]}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        print(f"failing seeds: {' '.join(map(str, sorted(failed)))}; repeat one with --seeds 1 --seed S")
    print(f"{flags.seeds - len(failed)} passed, {len(failed)} failed in {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
