#!/usr/bin/env python3
"""The level check finds what it is there for."""
import unittest

from levels import check


def errors(path, include):
    return list(check(path, f"#include {include}\n"))


class LevelsTest(unittest.TestCase):
    def test_lower_level_is_fine(self):
        self.assertEqual([], errors("server/run/orchestrator.cc", '"mayfly/plan/plan.h"'))
        self.assertEqual([], errors("server/api/service.cc", '"server/run/provisioner.h"'))

    def test_higher_level_fails(self):
        self.assertTrue(errors("server/store/sqlite_store.cc", '"server/run/provisioner.h"'))
        self.assertTrue(errors("include/mayfly/base/text.h", '"mayfly/spec/process.h"'))

    def test_siblings_fail(self):
        self.assertTrue(errors("include/mayfly/plan/plan.h", '"mayfly/engine/engine.h"'))
        self.assertTrue(errors("server/engine/local/init.cc", '"server/engine/kubernetes/client.h"'))

    def test_http_serves_engines_and_knows_none(self):
        self.assertEqual([], errors("server/engine/kubernetes/client/api_client.h", '"server/http/client.h"'))
        self.assertTrue(errors("server/http/client.cc", '"server/engine/kubernetes/client/endpoint.h"'))

    def test_product_never_includes_tests(self):
        self.assertTrue(errors("server/run/orchestrator.cc", '"tests/support/fake_engine.h"'))

    def test_confined_libraries(self):
        self.assertTrue(errors("server/run/orchestrator.cc", "<grpcpp/grpcpp.h>"))
        self.assertTrue(errors("server/plan/planner.cc", "<yaml-cpp/yaml.h>"))
        self.assertEqual([], errors("server/spec/yaml_reader.cc", "<yaml-cpp/yaml.h>"))
        self.assertTrue(errors("server/engine/kubernetes/client/api_client.cc", "<curl/curl.h>"))
        self.assertTrue(errors("server/run/orchestrator.cc", "<nlohmann/json.hpp>"))
        self.assertEqual([], errors("server/engine/kubernetes/client/api_client.cc", "<nlohmann/json.hpp>"))

    def test_unknown_folder_fails(self):
        self.assertTrue(errors("server/misc/x.cc", "<vector>"))


if __name__ == "__main__":
    unittest.main()
