// How what an environment exposes is reached: through a proxy on the server's loopback, or the cluster's ingress.
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/gate_pump.h"
#include "server/engine/kubernetes/kube_scope.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

using nlohmann::json;

absl::Status KubeScope::Expose(const NodeRef& ref, int port, int host_port) {
  const KubeNode* const node = FindNode(ref.node);
  if (host_->ingress().domain.empty() || node == nullptr || !SpeaksHttp(node->process(), port)) {
    return ExposeOnHost(ref, port, host_port);
  }
  ExposeByIngress(ref, port, node->process());
  return absl::OkStatus();
}

absl::Status KubeScope::ExposeOnHost(const NodeRef& ref, int port, int host_port) {
  const std::string key = absl::StrCat(ref.node, ":", port);
  if (addresses_.count(key) == 0) {
    MAYFLY_ASSIGN_OR_RETURN(const int fd, ListenOnHost(absl::StrCat(entry_.spec.environment, "/", key), host_port));
    const std::string address = absl::StrCat("127.0.0.1:", PortOf(fd));
    const ConnectFn connect = [this, node = ref.node, port](std::function<void(absl::StatusOr<int>)> done) {
      KubeNode* const exposed = FindNode(node);
      PodNode* const target = exposed == nullptr ? nullptr : exposed->Target();
      if (target == nullptr || target->link() == nullptr) return done(absl::UnavailableError("it does not run"));
      DialThroughGate(reactor(), *target->link(), port, [done](absl::StatusOr<UniqueFd> joined) {
        joined.ok() ? done(joined->release()) : done(joined.status());
      });
    };
    MAYFLY_ASSIGN_OR_RETURN(auto proxy, TcpProxy::Create(reactor(), fd, connect));
    proxies_[key] = std::move(proxy);
    addresses_[key] = address;
  }
  TellExposed(ref, port, {addresses_[key], "", ""});
  return absl::OkStatus();
}

void KubeScope::ExposeByIngress(const NodeRef& ref, int port, const ProcessSpec& process) {
  const std::string label = IngressLabel(process, ref.node, port, entry_.spec.environment);
  dropped_.erase(label);
  Route& route = routes_[label];
  route.ref = ref;
  route.port = port;
  if (route.route != nullptr) return route.route->Repeat();
  IngressRoute::Wiring wiring;
  wiring.create = [this](Creation creation, IngressRoute::Wiring::Answer answer) {
    Create(std::move(creation), std::move(answer));
  };
  wiring.ask = [this](http::Request request, std::function<void(http::Outcome)> done) {
    host_->Ask(std::move(request), std::move(done));
  };
  wiring.tell = [this, label](const IngressRoute::Told& told) {
    const Route& known = routes_[label];
    TellExposed(known.ref, known.port, told);
  };
  route.route = std::make_unique<IngressRoute>(reactor(), host_->ingress(), label, std::move(wiring));
  if (const auto seen = ingresses_.find(label); seen != ingresses_.end()) route.route->OnObject(seen->second);
  route.route->Make(IngressObjects(place_, ref.node, port, label, host_->ingress()));
  const KubeNode* const node = FindNode(ref.node);
  if (node != nullptr && node->Describe().ready) route.route->SetReady(true);
}

void KubeScope::TellExposed(const NodeRef& ref, int port, const IngressRoute::Told& told) {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kExposed;
  event.node = ref;
  event.when = reactor().Now();
  event.port = port;
  event.address = told.address;
  event.message = told.address.empty() ? told.message : told.url;
  host_->Emit(event);
}

void KubeScope::SetRoutesReady(const NodeRef& ref, bool ready) {
  for (const auto& [label, route] : routes_) {
    if (route.ref.node == ref.node) route.route->SetReady(ready);
  }
}

void KubeScope::OnIngress(const std::string& name, const json* ingress) {
  const auto route = routes_.find(name);
  if (ingress == nullptr) {
    ingresses_.erase(name);
    return;
  }
  // It was on its way when it was dropped.
  if (dropped_.erase(name) > 0 && !ended()) return RemoveIngress(name, *ingress);
  ingresses_[name] = *ingress;
  if (ended()) return RemoveRoutes();
  if (route != routes_.end()) route->second.route->OnObject(*ingress);
}

void KubeScope::ConnectOut(const std::string& node, const EgressTarget& target, UniqueFd socket) {
  host_->ConnectOut(absl::StrCat(entry_.spec.environment, "/", node), target, std::move(socket));
}

std::vector<GateLink*> KubeScope::Gates() {
  std::vector<GateLink*> links;
  for (const auto& [name, node] : nodes_) {
    node->AddGates(&links);
  }
  return links;
}

// What this node exposed before and does not any more, as `process` has it.
void KubeScope::DropRoutes(const std::string& node, const ProcessSpec& process) {
  std::set<std::string> labels, keys;
  for (const Port& port : process.ports) {
    if (!port.expose) continue;
    labels.insert(IngressLabel(process, node, port.number, entry_.spec.environment));
    keys.insert(absl::StrCat(node, ":", port.number));
  }
  for (auto it = routes_.begin(); it != routes_.end();) {
    const bool drop = it->second.ref.node == node && labels.count(it->first) == 0;
    if (drop && ingresses_.count(it->first) == 0) dropped_.insert(it->first);
    it = drop ? routes_.erase(it) : std::next(it);
  }
  for (auto it = ingresses_.begin(); it != ingresses_.end();) {
    const bool drop = IngressBackend(it->second) == node && labels.count(it->first) == 0;
    if (drop) RemoveIngress(it->first, it->second);
    it = drop ? ingresses_.erase(it) : std::next(it);
  }
  for (auto it = addresses_.begin(); it != addresses_.end();) {
    const bool drop = absl::StartsWith(it->first, node + ":") && keys.count(it->first) == 0;
    if (drop) proxies_.erase(it->first);
    it = drop ? addresses_.erase(it) : std::next(it);
  }
}

// Before the namespace ends: the next environment of the same name has the same hosts.
void KubeScope::RemoveRoutes() {
  routes_.clear();
  for (const auto& [name, ingress] : std::exchange(ingresses_, {})) RemoveIngress(name, ingress);
}

void KubeScope::RemoveIngress(const std::string& name, const json& ingress) {
  kube::DeleteOptions options;
  options.uid = ingress.value("metadata", json::object()).value("uid", "");
  if (options.uid.empty()) return;
  host_->api().Delete(
      absl::StrCat(IngressesPath(place_.space()), "/", name), options,
      host_->Here([](const absl::StatusOr<json>& answer) {
        // The namespace's end takes it along.
        if (!answer.ok() && !absl::IsCancelled(answer.status()) && !absl::IsFailedPrecondition(answer.status())) {
          LogWarning(answer.status().message());
        }
      }));
}

}  // namespace mayfly::kubernetes
