// The Kubernetes client through a proxy that fails at random, in front of a real API server.
// kube_faults_test [--seeds N] [--seed FIRST]
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "tests/support/fault_scenario.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/seed.h"

namespace mayfly {
namespace {

int seeds = 50;
uint64_t first_seed = 0;

TEST(KubeFaultsTest, TheWorldIsAsWantedAfterFaultsOfEveryKind) {
  const std::optional<kube::Endpoint> endpoint = TestCluster();
  if (!endpoint.has_value()) GTEST_SKIP() << "no cluster";
  kube::ApiClient client(*endpoint);
  const TestNamespace space(client);
  // Both profiles of rights: one watch for all, and one in each kube namespace.
  CheckFaultSeeds(*endpoint, space.Path("configmaps"), "/api/v1/configmaps", first_seed != 0 ? first_seed : TestSeed(),
                  seeds);
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (!(flag == "--seeds" ? absl::SimpleAtoi(argv[i + 1], &mayfly::seeds)
                            : flag == "--seed" && absl::SimpleAtoi(argv[i + 1], &mayfly::first_seed))) {
      std::cerr << "usage: kube_faults_test [--seeds N] [--seed FIRST]\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
