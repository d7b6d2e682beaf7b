// Volumes, sidecars and replicas of services, on a real cluster: what becomes of them there.
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/kube_engine_fixture.h"

namespace mayfly::kubernetes {
namespace {

class KubeWorkloadsTest : public KubeEngineTest {};

TEST_F(KubeWorkloadsTest, WhatIsWrittenToAVolumeIsThereAfterARestart) {
  ProcessSpec first = Workload({"write", "/data/kept", "here", "exit", "3"});
  first.volumes = {{"data", "/data", int64_t{5} << 20}};
  Launch(first);
  EXPECT_EQ(AwaitKinds({Kind::kExited}, 1).exit_code, 3);
  ProcessSpec second = first;
  second.argv = {"/work/mayfly-workload", "read", "/data/kept", "sleep", "60000"};
  second.probe.kind = Probe::Kind::kLog;
  second.probe.pattern = "read .*: ok";
  Launch(second, 2);
  EXPECT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}, 2).kind, Kind::kReady);
  const auto claim = Wait([&](auto done) { client_->Get(Path("persistentvolumeclaims/web.data"), done); });
  ASSERT_EQ(claim.status(), absl::OkStatus());
  EXPECT_EQ(claim->at("spec").at("resources").at("requests").at("storage"), "5242880");
  EXPECT_EQ(claim->at("status").at("phase"), "Bound");
}

}  // namespace
}  // namespace mayfly::kubernetes
