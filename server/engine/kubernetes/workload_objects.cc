#include "server/engine/kubernetes/workload_objects.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/claims.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr char kApps[] = "/apis/apps/v1";

std::string WorkloadName(const NodeRef& node, const ProcessSpec& process) {
  return process.volumes.empty() ? PodName(node.node, node.attempt) : node.node;
}

const char* Plural(const ProcessSpec& process) {
  return process.volumes.empty() ? "deployments" : "statefulsets";
}

json Template(json pod) {
  json& spec = pod["spec"];
  // What a controller asks for. A gate never ends before its pod is deleted.
  spec["restartPolicy"] = "Always";
  spec.erase("hostname");
  json volumes = json::array();
  for (const json& volume : spec["volumes"]) {
    if (!volume.contains("persistentVolumeClaim")) volumes.push_back(volume);
  }
  spec["volumes"] = volumes;
  return {{"metadata", {{"labels", pod["metadata"]["labels"]}, {"annotations", pod["metadata"]["annotations"]}}},
          {"spec", spec}};
}

json Workload(const Place& place, const NodeRef& node, const ProcessSpec& process, json pod) {
  const bool stateful = !process.volumes.empty();
  json object = Object(place, "apps/v1", stateful ? "StatefulSet" : "Deployment", WorkloadName(node, process));
  json& labels = object["metadata"]["labels"];
  labels[kNode] = node.node;
  labels[kAttempt] = absl::StrCat(node.attempt);
  object["spec"] = {{"replicas", process.replicas},
                    {"revisionHistoryLimit", 0},
                    {"selector", {{"matchLabels", {{kNode, labels[kNode]}, {kAttempt, labels[kAttempt]}}}}},
                    {"template", Template(std::move(pod))}};
  if (!stateful) return object;
  object["spec"]["serviceName"] = node.node;
  object["spec"]["podManagementPolicy"] = "Parallel";
  json claims = json::array();
  for (const Volume& volume : process.volumes) {
    // The claims outlive their controller, and in a given kube namespace there is nobody else to tell whose they are.
    claims.push_back({{"metadata", {{"name", VolumeName(volume)}, {"annotations", {{kIdentity, place.identity}}}}},
                      {"spec", ClaimSpec(volume)}});
  }
  object["spec"]["volumeClaimTemplates"] = claims;
  return object;
}

}  // namespace

std::string WorkloadIdentity(absl::string_view node, int attempt) {
  return absl::StrCat(PodName(node, attempt), "@");
}

std::string WorkloadPathOf(const Place& place, const NodeRef& node, const ProcessSpec& process) {
  return absl::StrCat(Collection(place, Plural(process), kApps), "/", WorkloadName(node, process));
}

std::vector<Creation> WorkloadObjects(const Place& place, const NodeRef& node, const ProcessSpec& process,
                                      const PodOptions& options) {
  std::vector<Creation> out;
  for (Creation& creation : PodObjects(place, node, process, options)) {
    const std::string kind = creation.object["kind"];
    if (kind == "Pod") {
      out.push_back({Collection(place, Plural(process), kApps), Workload(place, node, process, creation.object)});
    } else if (kind != "PersistentVolumeClaim") {
      out.push_back(std::move(creation));
    }
  }
  return out;
}

}  // namespace mayfly::kubernetes
