#!/usr/bin/python3
"""mayfly inside the cluster, as a CI job would run it: deploy/kubernetes/runner.yml with an image of this build."""
import json
import pathlib
import sys
import tempfile
import unittest

import cluster
import cluster_test
import images
import layout
import samples
from environments_test import BIN, ENVSPECS, MANAGED, gates, kubectl, namespaces, until

MANIFEST = ENVSPECS.parent / "deploy" / "kubernetes" / "runner.yml"
RUNNERS = "mayfly-runners"
IMAGE = f"{layout.REGISTRY}/mayfly/runner:1"


def push_runner():
    with tempfile.TemporaryDirectory() as work:
        made = images.Layout(pathlib.Path(work) / "layout")
        found = samples.files(["base-files", "coreutils", "dash", "libc-bin", "netbase"])
        found |= {f"usr/bin/{name}": BIN / name for name in ("mayfly", "mayflyd")}
        base = made.layer(samples.bootable(found))
        source = made.layer(samples.tree(ENVSPECS / "hello", "source/hello"))
        made.image(IMAGE, [base, source], {"User": "65532:65532", "Env": ["PATH=/usr/bin"]})
        made.close()
        done = cluster.inside([sys.executable, "-B", layout.HERE / "images.py", made.folder, layout.REGISTRY])
        assert done.returncode == 0


class Runner(unittest.TestCase):
    def setUp(self):
        documents = (MANIFEST.parent / "rbac-cluster.yml").read_text().split("\n---\n")
        kubectl("apply", "-f", "-", data=next(text for text in documents if "kind: ClusterRole\n" in text))
        push_runner()

    def tearDown(self):
        kubectl("delete", "namespace", RUNNERS, "--ignore-not-found", "--wait=true")
        kubectl("delete", "clusterrolebinding", RUNNERS, "--ignore-not-found")
        kubectl("delete", "clusterrole", "mayfly", "--ignore-not-found")
        until("no namespace of mayfly is left", lambda: not namespaces())
        self.assertEqual(gates(), [])

    def apply(self):
        text = MANIFEST.read_text().replace("registry.example.com/mayfly/runner:1", IMAGE)
        text = text.replace("registry.example.com", layout.REGISTRY)
        kubectl("apply", "-f", "-", data=text)

    def job(self):
        return json.loads(kubectl("-n", RUNNERS, "get", "job", "mayfly-run", "-o", "json")).get("status", {})

    def log(self):
        return kubectl("-n", RUNNERS, "logs", "job/mayfly-run")

    def test_a_job_brings_up_tests_and_takes_away_with_its_own_account(self):
        self.apply()
        until("the job ended", lambda: self.job().get("succeeded") or self.job().get("failed"), 120)
        said = self.log()
        self.assertIn("PASSED", said)
        self.assertIn("1 test job passed", said)
        self.assertEqual(self.job().get("succeeded"), 1, said)
        self.assertEqual(kubectl("get", "pods", "-A", "-l", MANAGED, "-o", "name"), "")

    def test_a_cancelled_job_takes_its_environment_along(self):
        self.apply()
        until("its environment is being made", namespaces)
        kubectl("-n", RUNNERS, "delete", "job", "mayfly-run", "--wait=true")
        until("its environment is gone", lambda: not namespaces() and not gates(), 40)


if __name__ == "__main__":
    cluster_test.main()
