// One node of an environment, as its init sees it: attempt by attempt through preparation, start, readiness and end.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_NODE_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_NODE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/engine/engine.h"
#include "mayfly/spec/process.h"
#include "server/engine/local/cgroup.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/reactor.h"
#include "server/engine/local/sock_diag.h"

namespace mayfly::local {

// A ready-made place for a node: a shim in its own namespaces, network and control group.
struct Slot {
  int index = 0;
  UniqueFd network;
  SlotCgroup cgroup;
  pid_t shim_pid = 0;
  std::unique_ptr<Channel> shim;  // Null when it has died.
  std::unique_ptr<SockDiag> diag;  // Of the slot's network.
  bool used = false;
};

// What a node needs of its environment.
class NodeHost {
 public:
  virtual ~NodeHost() = default;
  virtual Reactor* reactor() = 0;
  // Remembers it for this attempt and tells the server, if one listens. `pidfd` may be invalid.
  virtual void Emit(const EngineEvent& event, UniqueFd pidfd) = 0;
  // A log file of the scope, opened for appending; invalid when there is no log folder.
  virtual UniqueFd OpenLog(const std::string& node) = 0;
  virtual const std::string& scope() const = 0;
  virtual bool memory_limits() const = 0;
  virtual bool process_limits() const = 0;
};

class Node {
 public:
  enum class State { kNew, kPreparing, kPrepared, kStarting, kRunning, kReady, kEnded };

  Node(NodeHost* host, std::string name, Slot* slot);
  ~Node();

  State state() const { return state_; }
  int attempt() const { return attempt_; }
  Slot* slot() const { return slot_; }
  bool Live() const { return state_ != State::kNew && state_ != State::kEnded; }
  const std::vector<EngineEvent>& events() const { return events_; }
  void Remember(const EngineEvent& event) { events_.push_back(event); }

  // `source` is the number of the shared source folder or -1. A repeated attempt repeats its last event.
  void Prepare(int attempt, ProcessSpec process, int source);
  void FailPreparation(int attempt, Cause cause);
  void Start(bool one_shot);
  void Stop();

  // From the slot's shim.
  void OnReady();
  void OnFailed(Cause cause);
  void OnStarted(absl::Duration when, UniqueFd pidfd);
  void OnExited(const ShimExited& exited);
  void OnShimLost();

 private:
  EngineEvent NewEvent(EngineEvent::Kind kind) const;
  void RepeatLast();
  void BeginProbing();
  void ProbeOnce();
  void BecomeReady();
  void EndProbing();
  absl::Status CaptureOutput(std::vector<UniqueFd>* child_ends);
  void ReadOutput(int stream);
  void FinishOutput();
  Cause Diagnose(const ShimExited& exited) const;

  NodeHost* host_;
  std::string name_;
  Slot* slot_;
  State state_ = State::kNew;
  int attempt_ = 0;
  bool one_shot_ = false, stop_requested_ = false;
  ProcessSpec process_;
  std::vector<EngineEvent> events_;  // Of this attempt.
  absl::Duration started_at_;
  Reactor::TimerId grace_timer_ = 0, probe_timer_ = 0;
  absl::Duration probe_pause_;
  UniqueFd output_[2], log_;
  std::string tail_;
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_NODE_H_
