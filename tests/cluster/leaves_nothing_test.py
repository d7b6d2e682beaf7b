#!/usr/bin/python3
"""A cluster that is taken down leaves nothing, whatever was killed before; and one beside it is not touched."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

os.environ["MAYFLY_CLUSTER"] = f"gone-{os.getpid()}"  # Before anything reads it.
import cluster  # noqa: E402
import cluster_test  # noqa: E402
import layout  # noqa: E402
import supervise  # noqa: E402


def processes():
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]


def read(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def of_the_cluster():
    """Whoever is in its control groups or names its folder."""
    return [pid for pid in processes() if pid != os.getpid() and
            (f"/{layout.GROUP}/" in read(pid, "cgroup") or str(layout.ROOT) in read(pid, "cmdline"))]


def namespaces(pids):
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid", "ipc", "uts"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                pass
    return found


def mounts():
    return [line for line in read("self", "mounts").splitlines() if str(layout.ROOT) in line]


def groups():
    return [str(path) for path in pathlib.Path("/sys/fs/cgroup").glob(f"*/{layout.GROUP}")] + [
        str(path) for path in pathlib.Path("/sys/fs/cgroup").glob(layout.GROUP)]


def verb(*words):
    done = subprocess.run([sys.executable, "-B", layout.HERE / "cluster.py", *words], capture_output=True, text=True,
                          timeout=120, check=False)
    if done.returncode != 0:
        raise AssertionError(f"cluster {words}: {done.stdout}{done.stderr}")


def run_a_pod(name):
    pod = cluster_test.pod(name, cluster_test.image("mayfly/workload"), ["./mayfly-workload", "ignore-term", "http", "8080"])
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod), capture_output=True)
    done = cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", f"pod/{name}", capture_output=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)


class LeavesNothing(unittest.TestCase):
    def setUp(self):
        self.addCleanup(cluster.down)
        verb("up")
        run_a_pod("stubborn")
        self.assertGreater(len(of_the_cluster()), 10)
        self.own = namespaces(of_the_cluster()) - namespaces([os.getpid()])
        self.assertGreater(len(self.own), 5)

    def expect_nothing(self):
        end = time.monotonic() + 10  # Who is just ending is still listed.
        while of_the_cluster() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual([(pid, read(pid, "cmdline"), read(pid, "cgroup")) for pid in of_the_cluster()], [])
        self.assertEqual(self.own & namespaces(processes()), set())
        self.assertEqual(mounts(), [])
        self.assertEqual(groups(), [])
        self.assertFalse(layout.ROOT.exists())

    def test_after_containerd_was_killed_and_came_back(self):
        command = f"containerd\0--config\0{layout.CONFIG}"
        containerd = next(pid for pid in processes() if read(pid, "cmdline").startswith(command))
        os.kill(containerd, signal.SIGKILL)
        run_a_pod("after")
        verb("down")
        self.expect_nothing()

    def test_after_the_first_process_was_killed(self):
        os.kill(supervise.first_process(), signal.SIGKILL)
        end = time.monotonic() + 10
        while of_the_cluster() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(of_the_cluster(), [], "the kernel ends everything with the first process")
        verb("down")
        self.expect_nothing()


if __name__ == "__main__":
    cluster_test.skip_where_none_can_run()
    unittest.main(verbosity=2)
