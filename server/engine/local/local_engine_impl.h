// The server's side of the local engine. local_engine.cc: the verbs, from any thread; local_engine_scopes.cc: what
// becomes of scopes, on the I/O thread; local_engine_launcher.cc: the launcher's life; local_engine_access.cc:
// commands, connections and files.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_IMPL_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_IMPL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/base/mutex.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/local/messages.h"
#include "server/engine/parts/fd_stream.h"
#include "server/engine/parts/io_thread.h"

namespace mayfly::local {

constexpr char kLauncherGone[] = "the launcher has ended and cannot be started again: stop and start mayflyd";

// What the server knows of a node without asking: enough to refuse what cannot be.
struct NodeRecord {
  int attempt = 0;
  bool prepared = false;  // Accepted; not yet ended.
  bool running = false;
  bool ended = false;
  int64_t pid = 0;  // While it runs.
};

// Fields below the line belong to the I/O thread.
struct Scope {
  ScopeSpec spec;
  std::map<std::string, NodeRecord> nodes;
  std::map<std::string, std::string> addresses;  // Exposed, by "node:port".
  bool destroying = false;
  // ----
  std::unique_ptr<Channel> channel;
  std::vector<std::function<void(Scope&)>> waiting;  // Sent once there is a channel.
  bool lost = false;
  bool has_egress = false, egress_open = false;
  bool undoing = false;  // What a launcher that ended may have begun for it is taken back; it is asked for again then.
  Reactor::TimerId release_timer = 0;
  std::map<std::string, Usage> usage;  // At the end.
  bool snapshot_wanted = false, snapshot_seen = false;
  Snapshot snapshot;
};

class LocalEngineImpl : public LocalEngine {
 public:
  LocalEngineImpl(const LocalEngineOptions& options, LauncherHandle launcher, EngineEventSink* sink);
  ~LocalEngineImpl() override;
  Capabilities Describe() override;
  absl::Status CreateScope(const ScopeSpec& spec) override;
  absl::Status Prepare(const NodeRef& ref, const ProcessSpec& process) override;
  absl::Status Start(const NodeRef& ref, bool one_shot) override;
  absl::Status Stop(const NodeRef& ref) override;
  absl::Status Expose(const NodeRef& ref, int port, int host_port) override;
  absl::Status Destroy(const std::string& id) override;
  absl::StatusOr<std::vector<FoundScope>> Recover() override;
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& ref, int port, Stream::Callbacks callbacks) override;
  void Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
               std::function<void(absl::Status)> done) override;

 private:
  // ---- Any thread, under the lock. ----
  absl::StatusOr<std::shared_ptr<Scope>> FindScope(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<Scope>> FindPrepared(const NodeRef& ref) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<Scope>> FindRunning(const NodeRef& ref) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WhenConnected(const std::shared_ptr<Scope>& scope, std::function<void(Scope&)> fn);

  // ---- The I/O thread. ----
  void Emit(const EngineEvent& event);
  void EmitScope(const std::string& id, EngineEvent::Kind kind, Cause cause = Cause(), Receipt receipt = Receipt());
  void FailScope(const std::string& id, const std::string& message);

  // Without a launcher just now, the next one is asked.
  void Take(const ScopeSpec& spec);

  // What its nodes have used can be asked only before they end; an init that does not answer is not waited for.
  void Release(const std::string& id);
  void OnUsage(const std::string& id, Scope& scope, UsageReply reply);
  void SendRelease(const std::string& id);
  void OnLauncherFrame(Frame frame);

  // ---- The launcher's own life. ----
  void AdoptLauncher();

  // Called for the end of its channel and for its own. Scopes need no launcher while they run.
  void OnLauncherGone();
  void ScheduleRestart();
  void GiveUp();

  // Whatever the one before was asked for and has not answered is asked for again.
  void ResumeWork();
  void OnTaken(const TakeReply& reply);
  absl::Status ConnectTo(const std::shared_ptr<Scope>& scope);
  void OnInitFrame(const std::string& id, Frame frame);
  StartedStream Attach(FdStreamOptions options, Stream::Callbacks callbacks);

  // Asks the scope's init for something that ends with a CallDone. `done` runs on the I/O thread.
  void Call(const std::shared_ptr<Scope>& scope, uint64_t id, std::function<void(Scope&)> send,
            std::function<void(absl::Status, int exit_code)> done);
  void FinishCall(const CallDone& done);
  void FailCalls(const std::string& scope);
  void OnInitGone(const std::string& id);
  void OnReleased(const ReleaseReply& reply);

  const LocalEngineOptions options_;
  EngineEventSink* const sink_;
  Mutex mutex_;
  CondVar changed_;
  Capabilities capabilities_ ABSL_GUARDED_BY(mutex_);
  bool launcher_gone_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::shared_ptr<Scope>> scopes_ ABSL_GUARDED_BY(mutex_);
  // The I/O thread's.
  std::map<std::string, std::shared_ptr<Scope>> scopes_io_;
  std::set<std::string> releasing_;  // Asked for, not yet answered.
  LauncherHandle handle_;
  std::unique_ptr<Channel> launcher_;  // None while there is no launcher.
  UniqueFd launcher_pidfd_;
  absl::Duration launched_, restart_delay_;
  Reactor::TimerId restart_timer_ = 0;
  struct PendingCall {
    std::string scope;
    std::function<void(absl::Status, int exit_code)> done;
  };
  std::map<uint64_t, PendingCall> calls_;
  std::atomic<uint64_t> last_call_{0};
  IoThread io_;  // Last: its thread uses all of the above.
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_LOCAL_ENGINE_IMPL_H_
