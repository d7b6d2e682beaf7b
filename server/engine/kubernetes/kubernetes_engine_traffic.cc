// What the cluster tells of Ingresses, and requests to its ingress controller.
#include <netdb.h>
#include <netinet/in.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

namespace {

using nlohmann::json;

// Set in pods: the API server's address there.
constexpr char kApiInside[] = "KUBERNETES_SERVICE_HOST";

}  // namespace

std::unique_ptr<kube::Watch> KubernetesEngineImpl::WatchIngresses(const std::string& api) {
  if (options_.ingress.domain.empty()) return nullptr;
  kube::WatchOptions options;
  options.collection = absl::StrCat(api, "/ingresses");
  options.label_selector = Selector();
  return std::make_unique<kube::Watch>(
      *api_, options,
      kube::WatchCallbacks{
          [this](std::vector<json> all) { io_.Post([this, all = std::move(all)] { OnIngresses(all); }); },
          [this](kube::WatchEvent event, json ingress) {
            io_.Post([this, event, ingress = std::move(ingress)] { OnIngressEvent(event, ingress); });
          },
          [](const absl::Status& trouble) { LogWarning("Ingresses are not seen", {{"error", trouble}}); }});
}

// What is not in the list is gone; whoever deletes an Ingress of ours takes the route, not the environment.
void KubernetesEngineImpl::OnIngresses(const std::vector<json>& all) {
  for (const json& ingress : all) OnIngressEvent(kube::WatchEvent::kModified, ingress);
}

void KubernetesEngineImpl::OnIngressEvent(kube::WatchEvent event, const json& ingress) {
  const json meta = ingress.value("metadata", json::object());
  KubeScope* const scope = ScopeIn(meta.value("namespace", ""));
  if (scope == nullptr) return;
  // Labels can be copied; the annotation's value only we know.
  const json notes = meta.value("annotations", json::object());
  if (notes.value(kIdentity, "") != scope->identity()) return;
  scope->OnIngress(meta.value("name", ""), event == kube::WatchEvent::kDeleted ? nullptr : &ingress);
}

// Names that pods have given must not lead to the cluster's own doors with this server's address.
absl::Status KubernetesEngineImpl::StartDialer() {
  OutsideDialer::Options options;
  options.to_host = options_.egress_to_host;
  const std::vector<std::string> parts = absl::StrSplit(options_.endpoint.server, absl::MaxSplits("://", 1));
  const std::string authority = parts.back().substr(0, parts.back().find('/'));
  const char* const inside = getenv(kApiInside);
  for (const std::string& host : {authority.substr(0, authority.rfind(':')), std::string(inside ? inside : "")}) {
    if (host.empty()) continue;
    addrinfo hints{}, *found = nullptr;
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    // Behind a proxy the name may be known to that one only: then it leads nowhere from here, either.
    if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) continue;
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
      sockaddr_in address{};
      memcpy(&address, at->ai_addr, sizeof address);
      options.out_of_bounds.insert(address.sin_addr.s_addr);
    }
    freeaddrinfo(found);
  }
  io_.Run([&] { outside_ = std::make_unique<OutsideDialer>(io_, std::move(options)); });
  return absl::OkStatus();
}

void KubernetesEngineImpl::ConnectOut(const std::string& who, const EgressTarget& target, UniqueFd socket) {
  const auto held = std::make_shared<UniqueFd>(std::move(socket));
  outside_->Dial(target, [this, who, target, held](absl::StatusOr<UniqueFd> outside) {
    if (outside.ok()) return Join(held->release(), outside->release());
    LogInfo("a way out is closed",
            {{"node", who}, {"egress", absl::StrCat(target.host, ":", target.port)}, {"error", outside.status()}});
  });
}

void KubernetesEngineImpl::Ask(http::Request request, std::function<void(http::Outcome)> done) {
  asker_->Send(std::move(request), [this, done = std::move(done)](http::Outcome outcome) {
    io_.Post([done, outcome = std::move(outcome)] { done(outcome); });
  });
}

}  // namespace mayfly::kubernetes
