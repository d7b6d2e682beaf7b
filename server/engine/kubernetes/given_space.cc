#include "server/engine/kubernetes/given_space.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

std::string PathOfObject(const Creation& creation) {
  return absl::StrCat(creation.collection, "/", creation.object.at("metadata").value("name", ""));
}

// "/api/v1/namespaces/x/pods/y" -> {"/api/v1/namespaces/x/pods", "y"}
std::pair<std::string, std::string> Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  return {path.substr(0, slash), path.substr(slash + 1)};
}

// "pods/y", for people.
std::string Spoken(const std::string& path) {
  const auto [collection, name] = Split(path);
  return absl::StrCat(Split(collection).second, "/", name);
}

bool IsPod(const std::string& path) {
  return absl::EndsWith(Split(path).first, "/pods");
}

// A policy keeps what still runs from reaching others, and a claim is not given up while a pod has it.
bool GoesLast(const std::string& path) {
  const std::string collection = Split(path).first;
  return absl::EndsWith(collection, "/networkpolicies") || absl::EndsWith(collection, "/persistentvolumeclaims");
}

// What usually goes is gone by then.
constexpr absl::Duration kUsualEnd = absl::Seconds(5);

std::string UidOf(const json& object) {
  const auto meta = object.is_object() ? object.find("metadata") : object.end();
  return meta != object.end() && meta->is_object() ? meta->value("uid", "") : "";
}

bool IsEnding(const json& object) {
  const auto meta = object.is_object() ? object.find("metadata") : object.end();
  return meta != object.end() && meta->is_object() && meta->contains("deletionTimestamp");
}

}  // namespace

GivenSpace::GivenSpace(PodHost* host, Ledger ledger)
    : host_(host), ledger_(std::move(ledger)), self_(std::make_shared<GivenSpace*>(this)) {
  for (const auto& [path, uid] : ledger_.objects()) objects_[path].uid = uid;
}

GivenSpace::~GivenSpace() {
  host_->reactor().CancelTimer(progress_);
  host_->reactor().CancelTimer(patience_);
  for (const auto& [path, object] : objects_) host_->reactor().CancelTimer(object.retry);
}

GivenSpace::Answer GivenSpace::Guarded(Answer fn) {
  return [weak = std::weak_ptr<GivenSpace*>(self_), fn = std::move(fn)](const absl::StatusOr<json>& answer) {
    if (weak.lock() != nullptr) fn(answer);
  };
}

void GivenSpace::Create(Creation creation, Answer answer) {
  const std::string path = PathOfObject(creation);
  absl::Status written = ledger_.Intend(path);
  if (written.ok()) written = IntendClaims(creation.object);
  if (!written.ok()) return host_->Here(answer)(written);
  ++objects_[path].writes;
  host_->api().Create(creation.collection, std::move(creation.object),
                      host_->Here(Guarded([this, path, answer](const absl::StatusOr<json>& made) {
                        if (!absl::IsAlreadyExists(made.status())) return OnMade(path, made, answer);
                        LookUp(path, [this, path, answer](const auto& found) { OnMade(path, found, answer); });
                      })));
}

// A StatefulSet's controller makes them, with the identity that stands in the template, and leaves them when it goes.
absl::Status GivenSpace::IntendClaims(const json& workload) {
  if (workload.value("kind", "") != "StatefulSet") return absl::OkStatus();
  const json& spec = workload.at("spec");
  const std::string name = workload.at("metadata").value("name", "");
  const std::string claims = absl::StrCat(NamespacePath(host_->place().space()), "/persistentvolumeclaims/");
  for (const json& claim : spec.value("volumeClaimTemplates", json::array())) {
    for (int i = 0; i < spec.value("replicas", 0); ++i) {
      const std::string path = absl::StrCat(claims, claim.at("metadata").value("name", ""), "-", name, "-", i);
      if (const absl::Status written = ledger_.Intend(path); !written.ok()) return written;
      objects_.try_emplace(path);
    }
  }
  return absl::OkStatus();
}

std::string GivenSpace::UidAt(const std::string& path) const {
  const auto it = objects_.find(path);
  return it == objects_.end() ? "" : it->second.uid;
}

