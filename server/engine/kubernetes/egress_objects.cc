#include "server/engine/kubernetes/egress_objects.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr size_t kMostWays = 64;  // The gate has no more.

}  // namespace

std::vector<WayOut> WaysOut(const ProcessSpec& process) {
  std::vector<WayOut> ways;
  std::map<std::string, std::string> addresses;
  for (const std::string& text : process.egress) {
    absl::StatusOr<EgressTarget> target = ParseEgress(text);
    if (!target.ok() || target->literal) continue;
    target->host = absl::AsciiStrToLower(target->host);
    // Away from 127.0.0.1, which is the service's own.
    std::string& address = addresses[target->host];
    if (address.empty()) address = absl::StrCat("127.77.0.", addresses.size());
    ways.push_back({*std::move(target), address});
  }
  return ways;
}

absl::Status CheckEgress(const ProcessSpec& process) {
  for (const std::string& text : process.egress) {
    MAYFLY_ASSIGN_OR_RETURN(const EgressTarget target, ParseEgress(text));
    in_addr address{};
    if (target.literal && inet_pton(AF_INET, target.host.c_str(), &address) == 1 &&
        IsOutOfBounds(address.s_addr, /*to_host=*/false)) {
      return absl::InvalidArgumentError(
          absl::StrCat("egress '", EscapeLine(text), "' is out of bounds: an address of a machine's own"));
    }
  }
  const std::vector<WayOut> ways = WaysOut(process);
  if (ways.size() > kMostWays) {
    return absl::InvalidArgumentError(absl::StrCat("egress: at most ", kMostWays, " names, it has ", ways.size()));
  }
  for (const WayOut& way : ways) {
    const bool taken = std::any_of(process.ports.begin(), process.ports.end(),
                                   [&way](const Port& port) { return port.number == way.target.port; });
    if (taken) {
      return absl::InvalidArgumentError(absl::StrCat("egress '", EscapeLine(way.target.host), ":", way.target.port,
                                                     "': on Kubernetes a service cannot listen on the port of a name "
                                                     "in its egress; give it another `port`, or the address"));
    }
  }
  return absl::OkStatus();
}

std::string GateOutVariable(const ProcessSpec& process) {
  std::string out;
  for (const WayOut& way : WaysOut(process)) {
    absl::StrAppend(&out, out.empty() ? "" : " ", way.address, ":", way.target.port);
  }
  return out;
}

json HostAliases(const ProcessSpec& process) {
  std::map<std::string, std::string> names;
  for (const WayOut& way : WaysOut(process)) names[way.address] = way.target.host;
  json aliases = json::array();
  for (const auto& [address, name] : names) aliases.push_back({{"ip", address}, {"hostnames", {name}}});
  return aliases;
}

bool HasLowWayOut(const ProcessSpec& process) {
  const std::vector<WayOut> ways = WaysOut(process);
  return std::any_of(ways.begin(), ways.end(), [](const WayOut& way) { return way.target.port < 1024; });
}

std::vector<Creation> EgressObjects(const Place& place, const NodeRef& node, const ProcessSpec& process) {
  json rules = json::array();
  for (const std::string& text : process.egress) {
    const absl::StatusOr<EgressTarget> target = ParseEgress(text);
    if (!target.ok() || !target->literal) continue;
    const json block = {{"ipBlock", {{"cidr", absl::StrCat(target->host, "/32")}}}};
    rules.push_back(
        {{"to", json::array({block})}, {"ports", json::array({{{"protocol", "TCP"}, {"port", target->port}}})}});
  }
  if (rules.empty()) return {};
  // No label of an exposed port's policy has a dot.
  json object =
      Object(place, "networking.k8s.io/v1", "NetworkPolicy", absl::StrCat(PodName(node.node, node.attempt), ".egress"));
  object["spec"] = {{"podSelector", OwnPods(place, {{kNode, node.node}, {kAttempt, absl::StrCat(node.attempt)}})},
                    {"policyTypes", {"Egress"}},
                    {"egress", rules}};
  return {{Collection(place, "networkpolicies", "/apis/networking.k8s.io/v1"), object}};
}

}  // namespace mayfly::kubernetes
