// The Kubernetes client against a real API server.
#include <atomic>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class KubeClientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { endpoint_ = new std::optional<Endpoint>(TestCluster()); }
  static void TearDownTestSuite() { delete endpoint_; }

  void SetUp() override {
    if (!endpoint_->has_value()) GTEST_SKIP() << "no cluster";
    client_ = std::make_unique<ApiClient>(**endpoint_, ApiClientOptions{.identity_annotation = "test/identity"});
    namespace_ = std::make_unique<TestNamespace>(*client_);
  }

  static json ConfigMap(const std::string& name, const std::string& value, const std::string& identity = "a") {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata", {{"name", name}, {"annotations", {{"test/identity", identity}}}}},
            {"data", {{"key", value}}}};
  }
  absl::StatusOr<json> Create(const json& object) {
    return Wait([&](auto done) { client_->Create(namespace_->Path("configmaps"), object, done); });
  }
  absl::StatusOr<json> Get(const std::string& name) {
    return Wait([&](auto done) { client_->Get(namespace_->Path("configmaps/" + name), done); });
  }

  static std::optional<Endpoint>* endpoint_;
  std::unique_ptr<ApiClient> client_;
  std::unique_ptr<TestNamespace> namespace_;
};

std::optional<Endpoint>* KubeClientTest::endpoint_ = nullptr;

TEST_F(KubeClientTest, ApplyCreatesAndThenChangesUnderOurFieldManager) {
  const std::string path = namespace_->Path("configmaps/a");
  const auto made = Wait([&](auto done) { client_->Apply(path, ConfigMap("a", "1"), done); });
  ASSERT_OK(made);
  const auto changed = Wait([&](auto done) { client_->Apply(path, ConfigMap("a", "2"), done); });
  ASSERT_OK(changed);
  EXPECT_EQ("2", TextAt(*changed, {"data", "key"}));
  EXPECT_EQ(TextAt(*made, {"metadata", "uid"}), TextAt(*changed, {"metadata", "uid"}));
  EXPECT_EQ("mayfly", (*changed)["metadata"]["managedFields"][0]["manager"]);
}

TEST_F(KubeClientTest, FieldsThatTheServerDoesNotKnowAreRefused) {
  json object = ConfigMap("a", "1");
  object["spce"] = {{"x", 1}};
  const auto made = Create(object);
  EXPECT_THAT(made, StatusIs(absl::StatusCode::kInvalidArgument,
                             AllOf(StartsWith("create configmaps/a in ns/" + namespace_->name() + ": "),
                                   HasSubstr("unknown field \"spce\""))));
  EXPECT_EQ("BadRequest", FailureOf(made.status()).reason);
  EXPECT_THAT(Get("a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("configmaps \"a\" not found")));
}

}  // namespace
}  // namespace mayfly::kube
