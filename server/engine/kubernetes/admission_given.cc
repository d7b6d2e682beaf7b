#include "server/engine/kubernetes/admission_given.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/admission_shape.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using shape::Refuse;

// In a kube namespace of its own the whole of it is an environment's, in a given one only what bears its label; a
// service's own policy is for its pods.
absl::Status CheckSelectors(const Place& place, const json& part, const std::string& at) {
  for (const auto& [key, value] : part.items()) {
    const std::string where = absl::StrCat(at, part.is_array() ? "[" : ".", key, part.is_array() ? "]" : "");
    if (key == "podSelector") {
      json rest = value.value("matchLabels", json::object());
      const bool own = place.given.empty() ? rest.count(kScope) == 0 : rest.value(kScope, json()) == json(place.scope);
      rest.erase(kScope);
      if (!own) return Refuse(where, "must choose the environment's pods, and no more");
      const bool of_node = rest.contains(kNode) && at == "spec";
      if (at == "spec" && !of_node && !rest.empty()) return Refuse(where, "must choose all of the environment's pods");
    } else if (value.is_structured()) {
      MAYFLY_RETURN_IF_ERROR(CheckSelectors(place, value, where));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGiven(const Place& place, const std::string& kind, const json& object) {
  const bool given = !place.given.empty();
  if (given && (kind == "Namespace" || kind == "ResourceQuota" || kind == "LimitRange")) {
    return Refuse("kind", "in a kube namespace that was given to mayfly it is its administrator's");
  }
  return kind == "NetworkPolicy" ? CheckSelectors(place, object["spec"], "spec") : absl::OkStatus();
}

}  // namespace mayfly::kubernetes
