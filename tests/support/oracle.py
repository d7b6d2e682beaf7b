#!/usr/bin/python3
"""An independent witness of what exists on this machine. It shares no code with mayfly and knows none of its names.

    oracle.py snapshot FILE                      writes down what exists
    oracle.py diff FILE [--wait S] [--ignore PID,PID] [--lineage PID] [--paths DIR ...]
                                                 says what exists now and did not then; exit code 1 if anything does

What is watched: processes (by pid and start time), mounts of this mount namespace, control groups of every hierarchy,
kernel namespaces in use (by a process, an open descriptor or a mount), network links, listening ports, named sockets
and entries of the folders where things are usually left (and of --paths, in full).

On a machine that others use, too, --lineage PID tells what is ours: only processes that descend from PID count, and a
thing that somebody else's process holds is not ours. A thing that nobody holds always counts. PID should be a
subreaper (PR_SET_CHILD_SUBREAPER), or a process may escape from its lineage; adopt_orphans() makes the caller one.
"""
import argparse
import ctypes
import json
import os
import re
import sys
import time

NAMESPACES = ("net", "mnt", "pid", "user", "ipc", "uts")
FOLDERS = ("/tmp", "/var/tmp", "/run", "/run/netns", "/run/user", "/dev/shm", "/var/lib")
# Entries of shared folders that come and go with the machine, not with what is tested.
QUIET = re.compile(r"^/(var/)?tmp/(bash_|pip-|cc|tmp|\.|ccache|oracle-)|^/run/(lock|utmp|systemd|user$)|^/tmp/hsperf")
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans():
    """Makes this process the parent of every orphan below it, so that none can hide."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def process_table():
    """pid -> (parent, state, start time, command line)"""
    table = {}
    for pid in _pids():
        stat = _read(f"/proc/{pid}/stat")
        if not stat:
            continue
        comm = stat[stat.index("(") + 1:stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2:].split()
        if int(fields[6]) & 0x200000:  # PF_KTHREAD
            continue
        command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or f"[{comm}]"
        table[pid] = (int(fields[1]), fields[0], int(fields[19]), command)
    return table


def descendants(root, table=None):
    """The pids below `root`, without itself."""
    table = table or process_table()
    children = {}
    for pid, (parent, *_) in table.items():
        children.setdefault(parent, []).append(pid)
    found, todo = set(), [root]
    while todo:
        for child in children.get(todo.pop(), []):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _mounts():
    for line in _read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        rest = fields[fields.index("-") + 1:]
        yield {"id": fields[0], "root": fields[3], "at": fields[4], "type": rest[0], "source": rest[1]}


def _cgroups():
    """path -> pids in it"""
    found = {}
    for mount in list(_mounts()):
        if mount["type"] in ("cgroup", "cgroup2"):
            for folder, _, files in os.walk(mount["at"]):
                if "cgroup.procs" in files and folder != mount["at"]:
                    found[folder] = [int(pid) for pid in _read(f"{folder}/cgroup.procs").split()]
    return found


def _namespaces(pids):
    """(namespaces, sockets): "net:[4026532000]" -> holders, and socket inode -> holders"""
    found, sockets = {}, {}
    for pid in pids:
        for kind in NAMESPACES:
            try:
                found.setdefault(os.readlink(f"/proc/{pid}/ns/{kind}"), set()).add(pid)
            except OSError:
                pass
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for fd in descriptors:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.setdefault(target[8:-1], set()).add(pid)
            elif target.split(":[")[0] in NAMESPACES:
                found.setdefault(target, set()).add(pid)
    return found, sockets


def _ports():
    """"tcp 127.0.0.1:80" or "unix /path (socket 123)" -> socket inode. Names of sockets are no identities: they may be relative."""
    found = {}
    for file in ("tcp", "tcp6", "udp", "udp6"):
        for line in _read(f"/proc/self/net/{file}").splitlines()[1:]:
            fields = line.split()
            if file.startswith("udp") or fields[3] == "0A":
                host, port = fields[1].split(":")
                if len(host) == 8:
                    host = ".".join(str(byte) for byte in reversed(bytes.fromhex(host)))
                found[f"{file} {host}:{int(port, 16)}"] = fields[9]
    for line in _read("/proc/self/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & 0x10000:
            found[f"unix {fields[7]} (socket {fields[6]})"] = fields[6]
    return found


def _entries(paths):
    found = set()
    for folder in FOLDERS:
        try:
            found.update(path for path in (os.path.join(folder, name) for name in os.listdir(folder)) if not QUIET.match(path))
        except OSError:
            pass
    for root in paths:
        for folder, folders, files in os.walk(root):
            found.update(os.path.join(folder, name) for name in folders + files)
    return found


def snapshot(paths=(), pids=None):
    """kind -> {key: {"text": for people, "holders": [pids]}}. With `pids`, only what those hold is looked up."""
    table = process_table()
    namespaces, sockets = _namespaces(table if pids is None else pids)
    world = {kind: {} for kind in ("process", "mount", "cgroup", "namespace", "link", "port", "folder")}

    def add(kind, key, text, holders):
        world[kind][key] = {"text": text, "holders": sorted(holders)}

    for pid, (parent, state, start, command) in table.items():
        zombie = state == "Z"
        if not (zombie and parent == 1):  # It ended; that its foreign parent does not look is not ours to mend.
            add("process", f"{pid}@{start}", f"{'zombie ' if zombie else ''}{pid} (of {parent}): {command[:160]}", [pid])
    for mount in _mounts():
        add("mount", f"{mount['id']} {mount['at']}", f"{mount['type']} on {mount['at']} from {mount['source']}", [])
        if mount["type"] == "nsfs":
            namespaces.setdefault(mount["root"], set())
    for path, inside in _cgroups().items():
        add("cgroup", path, f"{path} ({len(inside)} processes)", inside)
    for name, holders in namespaces.items():
        add("namespace", name, f"{name} held by {sorted(holders)[:5] or 'a mount'}", holders)
    for name in os.listdir("/sys/class/net"):
        add("link", name, name, [])
    for name, inode in _ports().items():
        add("port", name, name, sockets.get(inode, ()))
    for path in _entries(paths):
        add("folder", path, path, [])
    return world


def compare(before, after, lineage=None, ignore=()):
    """Lines about what is in `after` and was not in `before`, oldest kinds first."""
    ignored = set(ignore) | {os.getpid()}
    ours = None if lineage is None else descendants(lineage)
    found = []
    for kind, things in after.items():
        for key, thing in sorted(things.items()):
            if key in before.get(kind, {}):
                continue
            holders = set(thing["holders"])
            if holders and holders <= ignored:
                continue
            if ours is not None and holders and not holders & (ours - ignored):
                continue
            found.append(f"{kind}: {thing['text']}")
    return found


def reap():
    """Collects adopted orphans that have ended. Only for a caller without children of its own that it waits for."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def leaks(before, wait=0.0, lineage=None, ignore=(), paths=(), kinds=None):
    """Like compare(), but looks again until nothing is left or `wait` seconds are over."""
    end = time.monotonic() + wait
    while True:
        found = compare(before, snapshot(paths), lineage, ignore)
        found = [line for line in found if kinds is None or line.split(":")[0] in kinds]
        if not found or time.monotonic() >= end:
            return found
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("snapshot", "diff"))
    parser.add_argument("file")
    parser.add_argument("--wait", type=float, default=0, metavar="S", help="give things up to S seconds to go")
    parser.add_argument("--ignore", default="", metavar="PIDS", help="processes that may be there, separated by commas")
    parser.add_argument("--lineage", type=int, metavar="PID", help="only what belongs to descendants of PID, or to nobody")
    parser.add_argument("--paths", nargs="*", default=[], metavar="DIR", help="folders to look at in full")
    flags = parser.parse_args()
    if flags.verb == "snapshot":
        with open(flags.file, "w", encoding="utf-8") as file:
            json.dump(snapshot(flags.paths), file)
        return 0
    with open(flags.file, encoding="utf-8") as file:
        before = json.load(file)
    found = leaks(before, flags.wait, flags.lineage, [int(pid) for pid in flags.ignore.split(",") if pid], flags.paths)
    print("\n".join(found) if found else "nothing is left")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
