// Volumes, sidecars and replicas of services, on a real cluster: what becomes of them there.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/kube_engine_fixture.h"

namespace mayfly::kubernetes {
namespace {

class KubeWorkloadsTest : public KubeEngineTest {
 protected:
  static ProcessSpec WithSidecar(std::vector<std::string> service, std::vector<std::string> steps) {
    ProcessSpec process = Workload(std::move(service));
    steps.insert(steps.begin(), "/work/mayfly-workload");
    process.sidecars = {{"proxy", kWorkload, std::move(steps), {}}};
    return process;
  }

  static ProcessSpec ThreeTimes(std::vector<std::string> steps) {
    ProcessSpec process = Workload(std::move(steps));
    process.replicas = 3;
    process.ports = {{"http", 8080}};
    process.probe.kind = Probe::Kind::kTcp;
    process.probe.port = 8080;
    return process;
  }

  // As the API server has them now.
  std::set<std::string> PodsOf(const std::string& node) {
    const auto list = Wait([&](auto done) { client_->List(Path("pods"), absl::StrCat(kNode, "=", node), "", done); });
    EXPECT_EQ(list.status(), absl::OkStatus());
    before_.clear();
    for (const json& pod : list.ok() ? list->at("items") : json::array()) {
      before_.insert(pod.at("metadata").at("name").get<std::string>());
    }
    return before_;
  }

  // Whatever was written for it so far.
  std::string LogOf(const std::string& node) const {
    std::string all;
    for (const auto& entry : std::filesystem::directory_iterator(logs_.path())) {
      if (!absl::StartsWith(entry.path().filename().string(), node)) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
  }

  std::set<std::string> before_;
};

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

TEST_F(KubeWorkloadsTest, ASidecarRunsFromTheServicesStartToItsEnd) {
  ProcessSpec process = WithSidecar({"sleep", "60000"}, {"say", "beside", "tcp", "9090"});
  // From the service's container: they share a network, and nobody waits for anybody.
  process.probe.kind = Probe::Kind::kCommand;
  process.probe.command = {"/work/mayfly-workload", "connect", "127.0.0.1:9090", "exit", "0"};
  const NodeRef web = Launch(process);
  ASSERT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}).kind, Kind::kReady);
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  EXPECT_TRUE(AwaitKinds({Kind::kExited}).stopped);
  AwaitObjects("pods", [](const auto& pods) {
    const auto pod = pods.find("web-1");
    if (pod == pods.end() || !pod->second["status"].contains("containerStatuses")) return pod == pods.end();
    const json& all = pod->second["status"]["containerStatuses"];
    EXPECT_EQ(all.size(), 2u);
    return std::all_of(all.begin(), all.end(), [](const json& one) { return one["state"].contains("terminated"); });
  });
  EXPECT_THAT(LogOf("web"), HasSubstr("[proxy] beside"));
}

TEST_F(KubeWorkloadsTest, ASidecarThatCrashesIsToldByItsName) {
  ProcessSpec process = WithSidecar({"sleep", "60000"}, {"say", "last words", "exit", "3"});
  process.probe.kind = Probe::Kind::kLog;
  process.probe.pattern = "last words";  // Of the service, not of a sidecar.
  const NodeRef web = Launch(process);
  const EngineEvent told = AwaitKinds({Kind::kProbe, Kind::kReady, Kind::kExited});
  EXPECT_EQ(told.kind, Kind::kProbe);
  EXPECT_EQ(told.message, "sidecar proxy exited with code 3");
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  AwaitKinds({Kind::kExited});
  EXPECT_THAT(LogOf("web"), HasSubstr("[mayfly] sidecar proxy exited with code 3"));
}

TEST_F(KubeWorkloadsTest, ASidecarsImageThatIsNotThereIsTheSidecars) {
  ProcessSpec process = WithSidecar({"sleep", "60000"}, {"sleep", "60000"});
  process.sidecars[0].image = "nobody/nothing:1";
  Prepare(process);
  Expect(AwaitKinds({Kind::kStartFailed, Kind::kExited}), Kind::kStartFailed, CauseCode::kImageNotFound,
         "sidecar proxy: image 192.0.2.1:5000/nobody/nothing:1");
}

