#!/usr/bin/python3
"""The samples run with the real programs, as root and as an ordinary user, and nothing is left."""
import os
import pathlib
import sys
import unittest
import xml.etree.ElementTree as xml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import plain  # noqa: E402
from world import REPOSITORY, World, require  # noqa: E402

SAMPLES = REPOSITORY / "envspecs"


class Samples:
    ordinary = False

    @classmethod
    def setUpClass(cls):
        if cls.ordinary and os.geteuid() != 0:
            raise unittest.SkipTest("already an ordinary user: RootOrSelf covers it")
        cls.world = World(ordinary=cls.ordinary)
        cls.samples = cls.world.copy_of(SAMPLES)

    @classmethod
    def tearDownClass(cls):
        left = cls.world.close()
        assert not left, "left behind after the server stopped:\n" + left

    def run_json(self, sample, *words):
        done = self.world.mayfly("run", "-f", self.samples / sample, "-o", "json", *words, limit=120)
        self.assertEqual(done.code, 0, done)
        report = done.json
        self.assertEqual(report["verdict"], "PASSED", done)
        self.assertEqual(self.world.left_beside_server(), "")
        return report

    def test_hello(self):
        done = self.world.mayfly("run", "-f", self.samples / "hello")
        self.assertEqual(done.code, 0, done)
        self.assertIn("PASSED", done.first)
        self.assertEqual(self.world.left_beside_server(), "")

    def test_shop(self):
        reports = self.world.home / "reports"
        report = self.run_json("shop", "--report-dir", reports, "--junit", self.world.home / "junit.xml")
        self.assertEqual(len(report["services"]), 22)  # 21 services and the migration.
        self.assertEqual({test["job"] if "job" in test else test["name"] for test in report["tests"]},
                         {"order-e2e", "api-contract", "queue"})
        self.assertTrue(report["critical_chain"])
        self.assertGreater(report["teardown"]["processes"], 20)
        suites = xml.parse(self.world.home / "junit.xml").getroot()
        names = {case.get("name") for case in suites.iter("testcase")}
        self.assertIn("test_an_order_is_paid_booked_and_shipped", names)

    def test_w21(self):
        self.assertEqual(len(self.run_json("w21/w21-0")["services"]), 21)

    def test_one_that_never_listens_is_named_and_what_needs_it_is_skipped(self):
        done = self.world.mayfly("run", "-f", self.samples / "w21/w21-fail", "-o", "json")
        self.assertEqual(done.code, 4, done)
        report = done.json
        self.assertEqual((report["verdict"], report["cause"]["node"], report["cause"]["code"]),
                         ("ERROR", "t1-1", "NEVER_LISTENED"))
        skipped = [service for service in report["services"] if service["state"] == "SKIPPED"]
        self.assertTrue(skipped)
        for service in skipped:
            self.assertEqual(service["cause"]["node"], "t1-1", service)
        self.assertEqual(self.world.left_beside_server(), "")


class SamplesAsRootOrSelf(Samples, unittest.TestCase):
    pass


class SamplesAsOrdinaryUser(Samples, unittest.TestCase):
    ordinary = True


if __name__ == "__main__":
    require("mayfly", "mayflyd")
    plain.main()
