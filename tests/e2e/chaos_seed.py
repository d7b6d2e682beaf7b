"""One seed of chaos.py: what happens, and what must hold afterwards. Here on the local engine."""
import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
import uuid

import api
import grpc
import oracle
from world import BIN, SHARED

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
    LIMIT = LIMIT

    def __init__(self, state):
        self.state, self.process = state, None
        self.log = open(state / "chaos.log", "a", encoding="utf-8")

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            (self.state / "server.json").unlink()
        self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.started = time.monotonic()

    def words(self):
        return [BIN / "mayflyd", "--state-dir", self.state]

    def socket(self):
        """Where it listens, once it does."""
        end = time.monotonic() + self.LIMIT
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
    LIMIT = LIMIT
    KINDS = ("run", "stay", "delete")
    VICTIMS = ("server", "server", "server", "launcher", "both")
    DELETE_WITHIN, KILL_WITHIN = 0.3, 0.35  # Seconds.

    def __init__(self, seed, folder, messages):
        self.random = random.Random(seed)
        self.mark = f"{os.getpid()}-{seed}"
        self.environment, self.service = messages
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=folder))
        self.before = self.look()
        (self.folder / "state").mkdir(mode=0o700)
        self.server = self.make_server(self.folder / "state")
        self.lock = threading.Lock()
        self.client = None
        self.acknowledged = {}  # Name -> uid.
        self.over = threading.Event()

    def look(self):
        return oracle.snapshot()

    def make_server(self, state):
        return Server(state)

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
        end = time.monotonic() + 3 * self.LIMIT
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
        kinds = {f"e{i}": self.random.choice(self.KINDS) for i in range(self.random.randint(1, 3))}
        self.ids = {name: self.random.getrandbits(128) for name in kinds}
        waits = {name: self.random.uniform(0, self.DELETE_WITHIN) for name in kinds}
        kill_after = self.random.uniform(0, self.KILL_WITHIN)
        again_after = self.random.uniform(0, 0.1) if self.random.random() < 0.2 else None
        victim = self.random.choice(self.VICTIMS)
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
        self.await_moment(kill_after)
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

    def await_moment(self, kill_after):
        time.sleep(kill_after)

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
        end = self.server.started + self.LIMIT
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
        wanted = {node.name: max(node.attempt, 1) for node in found.nodes if node.name in ("base", "left", "right", "top")}
        # What it said may still be on its way.
        self.eventually(lambda: self.starts(name) == wanted, lambda: f"{name}: attempts {wanted}, but starts {self.starts(name)}")

    def starts(self, name):
        """How often each service said that it was started."""
        with self.lock:
            lines = self.client.logs(self.service.StreamLogsRequest(name=name))
        return dict(collections.Counter(line.node for line in lines if line.text == b"started"))

    def check_processes(self, kinds):
        staying = sum(kind == "stay" for kind in kinds.values())
        # 4 services and the one that hides, in each environment that stays.
        self.eventually(lambda: len(self.services()) == 5 * staying,
                        lambda: f"{staying} environments stay, but these run: {sorted(self.services().values())}")

    def eventually(self, condition, describe):
        end = time.monotonic() + self.LIMIT
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
        if self.server.process.wait(self.LIMIT) != 0:
            raise Violation(f"mayflyd ended with {self.server.process.returncode}: {self.server.tail()}")
        self.check_witness()

    def check_witness(self):
        """Other seeds run beside this one: only what is there at every look is left over."""
        left, end = None, time.monotonic() + self.LIMIT
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
