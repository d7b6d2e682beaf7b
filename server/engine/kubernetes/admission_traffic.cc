#include "server/engine/kubernetes/admission_traffic.h"

#include <arpa/inet.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "server/engine/kubernetes/objects.h"
#include "server/engine/parts/egress_target.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
// NOLINTNEXTLINE(google-build-using-namespace): as in admission.cc.
using namespace shape;

Shape PortsOf() {
  return ListOf(Fields({{"protocol", Is("TCP"), true}, {"port", Whole(1, 65535), true}}), 1);
}

Shape IngressOfNode() {
  const Shape named = Fields({{"kubernetes.io/metadata.name", Name(), true}});
  const Shape space = Fields({{"namespaceSelector", Fields({{"matchLabels", named, true}}), true}});
  return ListOf(Fields({{"from", ListOf(space, 1), true}, {"ports", PortsOf(), true}}), 1);
}

Shape EgressOfNode() {
  const Shape single = [](const json& value, const std::string& at) {
    if (!value.is_string() || !absl::EndsWith(value.get_ref<const std::string&>(), "/32")) {
      return Refuse(at, "must be a single address, \"a.b.c.d/32\"");
    }
    const std::string& text = value.get_ref<const std::string&>();
    return PodAddress()(text.substr(0, text.size() - 3), at);
  };
  const Shape block = Fields({{"ipBlock", Fields({{"cidr", single, true}}), true}});
  return ListOf(Fields({{"to", ListOf(block, 1), true}, {"ports", PortsOf(), true}}), 1);
}

}  // namespace

Shape PodAddress() {
  return [](const json& value, const std::string& at) {
    in_addr address{};
    if (!value.is_string() || inet_pton(AF_INET, value.get_ref<const std::string&>().c_str(), &address) != 1) {
      return Refuse(at, "must be an IPv4 address");
    }
    if (!IsOutOfBounds(address.s_addr, /*to_host=*/false)) return absl::OkStatus();
    return Refuse(at, "must be a pod's address, not one of a machine's own");
  };
}

Shape WaysOutOfPod() {
  const Shape loopback = [](const json& value, const std::string& at) {
    const bool fits = value.is_string() && absl::StartsWith(value.get_ref<const std::string&>(), "127.77.0.");
    return fits ? absl::OkStatus() : Refuse(at, "must be an address where the gate listens");
  };
  return ListOf(Fields({{"ip", loopback, true}, {"hostnames", ListOf(Name(), 1), true}}));
}

Shape OfNodeOr(Shape of_all) {
  const Shape pods =
      Fields({{"matchLabels", Fields({{kNode, Text(), true}, {kAttempt, Text()}, {kScope, Text()}}), true}});
  const Shape out = Fields({{"podSelector", pods, true},
                            {"policyTypes", Is(json::array({"Egress"})), true},
                            {"egress", EgressOfNode(), true}});
  const Shape in = Fields({{"podSelector", pods, true},
                           {"policyTypes", Is(json::array({"Ingress"})), true},
                           {"ingress", IngressOfNode(), true}});
  return [of_all = std::move(of_all), in, out](const json& value, const std::string& at) {
    const auto node = json::json_pointer(std::string("/podSelector/matchLabels/mayfly.dev~1node"));
    if (!value.is_object() || !value.contains(node)) return of_all(value, at);
    return value.contains("egress") ? out(value, at) : in(value, at);
  };
}

}  // namespace mayfly::kubernetes
