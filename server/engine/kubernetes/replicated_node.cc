#include "server/engine/kubernetes/replicated_node.h"

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/replica.h"
#include "server/engine/kubernetes/workload_objects.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// A gate ends what it sees within milliseconds; one that does not answer is left to the kubelet.
constexpr absl::Duration kReplicasEnd = absl::Seconds(2);

// Not by its own doing, and its controller makes another one.
bool TakenAway(const EngineEvent& event) {
  const CauseCode code = event.cause.code;
  return !event.stopped &&
         (code == CauseCode::kScopeLost || code == CauseCode::kEvicted || code == CauseCode::kMachineLost);
}

}  // namespace

ReplicatedNode::ReplicatedNode(PodHost* host, std::string name)
    : host_(host), name_(std::move(name)), self_(std::make_shared<ReplicatedNode*>(this)) {}

ReplicatedNode::~ReplicatedNode() {
  host_->reactor().CancelTimer(end_timer_);
  host_->reactor().CancelTimer(again_);
}

PodHost::Answer ReplicatedNode::Guarded(PodHost::Answer fn) {
  return [weak = std::weak_ptr<ReplicatedNode*>(self_), attempt = attempt_,
          fn = std::move(fn)](const absl::StatusOr<json>& answer) {
    const auto self = weak.lock();
    if (self != nullptr && (*self)->attempt_ == attempt) fn(answer);
  };
}

EngineEvent ReplicatedNode::NewEvent(EngineEvent::Kind kind) const {
  EngineEvent event;
  event.kind = kind;
  event.node = NodeRef{host_->place().scope, name_, attempt_};
  event.when = host_->reactor().Now();
  return event;
}

void ReplicatedNode::Emit(EngineEvent event) {
  event.node = NodeRef{host_->place().scope, name_, attempt_};
  if (event.kind != EngineEvent::Kind::kProbe) events_.push_back(event);
  host_->Emit(event);
}

int ReplicatedNode::Count(bool Replica::* flag) const {
  return static_cast<int>(std::count_if(replicas_.begin(), replicas_.end(), [flag](const auto& entry) {
    return (*entry.second).*flag && !entry.second->ended;
  }));
}

int ReplicatedNode::Processes() const {
  return static_cast<int>(std::count_if(replicas_.begin(), replicas_.end(),
                                        [](const auto& entry) { return entry.second->node->HasProcess(); }));
}

FoundScope::Node ReplicatedNode::Describe() const {
  FoundScope::Node node;
  node.node = name_;
  node.attempt = attempt_;
  node.running = Runs();
  node.ready = Runs() && ready_;
  node.exited = ended_;
  if (ended_ && !events_.empty()) {
    node.exit_code = events_.back().exit_code;
    node.signal = events_.back().signal;
  }
  return node;
}

bool ReplicatedNode::Known() const {
  if (!Live()) return true;
  const auto known =
      std::count_if(replicas_.begin(), replicas_.end(), [](const auto& entry) { return entry.second->node->Known(); });
  return known >= process_.replicas;
}

std::map<std::string, std::string> ReplicatedNode::Pods() const {
  std::map<std::string, std::string> out;
  for (const auto& [pod, replica] : replicas_) {
    if (!replica->ended && replica->node->created()) out[pod] = replica->node->uid();
  }
  return out;
}

void ReplicatedNode::AddGates(std::vector<GateLink*>* links) {
  for (const auto& [pod, replica] : replicas_) replica->node->AddGates(links);
}

PodNode* ReplicatedNode::Target() {
  const auto fits = [](const auto& entry) {
    return entry.second->node->Runs() && entry.second->node->link() != nullptr;
  };
  auto it = std::find_if(replicas_.upper_bound(turn_), replicas_.end(), fits);
  if (it == replicas_.end()) it = std::find_if(replicas_.begin(), replicas_.end(), fits);
  if (it == replicas_.end()) return nullptr;
  turn_ = it->first;
  return it->second->node.get();
}

PodNode* ReplicatedNode::FindPod(const std::string& pod) {
  const auto it = replicas_.find(pod);
  return it == replicas_.end() ? nullptr : it->second->node.get();
}

void ReplicatedNode::Prepare(int attempt, ProcessSpec process) {
  if (attempt == attempt_) {
    process_ = std::move(process);  // Of an adopted one, the whole of it was not known.
    if (!events_.empty()) host_->Emit(events_.back());
    return;
  }
  Retire();
  attempt_ = attempt;
  process_ = std::move(process);
  start_requested_ = stopping_ = killed_ = prepared_ = started_ = ready_ = ended_ = false;
  replicas_.clear();
  former_.clear();
  events_.clear();
  end_.reset();
  uid_.clear();
  applied_.clear();
  applying_ = stale_ = false;
  Create();
}

void ReplicatedNode::Start(bool) {
  if (start_requested_ || ended_) {
    if (!events_.empty()) host_->Emit(events_.back());
    return;
  }
  start_requested_ = true;
  for (const auto& [pod, replica] : replicas_) replica->node->Start(false);
}

