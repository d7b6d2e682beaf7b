#include "server/engine/kubernetes/claims.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr int64_t kDefaultSize = int64_t{1} << 30;

std::string TextOf(const json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

std::string ClaimName(absl::string_view node, absl::string_view volume) {
  return absl::StrCat(node, ".", volume);
}

std::string VolumeName(const Volume& volume) {
  return absl::StrCat("volume-", volume.name);
}

json ClaimSpec(const Volume& volume) {
  const int64_t size = volume.size_bytes > 0 ? volume.size_bytes : kDefaultSize;
  return {{"accessModes", {"ReadWriteOnce"}}, {"resources", {{"requests", {{"storage", absl::StrCat(size)}}}}}};
}

std::vector<Creation> ClaimObjects(const Place& place, absl::string_view node, const ProcessSpec& process) {
  std::vector<Creation> out;
  for (const Volume& volume : process.volumes) {
    json object = Object(place, "v1", "PersistentVolumeClaim", ClaimName(node, volume.name));
    object["metadata"]["labels"][kNode] = std::string(node);
    object["spec"] = ClaimSpec(volume);
    out.push_back({Collection(place, "persistentvolumeclaims"), object});
  }
  return out;
}

void AddVolumes(absl::string_view node, const ProcessSpec& process, json* volumes) {
  for (const Volume& volume : process.volumes) {
    volumes->push_back(
        {{"name", VolumeName(volume)}, {"persistentVolumeClaim", {{"claimName", ClaimName(node, volume.name)}}}});
  }
}

void AddVolumeMounts(const ProcessSpec& process, json* mounts) {
  for (const Volume& volume : process.volumes) {
    mounts->push_back({{"name", VolumeName(volume)}, {"mountPath", volume.path}});
  }
}

PodVerdict JudgeClaimEvent(const json& event) {
  const auto about = event.is_object() ? event.find("involvedObject") : event.end();
  if (about == event.end() || TextOf(*about, "kind") != "PersistentVolumeClaim") return {};
  const std::string reason = TextOf(event, "reason"), message = TextOf(event, "message");
  const bool trouble =
      TextOf(event, "type") == "Warning" || reason == "FailedBinding" || reason == "ExternalProvisioning";
  if (!trouble) return {};
  // Somebody would have to change the cluster; a provisioner that fails may succeed the next time.
  const bool no_class = reason == "FailedBinding" && absl::StrContains(message, "no storage class is set");
  const bool unknown = reason == "ProvisioningFailed" && absl::StartsWith(message, "storageclass") &&
                       absl::EndsWith(message, "not found");
  PodVerdict verdict;
  verdict.kind = no_class || unknown ? PodVerdict::Kind::kFailed : PodVerdict::Kind::kWaiting;
  verdict.cause.code = CauseCode::kVolumePending;
  verdict.cause.message = absl::StrCat("its volume ", TextOf(*about, "name"), " is not there: ", message);
  verdict.cause.evidence.push_back(
      absl::StrCat("PersistentVolumeClaim ", TextOf(*about, "name"), ": ", reason, ": ", message));
  return verdict;
}

}  // namespace mayfly::kubernetes
