#!/usr/bin/python3
"""Environments in a cluster that are changed while they stand, and what their services say while the server dies."""
import collections
import json
import pathlib
import random
import time
import unittest

import cluster_test
from environments_test import MANAGED, WithServer, kubectl, until

IMAGE = "mayfly/workload:1"
TALKS = 3000


def service(name, run="tcp 8080", needs="", env="1"):
    return (f"  - {{name: {name}, type: worker, port: 8080, health: {{tcp: true, within: 30s}}, image: '{IMAGE}', "
            f"run: ./mayfly-workload {run}, needs: [{needs}], env: {{VALUE: '{env}'}}, stop: {{grace: 200ms}}}}")


class Changes(WithServer):
    def up(self, *services, good=True):
        source = pathlib.Path(self.folder.name) / "source"
        source.mkdir(exist_ok=True)
        (source / "envspec.yml").write_text("name: changing\nservices:\n" + "\n".join(services) + "\n")
        return self.server.run("up", "-f", source, good=good, progress=True)

    def pods(self):
        """Node -> UID of its pod, of those that have not ended; that they run is told late."""
        found = json.loads(kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "json"))["items"]
        live = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")
                and pod["status"]["phase"] in ("Pending", "Running")]
        self.assertEqual(len({pod["metadata"]["namespace"] for pod in live}), 1)
        return {pod["metadata"]["labels"]["mayfly.dev/node"]: pod["metadata"]["uid"] for pod in live}

    def states(self):
        told = json.loads(self.server.run("get", "changing", "-o", "json"))
        return {node["name"]: (node["state"], node.get("attempt", 1)) for node in told["nodes"]}

    def test_only_what_changed_is_started_again(self):
        self.up(service("a"), service("b", needs="a"), service("c"))
        before = self.pods()
        said = self.up(service("a"), service("b", needs="a", env="2"), service("c"))
        after = self.pods()
        self.assertEqual([name for name in "abc" if before[name] != after[name]], ["b"])
        self.assertIn("changing is up", said)
        self.assertNotRegex(said, r"(?m)^ .* [ac] +(STARTING|STOPPED|READY)")
        self.assertRegex(said, r"(?m)^ .* b +STOPPED")
        self.up(service("a"), service("b", needs="a", env="2"), service("c"), service("d", needs="c"))
        more = self.pods()
        self.assertEqual({name: more[name] for name in "abc"}, after)
        self.assertIn("d", more)
        self.up(service("a"), service("c"), service("d", needs="c"))
        until("b's pod is gone", lambda: "b" not in self.pods())
        self.assertEqual(self.pods(), {name: more[name] for name in "acd"})
        self.assertEqual(sorted(self.states()), ["a", "c", "d"])

    def test_a_change_that_fails_keeps_what_ran(self):
        self.up(service("a"), service("b", needs="a"), service("c"))
        before = self.pods()
        said = self.up(service("a"), service("b", needs="a", run="exit 3"), service("c"), good=False)
        self.assertIn("exited with code 3", said)
        self.assertLessEqual({(name, before[name]) for name in "ac"}, set(self.pods().items()))
        self.up(service("a"), service("b", needs="a"), service("c"))
        self.assertLessEqual({(name, before[name]) for name in "ac"}, set(self.pods().items()))

    def test_the_verdict_names_the_service_that_failed_not_those_that_need_it(self):
        said = self.up(service("a", run="exit 3"), service("b", needs="a"), service("c", needs="b"), good=False)
        told = json.loads(self.server.run("get", "changing", "-o", "json"))
        self.assertEqual(told["cause"]["node"], "a", said)
        self.assertIn("exited with code 3", told["cause"]["message"])
        self.assertEqual({name: state for name, (state, _) in self.states().items()},
                         {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"})

    def test_what_a_service_says_while_the_server_dies_is_there_once(self):
        seed = random.randrange(10**6)
        print(f"seed {seed}")
        chance = random.Random(seed)
        self.up(service("a", run=f"tcp 8080 tick {TALKS} 2"))
        for _ in range(3):
            time.sleep(chance.uniform(0.1, 1.5))
            self.server.kill()
            self.server.start()

        def said():
            return self.server.run("logs", "--name", "changing", "a")
        until("it has said all", lambda: f"tick {TALKS}\n" in said(), 120)
        heard = collections.Counter(line.split("tick ", 1)[1] for line in said().splitlines() if "tick " in line)
        wrong = {line: count for line, count in heard.items() if count != 1}
        missing = [i for i in range(1, TALKS + 1) if str(i) not in heard]
        self.assertEqual((wrong, missing), ({}, []))


if __name__ == "__main__":
    cluster_test.main()
