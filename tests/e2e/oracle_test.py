#!/usr/bin/python3
"""The witness itself: every kind of thing that can be left behind is left behind here, and must be named."""
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import oracle  # noqa: E402
import plain  # noqa: E402

ROOT = os.geteuid() == 0
HELD = "cat"  # Waits until its standard input is closed.


@contextlib.contextmanager
def running(*argv):
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class Oracle(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mayfly-oracle-test-")
        self.addCleanup(os.rmdir, self.folder)
        self.before = oracle.snapshot()

    def check(self, kind, text, **how):
        found = oracle.compare(self.before, oracle.snapshot(), lineage=os.getpid(), **how)
        self.assertTrue(any(line.startswith(f"{kind}:") and text in line for line in found), found)

    def test_nothing_new_is_nothing_left(self):
        self.assertEqual(oracle.leaks(self.before, wait=20, lineage=os.getpid()), [])

    def test_a_process(self):
        with running(HELD) as process:
            self.check("process", str(process.pid))

    def test_a_process_that_forked_twice_to_hide(self):
        oracle.adopt_orphans()
        with running("sh", "-c", "setsid sh -c 'cat <&3 >/dev/null & echo $!' 3<&0") as shell:
            hidden = int(shell.stdout.readline())
            self.check("process", str(hidden))
        os.waitpid(hidden, 0)

    def test_a_zombie_of_a_living_parent(self):
        # The inner shell never waits: it becomes a program that does not know of its child.
        with running("sh", "-c", "true & exec cat"):
            self.wait_for(lambda: any("zombie" in line for line in
                                      oracle.compare(self.before, oracle.snapshot(), lineage=os.getpid())))

    def wait_for(self, condition):
        for _ in range(10000):
            if condition():
                return
        self.fail("never came true")

    def test_a_listening_port(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            world = oracle.snapshot()
            name = f"tcp 127.0.0.1:{listener.getsockname()[1]}"
            self.assertIn(name, world["port"])
            self.assertEqual(world["port"][name]["holders"], [os.getpid()])

    def test_an_abstract_socket(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0mayfly-oracle-{os.getpid()}")
            listener.listen()
            self.assertTrue(any(name.startswith(f"unix @mayfly-oracle-{os.getpid()} ") for name in oracle.snapshot()["port"]))

    def test_a_file_in_a_folder(self):
        path = os.path.join(self.folder, "left")
        with open(path, "w", encoding="utf-8"):
            self.addCleanup(os.remove, path)
        self.assertIn(path, oracle.snapshot([self.folder])["folder"])

    def test_a_folder_where_things_are_usually_left(self):
        path = tempfile.mkdtemp(prefix="mayfly-left-", dir="/tmp")
        self.addCleanup(os.rmdir, path)
        self.check("folder", path)

    @unittest.skipUnless(ROOT, "making kernel namespaces needs root")
    def test_a_network_namespace_with_a_process(self):
        with running("unshare", "--net", "sh", "-c", "readlink /proc/self/ns/net; exec cat") as process:
            self.check("namespace", process.stdout.readline().decode().strip())

    @unittest.skipUnless(ROOT, "mounting needs root")
    def test_a_network_namespace_that_only_a_mount_holds(self):
        path = os.path.join(self.folder, "net")
        pathlib.Path(path).touch()
        self.addCleanup(os.remove, path)
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        self.addCleanup(subprocess.run, ["umount", path], check=True)
        self.check("namespace", "held by a mount")

    @unittest.skipUnless(ROOT, "mounting needs root")
    def test_a_mount(self):
        subprocess.run(["mount", "-t", "tmpfs", "oracle", self.folder], check=True)
        self.addCleanup(subprocess.run, ["umount", self.folder], check=True)
        self.check("mount", self.folder)

    @unittest.skipUnless(ROOT, "making control groups needs root")
    def test_a_control_group(self):
        mounts = [mount["at"] for mount in oracle._mounts() if mount["type"].startswith("cgroup")]
        if not mounts:
            self.skipTest("no control groups on this host")
        path = os.path.join(mounts[0], f"mayfly-oracle-{os.getpid()}")
        os.mkdir(path)
        self.addCleanup(os.rmdir, path)
        self.check("cgroup", path)

    @unittest.skipUnless(ROOT, "making links needs root")
    def test_a_network_link(self):
        # In a network namespace of its own, where it troubles nobody.
        script = ("import sys; sys.path.insert(0, sys.argv[1]); import oracle, subprocess as s; before = oracle.snapshot(); "
                  "s.run(['ip', 'link', 'add', 'left0', 'type', 'veth', 'peer', 'name', 'left1'], check=True); "
                  "print(oracle.compare(before, oracle.snapshot()))")
        done = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", 'mount -t sysfs s /sys && exec "$@"', "sh",
                               sys.executable, "-c", script, oracle.__file__.rsplit("/", 1)[0]],
                              capture_output=True, text=True, check=True)
        self.assertIn("link: left0", done.stdout)

    def test_what_others_hold_is_not_ours(self):
        with running(HELD) as foreign, running(HELD) as ours:
            found = "\n".join(oracle.compare(self.before, oracle.snapshot(), lineage=ours.pid))
        self.assertNotIn(f" {foreign.pid} ", found)

    def test_the_command_line_says_what_is_left_and_fails(self):
        file = os.path.join(self.folder, "before")
        tool = [sys.executable, oracle.__file__]
        subprocess.run([*tool, "snapshot", file], check=True)
        self.addCleanup(os.remove, file)
        with running(HELD) as process:
            done = subprocess.run([*tool, "diff", file, "--lineage", str(os.getpid())], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"process: {process.pid}", done.stdout)
            spared = subprocess.run([*tool, "diff", file, "--lineage", str(process.pid), "--ignore", str(process.pid)],
                                    capture_output=True, text=True)
            self.assertNotIn(f"process: {process.pid}", spared.stdout)


if __name__ == "__main__":
    plain.main()
