#include "server/engine/kubernetes/rights.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

struct NeededRight {
  const char* group;
  const char* resources;
  const char* verbs;
};

const std::vector<NeededRight> kNeeded = {
    {"", "namespaces", "get list watch create patch delete"},
    {"", "pods", "get list watch create delete deletecollection"},
    {"", "pods/exec", "get create"},
    {"", "services secrets configmaps serviceaccounts resourcequotas limitranges", "get create"},
    {"", "persistentvolumeclaims", "get create"},
    {"", "events", "list watch"},
    {"apps", "deployments statefulsets", "get create delete"},
    {"networking.k8s.io", "networkpolicies", "get create"},
    {"discovery.k8s.io", "endpointslices", "get create patch"},
};

// Each object is deleted on its own, and looked after until it is gone.
const std::vector<NeededRight> kNeededInGiven = {
    {"", "pods", "get list watch create delete"},
    {"", "pods/exec", "get create"},
    {"", "configmaps", "get list watch create patch delete"},
    {"", "services secrets serviceaccounts persistentvolumeclaims", "get list watch create delete"},
    {"", "events", "list watch"},
    {"apps", "deployments statefulsets", "get list watch create delete"},
    {"networking.k8s.io", "networkpolicies", "get list watch create delete"},
    {"discovery.k8s.io", "endpointslices", "get list watch create patch delete"},
};

constexpr NeededRight kNeededForIngress = {"networking.k8s.io", "ingresses", "get list watch create delete"};

bool Lists(const json& rule, const char* key, absl::string_view wanted) {
  const auto it = rule.is_object() ? rule.find(key) : rule.end();
  if (it == rule.end() || !it->is_array()) return false;
  for (const json& item : *it) {
    if (!item.is_string()) continue;
    const std::string& text = item.get_ref<const std::string&>();
    if (text == "*" || text == wanted) return true;
  }
  return false;
}

bool Allows(const json& rules, absl::string_view group, absl::string_view resource, absl::string_view verb) {
  for (const json& rule : rules) {
    const auto names = rule.is_object() ? rule.find("resourceNames") : rule.end();
    if (names != rule.end() && names->is_array() && !names->empty()) continue;
    if (Lists(rule, "apiGroups", group) && Lists(rule, "resources", resource) && Lists(rule, "verbs", verb))
      return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> MissingRights(const json& status, RightsProfile profile, bool with_ingress) {
  std::vector<std::string> missing;
  const auto found = status.is_object() ? status.find("resourceRules") : status.end();
  const json rules = found != status.end() && found->is_array() ? *found : json::array();
  std::vector<NeededRight> all = profile == RightsProfile::kGiven ? kNeededInGiven : kNeeded;
  if (with_ingress) all.push_back(kNeededForIngress);
  for (const NeededRight& needed : all) {
    for (const absl::string_view resource : absl::StrSplit(needed.resources, ' ')) {
      for (const absl::string_view verb : absl::StrSplit(needed.verbs, ' ')) {
        if (Allows(rules, needed.group, resource, verb)) continue;
        missing.push_back(absl::StrCat(verb, " ", resource, needed.group[0] == '\0' ? "" : ".", needed.group));
      }
    }
  }
  return missing;
}

}  // namespace mayfly::kubernetes
