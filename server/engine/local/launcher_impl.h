// The launcher's state and what it does with it. launcher.cc: its life, requests and leftovers; launcher_scopes.cc:
// giving and taking back shells; launcher_shells.cc: making them, and the pool; launcher_process.cc: the server's side.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_IMPL_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_IMPL_H_

#include <linux/filter.h>
#include <sys/types.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/local/cgroup.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/descriptor.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/plot.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::local {

// Whatever hangs must not keep the launcher of a server that is gone.
constexpr absl::Duration kLauncherEndLimit = absl::Seconds(5);

struct Shell {
  enum class State { kNetworks, kWarming, kWarm, kTaken, kEnding, kDead };
  State state = State::kNetworks;
  Plot plot;
  std::string group;
  std::string scope;  // Taken, or reserved for it while it is being made.
  std::unique_ptr<Channel> channel;
  pid_t init = 0;
  UniqueFd pidfd;
  bool born = false, warm = false;
  std::vector<UniqueFd> parts;  // Of the networks, as they arrive.
  absl::Duration release_began;
  bool release_wanted = false;
  int expected = 0;  // Nodes of its scope; the plot may have room for more.
};

class Launcher {
 public:
  Launcher(const LauncherOptions& options, UniqueFd server);
  [[noreturn]] void Run();

 private:
  // Until no earlier launcher of this folder can take a scope or make a control group any more: what was found before
  // that would not be all there is. Not answering Describe meanwhile keeps the server from looking, too.
  void AwaitPredecessor();

  // Of a launcher that was killed while it made the scope. The server will ask again, and must not find half of one.
  void Undo(const std::string& scope);

  // Groups and ids of scopes that live stay; everything else of this installation is from a launcher that was killed.
  void SweepLeftovers();

  // Its last process may still be ending.
  void RemoveGroup(const std::string& group);
  void RetryBusyGroups();

  // ---- Requests. ----
  void OnServerFrame(Frame frame);
  void OnServerGone();

  // Ends the launcher when only scopes that outlive it are left.
  void EndWhenDone();
  void Take(TakeRequest request);
  int MakersAtWork() const;

  // In order of arrival, as long as the kernel gains by doing more at once.
  void MakeForRequests();

  // The first for which nothing is being made yet and which `shell` fits; empty: none.
  std::string TakeWaiting(const Shell& shell);

  // Shells get as many shims as the largest of the last few scopes had nodes: each costs memory and a millisecond.
  void Expect(int slots);
  int ShimsAhead() const;
  static bool Fits(const Shell& shell, const TakeRequest& request, int slots);
  void Reply(const std::string& scope, const std::string& error, bool warm = false);
  void GiveTo(Shell* shell, const TakeRequest& request, bool warm);

  // The init writes there, as whoever it is outside.
  static absl::StatusOr<UniqueFd> LogFolder(const std::string& path, uint32_t host_id);
  void Release(const std::string& scope);

  // A scope of an earlier launcher: known by its descriptor only.
  void ReleaseForeign(const std::string& scope);
  void FinishForeign(const ScopeDescriptor& descriptor, absl::Duration began, int inits);
  void RemoveGroups(const std::string& group, Receipt* receipt);

  // Kept with the networks where that pays; a group that is not empty is no place for the next scope.
  void ReleaseGroups(Shell* shell, Receipt* receipt);
  void RemoveFolder(const std::string& scope, Receipt* receipt);
  void SendReceipt(const std::string& scope, const Receipt& receipt);
  void StartEgress(const std::string& scope);
  void Describe();

  // ---- Making shells. ----
  uint32_t NewHostId();
  void MakeShell(const std::string& scope, int slots);
  void OnNetworkFrame(Shell* shell, Frame frame);
  void OnNetworksDone(Shell* shell);
  void Warm(Shell* shell);
  void OnInitFrame(Shell* shell, Frame frame);
  void OnWarm(Shell* shell);
  void OnInitClosed(Shell* shell);
  void OnInitEnded(Shell* shell);
  void FinishRelease(Shell* shell);

  // A shell that did not come to life. Whoever waits for it is told, unless what was used before is to blame: then
  // something new may do.
  void Discard(Shell* shell, const absl::Status& status);
  void GiveUp(Shell* shell, const absl::Status& status);
  void Fail(const std::string& scope);
  void Drop(Shell* shell);
  void ReapChildren();

  // ---- The pool. ----
  size_t WarmCount() const;
  // Warm, or on the way and not promised to anybody.
  int ShellCount() const;
  int PoolSize() const { return ShellCount() + static_cast<int>(idle_plots_.size()); }

  // Work for the pool competes with the environment that was just taken, so it waits until requests pause, unless the
  // next request would find nothing.
  void ScheduleRefill();
  void ScheduleTrim();
  void Refill();

  const LauncherOptions options_;
  Reactor reactor_;
  std::unique_ptr<Channel> server_;
  bool root_ = false, closing_ = false;
  std::string installation_;
  CgroupHost cgroups_;
  RootPlan plan_;
  std::vector<sock_filter> filter_;
  std::vector<std::unique_ptr<Shell>> shells_;
  std::deque<Shell*> idle_plots_;
  std::map<std::string, TakeRequest> requests_;  // Waiting for the shell that is made for them.
  std::deque<std::string> unmade_;               // Those of them for which none is being made yet.
  std::map<std::string, UniqueFd> foreign_;
  std::map<std::string, ScopeDescriptor> adopted_;  // Scopes of earlier launchers, as they were found.
  std::set<uint32_t> host_ids_;
  UniqueFd lock_;            // Of the folder: one launcher at a time.
  std::set<pid_t> helpers_;  // Short-lived children that are not reaped yet.
  std::set<std::string> busy_groups_;
  absl::Duration busy_delay_;
  Reactor::TimerId busy_timer_ = 0;
  std::deque<int> expected_;  // Nodes of the last scopes.
  int target_;
  uint64_t groups_made_ = 0;
  absl::Duration last_take_ = -absl::InfiniteDuration();
  Reactor::TimerId refill_timer_ = 0;
  Reactor::TimerId trim_timer_ = 0;
  std::string last_error_;
  Capabilities capabilities_;
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_LAUNCHER_IMPL_H_
