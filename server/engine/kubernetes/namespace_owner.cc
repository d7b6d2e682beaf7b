#include "server/engine/kubernetes/namespace_owner.h"

#include <algorithm>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/object_parts.h"
#include "server/engine/kubernetes/rights.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using Coming = std::future<absl::StatusOr<json>>;

constexpr char kOwnerMap[] = "mayfly-owner";
constexpr char kRightsFile[] = "deploy/kubernetes/rbac-namespaces.yml";
constexpr absl::Duration kLetGoLimit = absl::Seconds(3);

template <typename Call>
Coming Ask(const Call& call) {
  const auto promise = std::make_shared<std::promise<absl::StatusOr<json>>>();
  call([promise](absl::StatusOr<json> answer) { promise->set_value(std::move(answer)); });
  return promise->get_future();
}

json TrialPod(const std::string& name_space, bool safe) {
  json container = {{"name", "trial"}, {"image", "trial"}};
  json spec = {{"automountServiceAccountToken", false}};
  if (safe) {
    container["securityContext"] = {{"allowPrivilegeEscalation", false}, {"capabilities", {{"drop", {"ALL"}}}}};
    spec["securityContext"] = {
        {"runAsNonRoot", true}, {"runAsUser", 65532}, {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  }
  spec["containers"] = json::array({container});
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", "mayfly-trial"}, {"namespace", name_space}}},
          {"spec", spec}};
}

Creation OwnerMap(const std::string& name_space, const OwnerNote& note) {
  const Place place{"owner", note.installation, note.identity, name_space};
  json object = Object(place, "v1", "ConfigMap", kOwnerMap);
  object["data"] = {{"installation", note.installation}, {"host", note.host}, {"state-dir", note.state_dir}};
  return {Collection(place, "configmaps"), object};
}

std::string OwnerPath(const std::string& name_space) {
  return absl::StrCat(NamespacePath(name_space), "/configmaps/", kOwnerMap);
}

std::string Said(const absl::Status& status) {
  const std::string message = kube::FailureOf(status).message;
  return EscapeLine(message.empty() ? std::string(status.message()) : message);
}

bool Answered(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status) && !absl::IsUnauthenticated(status);
}

// What cannot be done about a namespace when its ConfigMap cannot be made.
std::string WhyNotTaken(const std::string& name, const absl::Status& status) {
  if (absl::IsNotFound(status)) {
    return absl::StrCat("kube namespace ", name, " is not there: have it made as in ", kRightsFile);
  }
  if (absl::IsPermissionDenied(status)) {
    return absl::StrCat("this server has no rights in kube namespace ", name, ", or it is not there: apply ",
                        kRightsFile, " to it (", Said(status), ")");
  }
  return absl::StrCat("kube namespace ", name, ": ", Said(status));
}

absl::Status Foreign(const std::string& name, const json& map) {
  const json& data = map.value("data", json::object());
  const auto of = [&data](const char* key) { return EscapeLine(data.value(key, "?")); };
  return absl::FailedPreconditionError(
      absl::StrCat("kube namespace ", name, " is another mayflyd's: the one on ", of("host"), " with state folder ",
                   of("state-dir"), ", installation ", of("installation"),
                   ". Give each server namespaces of its own; if that one is no more: kubectl -n ", name,
                   " delete configmap ", kOwnerMap));
}

// One namespace's requests, all under way at the same time.
struct Trial {
  Coming owner, rights, unsafe, safe;
};