void GivenSpace::Apply(Creation creation, Answer answer) {
  const std::string path = creation.collection;
  const auto known = objects_.find(path);
  const auto change = [this, path, answer](Creation own, const std::string& uid) {
    own.object["metadata"]["uid"] = uid;  // Never another one under that name.
    ++objects_[path].writes;
    host_->api().Apply(path, std::move(own.object),
                       host_->Here(Guarded([this, path, answer](const absl::StatusOr<json>& made) {
                         // Somebody took it away: the next write makes it again.
                         if (absl::IsAborted(made.status())) objects_[path].uid.clear();
                         OnMade(path, made, answer);
                       })));
  };
  if (known != objects_.end() && !known->second.uid.empty()) {
    const std::string uid = known->second.uid;
    return change(std::move(creation), uid);
  }
  if (const absl::Status written = ledger_.Intend(path); !written.ok()) return host_->Here(answer)(written);
  ++objects_[path].writes;
  host_->api().Create(Split(path).first, creation.object,
                      host_->Here(Guarded([this, path, creation, change, answer](const absl::StatusOr<json>& made) {
                        if (!absl::IsAlreadyExists(made.status())) return OnMade(path, made, answer);
                        LookUp(path, [this, path, creation, change, answer](const absl::StatusOr<json>& found) {
                          if (!found.ok()) return OnMade(path, found, answer);
                          // A former write of ours, with other contents.
                          OnMade(path, found, [](const auto&) {});
                          change(creation, UidOf(*found));
                        });
                      })));
}

void GivenSpace::LookUp(const std::string& path, std::function<void(absl::StatusOr<json>)> done) {
  host_->api().Get(path, host_->Here(Guarded([this, path, done](const absl::StatusOr<json>& found) {
    if (!found.ok()) return done(found.status());
    const json& notes = found->at("metadata").value("annotations", json::object());
    if (notes.value(kIdentity, "") == host_->place().identity) return done(found);
    done(absl::PermissionDeniedError(
        absl::StrCat(Spoken(path), " in kube namespace ", host_->place().space(),
                     " is somebody else's; mayfly needs the name: remove it, or give mayfly a kube "
                     "namespace where it is free")));
  })));
}

void GivenSpace::OnMade(const std::string& path, const absl::StatusOr<json>& made, const Answer& answer) {
  Object& object = objects_[path];
  --object.writes;
  absl::Status written;
  if (made.ok()) {
    object.uid = UidOf(*made);
    written = ledger_.Made(path, object.uid);
  }
  if (!written.ok()) LogWarning(written.message());
  if (removing_) Begin(path);
  answer(made);
}

// ---- The end. ----

void GivenSpace::Remove(Removal removal) {
  removing_ = true;
  removal_ = std::move(removal);
  std::vector<std::string> paths;
  for (const auto& [path, object] : objects_) paths.push_back(path);
  for (const std::string& path : paths) {
    if (!GoesLast(path)) Begin(path);
  }
  patience_ = host_->reactor().AddTimer(kUsualEnd, [this] {
    slow_ = true;
    TellBlockers();
  });
  progress_ = host_->reactor().AddTimer(absl::ZeroDuration(), [this] { Progress(); });
}

void GivenSpace::Begin(const std::string& path) {
  const auto it = objects_.find(path);
  // What is still being written tells its UID soon.
  if (it == objects_.end() || it->second.writes > 0 || it->second.accepted) return;
  it->second.begun = true;
  if (it->second.uid.empty()) return FindOut(path);
  Delete(path, it->second.uid);
}

// Whether it was made nobody knows: read it, and take it only if it is ours.
void GivenSpace::FindOut(const std::string& path) {
  LookUp(path, [this, path](const absl::StatusOr<json>& found) {
    const auto it = objects_.find(path);
    if (it == objects_.end()) return;
    const bool foreign = absl::IsPermissionDenied(found.status()) && kube::FailureOf(found.status()).http == 0;
    if (foreign || absl::IsNotFound(found.status())) return Forget(path);
    if (!found.ok()) return Later(path, found.status());
    it->second.uid = UidOf(*found);
    Begin(path);
  });
}

void GivenSpace::Delete(const std::string& path, const std::string& uid) {
  kube::DeleteOptions options;
  options.uid = uid;
  if (IsPod(path)) options.grace_seconds = 1;
  // Its end then includes that of everything that it has made.
  if (absl::StartsWith(path, "/apis/apps/") || absl::StartsWith(path, "/apis/batch/"))
    options.propagation = "Foreground";
  host_->api().Delete(path, options, host_->Here(Guarded([this, path, uid](const absl::StatusOr<json>& answer) {
    const auto it = objects_.find(path);
    if (it == objects_.end() || it->second.uid != uid) return;
    if (absl::IsFailedPrecondition(answer.status()) || absl::IsNotFound(answer.status())) return Forget(path);
    if (!answer.ok()) return Later(path, answer.status());
    it->second.accepted = true;
    if (!IsEnding(*answer)) return Forget(path);
    const json& finalizers = answer->at("metadata").value("finalizers", json::array());
    Block(path,
          finalizers.empty() ? "is being deleted" : absl::StrCat("is kept by its finalizers ", finalizers.dump()));
    if (!IsPod(path)) AwaitEnd(path);
    Progress();
  })));
}

