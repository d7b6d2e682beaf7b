// What the kube namespace says of its environment to people who look at the cluster: owner, labels, expiry.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/kube_scope.h"
#include "server/engine/kubernetes/object_parts.h"
#include "server/engine/kubernetes/scope_notes.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr absl::Duration kTellAgain = absl::Seconds(30);

}  // namespace

void AddScopeNotes(const ScopeSpec& spec, json* object) {
  json& metadata = (*object)["metadata"];
  // Names of environments are valid as values of labels.
  if (CheckName(spec.environment, 63).ok()) metadata["labels"][kEnvironment] = spec.environment;
  json& notes = metadata["annotations"];
  notes[kEnvironment] = EscapeLine(spec.environment);
  notes["mayfly.dev/owner"] = EscapeLine(spec.owner);
  if (spec.expires != absl::InfiniteFuture()) {
    notes["mayfly.dev/expires"] = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", spec.expires, absl::UTCTimeZone());
  }
  for (const auto& [key, value] : spec.labels) notes[absl::StrCat(kLabelNote, key)] = EscapeLine(value);
}

std::map<std::string, std::string> NotesOf(const json& object) {
  std::map<std::string, std::string> notes;
  const json metadata = object.value("metadata", json::object());
  const json annotations = metadata.value("annotations", json::object());
  for (const auto& [key, value] : annotations.items()) {
    if (absl::StartsWith(key, "mayfly.dev/") && value.is_string()) notes[key] = value.get<std::string>();
  }
  return notes;
}

void KubeScope::Retell(const ScopeSpec& spec) {
  entry_.spec.expires = spec.expires;
  entry_.spec.labels = spec.labels;
  entry_.spec.images = spec.images;
  if (phase_ == Phase::kReady) {
    // Pods that need it ask again and tell what is wrong.
    pull_secret_.Provide(Registries(), [](const absl::Status&) {});
  }
  TellNotes();
}

Creation KubeScope::NoteBearer() const {
  if (given_ == nullptr) return {"/api/v1/namespaces", NamespaceObject(place_, entry_.spec)};
  // A kube namespace that was given is its administrator's to describe.
  json map = Object(place_, "v1", "ConfigMap", kGateMap);
  AddScopeNotes(entry_.spec, &map);
  return {Collection(place_, "configmaps"), std::move(map)};
}

void KubeScope::TellByObject(std::vector<Creation>* wanted) {
  const json bearer = NoteBearer().object;
  for (Creation& creation : *wanted) {
    if (creation.object["kind"] == "ConfigMap") creation.object["metadata"] = bearer["metadata"];
  }
  if (notes_.empty()) notes_ = NotesOf(bearer);
}

void KubeScope::TellNotes() {
  if (telling_ || phase_ != Phase::kReady) return;
  const Creation space = NoteBearer();
  const std::map<std::string, std::string> wanted = NotesOf(space.object);
  if (wanted == notes_) return;
  if (const absl::Status refused = Admit(place_, space); !refused.ok()) return LogWarning(refused.message());
  const std::string path = absl::StrCat(space.collection, "/", space.object["metadata"].value("name", ""));
  const std::string uid = given_ == nullptr ? entry_.uid : given_->UidAt(path);
  if (uid.empty()) return;
  // With the UID, so that a namespace of somebody else under the same name is not changed.
  json patch = {{"metadata", {{"uid", uid}, {"annotations", json::object()}}}};
  json& notes = patch["metadata"]["annotations"];
  for (const auto& [key, value] : notes_) {
    if (wanted.count(key) == 0) notes[key] = nullptr;
  }
  for (const auto& [key, value] : wanted) {
    const auto known = notes_.find(key);
    if (known == notes_.end() || known->second != value) notes[key] = value;
  }
  telling_ = true;
  host_->api().Patch(path, "application/merge-patch+json", std::move(patch),
                     host_->Here(Guarded([this, wanted](const absl::StatusOr<json>& answer) {
                       telling_ = false;
                       if (answer.ok()) {
                         notes_ = wanted;
                         return TellNotes();
                       }
                       LogWarning("a kube namespace does not tell what its environment is for",
                                  {{"namespace", place_.scope}, {"error", answer.status()}});
                       // Rights that are missing, or another's namespace: the next change tries again.
                       if (!absl::IsUnavailable(answer.status()) && !absl::IsDeadlineExceeded(answer.status())) return;
                       host_->reactor().CancelTimer(tell_again_);
                       tell_again_ = host_->reactor().AddTimer(kTellAgain, [this] { TellNotes(); });
                     })));
}

}  // namespace mayfly::kubernetes
