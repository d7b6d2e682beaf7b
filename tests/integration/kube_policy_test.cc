// What mayfly makes of random valid specs, before a cluster that enforces the Pod Security Standard "restricted".
#include <unistd.h>

#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/objects.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/random_process.h"
#include "tests/support/seed.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr int kSpecs = 500;

PodOptions Options() {
  return {"192.0.2.1:7000", "token", "192.0.2.1:5000"};
}

class KubePolicyTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::optional<kube::Endpoint> endpoint = TestCluster();
    if (!endpoint.has_value()) GTEST_SKIP() << "no cluster";
    client_ = std::make_unique<kube::ApiClient>(*endpoint);
    kube::ApiClientOptions options;
    options.dry_run = true;
    dry_ = std::make_unique<kube::ApiClient>(*endpoint, options);
    ScopeSpec spec;
    spec.id = place_.scope;
    std::vector<Creation> all = ScopeObjects(place_, "gate", "192.0.2.1:7000");
    all.insert(all.begin(), {"/api/v1/namespaces", NamespaceObject(place_, spec)});
    ASSERT_EQ(AdmitAll(place_, all), absl::OkStatus());
    for (const Creation& creation : all) {
      ASSERT_EQ(Wait([&](auto done) { client_->Create(creation.collection, creation.object, done); }).status(),
                absl::OkStatus());
    }
  }

  void TearDown() override {
    if (client_ == nullptr) return;
    EXPECT_EQ(Wait([&](auto done) { client_->Delete(NamespacePath(place_.scope), {}, done); }).status(),
              absl::OkStatus());
  }

  // The server's answer to writing it, which is then not done.
  std::future<absl::Status> Try(const Creation& creation, bool apply = false) {
    const auto promise = std::make_shared<std::promise<absl::Status>>();
    const auto done = [promise](const absl::StatusOr<json>& answer) { promise->set_value(answer.status()); };
    apply ? dry_->Apply(creation.collection, creation.object, done)
          : dry_->Create(creation.collection, creation.object, done);
    return promise->get_future();
  }

  // The one before is still being deleted.
  static inline int spaces_ = 0;
  const Place place_{absl::StrCat("mf-policy-", getpid(), "-", ++spaces_), "policy-test",
                     absl::StrCat("identity-", getpid())};
  std::unique_ptr<kube::ApiClient> client_, dry_;
};

TEST_F(KubePolicyTest, EveryPodOfAValidSpecIsTakenUnderTheRestrictedStandard) {
  std::mt19937 random(TestSeed());
  int objects = 0;
  for (int i = 1; i <= kSpecs; ++i) {
    const ProcessSpec process = RandomProcess(random);
    std::vector<Creation> all = PodObjects(place_, {place_.scope, "web", i}, process, Options());
    for (Creation& name : NameObjects(place_, "web", process)) all.push_back(std::move(name));
    ASSERT_EQ(AdmitAll(place_, all), absl::OkStatus()) << "process " << i;
    std::vector<std::future<absl::Status>> answers;
    for (const Creation& creation : all) answers.push_back(Try(creation));
    answers.push_back(Try(EndpointsObject(place_, "web", process, "10.244.0.7"), /*apply=*/true));
    for (std::future<absl::Status>& answer : answers) {
      ASSERT_EQ(answer.get(), absl::OkStatus()) << "process " << i << "\n" << all.back().object.dump(1);
      ++objects;
    }
  }
  std::cout << objects << " objects of " << kSpecs << " specs taken\n";
  const auto pods = Wait([&](auto done) { dry_->List(PodsPath(place_.scope), "", "", done); });
  ASSERT_EQ(pods.status(), absl::OkStatus());
  EXPECT_TRUE(pods->at("items").empty()) << "a dry run has left something";
}

TEST_F(KubePolicyTest, TheClusterDoesEnforceIt) {
  ProcessSpec process;
  process.image = "mayfly/workload:1";
  process.argv = {"./mayfly-workload"};
  Creation pod = PodObjects(place_, {place_.scope, "web", 1}, process, Options()).back();
  pod.object["spec"]["hostNetwork"] = true;
  const absl::Status by_cluster = Try(pod).get();
  EXPECT_EQ(by_cluster.code(), absl::StatusCode::kPermissionDenied) << by_cluster;
  EXPECT_THAT(std::string(by_cluster.message()), HasSubstr("violates PodSecurity"));
  EXPECT_EQ(Admit(place_, pod).code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace mayfly::kubernetes
