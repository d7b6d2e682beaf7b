"""The cluster's control groups, in every hierarchy there is. Whoever is in them is of the cluster."""
import contextlib
import os
import pathlib
import signal
import time

import layout


def _hierarchies():
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, at, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            yield pathlib.Path(at), kind


def make():
    for at, kind in _hierarchies():
        group = at / layout.GROUP
        group.mkdir(exist_ok=True)
        if (at / "cpuset.cpus").exists() and kind == "cgroup":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((at / file).read_text())
            (group / "cgroup.clone_children").write_text("1")
        (group / "system").mkdir(exist_ok=True)


def enter():
    for at, _ in _hierarchies():
        (at / layout.GROUP / "system" / "cgroup.procs").write_text("0")


def _folders():
    """Deepest first."""
    for at, _ in _hierarchies():
        for folder, _, _ in os.walk(at / layout.GROUP, topdown=False):
            yield pathlib.Path(folder)


def processes():
    found = set()
    for folder in _folders():
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return found - {0}


def end_all(limit=20):
    end = time.monotonic() + limit
    while left := processes():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise RuntimeError(f"processes {sorted(left)} do not end")
        time.sleep(0.02)


def remove(limit=20):
    end = time.monotonic() + limit
    while folders := list(_folders()):
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if time.monotonic() > end:
            raise RuntimeError(f"control groups stay: {[str(f) for f in folders][:3]}")
        if any(folder.exists() for folder in folders):
            time.sleep(0.02)
