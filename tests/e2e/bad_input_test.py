#!/usr/bin/python3
"""Bad input, tried: each case ends with the right exit code, a first line that names the cause, and nothing left.

All cases of one user share a server and run at the same time, because that is also how they would come.
"""
import concurrent.futures
import os
import pathlib
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import plain  # noqa: E402
from world import BIN, World, require  # noqa: E402

SERVICE = "name: %s\nservices:\n  - name: broken\n    type: w\n%s"
TYPES = "types: {w: {port: 8080, health: {tcp: true, within: 20s}, stop: {grace: 300ms}}}\n"
TEST = "tests: {probe: {run: ./workload say tested exit 0, needs: [broken], within: 20s}}\n"


def case(run, code, first, extra="", files=(), test=False, not_in_output=(), words=()):
    return {"run": run, "code": code, "first": first, "extra": extra, "files": files, "test": test,
            "not_in_output": not_in_output, "words": words}


# name -> what the service does, exit code, what the first line says (all of it, in this order)
CASES = {
    "no-such-command": case("./nowhere", 4, ["ERROR", "broken", "COMMAND_NOT_FOUND"]),
    "no-such-command-in-path": case("nowhere-at-all", 4, ["ERROR", "broken", "COMMAND_NOT_FOUND"]),
    "not-a-program": case("./garbage", 4, ["ERROR", "broken", "NOT_EXECUTABLE"], files={"garbage": (b"\x7fELFnot\0\1\2", 0o755)}),
    "not-executable": case("./data", 4, ["ERROR", "broken", "NOT_EXECUTABLE"], files={"data": ("text", 0o644)}),
    "exits-0": case("./workload exit 0", 4, ["ERROR", "broken", "EXITED", "0"]),
    "exits-1": case("./workload sleep 50 exit 1", 4, ["ERROR", "broken", "EXITED", "1"]),
    "crashes": case("./workload crash", 4, ["ERROR", "broken", "SIGNALED", "SEGV"]),
    "never-listens": case("./workload", 4, ["ERROR", "broken", "NEVER_LISTENED", "8080"], "health: {tcp: true, within: 500ms}"),
    "wrong-port": case("./workload tcp 9999", 4, ["ERROR", "broken", "WRONG_PORT", "9999"], "health: {tcp: true, within: 500ms}"),
    "sick": case("./workload status 500 http 8080", 4, ["ERROR", "broken", "PROBE_FAILING", "500"],
                 "health: {http: /healthz, within: 500ms}"),
    "eats-memory": case("./workload eat 256 tcp 8080", 4, ["ERROR", "broken", "OUT_OF_MEMORY"], "resources: {memory: 64Mi}"),
    "fills-disk": case("./workload fill 64 tcp 8080", 4, ["ERROR", "broken", "DISK_FULL"], "resources: {disk: 16Mi}"),
    "hides": case("./workload hide tcp 8080", 0, ["PASSED"], test=True),
    "forks-many": case("./workload forkbomb 400 tcp 8080", 0, ["PASSED"], test=True),
    "ignores-term": case("./workload ignore-term tcp 8080", 0, ["PASSED"], test=True),
    "prints-1-gb": case("./workload print 1024 tcp 8080", 0, ["PASSED"], "health: {tcp: true, within: 2m}", test=True),
    "terminal-escapes": case("./workload escapes exit 3", 4, ["ERROR", "broken", "EXITED", "3"],
                             not_in_output=["\x1b", "\x9b", "\a", "\r", "\b"]),
    "name-with-escapes": case("./workload", 3, [], "env: {\"A\\e[31m\": x}", not_in_output=["\x1b"]),
    "unknown-key": case("./workload tcp 8080", 3, [], "helth: {tcp: true}"),
    "image-only": case(None, 3, [], "image: shop/checkout"),
}


def envspec(name, this):
    lines = f"    run: {this['run']}\n" if this["run"] else ""
    lines += f"    {this['extra']}\n" if this["extra"] else ""
    return TYPES + (TEST if this["test"] else "") + SERVICE % (name, lines)


class BadInput:
    ordinary = False

    @classmethod
    def setUpClass(cls):
        if cls.ordinary and os.geteuid() != 0:
            raise unittest.SkipTest("already an ordinary user: RootOrSelf covers it")
        cls.world = World(ordinary=cls.ordinary)
        cls.taken = socket.create_server(("127.0.0.1", 0))
        port = cls.taken.getsockname()[1]
        cases = {**CASES, "port-taken": case("./workload tcp 8080", 4, ["ERROR", "broken", "PORT_TAKEN", str(port)],
                                             f"ports: {{web: {{number: 8080, host_port: {port}}}}}")}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            cls.done = dict(zip(cases, pool.map(lambda item: cls.try_case(*item), cases.items())))
        cls.cases = cases

    @classmethod
    def try_case(cls, name, this):
        root = cls.world.catalogue(name, envspec(name, this), this["files"])
        return cls.world.mayfly("run", "-f", root, "--name", name, *this["words"])

    @classmethod
    def tearDownClass(cls):
        cls.taken.close()
        left = cls.world.close()
        assert not left, "left behind after the server stopped:\n" + left

    def test_each_case(self):
        for name, this in self.cases.items():
            with self.subTest(name):
                done = self.done[name]
                self.assertEqual(done.code, this["code"], done)
                rest = done.first
                for word in this["first"]:
                    self.assertIn(word, rest, f"first line: {done.first!r}\n{done}")
                    rest = rest[rest.index(word) + len(word):]
                for text in this["not_in_output"]:
                    self.assertNotIn(text, done.out + done.err)

    def test_nothing_is_left_of_any_environment(self):
        self.assertEqual(self.world.left_beside_server(), "")
        listed = self.world.mayfly("list", "-o", "name")
        self.assertEqual((listed.code, listed.out.strip()), (0, ""), listed)

    def test_the_logs_of_a_talkative_service_are_bounded_and_readable(self):
        size = sum(path.stat().st_size for path in self.world.state.rglob("*") if path.is_file())
        self.assertLess(size, 256 << 20)
        tail = self.world.mayfly("logs", "--name", "prints-1-gb", "--tail", "3", "broken")
        self.assertEqual(tail.code, 0, tail)
        self.assertIn("talkative", tail.out)

    def test_logs_with_escapes_do_not_reach_a_terminal(self):
        words = f"{BIN}/mayfly logs --name terminal-escapes broken --color never"
        done = self.world.run("script", "-qec", words, "/dev/null")
        self.assertEqual(done.code, 0, done)
        self.assertIn("red", done.out)
        for text in ("\x1b", "\a", "\b"):
            self.assertNotIn(text, done.out)

    def test_an_empty_folder(self):
        empty = self.world.folder / "specs" / "empty"
        empty.mkdir(exist_ok=True)
        done = self.world.mayfly("run", "-f", empty)
        self.assertIn(done.code, (3, 6), done)
        self.assertIn(str(empty), done.err.splitlines()[0])

    def test_a_missing_folder(self):
        done = self.world.mayfly("run", "-f", "/no/such/folder")
        self.assertIn(done.code, (3, 6), done)
        self.assertIn("/no/such/folder", done.err.splitlines()[0])


class BadInputAsRootOrSelf(BadInput, unittest.TestCase):
    pass


class BadInputAsOrdinaryUser(BadInput, unittest.TestCase):
    ordinary = True


if __name__ == "__main__":
    require("mayfly", "mayflyd", "mayfly-workload")
    plain.main()