void ReplicatedNode::Stop() {
  if (attempt_ == 0) return;
  if (ended_) {
    if (!events_.empty()) host_->Emit(events_.back());
    return;
  }
  if (std::exchange(stopping_, true)) return;
  ExpectEnd();
  for (const auto& [pod, replica] : replicas_) replica->node->Stop();
  TryFinish();
}

void ReplicatedNode::Kill() {
  killed_ = stopping_ = true;
  if (Live()) ExpectEnd();
  for (const auto& [pod, replica] : replicas_) replica->node->Kill();
  if (!Live()) return;
  // Not told before the scope has heard of the end of what runs; see OnGone.
  if (Processes() > 0) TryFinish();
}

void ReplicatedNode::ExpectEnd() {
  if (end_ != nullptr) return;
  end_ = std::make_unique<EngineEvent>(NewEvent(EngineEvent::Kind::kExited));
  end_->stopped = true;
}

void ReplicatedNode::OnGone() {
  if (attempt_ == 0) return;
  const bool told = ended_;
  EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
  event.signal = Processes() > 0 ? SIGKILL : 0;
  event.stopped = true;
  ended_ = true;
  for (const auto& [pod, replica] : replicas_) {
    replica->ended = true;
    replica->node->OnGone();
  }
  if (!told) Emit(std::move(event));
}

ReplicatedNode::Replica& ReplicatedNode::Join(const std::string& pod) {
  std::unique_ptr<Replica>& replica = replicas_[pod];
  if (replica != nullptr) return *replica;
  ReplicaCallbacks callbacks;
  callbacks.on_event = [this, pod](const EngineEvent& event) {
    if (const auto it = replicas_.find(pod); it != replicas_.end()) OnReplica(*it->second, event);
  };
  callbacks.on_output = [this, pod](absl::string_view bytes, bool stderr_stream) {
    if (const auto it = replicas_.find(pod); it != replicas_.end()) OnOutput(*it->second, bytes, stderr_stream);
  };
  callbacks.on_endpoints = [this](PodHost::Answer answer) {
    applied_.push_back(std::move(answer));
    WriteEndpoints();
  };
  // "web-1-5d9f-x7k2p": what tells it from the others.
  const std::string mark = pod.substr(pod.rfind('-') + 1);
  replica = std::make_unique<Replica>(host_, std::move(callbacks), mark);
  replica->node = std::make_unique<PodNode>(&replica->host, name_);
  replica->node->Join(attempt_, process_, pod);
  if (start_requested_) replica->node->Start(false);
  return *replica;
}

bool ReplicatedNode::TakeGate(const GateHello& hello, std::unique_ptr<GateLink>& link) {
  const std::vector<std::string> parts = absl::StrSplit(hello.pod, absl::MaxSplits('/', 1));
  const std::vector<std::string> names = absl::StrSplit(parts[0], absl::MaxSplits('@', 1));
  if (attempt_ == 0 || names.size() != 2 || names[0] != PodName(name_, attempt_) || names[1].empty()) return false;
  if (ended_ && replicas_.count(names[1]) == 0) return true;
  // One that was replaced; its successor may bear its name.
  if (former_.count(names[1]) > 0 && hello.state != GateHello::State::kWaiting) {
    link->Send(GATE_KILL, 1, 0, "");
    return true;
  }
  // All of its pods have one token: which of them there are, the cluster says. It calls again.
  if (replicas_.count(names[1]) == 0) return true;
  former_.erase(names[1]);
  Replica& replica = Join(names[1]);
  if (parts.size() == 2) {
    replica.node->OnSidecarGate(parts[1], hello, std::move(link));
  } else {
    replica.node->OnGate(hello, std::move(link));
  }
  return true;
}

void ReplicatedNode::OnPodEvent(const std::string& pod, const std::string& uid, int attempt, const json* object) {
  if (attempt != attempt_) return;
  if (!Live()) {
    // Its end was told, and perhaps not that of every replica.
    const auto left = replicas_.find(pod);
    if (object == nullptr && left != replicas_.end()) left->second->node->OnGone();
    return;
  }
  const bool leaves = object == nullptr || object->at("metadata").contains("deletionTimestamp");
  const auto known = replicas_.find(pod);
  if (known == replicas_.end() && leaves) return;
  Replica& replica = Join(pod);
  if (replica.node->created() && replica.node->uid() != uid) return;
  replica.node->SetUid(uid);
  replica.node->OnPod(object);
}

void ReplicatedNode::Adopt(int attempt, const std::string& pod, const std::string& uid, ProcessSpec process) {
  attempt_ = attempt;
  process_ = std::move(process);
  deleted_ = false;
  Join(pod).node->SetUid(uid);
}

