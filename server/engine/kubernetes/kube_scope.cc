#include "server/engine/kubernetes/kube_scope.h"

#include <fcntl.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/base/folder.h"
#include "server/engine/kubernetes/admission.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/registry/reference.h"
#include "server/engine/kubernetes/replicated_node.h"
#include "server/engine/kubernetes/scope_notes.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {

using nlohmann::json;

KubeScope::KubeScope(ScopeHost* host, JournalEntry entry)
    : host_(host),
      entry_(std::move(entry)),
      place_{entry_.spec.id, host->installation(), entry_.identity, entry_.given},
      pull_secret_(
          this, [host](const std::string& registry) { return host->credentials().Find(registry); }, host->secret()),
      self_(std::make_shared<KubeScope*>(this)) {
  if (!entry_.spec.log_dir.empty()) {
    if (const absl::Status made = MakeDirs(entry_.spec.log_dir, 0700); !made.ok()) LogWarning(made.message());
    log_folder_.reset(open(entry_.spec.log_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
}

KubeScope::~KubeScope() {
  host_->reactor().CancelTimer(retry_);
  host_->reactor().CancelTimer(release_limit_);
  host_->reactor().CancelTimer(tell_again_);
  host_->reactor().CancelTimer(wait_limit_);
  host_->reactor().CancelTimer(late_timer_);
}

KubeScope::Answer KubeScope::Guarded(Answer fn) {
  return [weak = std::weak_ptr<KubeScope*>(self_), fn = std::move(fn)](const absl::StatusOr<json>& answer) {
    if (weak.lock() != nullptr) fn(answer);
  };
}

void KubeScope::Emit(const EngineEvent& event) {
  host_->Emit(event);
  if (event.kind == EngineEvent::Kind::kReady) SetRoutesReady(event.node, true);
  if (event.kind == EngineEvent::Kind::kExited) SetRoutesReady(event.node, false);
  if (phase_ != Phase::kDestroying || event.kind != EngineEvent::Kind::kExited) return;
  // Never inline: the node is not done with it.
  reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<KubeScope*>(self_)] {
    if (const auto self = weak.lock()) (*self)->TryRelease();
  });
}

void KubeScope::EmitScope(EngineEvent::Kind kind, Cause cause, Receipt receipt) {
  EngineEvent event;
  event.kind = kind;
  event.node.scope = entry_.spec.id;
  event.when = reactor().Now();
  event.cause = std::move(cause);
  event.receipt = std::move(receipt);
  host_->Emit(event);
}

void KubeScope::Create(Creation creation, Answer answer) {
  if (const absl::Status refused = Admit(place_, creation); !refused.ok())
    return host_->Here(std::move(answer))(refused);
  if (given_ != nullptr) return given_->Create(std::move(creation), std::move(answer));
  host_->api().Create(creation.collection, std::move(creation.object), host_->Here(std::move(answer)));
}

void KubeScope::Apply(Creation creation, Answer answer) {
  if (const absl::Status refused = Admit(place_, creation); !refused.ok())
    return host_->Here(std::move(answer))(refused);
  if (given_ != nullptr) return given_->Apply(std::move(creation), std::move(answer));
  host_->api().Apply(creation.collection, std::move(creation.object), host_->Here(std::move(answer)));
}

void KubeScope::Delete(const std::string& path, const std::string& uid) {
  kube::DeleteOptions options;
  options.uid = uid;
  if (absl::StrContains(path, "/pods/")) options.grace_seconds = 1;
  host_->api().Delete(path, options, host_->Here([](const absl::StatusOr<json>& answer) {
    // The namespace's end takes it along at the latest.
    if (!answer.ok() && !absl::IsCancelled(answer.status())) {
      LogWarning(answer.status().message());
    }
  }));
}

PodOptions KubeScope::MakePodOptions(const std::string& pod) const {
  PodOptions options = host_->MakePodOptions(place_.scope, pod);
  options.pull_secret = pull_secret_.name();
  if (!entry_.gate_address.empty()) options.gate_address = entry_.gate_address;
  return options;
}

KubeNode* KubeScope::FindNode(const std::string& name) {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : it->second.get();
}

KubeNode& KubeScope::AddNode(const std::string& name, bool replicated) {
  std::unique_ptr<KubeNode>& node = nodes_[name];
  if (node != nullptr && (node->replicated() == replicated || node->Live())) return *node;
  if (node != nullptr) node->Retire();
  if (replicated) {
    node = std::make_unique<ReplicatedNode>(this, name);
  } else {
    node = std::make_unique<PodNode>(this, name);
  }
  return *node;
}

void KubeScope::Make() {
  if (host_->gives_namespaces()) return MakeInGiven();
  const Creation space{"/api/v1/namespaces", NamespaceObject(place_, entry_.spec)};
  if (const absl::Status refused = Admit(place_, space); !refused.ok()) return Fail(CauseOfRefusal(refused));
  if (const absl::Status written = host_->journal().Write(entry_); !written.ok()) {
    Cause cause;
    cause.code = CauseCode::kHostLimit;
    cause.message = absl::StrCat("the server's state folder: ", written.message());
    return Fail(cause);
  }
  making_ = true;
  notes_ = NotesOf(space.object);
  host_->api().Create(space.collection, space.object,
                      host_->Here(Guarded([this](const auto& answer) { OnNamespaceMade(answer); })));
}

void KubeScope::OnNamespaceMade(const absl::StatusOr<json>& answer) {
  making_ = false;
  if (!answer.ok()) {
    if (phase_ == Phase::kDestroying) {
      // What could not be made need not be removed, unless nobody knows whether it was made.
      return BeginDeletion();
    }
    Cause cause = CauseOfRefusal(answer.status());
    cause.message = absl::StrCat("the kube namespace could not be created: ", cause.message);
    return Fail(cause);
  }
  entry_.uid = answer->at("metadata").at("uid").get<std::string>();
  if (const absl::Status written = host_->journal().Write(entry_); !written.ok()) LogWarning(written.message());
  if (phase_ == Phase::kDestroying) return BeginDeletion();
  MakeObjects();
}

void KubeScope::MakeObjects() {
  const bool relayed = host_->relays_gates();
  std::vector<Creation> wanted =
      ScopeObjects(place_, host_->gate_program(), relayed ? "" : host_->MakePodOptions(place_.scope, "").gate_address);
  objects_missing_ = static_cast<int>(wanted.size()) + 1 + (relayed ? 1 : 0);
  if (given_ != nullptr) TellByObject(&wanted);
  for (Creation& creation : wanted) {
    Create(std::move(creation), Guarded([this](const absl::StatusOr<json>& answer) { OnObjectMade(answer.status()); }));
  }
  if (relayed) {
    Create(RelayService(place_), Guarded([this](const absl::StatusOr<json>& answer) {
             if (!answer.ok()) return OnObjectMade(answer.status());
             entry_.gate_address = RelayAddress(*answer);
             OnObjectMade(entry_.gate_address.empty()
                              ? absl::FailedPreconditionError("the Service of its relay was given no IPv4 address")
                              : absl::OkStatus());
           }));
  }
  // With them, so that no pod waits for it.
  pull_secret_.Provide(Registries(), [this](const absl::Status& status) { OnObjectMade(status); });
}

void KubeScope::OnObjectMade(const absl::Status& status) {
  if (phase_ != Phase::kCreating) return;
  if (!status.ok()) {
    Cause cause = CauseOfRefusal(status);
    cause.message = absl::StrCat("the kube namespace could not be set up: ", cause.message);
    return Fail(cause);
  }
  if (--objects_missing_ > 0) return;
  phase_ = Phase::kReady;
  MakeRelay();
  EmitScope(EngineEvent::Kind::kScopeReady);
  entry_.ready = true;
  if (const absl::Status written = host_->journal().Write(entry_); !written.ok()) LogWarning(written.message());
  TellNotes();
  for (const auto& fn : std::exchange(waiting_, {})) fn();
}

std::set<std::string> KubeScope::Registries() const {
  std::set<std::string> registries;
  const std::string prefix = MakePodOptions("").registry;
  for (const auto& [name, digest] : entry_.spec.images) {
    const auto reference = registry::ParseReference(ImageName(name, prefix));
    if (reference.ok()) registries.insert(reference->registry);
  }
  return registries;
}

void KubeScope::ProvidePulls(const std::set<std::string>& registries, const PullSecret::Done& done) {
  pull_secret_.Provide(registries, done);
}

void KubeScope::Fail(Cause cause) {
  phase_ = Phase::kFailed;
  waiting_.clear();
  EmitScope(EngineEvent::Kind::kScopeFailed, std::move(cause));
}

void KubeScope::RepeatReady() {
  if (phase_ == Phase::kReady) EmitScope(EngineEvent::Kind::kScopeReady);
}

void KubeScope::Adopt(const json& space) {
  entry_.uid = space.at("metadata").at("uid").get<std::string>();
  notes_ = NotesOf(space);
  if (!place_.given.empty()) {
    if (const absl::Status entered = EnterGiven(); !entered.ok()) return Fail(CauseOfRefusal(entered));
  }
  last_seen_ = space;
  if (entry_.ready) {
    phase_ = Phase::kReady;
    MakeRelay();
  } else if (!entry_.destroying) {
    MakeObjects();  // Those that are there already bear our identity.
  }
}

void KubeScope::Lose(const std::string& message) {
  phase_ = Phase::kFailed;
  namespace_gone_ = true;
  Cause cause;
  cause.code = CauseCode::kScopeLost;
  cause.message = message;
  EmitScope(EngineEvent::Kind::kScopeLost, cause);
}

void KubeScope::Prepare(const NodeRef& ref, const ProcessSpec& process) {
  KubeNode& node = AddNode(ref.node, process.replicas > 1);
  if (phase_ == Phase::kReady) {
    DropRoutes(ref.node, process);
    if (relay_ != nullptr) {
      relay_->Expect(process, std::max(process.replicas, 1) * (1 + static_cast<int>(process.sidecars.size())));
    }
    return node.Prepare(ref.attempt, process);
  }
  if (phase_ == Phase::kCreating) waiting_.push_back([this, ref, process] { Prepare(ref, process); });
}

void KubeScope::OnPod(const std::string& name, const std::string& pod, const std::string& uid, int attempt,
                      const json* object) {
  KubeNode* const node = FindNode(name);
  if (node == nullptr || node->attempt() != attempt) return;
  if (!ended()) return node->OnPodEvent(pod, uid, attempt, object);
  if (object != nullptr) return;
  if (node->replicated()) {
    node->OnPodEvent(pod, uid, attempt, nullptr);
  } else {
    node->OnGone();
  }
  TryRelease();
}

void KubeScope::OnGate(const GateHello& hello, std::unique_ptr<GateLink> link) {
  if (ended()) return link->Send(GATE_KILL, 1, 0, "");
  for (const auto& [name, node] : nodes_) {
    if (node->TakeGate(hello, link)) return;
  }
}

}  // namespace mayfly::kubernetes