void GivenSpace::Later(const std::string& path, const absl::Status& why) {
  if (absl::IsCancelled(why)) return;
  Object& object = objects_[path];
  const absl::Duration pause = absl::Seconds(1 << std::min(object.retries++, 5));
  object.retry = host_->reactor().AddTimer(pause, [this, path] { Begin(path); });
  Block(path, std::string(why.message()));
}

void GivenSpace::AwaitEnd(const std::string& path) {
  const auto [collection, name] = Split(path);
  kube::WatchOptions options;
  options.collection = collection;
  options.field_selector = absl::StrCat("metadata.name=", name);
  const std::string uid = objects_[path].uid;
  const auto ended = host_->Here(Guarded([this, path](const absl::StatusOr<json>&) { Forget(path); }));
  objects_[path].watch = std::make_unique<kube::Watch>(
      host_->api(), options,
      kube::WatchCallbacks{[uid, ended](const std::vector<json>& all) {
                             const bool there = std::any_of(all.begin(), all.end(),
                                                            [&uid](const json& one) { return UidOf(one) == uid; });
                             if (!there) ended(json());
                           },
                           [uid, ended](kube::WatchEvent event, const json& one) {
                             if (event == kube::WatchEvent::kDeleted && UidOf(one) == uid) ended(json());
                           },
                           [path](const absl::Status& trouble) {
                             LogWarning(absl::StrCat("the end of ", path, " is not seen"), {{"error", trouble}});
                           }});
}

void GivenSpace::OnPod(const std::string& uid, bool there) {
  if (there) return void(pods_.insert(uid));
  pods_.erase(uid);
  for (const auto& [path, object] : objects_) {
    if (object.uid == uid && IsPod(path)) return Forget(std::string(path));
  }
  Forget("");
}

void GivenSpace::OnPods(const std::vector<json>& all) {
  std::set<std::string> there;
  for (const json& pod : all) there.insert(UidOf(pod));
  for (auto it = pods_.begin(); it != pods_.end();) it = there.count(*it) > 0 ? std::next(it) : pods_.erase(it);
  pods_known_ = true;
  std::vector<std::string> missing;
  for (const auto& [path, object] : objects_) {
    if (IsPod(path) && !object.uid.empty() && there.count(object.uid) == 0) missing.push_back(path);
  }
  for (const std::string& path : missing) Confirm(path);
  Forget("");
}

// The list may be older than the pod: ask for it.
void GivenSpace::Confirm(const std::string& path) {
  host_->api().Get(path, host_->Here(Guarded([this, path](const absl::StatusOr<json>& found) {
    const auto it = objects_.find(path);
    if (it == objects_.end()) return;
    const bool other = found.ok() && UidOf(*found) != it->second.uid;
    if (other || absl::IsNotFound(found.status())) Forget(path);
  })));
}

void GivenSpace::Block(const std::string& path, std::string blocker) {
  objects_[path].blocker = std::move(blocker);
  TellBlockers();
}

void GivenSpace::TellBlockers() {
  if (!slow_ || !removal_.on_blockers) return;
  std::vector<std::string> blockers;
  for (const auto& [other, object] : objects_) {
    if (object.blocker.empty()) continue;
    blockers.push_back(
        absl::StrCat(Spoken(other), " in kube namespace ", host_->place().space(), ": ", object.blocker));
  }
  if (blockers == told_blockers_) return;
  told_blockers_ = blockers;
  removal_.on_blockers(std::move(blockers));
}

void GivenSpace::Forget(const std::string& path) {
  if (const auto it = objects_.find(path); it != objects_.end()) {
    host_->reactor().CancelTimer(it->second.retry);
    objects_.erase(it);
    if (const absl::Status written = ledger_.Gone(path); !written.ok()) LogWarning(written.message());
  }
  if (!removing_) return;
  host_->reactor().CancelTimer(progress_);
  progress_ = host_->reactor().AddTimer(absl::ZeroDuration(), [this] { Progress(); });
}

void GivenSpace::Progress() {
  bool accepted = true, only_last = pods_known_ && pods_.empty();
  for (const auto& [path, object] : objects_) {
    if (GoesLast(path)) continue;
    only_last = false;
    accepted &= object.accepted;
  }
  std::vector<std::string> last;
  for (const auto& [path, object] : objects_) {
    if (only_last && !object.begun) last.push_back(path);
  }
  for (const std::string& path : last) Begin(path);
  TellBlockers();
  const bool gone = only_last && objects_.empty() && !std::exchange(told_gone_, true);
  const Removal removal = removal_;
  const std::weak_ptr<GivenSpace*> alive = self_;
  if (accepted && !std::exchange(told_accepted_, true)) removal.on_accepted();
  if (gone && alive.lock() != nullptr) removal.on_gone();
}

}  // namespace mayfly::kubernetes