void ReplicatedNode::OnReplica(Replica& replica, const EngineEvent& event) {
  switch (event.kind) {
    case EngineEvent::Kind::kPrepared:
      replica.prepared = true;
      return Fold();
    case EngineEvent::Kind::kStarted:
      replica.started = true;
      return Fold();
    case EngineEvent::Kind::kReady:
      replica.ready = true;
      return Fold();
    case EngineEvent::Kind::kProbe: {
      EngineEvent told = event;
      told.message = absl::StrCat("replica ", replica.mark, ": ", event.message);
      told.cause.message = absl::StrCat("replica ", replica.mark, ": ", event.cause.message);
      if (Live()) Emit(std::move(told));
      return;
    }
    case EngineEvent::Kind::kExited:
    case EngineEvent::Kind::kStartFailed:
      break;
    default:
      return;
  }
  replica.ended = true;
  for (const bool stderr_stream : {false, true}) {
    if (output_ != nullptr) output_->Feed(replica.lines.Rest(stderr_stream), stderr_stream);
  }
  if (!Live()) return;
  if (stopping_ && end_ != nullptr) {
    if (end_->exit_code == 0 && end_->signal == 0) {
      end_->exit_code = event.exit_code;
      end_->signal = event.signal;
    }
    end_->usage = event.usage;
  }
  if (end_ != nullptr) return TryFinish();
  if (TakenAway(event)) return Replace(replica, event.cause);
  EngineEvent last = event;
  last.cause.message = absl::StrCat("replica ", replica.mark, ": ", event.cause.message);
  if (started_) last.kind = EngineEvent::Kind::kExited;
  BeginEnd(std::move(last));
}

void ReplicatedNode::Replace(Replica& replica, const Cause& cause) {
  EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
  event.message = absl::StrCat("replica ", replica.mark, " is replaced: ", cause.message);
  event.cause = cause;
  event.cause.message = event.message;
  Say(event.message);
  Emit(std::move(event));
  stale_ = true;
  // Never from here: it is the replica that calls.
  host_->reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<ReplicatedNode*>(self_), pod = replica.pod()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    const auto it = (*self)->replicas_.find(pod);
    if (it == (*self)->replicas_.end() || !it->second->ended) return;
    (*self)->replicas_.erase(it);
    (*self)->former_.insert(pod);
    if ((*self)->Live()) (*self)->WriteEndpoints();
  });
}

void ReplicatedNode::Fold() {
  const int wanted = process_.replicas;
  const auto tell = [&](bool& told, bool Replica::* flag, EngineEvent::Kind kind) {
    if (told || ended_ || Count(flag) < wanted) return;
    told = true;
    Emit(NewEvent(kind));
  };
  tell(prepared_, &Replica::prepared, EngineEvent::Kind::kPrepared);
  if (prepared_) tell(started_, &Replica::started, EngineEvent::Kind::kStarted);
  if (started_) tell(ready_, &Replica::ready, EngineEvent::Kind::kReady);
}

void ReplicatedNode::BeginEnd(EngineEvent event) {
  end_ = std::make_unique<EngineEvent>(std::move(event));
  for (const auto& [pod, replica] : replicas_) {
    if (!replica->ended) replica->node->Kill();
  }
  TryFinish();
}

void ReplicatedNode::TryFinish() {
  if (end_ == nullptr || ended_) return;
  if (Processes() == 0) return Finish();
  // Whoever is stopped has its own grace; who is killed has none.
  if (end_timer_ != 0 || (stopping_ && !killed_)) return;
  end_timer_ = host_->reactor().AddTimer(kReplicasEnd, [this] {
    end_timer_ = 0;
    Finish();
  });
}

void ReplicatedNode::Finish() {
  host_->reactor().CancelTimer(std::exchange(end_timer_, 0));
  if (ended_ || end_ == nullptr) return;
  ended_ = true;
  if (output_ != nullptr) output_->Drain();
  DeleteWorkload();
  EngineEvent event = std::move(*end_);
  end_.reset();
  event.when = host_->reactor().Now();
  Emit(std::move(event));
}

void ReplicatedNode::Fail(Cause cause) {
  if (!Live() || end_ != nullptr) return;
  EngineEvent event = NewEvent(started_ ? EngineEvent::Kind::kExited : EngineEvent::Kind::kStartFailed);
  event.cause = std::move(cause);
  event.cause.node = name_;
  BeginEnd(std::move(event));
}

void ReplicatedNode::OnOutput(Replica& replica, absl::string_view bytes, bool stderr_stream) {
  if (output_ == nullptr) Say("");
  if (output_ != nullptr) output_->Feed(replica.lines.Feed(bytes, stderr_stream), stderr_stream);
}

void ReplicatedNode::Say(const std::string& line) {
  if (output_ == nullptr) {
    LogWriter::Options options;
    options.dir_fd = host_->log_folder();
    options.node = name_;
    auto made = LogWriter::Create(host_->reactor(), std::move(options), -1, -1);
    if (!made.ok()) return;
    output_ = *std::move(made);
  }
  if (!line.empty()) output_->Feed(absl::StrCat("[mayfly] ", line, "\n"), /*stderr_stream=*/true);
}

}  // namespace mayfly::kubernetes
