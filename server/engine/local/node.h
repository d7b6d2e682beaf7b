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
#include "server/engine/parts/log_writer.h"
#include "server/engine/parts/probe.h"
#include "server/engine/parts/probe_budget.h"
#include "server/engine/parts/reactor.h"
#include "server/engine/parts/sock_diag.h"

namespace mayfly::local {

// A ready-made place for a node: a shim in its own namespaces, network and control group.
struct Slot {
  int index = 0;
  UniqueFd network;
  SlotCgroup cgroup;
  pid_t shim_pid = 0;
  std::unique_ptr<Channel> shim;   // Null when it has died.
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
  // The scope's log folder; -1 without one.
  virtual int log_folder() const = 0;
  virtual ProbeBudget* probe_budget() = 0;
  // Runs a command beside the slot's node; as RunCommand of probe.h.
  virtual void RunInside(Slot& slot, const std::vector<std::string>& argv,
                         std::function<void(int exit_code, std::string output_tail)> done) = 0;
  virtual const std::string& scope() const = 0;
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
  void Prepare(int attempt, ProcessSpec process, int source, std::vector<std::string> routes);
  void FailPreparation(int attempt, Cause cause);
  void Start(bool one_shot);
  void Stop();

  // From the slot's shim.
  void OnReady(UniqueFd notify);
  void OnFailed(Cause cause);
  void OnStarted(absl::Duration when, UniqueFd pidfd);
  void OnExited(const ShimExited& exited);
  void OnShimLost();

 private:
  EngineEvent NewEvent(EngineEvent::Kind kind) const;
  void RepeatLast();
  void BeginProbing();
  void ReadNotify();
  void OnProbeFailing(const ProbeFailure& failure);
  void BecomeReady();
  void EndProbing();
  absl::Status CaptureOutput(std::vector<UniqueFd>* child_ends);
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
  Reactor::TimerId grace_timer_ = 0;
  std::unique_ptr<Prober> prober_;
  UniqueFd notify_;
  std::unique_ptr<LogWriter> output_;
  std::vector<std::string> tail_;  // Of the attempt that has ended.
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_NODE_H_
