"""The first process of the cluster's own namespaces: starts its programs, starts again what ends, ends with all of it.

Runs as pid 1, so that the kernel ends every process of the cluster, containers included, when it ends in whatever way.
Mounts and network go with the last of them.
"""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

import groups
import layout

_LIBC = ctypes.CDLL(None, use_errno=True)
MS_REC, MS_PRIVATE, MS_NOSUID = 0x4000, 1 << 18, 2
NAMESPACES = 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # mount, pid, network, ipc, uts
# Places outside layout.ROOT that these programs write to whatever they are told.
PRIVATE = ["/run", "/var/lib", "/var/log", "/opt", "/etc/cni"]


def _check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _mount(source, target, kind, flags=0, options=""):
    _check(_LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


def _run(*words):
    subprocess.run(words, check=True)


def _settle():
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID)
    for place in PRIVATE:
        if os.path.isdir(place):
            _mount("tmpfs", place, "tmpfs", MS_NOSUID, "mode=755")
    _check(_LIBC.sethostname(layout.NODE_NAME.encode(), len(layout.NODE_NAME)), "sethostname")
    _run("ip", "link", "set", "lo", "up")
    # A bridge without ports: the address of the node, and a default route on which nothing ever gets anywhere.
    _run("ip", "link", "add", "node0", "type", "bridge")
    _run("ip", "address", "add", f"{layout.NODE_ADDRESS}/24", "dev", "node0")
    _run("ip", "link", "set", "node0", "up")
    _run("ip", "route", "add", "default", "dev", "node0")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


class Supervisor:
    RESTART_AFTER = 0.2  # A program that ends is wanted again, but not in a loop that takes a core.

    def __init__(self, programs, later):
        self.programs = {**programs, **later}
        self.later = later
        self.running = {}  # pid -> name
        self.due = {name: 0.0 for name in programs}

    def start(self, name):
        log = os.open(layout.LOGS / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            words = self.programs[name]
            try:
                os.execvp(words[0], words)
            except OSError as error:
                os.write(2, f"{words[0]}: {error}\n".encode())
            os._exit(127)
        os.close(log)
        self.running[pid] = name
        self.write_status()

    def write_status(self):
        status = layout.ROOT / "status.new"
        status.write_text("".join(f"{name} {pid}\n" for pid, name in sorted(self.running.items(), key=lambda i: i[1])))
        status.rename(layout.ROOT / "status")

    def reap(self):
        while True:
            try:
                pid, code = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.running.pop(pid, None)
            if name is None:
                continue  # An orphan of one of them.
            with open(layout.LOGS / "supervisor.log", "a", encoding="utf-8") as log:
                log.write(f"{time.time():.3f} {name} ended: {os.waitstatus_to_exitcode(code)}\n")
            self.due[name] = time.monotonic() + self.RESTART_AFTER
            self.write_status()

    def run(self):
        wanted = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
        while True:
            now = time.monotonic()
            for name in [name for name, due in self.due.items() if due <= now]:
                del self.due[name]
                self.start(name)
            wait = min(self.due.values()) - now if self.due else 3600
            got = signal.sigtimedwait(wanted, max(wait, 0.001))
            if got is not None and got.si_signo == signal.SIGTERM:
                os._exit(0)  # The kernel ends the others.
            if got is not None and got.si_signo == signal.SIGUSR1:
                self.due |= dict.fromkeys(self.later, 0.0)
                self.later = {}
            self.reap()


def _be_first(programs, later):
    groups.enter()
    _settle()
    null = os.open("/dev/null", os.O_RDWR)
    log = os.open(layout.LOGS / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    Supervisor(programs, later).run()


def start(programs, later):
    """Returns when the first process runs and layout.PID names it. `later` waits for go_on(): clients that find no server
    would wait seconds before they try again."""
    groups.make()
    middle = os.fork()
    if middle == 0:
        code = 1
        try:
            os.setsid()
            _check(_LIBC.unshare(NAMESPACES), "unshare")
            first = os.fork()
            if first == 0:
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1])
                _be_first(programs, later)
            layout.PID.write_text(f"{first} {start_time(first)}\n")
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]) != 0:
        raise RuntimeError(f"the cluster's first process did not start; see {layout.LOGS}/supervisor.log")


def go_on():
    os.kill(first_process(), signal.SIGUSR1)


def start_time(pid):
    """Since boot, by which a pid that was given to another process is told apart."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def first_process():
    """Its pid as seen here, or None."""
    try:
        pid, began = layout.PID.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if began and start_time(pid) == began else None
