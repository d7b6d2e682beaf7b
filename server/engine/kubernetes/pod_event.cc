#include "server/engine/kubernetes/pod_event.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/text.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using EventKindOfPod = PodVerdict::Kind;

std::string EventText(const json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// `... : configmap "mayfly-gate" not found` names configmaps/mayfly-gate; anything else nothing.
std::string MissingObject(absl::string_view message) {
  if (!absl::ConsumeSuffix(&message, "\" not found")) return "";
  const size_t quote = message.rfind('"');
  if (quote == absl::string_view::npos) return "";
  const absl::string_view name = message.substr(quote + 1);
  const absl::string_view before = message.substr(0, quote);
  // It becomes part of a path.
  if (name.empty() || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != absl::string_view::npos ||
      name.front() == '.') {
    return "";
  }
  if (absl::EndsWith(before, "configmap ")) return absl::StrCat("configmaps/", name);
  return absl::EndsWith(before, "secret ") ? absl::StrCat("secrets/", name) : "";
}

// The kubelet's own caches, which fill in a moment.
bool PassesByItself(absl::string_view message) {
  return absl::StrContains(message, "not registered") ||
         absl::StrContains(message, "timed out waiting for the condition");
}

PodEventVerdict EventVerdict(EventKindOfPod kind, CauseCode code, absl::string_view what, const json& event) {
  const std::string reason = EventText(event, "reason"), message = EventText(event, "message");
  PodEventVerdict out;
  out.verdict.kind = kind;
  out.verdict.cause.code = code;
  out.verdict.cause.message = absl::StrCat(what, ": ", message);
  out.verdict.cause.evidence.push_back(
      absl::StrCat("Pod ", EventText(event["involvedObject"], "name"), ": ", reason, ": ", message));
  return out;
}

}  // namespace

PodEventVerdict JudgePodEvent(const json& event) {
  const auto about = event.is_object() ? event.find("involvedObject") : event.end();
  if (about == event.end() || EventText(*about, "kind") != "Pod" || EventText(event, "type") != "Warning") return {};
  const std::string reason = EventText(event, "reason"), message = EventText(event, "message");
  if (reason == "FailedMount") {
    if (PassesByItself(message)) return {};
    if (std::string missing = MissingObject(message); !missing.empty()) {
      PodEventVerdict out =
          EventVerdict(EventKindOfPod::kFailed, CauseCode::kConfigMissing, "what its pod needs is gone", event);
      out.missing = std::move(missing);
      return out;
    }
    const bool key = absl::StrContains(message, "references non-existent");
    return EventVerdict(key ? EventKindOfPod::kFailed : EventKindOfPod::kWaiting,
                        key ? CauseCode::kConfigMissing : CauseCode::kVolumePending, "a volume cannot be mounted",
                        event);
  }
  if (reason == "FailedAttachVolume") {
    return EventVerdict(EventKindOfPod::kWaiting, CauseCode::kVolumePending, "a volume cannot be attached", event);
  }
  if (reason == "FailedCreatePodSandBox") {
    return EventVerdict(EventKindOfPod::kWaiting, CauseCode::kStartFailed, "its machine cannot make the pod's sandbox",
                        event);
  }
  if (reason == "FailedScheduling") {
    const bool volume =
        absl::StrContains(message, "PersistentVolumeClaim") || absl::StrContains(message, "persistentvolumeclaim");
    PodEventVerdict out;
    out.verdict.kind = EventKindOfPod::kWaiting;
    out.verdict.cause.code = volume ? CauseCode::kVolumePending : CauseCode::kUnschedulable;
    out.verdict.cause.message = message;
    return out;
  }
  return {};
}

}  // namespace mayfly::kubernetes
