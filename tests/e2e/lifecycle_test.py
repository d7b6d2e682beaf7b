#!/usr/bin/python3
"""What people and machines do to an environment from outside: interrupt, kill, repeat, reach into it."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import oracle  # noqa: E402
import plain  # noqa: E402
from world import BIN, World, reap_orphans, require  # noqa: E402

SLOW = "name: slow\nservices:\n  - {name: a, type: w, run: ./workload sleep %d tcp 8080}\n"
TYPES = "types: {w: {port: 8080, health: {tcp: true, within: 60s}, stop: {grace: 300ms}}}\n"
PAIR = TYPES + """name: pair
services:
  - {name: back, type: w, run: ./workload say back-speaks tcp 8080}
  - name: front
    type: w
    run: ./workload say front-speaks http 8080
    needs: [back]
    env: {BACK: "${back.address}"}
    ports: {http: 8080}
    expose: true
tests:
  passes: {run: "./workload connect back:8080 exit 0", needs: [front], within: 10s}
  fails: {run: ./workload say wrong exit 3, needs: [front], within: 10s}
"""


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("never came true")


class Lifecycle:
    ordinary = False

    @classmethod
    def setUpClass(cls):
        if cls.ordinary and os.geteuid() != 0:
            raise unittest.SkipTest("already an ordinary user: RootOrSelf covers it")

    def setUp(self):
        self.world = World(ordinary=self.ordinary)
        self.mayfly = self.world.mayfly

    def tearDown(self):
        self.assertEqual(self.world.close(), "", "left behind after the server stopped")

    def pair(self):
        return self.world.catalogue("pair", PAIR)

    def slow(self, ms):
        return self.world.catalogue("slow", TYPES + SLOW % ms)

    def up(self):
        root = self.pair()
        done = self.mayfly("up", "-f", root)
        self.assertEqual(done.code, 0, done)
        return root

    def state(self, name):
        done = self.mayfly("get", "--name", name, "-o", "json")
        return done.json.get("state", "") if done.code == 0 else ""

    # --- exit codes

    def test_failed_tests_are_5_and_passed_ones_0(self):
        root = self.pair()
        done = self.mayfly("run", "-f", root)
        self.assertEqual(done.code, 5, done)
        self.assertIn("FAILED", done.first)
        self.assertIn("fails", done.first)
        done = self.mayfly("run", "-f", root, "--test", "passes")
        self.assertEqual((done.code, "PASSED" in done.first), (0, True), done)

    def test_what_makes_no_sense_is_2(self):
        self.assertEqual(self.mayfly("run", "--no-such-flag").code, 2)
        self.assertEqual(self.mayfly("no-such-verb").code, 2)

    def test_an_unknown_environment_is_6(self):
        self.up()
        for verb in (["get"], ["logs"], ["report"], ["extend", "--ttl", "1h"], ["down"]):
            self.assertEqual(self.mayfly(*verb, "--name", "nobody").code, 6, verb)

    def test_an_unreachable_server_is_8(self):
        done = self.mayfly("list", "--server", f"unix:{self.world.folder}/nothing.sock")
        self.assertEqual(done.code, 8, done)

    def test_a_run_that_takes_too_long_is_124_and_cleans_up(self):
        done = self.mayfly("run", "-f", self.slow(60000), "--timeout", "1s")
        self.assertEqual(done.code, 124, done)
        self.assertEqual(self.world.left_beside_server(), "")

    # --- interrupts

    def interrupt(self, *signals):
        client = self.world.start(BIN / "mayfly", "run", "-f", self.slow(60000), "--name", "slow")
        wait_for(lambda: self.state("slow") == "CREATING")
        for number in signals:
            client.send_signal(number)
        out, err = client.communicate(timeout=30)
        return client.returncode, out + err

    def test_an_interrupted_run_off_a_terminal_cancels_and_cleans_up(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                code, text = self.interrupt(number)
                self.assertEqual(code, 130, text)
                self.assertEqual(self.world.left_beside_server(), "")
                (self.world.folder / "specs" / "slow").rename(self.world.folder / f"was-{number}")

    def test_a_client_killed_in_mid_watch_leaves_the_run_to_the_server(self):
        client = self.world.start(BIN / "mayfly", "run", "-f", self.slow(3000), "--name", "slow")
        wait_for(lambda: self.state("slow") == "CREATING")
        client.kill()
        client.communicate()
        wait_for(lambda: self.state("slow") in ("DELETED", ""))
        report = self.mayfly("report", "--name", "slow", "-o", "json")
        self.assertEqual((report.code, report.json["verdict"]), (0, "PASSED"), report)
        self.assertEqual(self.world.left_beside_server(), "")

    # --- the server

    def test_a_second_server_on_the_same_state_names_the_holder(self):
        self.up()
        second = self.world.run(BIN / "mayflyd", "--state-dir", self.world.state)
        self.assertEqual(second.code, 9, second)
        self.assertIn(str(self.world.server_pid()), second.err.splitlines()[0])
        self.assertEqual(self.mayfly("down", "--name", "pair").code, 0)

    @staticmethod
    def beside(pid):
        """The processes below this one that are neither `pid` nor below it."""
        reap_orphans()
        table = oracle.process_table()
        return oracle.descendants(os.getpid(), table) - {pid} - oracle.descendants(pid, table)

    def test_of_servers_started_at_once_one_serves_and_the_others_leave_nothing(self):
        for _ in range(5):
            servers = [self.world.start(BIN / "mayflyd", "--state-dir", self.world.state,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(6)]
            wait_for(lambda: sum(server.poll() is None for server in servers) == 1)
            wait_for(lambda: self.mayfly("server", "status").code == 0)
            self.assertEqual(sorted(server.returncode or 0 for server in servers), [0, 9, 9, 9, 9, 9])
            winner = next(server.pid for server in servers if server.poll() is None)
            self.assertEqual(self.world.server_pid(), winner)
            # Its launcher and idle processes are below it; what a loser left would be below this process.
            wait_for(lambda: self.beside(winner) == set())
            self.assertEqual(self.mayfly("server", "stop").code, 0)
            next(server for server in servers if server.pid == winner).wait(30)

    def test_an_environment_survives_its_server(self):
        self.up()
        os.kill(self.world.server_pid(), signal.SIGKILL)
        url = self.url()
        self.assertEqual(urllib.request.urlopen(url, timeout=5).status, 200)
        self.assertEqual(self.state("pair"), "ACTIVE")
        down = self.mayfly("down", "--name", "pair")
        self.assertEqual(down.code, 0, down)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_environments_whose_database_was_moved_aside_are_taken_down_by_name(self):
        self.up()
        pid = self.world.server_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"))
        database = self.world.state / "mayfly.db"
        database.write_bytes(os.urandom(8192))
        for suffix in ("-wal", "-shm"):
            pathlib.Path(f"{database}{suffix}").unlink(missing_ok=True)
        refused = self.mayfly("list")
        self.assertEqual(refused.code, 8, refused)
        self.assertIn("move it aside", refused.err)
        database.rename(self.world.folder / "old.db")
        self.assertEqual(self.mayfly("list").code, 0)
        self.assertEqual(self.world.left_beside_server(), "")
        log = (self.world.state / "server.log").read_text()
        self.assertEqual(sum("environment 'pair'" in line and "is taken down" in line for line in log.splitlines()), 1, log)
        again = self.mayfly("up", "-f", self.world.folder / "specs" / "pair")
        self.assertEqual(again.code, 0, again)
        self.assertEqual(self.mayfly("down", "--name", "pair").code, 0)

    def test_a_state_folder_that_is_deleted_takes_its_environments_along(self):
        for adopted in (False, True):
            with self.subTest(adopted=adopted):
                self.mayfly("up", "-f", self.pair() if not adopted else self.world.folder / "specs" / "pair")
                if adopted:
                    os.kill(self.world.server_pid(), signal.SIGKILL)
                self.assertEqual(self.state("pair"), "ACTIVE")
                self.assertEqual(self.world.run("rm", "-rf", self.world.state).code, 0)
                self.assertEqual(self.world.left(), [])
                self.assertIn("no environments", str(self.mayfly("list")))

    def test_a_service_does_not_see_where_its_server_keeps_things(self):
        self.up()
        inside = self.mayfly("exec", "--name", "pair", "front", "--", "cat", "/proc/1/cmdline")
        self.assertEqual(inside.out, "mayfly-launcher\0", inside)
        self.assertEqual(self.mayfly("down", "--name", "pair").code, 0)

    def launcher(self):
        """The server's only child."""
        server = self.world.server_pid()
        return next((pid for pid, (parent, *_) in oracle.process_table().items() if parent == server), None)

    def test_a_killed_launcher_is_started_again_and_environments_go_on(self):
        self.up()
        before = self.launcher()
        os.kill(before, signal.SIGKILL)
        self.assertEqual(urllib.request.urlopen(self.url(), timeout=5).status, 200)
        inside = self.mayfly("exec", "--name", "pair", "front", "--", "./workload", "say", "inside", "exit", "0")
        self.assertEqual((inside.code, inside.out), (0, "inside\n"), inside)
        again = self.mayfly("up", "-f", self.slow(0), "--name", "second")
        self.assertEqual(again.code, 0, again)
        self.assertNotIn(self.launcher(), (before, None))
        for name in ("pair", "second"):
            down = self.mayfly("down", "--name", name)
            self.assertEqual(down.code, 0, down)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_what_a_killed_launcher_was_asked_for_is_done_by_the_next(self):
        self.up()
        client = self.world.start(BIN / "mayfly", "up", "-f", self.slow(0), "--name", "second")
        wait_for(lambda: self.state("second"))
        os.kill(self.launcher(), signal.SIGKILL)
        down = self.mayfly("down", "--name", "pair")
        self.assertEqual(down.code, 0, down)
        out, err = client.communicate(timeout=60)
        self.assertEqual(client.returncode, 0, out + err)
        self.assertEqual(self.mayfly("down", "--name", "second").code, 0)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_a_host_without_user_namespaces_is_10(self):
        # The limit of a nested user namespace holds for what is made below it.
        script = f"echo 0 >/proc/sys/user/max_user_namespaces && exec {BIN}/mayfly run -f {self.pair()}"
        done = self.world.run("unshare", "--user", "--map-root-user", "sh", "-c", script)
        self.assertEqual(done.code, 10, done)
        self.assertIn("user namespace", (done.err + done.out).splitlines()[0].lower())

    # --- life

    def url(self):
        return wait_for(lambda: next((endpoint["url"] for node in self.mayfly("get", "--name", "pair", "-o", "json").json["nodes"]
                                      for endpoint in node.get("endpoints", [])), None))

    def test_an_environment_is_reached_looked_at_and_taken_down(self):
        root = self.up()
        self.assertEqual(urllib.request.urlopen(self.url(), timeout=5).status, 200)
        self.assertIn("pair", self.mayfly("list", "-o", "name").out)
        self.assertIn("front-speaks", self.mayfly("logs", "--name", "pair", "front").out)
        self.assertIn("READY", self.mayfly("events", "--name", "pair").out)
        inside = self.mayfly("exec", "--name", "pair", "front", "--", "sh", "-c", "echo inside; id -u; exit 7")
        self.assertEqual((inside.code, inside.out.split()[0]), (7, "inside"), inside)
        self.assertNotEqual(inside.out.split()[1], "0", inside)
        self.assertEqual(self.mayfly("extend", "--name", "pair", "--ttl", "2h").code, 0)
        tested = self.mayfly("test", "-f", root, "passes")
        self.assertEqual(tested.code, 0, tested)
        down = self.mayfly("down", "-f", root)
        self.assertEqual(down.code, 0, down)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_a_port_is_forwarded(self):
        self.up()
        client = self.world.start(BIN / "mayfly", "port-forward", "--name", "pair", "back", "0:8080")
        line = client.stdout.readline() or client.stderr.readline()
        self.assertIn("127.0.0.1:", line)
        port = int(line.split("127.0.0.1:")[1].split()[0].rstrip("."))
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"echo?")
            self.assertEqual(connection.recv(5), b"echo?")
        client.terminate()
        client.communicate(timeout=10)
        self.assertEqual(self.mayfly("down", "--name", "pair").code, 0)

    def test_up_again_applies_only_what_changed(self):
        root = self.up()
        before = self.pids()
        text = (root / "envspec.yml").read_text()
        (root / "envspec.yml").write_text(text.replace("say front-speaks", "say front-changed"))
        done = self.mayfly("up", "-f", root)
        self.assertEqual(done.code, 0, done)
        after = self.pids()
        self.assertEqual(before["back"], after["back"])
        self.assertNotEqual(before["front"], after["front"])
        self.assertIn("front-changed", self.mayfly("logs", "--name", "pair", "front").out)
        self.assertEqual(self.mayfly("down", "-f", root).code, 0)

    def pids(self):
        """service -> attempts so far, which tell whether it was started again."""
        return {node["name"]: node.get("attempt", 0) for node in self.mayfly("get", "--name", "pair", "-o", "json").json["nodes"]}

    def test_a_failed_run_is_kept_when_asked_for(self):
        done = self.mayfly("run", "-f", self.pair(), "--name", "kept", "--keep-on-failure")
        self.assertEqual(done.code, 5, done)
        self.assertNotIn(self.state("kept"), ("", "DELETED"))
        self.assertEqual(self.mayfly("down", "--name", "kept").code, 0)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_doctor_says_what_the_host_can_do(self):
        done = self.mayfly("doctor", "-o", "json")
        self.assertEqual(done.code, 0, done)
        self.assertTrue(json.loads(done.out))


class LifecycleAsRootOrSelf(Lifecycle, unittest.TestCase):
    pass


class LifecycleAsOrdinaryUser(Lifecycle, unittest.TestCase):
    ordinary = True


if __name__ == "__main__":
    require("mayfly", "mayflyd", "mayfly-workload")
    plain.main()
