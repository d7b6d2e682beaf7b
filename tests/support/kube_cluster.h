// The real API server of `./dev cluster`, for tests that run inside its network namespace with KUBECONFIG set.
#ifndef MAYFLY_TESTS_SUPPORT_KUBE_CLUSTER_H_
#define MAYFLY_TESTS_SUPPORT_KUBE_CLUSTER_H_

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/endpoint.h"

namespace mayfly {

// The cluster's API server with the rights of its administrator; absent when there is none to be reached, with the
// reason printed. Under MAYFLY_CLUSTER_REQUIRED=1 that ends the test program as failed.
std::optional<kube::Endpoint> TestCluster();

// The answer of one asynchronous call, waited for: Wait([&](auto done) { client.Get("/x", done); }).
absl::StatusOr<nlohmann::json> Wait(const std::function<void(kube::ApiClient::Done)>& call,
                                    absl::Duration limit = absl::Minutes(2));

// A namespace of a test's own, made when built and deleted with everything in it.
class TestNamespace {
 public:
  explicit TestNamespace(kube::ApiClient& client);
  ~TestNamespace();
  TestNamespace(const TestNamespace&) = delete;
  TestNamespace& operator=(const TestNamespace&) = delete;
  const std::string& name() const { return name_; }
  // "/api/v1/namespaces/NAME/resource"
  std::string Path(const std::string& resource) const { return "/api/v1/namespaces/" + name_ + "/" + resource; }

 private:
  kube::ApiClient& client_;
  const std::string name_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_KUBE_CLUSTER_H_
