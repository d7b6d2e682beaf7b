// An environment's init. init.cc: its life and its links; init_nodes.cc: places for nodes, also for more than were
// expected; init_shims.cc: what shims say, and commands and connections into nodes.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_INIT_IMPL_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_INIT_IMPL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/init.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/node.h"
#include "server/engine/parts/proxy.h"
#include "server/engine/parts/relay.h"

namespace mayfly::local {

// Marks the ids of commands that the init itself runs; the server's have it clear.
constexpr uint64_t kOwnCalls = uint64_t{1} << 63;

class Init : public NodeHost {
 public:
  explicit Init(InitConfig config) : config_(std::move(config)) {}

  [[noreturn]] void Run();

  // NodeHost:
  Reactor* reactor() override { return &reactor_; }
  const std::string& scope() const override { return scope_; }
  int log_folder() const override { return log_folder_.get(); }
  ProbeBudget* probe_budget() override { return &probe_budget_; }
  void RunInside(Slot& slot, const std::vector<std::string>& argv, std::function<void(int, std::string)> done) override;
  void Emit(const EngineEvent& event, UniqueFd pidfd) override;

 private:
  absl::Status WarmUp();
  absl::Status StartShim(Slot& slot);
  void Reap();

  // ---- Launcher. ----
  void OnLauncherFrame(Frame frame);
  void OnLauncherGone();

  // ---- Server. ----
  void Accept();
  void OnServerFrame(Frame frame);
  void StopNode(const std::string& name);
  void StartNode(const StartRequest& request);
  void Expose(const ExposeRequest& request, UniqueFd listener);
  void Connect(const ConnectRequest& request, UniqueFd peer);
  void FailCall(uint64_t id, absl::StatusCode code, std::string message);
  void SendSnapshot();
  Node* Find(const std::string& name);
  void Prepare(PrepareRequest request);

  // One with a shim if there is one, so that nobody waits.
  Slot* FreeSlot();
  absl::Status OpenEgress(const Node& node, const ProcessSpec& process, std::vector<std::string>* routes);

  // ---- More nodes than were expected. ----
  struct Placeless {
    PrepareRequest prepare;
    StartRequest start;  // Asked for meanwhile; without a node: not yet.
  };
  void WaitForPlace(PrepareRequest request);
  std::vector<Placeless>::iterator FindPlaceless(const std::string& node);

  // By a child, because the kernel may take its time over networks.
  void Grow();
  void OnGrown();
  void RefusePlaceless(absl::string_view why);

  // It never had a place: that is its end.
  void EmitNeverStarted(const std::string& node, int attempt);
  absl::StatusOr<int> SourceNumber(const std::string& path);

  // In place: the file is bound into every service's tree.
  void WriteHosts();

  // ---- Shims. ----
  Node* NodeOf(const Slot& slot);
  void OnShimFrame(Slot& slot, Frame frame);
  void OnCommandDone(const ShimSpawnDone& done);
  void OnCommandOverdue(uint64_t id, Slot& slot);
  void OnShimWarm(Slot& slot, Frame frame);
  void OnShimGone(Slot& slot);

  InitConfig config_;
  Reactor reactor_;
  std::unique_ptr<Channel> launcher_, server_;
  UniqueFd children_, listener_, log_folder_;
  UniqueFd source_;  // A mount of source_root_, until a node asks for it.
  std::string source_root_;
  std::deque<Slot> slots_;            // Grows; nodes and channels point into it.
  std::vector<Placeless> placeless_;  // Until there are more slots.
  std::unique_ptr<Channel> maker_;    // Of their networks.
  std::vector<UniqueFd> more_networks_;
  std::string maker_error_;
  size_t waiting_for_shims_ = 0;
  std::string scope_, environment_;
  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::map<std::string, int> sources_;
  std::map<std::string, std::string> addresses_;
  std::map<std::string, std::unique_ptr<TcpProxy>> proxies_;  // By "node:port".
  std::map<uint64_t, std::unique_ptr<Relay>> relays_;
  EgressGateway egress_{&reactor_};
  ProbeBudget probe_budget_;
  struct Command {
    UniqueFd output;
    std::function<void(int, std::string)> done;
    Reactor::TimerId limit = 0;
    bool overdue = false;
  };
  std::map<uint64_t, Command> commands_;  // Of probes.
  uint64_t own_calls_ = 0;
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_INIT_IMPL_H_
