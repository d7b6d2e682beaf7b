// Everything that goes wrong for an environment in a cluster, provoked on a real one: what the engine says of it, and
// how soon.
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/kube_engine_fixture.h"

namespace mayfly::kubernetes {
namespace {

class KubeCausesTest : public KubeEngineTest {
 protected:
  // Somebody was here before us and has claimed the volume of another class than the cluster's default.
  void ExpectClaimed(const std::string& storage_class) {
    const json claim = {{"metadata", {{"name", "web.data"}}},
                        {"spec",
                         {{"accessModes", {"ReadWriteOnce"}},
                          {"storageClassName", storage_class},
                          {"resources", {{"requests", {{"storage", "1Mi"}}}}}}}};
    ASSERT_EQ(Wait([&](auto done) { client_->Create(Path("persistentvolumeclaims"), claim, done); }).status(),
              absl::OkStatus());
  }
  static ProcessSpec WithVolume() {
    ProcessSpec process = Workload({"sleep", "60"});
    process.volumes = {{"data", "/data", 0}};
    return process;
  }
};

TEST_F(KubeCausesTest, AnImageThatDoesNotExist) {
  ExpectStartFailed(OfImage("nobody/nothing:1"), CauseCode::kImageNotFound, "192.0.2.1:5000/nobody/nothing:1");
}

TEST_F(KubeCausesTest, AnImageBehindAPassword) {
  ExpectStartFailed(OfImage("192.0.2.1:5002/mayfly/workload:1"), CauseCode::kRegistryAccess,
                    "192.0.2.1:5002/mayfly/workload:1");
}

TEST_F(KubeCausesTest, ARegistryWhoseCertificateNobodyTrusts) {
  ExpectStartFailed(OfImage("192.0.2.1:5001/mayfly/workload:1"), CauseCode::kRegistryUnreachable,
                    "192.0.2.1:5001/mayfly/workload:1");
}

TEST_F(KubeCausesTest, ANameThatIsNoNameOfAnImage) {
  ExpectStartFailed(OfImage("UPPER:::x"), CauseCode::kImageName, "UPPER:::x");
}

TEST_F(KubeCausesTest, MemoryOverTheLimit) {
  ProcessSpec process = Workload({"eat", "512"});
  process.resources.memory_bytes = int64_t{64} << 20;
  Launch(process);
  Expect(AwaitKinds({Kind::kExited}), Kind::kExited, CauseCode::kOutOfMemory, "64.0 MiB");
}

TEST_F(KubeCausesTest, MemoryThatNoMachineHasIsWaitedFor) {
  ProcessSpec process = Workload({"sleep", "60"});
  process.resources.memory_bytes = int64_t{100} << 40;
  const NodeRef web = Prepare(process);
  const EngineEvent event = AwaitKinds({Kind::kProbe, Kind::kStartFailed, Kind::kExited, Kind::kPrepared});
  Expect(event, Kind::kProbe, CauseCode::kUnschedulable, "Insufficient memory");
  EXPECT_EQ(event.message, event.cause.message);
  // Only told, not failed: it is still there to be stopped.
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  const EngineEvent end = AwaitKinds({Kind::kStartFailed, Kind::kExited});
  EXPECT_EQ(end.kind, Kind::kExited);
  EXPECT_TRUE(end.stopped);
}

TEST_F(KubeCausesTest, AQuotaThatLeavesNoRoom) {
  const json quota = {{"metadata", {{"name", "none"}}}, {"spec", {{"hard", {{"pods", "0"}}}}}};
  ASSERT_EQ(Wait([&](auto done) { client_->Create(Path("resourcequotas"), quota, done); }).status(), absl::OkStatus());
  // It holds from when the cluster has counted what there is.
  AwaitObjects("resourcequotas", [](const auto& all) {
    const auto it = all.find("none");
    return it != all.end() && it->second.contains("status") && it->second["status"].contains("hard");
  });
  ExpectStartFailed(Workload({"sleep", "60"}), CauseCode::kQuotaExceeded, "exceeded quota: none");
}

TEST_F(KubeCausesTest, AServiceAccountThatIsGone) {
  Delete(Path("serviceaccounts/mayfly"));
  AwaitObjects("serviceaccounts", [](const auto& all) { return all.count("mayfly") == 0; });
  ExpectStartFailed(Workload({"sleep", "60"}), CauseCode::kAccountMissing, "serviceaccount \"mayfly\"");
}

TEST_F(KubeCausesTest, ASecretThatIsGoneBeforeItsContainerIsMade) {
  ProcessSpec process = Workload({"sleep", "60"});
  process.variables["PASSWORD"] = "x";
  process.secrets = {"PASSWORD"};
  std::promise<void> promise;
  bool told = false;
  kube::WatchOptions options;
  options.collection = Path("secrets");
  const kube::Watch thief(*client_, options,
                          {[&](const std::vector<json>&) {
                             if (!std::exchange(told, true)) promise.set_value();
                           },
                           [this](kube::WatchEvent event, const json& secret) {
                             const std::string name = secret.at("metadata").at("name").get<std::string>();
                             if (event == kube::WatchEvent::kAdded && absl::StartsWith(name, "web-")) {
                               client_->Delete(Path("secrets/" + name), {}, [](const auto&) {});
                             }
                           },
                           nullptr});
  ASSERT_EQ(promise.get_future().wait_for(kPatience), std::future_status::ready);
  // The kubelet may be quicker than the thief, seldom.
  for (int attempt = 1; attempt <= 5; ++attempt) {
    const NodeRef web = Prepare(process, attempt);
    const EngineEvent event = AwaitKinds({Kind::kStartFailed, Kind::kPrepared}, attempt);
    if (event.kind == Kind::kStartFailed) {
      return Expect(event, Kind::kStartFailed, CauseCode::kConfigMissing, absl::StrCat("secret \"web-", attempt, "\""));
    }
    ASSERT_EQ(engine_->Stop(web), absl::OkStatus());
    AwaitKinds({Kind::kExited}, attempt);
  }
  FAIL() << "its container had the secret five times";
}

TEST_F(KubeCausesTest, AGateThatIsGoneBeforeItsPodIsMade) {
  Delete(Path("configmaps/mayfly-gate"));
  AwaitObjects("configmaps", [](const auto& all) { return all.count("mayfly-gate") == 0; });
  ExpectStartFailed(Workload({"sleep", "60"}), CauseCode::kConfigMissing, "configmap \"mayfly-gate\" not found");
  EXPECT_LT(Clock::now() - began_, std::chrono::seconds(5));
}

TEST_F(KubeCausesTest, ANamespaceThatSomebodyElseDeletes) {
  Launch(Workload({"sleep", "60"}));
  Delete(NamespacePath(scope_));
  const EngineEvent event = AwaitKinds({Kind::kScopeLost});
  Expect(event, Kind::kScopeLost, event.cause.code, scope_);
  EXPECT_TRUE(event.cause.code == CauseCode::kScopeTerminating || event.cause.code == CauseCode::kScopeLost);
}

TEST_F(KubeCausesTest, APodThatSomebodyElseDeletes) {
  Launch(Workload({"sleep", "60"}));
  Delete(Path("pods/web-1"));
  const EngineEvent event = AwaitKinds({Kind::kExited, Kind::kStartFailed});
  Expect(event, Kind::kExited, CauseCode::kScopeLost, "web-1");
  EXPECT_FALSE(event.stopped);
}

// Some class that nobody has ever heard of, and one that has nobody who provides for it.
TEST_F(KubeCausesTest, AVolumeOfAClassThatDoesNotExist) {
  ExpectClaimed("nobody-has-heard-of-it");
  ExpectStartFailed(WithVolume(), CauseCode::kVolumePending,
                    "storageclass.storage.k8s.io \"nobody-has-heard-of-it\" not found");
}

TEST_F(KubeCausesTest, AVolumeThatNobodyProvides) {
  const std::string name = absl::StrCat("unprovided-", scope_);
  const json unprovided = {{"metadata", {{"name", name}}}, {"provisioner", "mayfly.test/nobody"}};
  constexpr char kClasses[] = "/apis/storage.k8s.io/v1/storageclasses";
  ASSERT_EQ(Wait([&](auto done) { client_->Create(kClasses, unprovided, done); }).status(), absl::OkStatus());
  ExpectClaimed(name);
  const NodeRef web = Prepare(WithVolume());
  const EngineEvent event = events_.Await([](const EngineEvent& e) {
    return e.kind == Kind::kStartFailed || e.kind == Kind::kPrepared ||
           (e.kind == Kind::kProbe && absl::StrContains(e.message, "mayfly.test/nobody"));
  });
  Expect(event, Kind::kProbe, CauseCode::kVolumePending, "mayfly.test/nobody");
  EXPECT_THAT(event.cause.evidence.at(0), HasSubstr("PersistentVolumeClaim web.data"));
  Delete(absl::StrCat(kClasses, "/", name));
  EXPECT_EQ(engine_->Stop(web), absl::OkStatus());
  EXPECT_TRUE(AwaitKinds({Kind::kExited}).stopped);
}

}  // namespace
}  // namespace mayfly::kubernetes
