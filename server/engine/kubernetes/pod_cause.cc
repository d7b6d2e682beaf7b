#include "server/engine/kubernetes/pod_cause.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using Kind = PodVerdict::Kind;

// The value at a path of an object, or nothing; whatever the types on the way.
const json& At(const json& value, std::initializer_list<const char*> path) {
  static const auto& nothing = *new json();
  const json* at = &value;
  for (const char* key : path) {
    if (!at->is_object()) return nothing;
    const auto it = at->find(key);
    if (it == at->end()) return nothing;
    at = &*it;
  }
  return *at;
}

std::string Text(const json& value) {
  return value.is_string() ? value.get<std::string>() : "";
}

Cause Make(CauseCode code, std::string message) {
  Cause cause;
  cause.code = code;
  cause.message = std::move(message);
  return cause;
}

bool Has(absl::string_view text, std::initializer_list<absl::string_view> parts) {
  for (const absl::string_view part : parts) {
    if (absl::StrContains(text, part)) return true;
  }
  return false;
}

// Without names and addresses, which the user has chosen: image "errors/forbidden:404" says nothing of its pull.
std::string WithoutNames(absl::string_view message) {
  std::string out;
  char until = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    const char c = message[i];
    if (until != 0) {
      if (c != until) continue;
      until = 0;
    } else if (c == '"') {
      until = '"';
      continue;
    } else if (c == '[') {
      until = ']';
      continue;
    } else if (absl::StartsWith(message.substr(i), "http://") || absl::StartsWith(message.substr(i), "https://")) {
      until = ' ';
      continue;
    } else {
      out.push_back(c);
      continue;
    }
    out.push_back(' ');
  }
  return out;
}

// The kubelet passes on what the container runtime says about a pull, in its own words.
PodVerdict JudgePull(const std::string& image, const std::string& message) {
  const std::string unnamed = image.empty() ? message : absl::StrReplaceAll(message, {{image, ""}});
  const std::string text = absl::AsciiStrToLower(WithoutNames(unnamed));
  const bool says_why = !absl::StartsWith(text, "back-off pulling image") || absl::StrContains(text, ':');
  const auto verdict = [&](Kind kind, CauseCode code, absl::string_view what) {
    PodVerdict made{kind, Make(code, absl::StrCat("image ", image, ": ", what))};
    if (says_why) made.cause.evidence.push_back(message);
    return made;
  };
  if (Has(text,
          {" 401", " 403", "unauthorized", "authorization failed", "access denied", "no basic auth", "forbidden"})) {
    return verdict(Kind::kFailed, CauseCode::kRegistryAccess, "the registry wants other credentials");
  }
  if (Has(text, {"not found", "manifest unknown", " 404"})) {
    PodVerdict missing = verdict(Kind::kFailed, CauseCode::kImageNotFound, "the registry has no such image");
    // Its tag was found before, or it was replayed.
    if (absl::StrContains(image, "@sha256:")) {
      missing.cause.hint =
          "what has this digest is gone from the registry: push it again, or make the environment anew";
    }
    return missing;
  }
  if (Has(text, {"x509", "certificate", "tls:", "http: server gave http response to https"})) {
    return verdict(Kind::kFailed, CauseCode::kRegistryUnreachable, "the registry's certificate is not trusted");
  }
  return verdict(Kind::kWaiting, CauseCode::kRegistryUnreachable, "it cannot be pulled yet");
}

PodVerdict JudgeWaiting(const std::string& image, const json& waiting) {
  const std::string reason = Text(At(waiting, {"reason"}));
  const std::string message = Text(At(waiting, {"message"}));
  if (reason == "ErrImagePull") return JudgePull(image, message);
  // The reason behind it came before; where it was missed, the message names it from 1.33 on.
  if (reason == "ImagePullBackOff") return JudgePull(image, message);
  if (reason == "InvalidImageName") {
    return {Kind::kFailed, Make(CauseCode::kImageName, absl::StrCat("'", image, "' is no name of an image"))};
  }
  if (reason == "ErrImageNeverPull") {
    return {Kind::kFailed, Make(CauseCode::kImageNotFound, absl::StrCat("image ", image, " is not on the machine"))};
  }
  if (reason == "CreateContainerConfigError") return {Kind::kFailed, Make(CauseCode::kConfigMissing, message)};
  if (Has(reason, {"CreateContainerError", "RunContainerError", "StartError", "PostStartHookError"})) {
    return {Kind::kFailed, Make(CauseCode::kStartFailed, message)};
  }
  return {};
}

PodVerdict JudgeEnd(const json& pod, const json& ended) {
  PodVerdict verdict{Kind::kEnded};
  const json& code = At(ended, {"exitCode"});
  verdict.exit_code = code.is_number_integer() ? code.get<int>() : 0;
  if (verdict.exit_code > 128) verdict.signal = verdict.exit_code - 128;
  const std::string reason = Text(At(ended, {"reason"}));
  if (reason == "OOMKilled") {
    verdict.cause = Make(CauseCode::kOutOfMemory, "used all of its memory and was ended by the kernel");
  } else if (Has(reason, {"StartError", "ContainerCannotRun"})) {
    verdict.cause = Make(CauseCode::kStartFailed, Text(At(ended, {"message"})));
  }
  const std::string pod_reason = Text(At(pod, {"status", "reason"}));
  if (pod_reason == "Evicted") {
    verdict.cause = Make(CauseCode::kEvicted, Text(At(pod, {"status", "message"})));
  } else if (Has(pod_reason, {"NodeLost", "NodeShutdown", "Terminated"})) {
    verdict.cause = Make(CauseCode::kMachineLost, Text(At(pod, {"status", "message"})));
  }
  return verdict;
}

