#include "tests/support/kube_cluster.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace mayfly {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The value behind "key: " in a kubeconfig of ./dev cluster, which has one cluster and one user and names files only.
std::string ValueOf(const std::string& config, const std::string& key) {
  const size_t at = config.find(" " + key + ":") + 1;
  if (at == 0) {
    const size_t brace = config.find("{" + key + ":");
    if (brace == std::string::npos) return "";
    return ValueOf(" " + config.substr(brace + 1), key);
  }
  const size_t start = config.find_first_not_of(" \"", at + key.size() + 1);
  return config.substr(start, config.find_first_of("\",}\n", start) - start);
}

std::optional<kube::Endpoint> None(const std::string& why) {
  const char* required = std::getenv("MAYFLY_CLUSTER_REQUIRED");
  std::cout << "no cluster to test on: " << why << "\n";
  if (required != nullptr && std::string(required) == "1") std::exit(1);
  return std::nullopt;
}

}  // namespace

std::optional<kube::Endpoint> TestCluster() {
  // Never somebody's own cluster, which KUBECONFIG may well name.
  if (std::getenv("MAYFLY_CLUSTER_REQUIRED") == nullptr) return None("it is not run by tests/cluster/inside.py");
  const char* path = std::getenv("KUBECONFIG");
  if (path == nullptr) return None("KUBECONFIG is not set; see ./dev cluster");
  const std::string config = Contents(path);
  kube::Endpoint endpoint;
  endpoint.server = ValueOf(config, "server");
  http::Tls tls;
  tls.ca = Contents(ValueOf(config, "certificate-authority"));
  tls.certificate = Contents(ValueOf(config, "client-certificate"));
  tls.key = Contents(ValueOf(config, "client-key"));
  endpoint.tls = std::make_shared<const http::Tls>(tls);
  // Of another identity than the kubeconfig's.
  if (const char* token = std::getenv("MAYFLY_TEST_KUBE_TOKEN"); token != nullptr) {
    tls.certificate = tls.key = "";
    endpoint.tls = std::make_shared<const http::Tls>(tls);
    endpoint.authorizer =
        std::make_shared<kube::FixedAuthorizer>(http::Headers{{"authorization", absl::StrCat("Bearer ", token)}});
  }
  kube::ApiClient client(endpoint, {.deadline = absl::Seconds(5)});
  const auto version = Wait([&](auto done) { client.Get("/version", done); });
  if (!version.ok()) return None(std::string(version.status().message()));
  return endpoint;
}

absl::StatusOr<nlohmann::json> Wait(const std::function<void(kube::ApiClient::Done)>& call, absl::Duration limit) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<nlohmann::json>>>();
  auto future = promise->get_future();
  call([promise](absl::StatusOr<nlohmann::json> value) { promise->set_value(std::move(value)); });
  if (future.wait_for(absl::ToChronoMilliseconds(limit)) != std::future_status::ready) {
    return absl::DeadlineExceededError("the test waited for nothing");
  }
  return future.get();
}

TestNamespace::TestNamespace(kube::ApiClient& client)
    : client_(client), name_(absl::StrFormat("kube-client-%08x", std::random_device()())) {
  const auto made =
      Wait([&](auto done) { client_.Create("/api/v1/namespaces", {{"metadata", {{"name", name_}}}}, done); });
  if (!made.ok()) {
    std::cerr << made.status() << "\n";
    std::abort();
  }
}

TestNamespace::~TestNamespace() {
  const auto gone = Wait([&](auto done) { client_.Delete("/api/v1/namespaces/" + name_, {}, done); });
  if (!gone.ok()) std::cerr << gone.status() << "\n";
}

}  // namespace mayfly