std::string Unfit(const std::string& name, Trial& trial, bool with_ingress) {
  const absl::StatusOr<json> rights = trial.rights.get(), unsafe = trial.unsafe.get(), safe = trial.safe.get();
  if (rights.ok()) {
    const json& status = rights->value("status", json::object());
    const std::vector<std::string> missing = MissingRights(status, RightsProfile::kGiven, with_ingress);
    // Other authorizers than RBAC need not list what they allow: then it is seen when it is tried.
    if (!missing.empty() && status.value("incomplete", json()) != true) {
      return absl::StrCat("this server's rights in kube namespace ", name, " lack: ", absl::StrJoin(missing, ", "),
                          ". Apply ", kRightsFile, " to it");
    }
  }
  if (unsafe.ok()) {
    return absl::StrCat("kube namespace ", name,
                        " does not enforce the restricted Pod Security Standard: kubectl label namespace ", name,
                        " pod-security.kubernetes.io/enforce=restricted");
  }
  if (!absl::StrContains(Said(unsafe.status()), "PodSecurity")) {
    return absl::StrCat(
        "in kube namespace ", name,
        " it cannot be seen whether the restricted Pod Security Standard is enforced: ", Said(unsafe.status()));
  }
  if (!safe.ok()) {
    const bool quota = absl::StrContains(Said(safe.status()), "quota");
    return absl::StrCat(
        "kube namespace ", name, " takes no pod: ", Said(safe.status()),
        quota ? ". Raise its quota, or give it a LimitRange with defaults for what the quota counts" : "");
  }
  return "";
}

}  // namespace

absl::StatusOr<std::vector<OwnedNamespace>> TakeNamespaces(kube::ApiClient& api, const kube::Endpoint& endpoint,
                                                           const std::vector<std::string>& names, const OwnerNote& note,
                                                           const std::set<std::string>& in_use) {
  kube::ApiClientOptions options;
  options.dry_run = true;
  kube::ApiClient dry(endpoint, options);
  std::vector<Trial> trials;
  for (const std::string& name : names) {
    const Creation owner = OwnerMap(name, note);
    if (const absl::Status refused = Admit({"owner", note.installation, note.identity, name}, owner); !refused.ok()) {
      return refused;
    }
    const json review = {
        {"apiVersion", "authorization.k8s.io/v1"}, {"kind", "SelfSubjectRulesReview"}, {"spec", {{"namespace", name}}}};
    const std::string pods = PodsPath(name);
    trials.push_back({Ask([&](auto done) { api.Create(owner.collection, owner.object, done); }), Ask([&](auto done) {
                        api.Create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review, done);
                      }),
                      Ask([&](auto done) { dry.Create(pods, TrialPod(name, false), done); }),
                      Ask([&](auto done) { dry.Create(pods, TrialPod(name, true), done); })});
  }
  std::vector<OwnedNamespace> out;
  absl::Status foreign;
  for (size_t i = 0; i < names.size(); ++i) {
    OwnedNamespace one;
    one.name = names[i];
    absl::StatusOr<json> map = trials[i].owner.get();
    if (absl::IsAlreadyExists(map.status())) {
      map = Ask([&](auto done) { api.Get(OwnerPath(one.name), done); }).get();
      const json& notes = map.ok() ? map->at("metadata").value("annotations", json::object()) : json::object();
      if (map.ok() && notes.value(kIdentity, "") != note.identity) {
        if (foreign.ok()) foreign = Foreign(one.name, *map);
        continue;
      }
    }
    if (map.ok()) {
      one.uid = map->at("metadata").value("uid", "");
      one.trouble = Unfit(one.name, trials[i], note.with_ingress);
    } else if (!Answered(map.status())) {
      // The others have no other answer to give.
      return Annotate(map.status(), "the Kubernetes API server");
    } else {
      one.trouble = WhyNotTaken(one.name, map.status());
    }
    out.push_back(std::move(one));
  }
  if (foreign.ok()) return out;
  out.erase(std::remove_if(out.begin(), out.end(), [&](const auto& one) { return in_use.count(one.name) > 0; }),
            out.end());
  LetGoNamespaces(api, out);
  return foreign;
}

void LetGoNamespaces(kube::ApiClient& api, const std::vector<OwnedNamespace>& taken) {
  std::vector<Coming> answers;
  for (const OwnedNamespace& one : taken) {
    if (one.uid.empty()) continue;
    kube::DeleteOptions options;
    options.uid = one.uid;
    answers.push_back(Ask([&](auto done) { api.Delete(OwnerPath(one.name), options, done); }));
  }
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kLetGoLimit);
  for (Coming& answer : answers) {
    if (answer.wait_until(end) != std::future_status::ready) return;
  }
}

}  // namespace mayfly::kubernetes