const json& Condition(const json& pod, absl::string_view type) {
  static const auto& nothing = *new json();
  for (const json& condition : At(pod, {"status", "conditions"})) {
    if (Text(At(condition, {"type"})) == type) return condition;
  }
  return nothing;
}

}  // namespace

PodVerdict JudgePod(const json& pod) {
  for (const json& status : At(pod, {"status", "containerStatuses"})) {
    if (Text(At(status, {"name"})) != kContainer) continue;
    if (const json& ended = At(status, {"state", "terminated"}); ended.is_object()) return JudgeEnd(pod, ended);
    if (const json& waiting = At(status, {"state", "waiting"}); waiting.is_object()) {
      PodVerdict verdict = JudgeWaiting(Text(At(status, {"image"})), waiting);
      if (verdict.kind != Kind::kFine) return verdict;
    }
  }
  // How a sidecar that ran has ended its gate says.
  for (const json& status : At(pod, {"status", "containerStatuses"})) {
    const std::string name = Text(At(status, {"name"}));
    const json& waiting = At(status, {"state", "waiting"});
    if (name == kContainer || !waiting.is_object()) continue;
    PodVerdict verdict = JudgeWaiting(Text(At(status, {"image"})), waiting);
    if (verdict.kind == Kind::kFine) continue;
    verdict.cause.message = absl::StrCat("sidecar ", absl::StripPrefix(name, "sidecar-"), ": ", verdict.cause.message);
    return verdict;
  }
  // Ended without ever having had a container, as an eviction or a refusal by the kubelet.
  if (Text(At(pod, {"status", "phase"})) == "Failed") {
    PodVerdict verdict = JudgeEnd(pod, json::object());
    if (verdict.cause.empty()) {
      verdict.cause = Make(CauseCode::kStartFailed, absl::StrCat(Text(At(pod, {"status", "reason"})), ": ",
                                                                 Text(At(pod, {"status", "message"}))));
    }
    return verdict;
  }
  const json& scheduled = Condition(pod, "PodScheduled");
  if (Text(At(scheduled, {"status"})) == "False") {
    const std::string message = Text(At(scheduled, {"message"}));
    const bool volume = Has(message, {"PersistentVolumeClaim", "persistentvolumeclaim"});
    return {Kind::kWaiting, Make(volume ? CauseCode::kVolumePending : CauseCode::kUnschedulable, message)};
  }
  return {};
}

Cause CauseOfDeletion(const json& pod) {
  if (!At(pod, {"metadata", "deletionTimestamp"}).is_string()) return Cause();
  const json& disruption = Condition(pod, "DisruptionTarget");
  if (Text(At(disruption, {"status"})) == "True") {
    const std::string reason = Text(At(disruption, {"reason"})), message = Text(At(disruption, {"message"}));
    // The cluster's words alone name the part of it that acted, not what happened.
    if (reason == "DeletionByTaintManager") {
      return Make(CauseCode::kMachineLost, absl::StrCat("its machine does not answer or is being emptied: ", message));
    }
    if (reason == "DeletionByPodGC")
      return Make(CauseCode::kMachineLost, absl::StrCat("its machine is gone: ", message));
    if (reason == "EvictionByEvictionAPI") {
      return Make(CauseCode::kEvicted,
                  absl::StrCat("its pod was evicted on request, as when a machine is drained: ", message));
    }
    if (reason == "PreemptionByScheduler") {
      return Make(CauseCode::kEvicted, absl::StrCat("its pod had to make way for a more important one: ", message));
    }
    return Make(CauseCode::kEvicted, message);
  }
  return Make(CauseCode::kScopeLost, absl::StrCat("somebody deleted its pod ", Text(At(pod, {"metadata", "name"}))));
}

Cause CauseOfRefusal(const absl::Status& status) {
  const kube::ApiFailure failure = kube::FailureOf(status);
  const std::string message = failure.message.empty() ? std::string(status.message()) : failure.message;
  // A webhook that must be asked and does not answer.
  if (absl::StrContains(message, "failed calling webhook")) return Make(CauseCode::kAdmissionDenied, message);
  // A webhook's own words may be anything.
  if (absl::StrContains(message, "admission webhook") && absl::StrContains(message, "denied the request")) {
    return Make(CauseCode::kAdmissionDenied, message);
  }
  // Not the cluster's no but our own: see admission.h. Its words come from the spec and mean nothing to us.
  if (failure.http == 0 && absl::IsPermissionDenied(status)) return Make(CauseCode::kAdmissionDenied, message);
  const std::string text = absl::AsciiStrToLower(message);
  if (Has(text, {"exceeded quota", "must specify limits", "maximum memory usage"})) {
    return Make(CauseCode::kQuotaExceeded, message);
  }
  if (Has(text, {"serviceaccount", "service account"}) && Has(text, {"not found"})) {
    return Make(CauseCode::kAccountMissing, message);
  }
  if (Has(text, {"being terminated", "is terminating"}) || (absl::IsNotFound(status) && Has(text, {"namespaces \""}))) {
    return Make(CauseCode::kScopeTerminating, message);
  }
  if (failure.http == 403 || Has(text, {"admission webhook", "validatingadmissionpolicy"})) {
    return Make(CauseCode::kAdmissionDenied, message);
  }
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsUnauthenticated(status)) {
    return Make(CauseCode::kEngineUnavailable, message);
  }
  return Make(CauseCode::kStartFailed, message);
}

}  // namespace mayfly::kubernetes
