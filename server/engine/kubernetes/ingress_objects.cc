#include "server/engine/kubernetes/ingress_objects.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr size_t kLongestLabel = 63, kLongestName = 253;
constexpr size_t kHashLength = 10;

bool LooksHashed(absl::string_view label) {
  const std::vector<absl::string_view> parts = absl::StrSplit(label, '-');
  const absl::string_view last = parts.back();
  return last.size() == kHashLength && last.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

json Policy(const Place& place, absl::string_view node, int port, absl::string_view label, const std::string& from) {
  json object = Object(place, "networking.k8s.io/v1", "NetworkPolicy", label);
  const json space = {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", from}}}}}};
  object["spec"] = {{"podSelector", OwnPods(place, {{kNode, std::string(node)}})},
                    {"policyTypes", {"Ingress"}},
                    {"ingress", json::array({{{"from", json::array({space})},
                                              {"ports", json::array({{{"protocol", "TCP"}, {"port", port}}})}}})}};
  return object;
}

}  // namespace

absl::Status CheckIngress(const IngressOptions& options) {
  if (options.domain.empty()) {
    const bool alone = !options.ingress_class.empty() || !options.controller_space.empty() || options.tls;
    return alone ? absl::InvalidArgumentError(
                       "--ingress-class, --ingress-namespace and --ingress-tls say how the hosts "
                       "of --ingress-domain are reached; give that, too")
                 : absl::OkStatus();
  }
  // A label and a dot come before it.
  absl::Status fits = options.domain.size() + kLongestLabel + 1 > kLongestName
                          ? absl::InvalidArgumentError("at most 189 characters")
                          : absl::OkStatus();
  for (const absl::string_view label : absl::StrSplit(options.domain, '.')) {
    if (fits.ok()) fits = CheckName(label, kLongestLabel);
  }
  MAYFLY_RETURN_IF_ERROR(Annotate(fits, "--ingress-domain"));
  if (!options.controller_space.empty()) {
    MAYFLY_RETURN_IF_ERROR(Annotate(CheckName(options.controller_space, kLongestLabel), "--ingress-namespace"));
  }
  if (options.ingress_class.empty()) return absl::OkStatus();
  for (const absl::string_view label : absl::StrSplit(options.ingress_class, '.')) {
    MAYFLY_RETURN_IF_ERROR(Annotate(CheckName(label, kLongestName), "--ingress-class"));
  }
  return absl::OkStatus();
}

bool SpeaksHttp(const ProcessSpec& process, int port) {
  if (process.probe.kind == Probe::Kind::kHttp && process.probe.port == port) return true;
  return std::any_of(process.ports.begin(), process.ports.end(),
                     [port](const Port& p) { return p.number == port && p.name == "http"; });
}

std::string IngressLabel(const ProcessSpec& process, absl::string_view node, int port, absl::string_view environment) {
  const auto first = std::find_if(process.ports.begin(), process.ports.end(),
                                  [&process](const Port& p) { return p.expose && SpeaksHttp(process, p.number); });
  const bool main = first == process.ports.end() || first->number == port;
  const std::string plain = absl::StrCat(node, "-", environment);
  // "a-b" in "c" and "a" in "b-c" would be the same; so only services without a dash go without a hash, and nothing
  // that goes without looks as if it had one.
  const bool dashed = node.find('-') != absl::string_view::npos;
  if (main && !dashed && plain.size() <= kLongestLabel && !LooksHashed(plain)) return plain;
  const std::string hash = Sha256Hex(absl::StrCat(node, "/", environment, "/", port)).substr(0, kHashLength);
  const std::string readable = main ? plain : absl::StrCat(node, "-", port, "-", environment);
  std::string prefix = readable.substr(0, kLongestLabel - kHashLength - 1);
  while (!prefix.empty() && prefix.back() == '-') prefix.pop_back();
  return absl::StrCat(prefix, "-", hash);
}

std::vector<Creation> IngressObjects(const Place& place, absl::string_view node, int port, absl::string_view label,
                                     const IngressOptions& options) {
  std::vector<Creation> out;
  if (!options.controller_space.empty()) {
    out.push_back({Collection(place, "networkpolicies", kNetworkingApi),
                   Policy(place, node, port, label, options.controller_space)});
  }
  const std::string host = absl::StrCat(label, ".", options.domain);
  const json backend = {{"service", {{"name", std::string(node)}, {"port", {{"number", port}}}}}};
  json object = Object(place, "networking.k8s.io/v1", "Ingress", label);
  json& spec = object["spec"];
  spec["rules"] = json::array(
      {{{"host", host},
        {"http", {{"paths", json::array({{{"path", "/"}, {"pathType", "Prefix"}, {"backend", backend}}})}}}}});
  if (!options.ingress_class.empty()) spec["ingressClassName"] = options.ingress_class;
  if (options.tls) spec["tls"] = json::array({{{"hosts", json::array({host})}}});
  out.push_back({IngressesPath(place.space()), object});
  return out;
}

std::string IngressesPath(absl::string_view space) {
  return absl::StrCat(kNetworkingApi, "/namespaces/", space, "/ingresses");
}

std::string IngressBackend(const json& ingress) {
  const json::json_pointer name("/spec/rules/0/http/paths/0/backend/service/name");
  return ingress.contains(name) && ingress.at(name).is_string() ? ingress.at(name).get<std::string>() : "";
}

std::string IngressAddress(const json& ingress) {
  const json* at = &ingress;
  for (const char* key : {"status", "loadBalancer", "ingress"}) {
    const auto it = at->is_object() ? at->find(key) : at->end();
    if (!at->is_object() || it == at->end()) return "";
    at = &*it;
  }
  if (!at->is_array() || at->empty() || !at->front().is_object()) return "";
  for (const char* key : {"ip", "hostname"}) {
    const auto it = at->front().find(key);
    if (it != at->front().end() && it->is_string() && !it->get_ref<const std::string&>().empty()) return *it;
  }
  return "";
}

}  // namespace mayfly::kubernetes