TEST_F(KubeWorkloadsTest, ReplicasAreReadyTogetherUnderOneNameAndStopTogether) {
  const NodeRef web = Launch(ThreeTimes({"say", "up", "tcp", "8080"}));
  ASSERT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}).kind, Kind::kReady);
  EXPECT_EQ(PodsOf("web").size(), 3u);
  const auto slice = Wait([&](auto done) {
    client_->Get(absl::StrCat("/apis/discovery.k8s.io/v1/namespaces/", scope_, "/endpointslices/web"), done);
  });
  ASSERT_EQ(slice.status(), absl::OkStatus());
  EXPECT_EQ(slice->at("endpoints").size(), 3u) << slice->at("endpoints");
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  EXPECT_TRUE(AwaitKinds({Kind::kExited}).stopped);
  AwaitObjects("pods", [](const auto& pods) { return pods.empty(); });
  for (const std::string& pod : before_) {
    EXPECT_THAT(LogOf("web"), HasSubstr(absl::StrCat("[", pod.substr(pod.rfind('-') + 1), "] up")));
  }
}

TEST_F(KubeWorkloadsTest, AReplicaThatEndsByItselfEndsTheServiceInItsName) {
  Launch(ThreeTimes({"tcp", "8080", "sleep", "1500", "exit", "3"}));
  const EngineEvent end = AwaitKinds({Kind::kExited});
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_EQ(end.cause.code, CauseCode::kExited);
  EXPECT_THAT(end.cause.message, testing::MatchesRegex("replica [a-z0-9]+: exited with code 3.*"));
  AwaitObjects("pods", [](const auto& pods) { return pods.empty(); });
}

TEST_F(KubeWorkloadsTest, AReplicaThatIsTakenAwayIsReplacedAndTheServiceStays) {
  const NodeRef web = Launch(ThreeTimes({"tcp", "8080"}));
  ASSERT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}).kind, Kind::kReady);
  const std::string victim = *PodsOf("web").begin();
  Delete(Path("pods/" + victim));
  const EngineEvent told = AwaitKinds({Kind::kProbe, Kind::kExited});
  EXPECT_EQ(told.kind, Kind::kProbe);
  EXPECT_THAT(told.message, HasSubstr("is replaced: somebody deleted its pod " + victim));
  AwaitObjects("pods", [&](const auto& pods) {
    return pods.count(victim) == 0 && pods.size() == 3 && std::all_of(pods.begin(), pods.end(), [](const auto& pod) {
             return pod.second["status"].value("phase", "") == "Running";
           });
  });
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  const EngineEvent end = AwaitKinds({Kind::kExited});
  EXPECT_TRUE(end.stopped) << FormatCause(end.cause);
}

TEST_F(KubeWorkloadsTest, ReplicasHaveVolumesOfTheirOwnThatOutliveThem) {
  ProcessSpec first = Workload({"write", "/data/kept", "here", "sleep", "60000"});
  first.replicas = 2;
  first.volumes = {{"data", "/data", int64_t{1} << 20}};
  const NodeRef web = Launch(first);
  EXPECT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}).kind, Kind::kReady);
  EXPECT_EQ(PodsOf("web"), (std::set<std::string>{"web-0", "web-1"}));
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  EXPECT_TRUE(AwaitKinds({Kind::kExited}, 1).stopped);
  ProcessSpec second = first;
  second.argv = {"/work/mayfly-workload", "read", "/data/kept", "sleep", "60000"};
  second.probe.kind = Probe::Kind::kLog;
  second.probe.pattern = "read .*: ok";
  Launch(second, 2);
  EXPECT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}, 2).kind, Kind::kReady);
}

TEST_F(KubeWorkloadsTest, AServerThatComesBackFindsItsReplicas) {
  Launch(ThreeTimes({"tcp", "8080"}));
  ASSERT_EQ(AwaitKinds({Kind::kReady, Kind::kExited}).kind, Kind::kReady);
  const std::set<std::string> pods = PodsOf("web");
  Restart();
  const auto found = engine_->Recover();
  ASSERT_EQ(found.status(), absl::OkStatus());
  ASSERT_EQ(found->size(), 1u);
  ASSERT_EQ((*found)[0].nodes.size(), 1u);
  EXPECT_TRUE((*found)[0].nodes[0].ready);
  EXPECT_EQ(PodsOf("web"), pods);
  EXPECT_EQ(engine_->Stop({scope_, "web", 1}), absl::OkStatus());
  EXPECT_TRUE(AwaitKinds({Kind::kExited}).stopped);
  AwaitObjects("pods", [](const auto& left) { return left.empty(); });
}

}  // namespace
}  // namespace mayfly::kubernetes
