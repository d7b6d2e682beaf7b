// The Kubernetes client through a proxy that fails at random, in front of an API server in memory; the same on a real
// one is tests/integration/kube_faults_test.cc.
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/support/fake_api_server.h"
#include "tests/support/fault_scenario.h"
#include "tests/support/seed.h"

namespace mayfly {
namespace {

TEST(KubeFaultsTest, TheWorldIsAsWantedAfterFaultsOfEveryKind) {
  int seeds = 12;
  const char* given = std::getenv("MAYFLY_SEEDS");
  ASSERT_TRUE(given == nullptr || absl::SimpleAtoi(given, &seeds));
  FakeApiServer server;
  CheckFaultSeeds(server.endpoint(), "/api/v1/namespaces/n/configmaps", "", TestSeed(), seeds);
}

}  // namespace
}  // namespace mayfly
