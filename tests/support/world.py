"""What every end-to-end test needs: the real programs with a state folder of their own, as root or as an ordinary user,
catalogues in a temporary folder, and the witness (oracle.py) over all of it."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import oracle

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MAYFLY_BIN_DIR") or REPOSITORY / "build" / "dev" / "bin")
ORDINARY = 61234  # A uid that owns nothing.
# On a machine where others make environments, too, things that nobody holds may be theirs: set it to look only at those
# that carry our folder's or our installation's name.
SHARED = bool(os.environ.get("MAYFLY_TEST_SHARED_MACHINE"))
LIMIT = 60        # Seconds for one command, generously; nothing here asserts how long things take.


class Done:
    """What became of a command."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    @property
    def first(self):
        """The first line a user reads as the result."""
        lines = [line for line in (self.out or self.err).splitlines() if line.strip()]
        return lines[0] if lines else ""

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"{' '.join(map(str, self.argv))}\nexit {self.code}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"


class World:
    """One installation: a state folder, maybe a server, and everything that descends from this process."""

    def __init__(self, ordinary=False, state=None):
        self.ordinary = ordinary and os.geteuid() == 0
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="oracle-world-"))
        self.folder.chmod(0o755)
        self.state = pathlib.Path(state or self.folder / "state")
        self.home = self.folder / "home"
        for path in (self.home, self.folder / "specs"):
            path.mkdir()
        if self.ordinary:
            for path in (self.folder, self.home):
                os.chown(path, ORDINARY, ORDINARY)
        oracle.adopt_orphans()
        self.installation = None
        self.before = oracle.snapshot([self.folder])

    def command(self, *argv):
        """argv as whoever this world is about."""
        who = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"] if self.ordinary else []
        return [*who, *map(str, argv)]

    @property
    def variables(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAYFLY_", "XDG_"))}
        return {**kept, "HOME": str(self.home), "MAYFLY_STATE_DIR": str(self.state), "NO_COLOR": "1", "TERM": "dumb"}

    def start(self, *argv, **how):
        return subprocess.Popen(self.command(*argv), env=self.variables, stdin=subprocess.DEVNULL, text=True, errors="replace",
                                cwd=self.folder, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how})

    def mayfly(self, *words, limit=LIMIT):
        return self.run(BIN / "mayfly", *words, limit=limit)

    def run(self, *argv, limit=LIMIT):
        # Files, not pipes: a server that inherited a pipe would keep us waiting for its end.
        with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
            process = self.start(*argv, stdout=out, stderr=err)
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = f"none within {limit} s"
            out.seek(0)
            err.seek(0)
            return Done(argv, code, out.read(), err.read())

    def catalogue(self, name, envspec, files=(), workload=True):
        """A folder with that envspec.yml, files {path: (content, mode)} and the workload program."""
        root = self.folder / "specs" / name
        root.mkdir()
        (root / "envspec.yml").write_text(envspec)
        for path, (content, mode) in dict(files).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
            (root / path).chmod(mode)
        if workload:
            shutil.copy(BIN / "mayfly-workload", root / "workload")
        return self.own(root)

    def copy_of(self, folder):
        """A copy that belongs to whoever this world is about, as a clone of theirs would."""
        root = self.folder / "specs" / folder.name
        if not root.exists():
            shutil.copytree(folder, root)
        return self.own(root)

    def own(self, root):
        if self.ordinary:
            for path in (root, *root.rglob("*")):
                os.chown(path, ORDINARY, ORDINARY)
        return root

    def server_pid(self):
        try:
            return json.loads((self.state / "server.json").read_text())["pid"]
        except (OSError, ValueError, KeyError):
            return None

    def left(self, wait=15, kinds=None):
        """What exists below this process, or belongs to nobody, and did not when this world began."""
        end = time.monotonic() + wait
        while True:
            reap_orphans()
            found = oracle.leaks(self.before, lineage=os.getpid(), kinds=kinds)
            if SHARED:
                ours = [str(self.folder), self.installation or "?"]
                found = [line for line in found if line.startswith("process") or any(text in line for text in ours)]
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def left_beside_server(self, wait=15):
        """Processes below this one, a line each, while the server lives on. Its own, its launcher's and its pool's are forks of one
        program and no leak; what they keep ready is checked when the server is stopped."""
        end = time.monotonic() + wait
        while True:
            reap_orphans()
            found = [line for line in oracle.leaks(self.before, lineage=os.getpid(), kinds={"process"})
                     if "mayflyd" not in line and "mayfly-launcher" not in line]
            if not found or time.monotonic() > end:
                return "\n".join(found)
            time.sleep(0.05)

    def close(self):
        """Removes what a test left up, stops the server, removes the folder. Returns what is left nevertheless, a line each."""
        pid = self.server_pid()
        if SHARED:
            told = self.mayfly("server", "status", "-o", "json")
            self.installation = told.json.get("installation") if told.code == 0 else None
        self.mayfly("down", "--all")
        self.mayfly("server", "stop", "--force")
        found = self.left()
        if found and pid:
            for child in oracle.descendants(os.getpid()):
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.left(wait=2)
        shutil.rmtree(self.folder, ignore_errors=True)
        return "\n".join(found)


def reap_orphans():
    """Collects adopted orphans that have ended, but no child that a Popen object of ours still waits for."""
    waited = {process.pid for process in getattr(subprocess, "_active", [])}
    table = oracle.process_table()
    for pid, (parent, state, *_) in table.items():
        if parent == os.getpid() and state == "Z" and pid not in waited and pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


known = set()
_popen = subprocess.Popen.__init__


def _remember(self, *args, **how):
    _popen(self, *args, **how)
    known.add(self.pid)


subprocess.Popen.__init__ = _remember


def require(*programs):
    """Ends the test program, not as a success, when something it needs was not built."""
    missing = [str(BIN / program) for program in programs if not (BIN / program).exists()]
    if missing:
        sys.exit(f"not built: {', '.join(missing)}")
