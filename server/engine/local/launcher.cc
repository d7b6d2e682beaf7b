#include "server/engine/local/launcher.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/descriptor.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/host_checks.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/plot.h"
#include "server/engine/local/seccomp_filter.h"

namespace mayfly::local {
namespace {

constexpr uint32_t kFirstHostId = 2000000000;
constexpr size_t kRemembered = 8;
constexpr absl::Duration kQuiet = absl::Milliseconds(100);
// A control group cannot be waited for on every kind of host.
constexpr absl::Duration kBusyDelay = absl::Milliseconds(2), kBusyDelayLimit = absl::Seconds(1);
constexpr absl::Duration kEndLimit = absl::Seconds(5);
// Network sets made at the same time. Each takes the kernel's one lock of all links two hundred times: more of them
// only wait for each other, and the first is ready as late as the last.
constexpr int kMakers = 2;

// Whether the local user list or a range of somebody's subordinate ids holds it. Read by hand: the library's way loads
// libraries named in the host's configuration, which a static program cannot.
bool IsSomebody(uint32_t id) {
  const auto users = ReadSmallFile(AT_FDCWD, "/etc/passwd", 4 << 20);
  for (const absl::string_view line : absl::StrSplit(users.value_or(""), '\n')) {
    const std::vector<absl::string_view> field = absl::StrSplit(line, ':');
    uint32_t user = 0;
    if (field.size() > 2 && absl::SimpleAtoi(field[2], &user) && user == id) return true;
  }
  const auto ranges = ReadSmallFile(AT_FDCWD, "/etc/subuid", 4 << 20);
  for (const absl::string_view line : absl::StrSplit(ranges.value_or(""), '\n')) {
    const std::vector<absl::string_view> field = absl::StrSplit(line, ':');
    uint64_t first = 0, count = 0;
    if (field.size() > 2 && absl::SimpleAtoi(field[1], &first) && absl::SimpleAtoi(field[2], &count) && id >= first &&
        id < first + count) {
      return true;
    }
  }
  return false;
}

// Names become parts of paths and lines of descriptors.
bool IsOneLine(absl::string_view text) {
  return text.size() < 4096 && text.find_first_of(absl::string_view("\n\0", 2)) == absl::string_view::npos;
}

bool IsScopeName(absl::string_view name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' && name.find('/') == absl::string_view::npos &&
         IsOneLine(name);
}

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
};

class Launcher {
 public:
  Launcher(const LauncherOptions& options, UniqueFd server) : options_(options), target_(options.pool) {
    server_ = std::make_unique<Channel>(
        &reactor_, std::move(server), [this](Frame frame) { OnServerFrame(std::move(frame)); },
        [this] { OnServerGone(); });
  }

  [[noreturn]] void Run() {
    prctl(PR_SET_NAME, "mayfly-launcher", 0, 0, 0);
    setsid();
    for (const int sig : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(sig, SIG_IGN);
    umask(022);  // A server that starts it anew has a narrower one, which its environments must not get.
    root_ = geteuid() == 0;
    if (root_ && setgroups(0, nullptr) != 0) errno = 0;
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
      files.rlim_cur = files.rlim_max;
      setrlimit(RLIMIT_NOFILE, &files);
    }
    installation_ = Sha256Hex(options_.state_dir).substr(0, 8);
    cgroups_ = FindCgroups(absl::StrCat("mayfly-", installation_), getppid());
    if (auto filter = CompileSeccompFilter(); filter.ok()) filter_ = *std::move(filter);
    std::vector<std::string> hidden = options_.hidden;
    hidden.push_back(options_.state_dir);
    plan_ = PlanRoot(hidden);
    AwaitPredecessor();
    SweepLeftovers();
    Refill();
    reactor_.Run();
    _exit(0);
  }

 private:
  // Until no earlier launcher of this folder can take a scope or make a control group any more: what was found before
  // that would not be all there is. Not answering Describe meanwhile keeps the server from looking, too.
  void AwaitPredecessor() {
    lock_ = UniqueFd(open((options_.state_dir + "/scopes/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    while (lock_.valid() && flock(lock_.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }

  // Of a launcher that was killed while it made the scope. The server will ask again, and must not find half of one.
  void Undo(const std::string& scope) {
    if (const auto descriptor = ReadDescriptor(options_.state_dir, scope); descriptor.ok()) {
      if (const auto pidfd = OpenInit(*descriptor); pidfd.ok()) {
        SignalPidfd(pidfd->get(), SIGKILL).IgnoreError();
        pollfd ended{pidfd->get(), POLLIN, 0};
        poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(kEndLimit)));
      }
    }
    RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope)).IgnoreError();
  }

  // Groups and ids of scopes that live stay; everything else of this installation is from a launcher that was killed.
  void SweepLeftovers() {
    const auto scopes = ListScopes(options_.state_dir);
    if (!scopes.ok()) return;  // Without a complete list nothing may be called left over.
    std::set<std::string> live;
    for (const std::string& scope : *scopes) {
      if (!IsPublished(ScopeFolder(options_.state_dir, scope))) {
        Undo(scope);
        continue;
      }
      const auto descriptor = ReadDescriptor(options_.state_dir, scope);
      if (!descriptor.ok()) continue;
      live.insert(descriptor->cgroup);
      host_ids_.insert(descriptor->host_id);
    }
    for (const std::string& group : ListCgroups(cgroups_)) {
      if (live.count(group) == 0) RemoveGroup(group);
    }
  }

  // Its last process may still be ending.
  void RemoveGroup(const std::string& group) {
    if (group.empty() || RemoveCgroups(cgroups_, group).ok()) return;
    busy_groups_.insert(group);
    if (busy_timer_ != 0) return;
    busy_delay_ = kBusyDelay;
    RetryBusyGroups();
  }

  void RetryBusyGroups() {
    busy_timer_ = reactor_.AddTimer(busy_delay_, [this] {
      busy_timer_ = 0;
      for (auto it = busy_groups_.begin(); it != busy_groups_.end();) {
        it = RemoveCgroups(cgroups_, *it).ok() ? busy_groups_.erase(it) : std::next(it);
      }
      busy_delay_ = std::min(busy_delay_ * 2, closing_ ? kBusyDelay : kBusyDelayLimit);
      if (!busy_groups_.empty()) RetryBusyGroups();
      EndWhenDone();
    });
  }

  // ---- Requests. ----
  void OnServerFrame(Frame frame) {
    switch (frame.type) {
      case TakeRequest::kType: {
        TakeRequest request;
        if (!Decode(frame.body, request) || !IsScopeName(request.scope)) return;
        if (!IsOneLine(request.environment) || !IsOneLine(request.owner)) {
          return Reply(request.scope, "a name with a line break");
        }
        return Take(std::move(request));
      }
      case ReleaseRequest::kType: {
        ReleaseRequest request;
        if (Decode(frame.body, request) && IsScopeName(request.scope)) Release(request.scope);
        return;
      }
      case EgressRequest::kType: {
        EgressRequest request;
        if (Decode(frame.body, request) && IsScopeName(request.scope)) StartEgress(request.scope);
        return;
      }
      case DescribeRequest::kType:
        return Describe();
      default:
        return;
    }
  }

  void OnServerGone() {
    closing_ = true;
    server_.reset();
    for (const pid_t helper : helpers_) kill(helper, SIGKILL);
    // Helpers hold the lock, too: the next launcher begins when the last of them is gone.
    lock_.Reset();
    for (const auto& shell : shells_) {
      if (shell->state == Shell::State::kDead && shell->scope.empty()) RemoveGroup(shell->group);
      if (shell->state == Shell::State::kTaken || shell->state == Shell::State::kDead) continue;
      if (shell->pidfd.valid()) SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
      // An init that is not known yet ends by itself; that nobody holds the other end any more is seen here.
      if (!shell->born && shell->channel != nullptr) shutdown(shell->channel->fd(), SHUT_WR);
    }
    EndWhenDone();
    // Whatever hangs must not keep the launcher of a server that is gone.
    reactor_.AddTimer(kEndLimit, [] { _exit(1); });
  }

  // Ends the launcher when only scopes that outlive it are left.
  void EndWhenDone() {
    if (!closing_ || !busy_groups_.empty()) return;
    for (const auto& shell : shells_) {
      if (shell->state != Shell::State::kTaken && shell->state != Shell::State::kDead) return;
    }
    RemoveInstallation(cgroups_);
    _exit(0);
  }

  void Take(TakeRequest request) {
    const absl::Duration now = reactor_.Now();
    last_take_ = now;
    if (requests_.count(request.scope) > 0) return Reply(request.scope, "the scope exists");
    for (const auto& shell : shells_) {
      if (shell->scope == request.scope) return Reply(request.scope, "the scope exists");
    }
    const int slots = std::max(request.slots, 1);
    Expect(slots);
    for (const auto& shell : shells_) {
      if (shell->state == Shell::State::kWarm && shell->scope.empty() && Fits(*shell, request, slots)) {
        GiveTo(shell.get(), request, /*warm=*/true);
        return ScheduleRefill();
      }
    }
    target_ = std::min(target_ + 1, options_.pool_limit);
    requests_[request.scope] = request;
    for (const auto& shell : shells_) {
      const bool coming = shell->state == Shell::State::kNetworks || shell->state == Shell::State::kWarming;
      if (coming && shell->scope.empty() && Fits(*shell, request, slots)) {
        shell->scope = request.scope;
        return ScheduleRefill();
      }
    }
    // Networks that wait to be used again are up in a tenth of the time that new ones take.
    const auto idle = std::find_if(idle_plots_.begin(), idle_plots_.end(),
                                   [&](const Shell* shell) { return Fits(*shell, request, slots); });
    if (idle != idle_plots_.end()) {
      Shell* const shell = *idle;
      idle_plots_.erase(idle);
      shell->scope = request.scope;
      Warm(shell);
    } else {
      unmade_.push_back(request.scope);
      MakeForRequests();
    }
    ScheduleRefill();
  }

  int MakersAtWork() const {
    return static_cast<int>(std::count_if(shells_.begin(), shells_.end(),
                                          [](const auto& shell) { return shell->state == Shell::State::kNetworks; }));
  }

  // In order of arrival, as long as the kernel gains by doing more at once.
  void MakeForRequests() {
    while (!closing_ && !unmade_.empty() && MakersAtWork() < kMakers) {
      const std::string scope = unmade_.front();
      unmade_.pop_front();
      const auto it = requests_.find(scope);
      if (it != requests_.end()) MakeShell(scope, std::max(it->second.slots, options_.slots));
    }
  }

  // The first for which nothing is being made yet and which `shell` fits; empty: none.
  std::string TakeWaiting(const Shell& shell) {
    const auto it = std::find_if(unmade_.begin(), unmade_.end(), [&](const std::string& scope) {
      const TakeRequest& request = requests_.at(scope);
      return Fits(shell, request, std::max(request.slots, 1));
    });
    if (it == unmade_.end()) return "";
    const std::string scope = *it;
    unmade_.erase(it);
    return scope;
  }

  // Shells get as many shims as the largest of the last few scopes had nodes: each costs memory and a millisecond.
  void Expect(int slots) {
    expected_.push_back(slots);
    if (expected_.size() > kRemembered) expected_.pop_front();
  }

  int ShimsAhead() const {
    return expected_.empty() ? options_.slots : *std::max_element(expected_.begin(), expected_.end());
  }

  static bool Fits(const Shell& shell, const TakeRequest& request, int slots) {
    return shell.plot.slots >= slots && (shell.plot.owner.empty() || shell.plot.owner == request.owner);
  }

  void Reply(const std::string& scope, const std::string& error, bool warm = false) {
    if (server_ != nullptr) server_->Send(TakeReply{scope, error, warm});
  }

  void GiveTo(Shell* shell, const TakeRequest& request, bool warm) {
    shell->state = Shell::State::kTaken;
    shell->scope = request.scope;
    shell->plot.owner = request.owner;
    shell->plot.used = true;
    const absl::Status status = [&]() -> absl::Status {
      ScopeDescriptor descriptor;
      descriptor.scope = request.scope;
      descriptor.environment = request.environment;
      descriptor.owner = request.owner;
      descriptor.pid = shell->init;
      MAYFLY_ASSIGN_OR_RETURN(descriptor.start_time, ProcessStartTime(shell->init));
      MAYFLY_ASSIGN_OR_RETURN(descriptor.pid_namespace, NamespaceInode(shell->init, "pid"));
      descriptor.boot_id = BootId();
      descriptor.cgroup = shell->group;
      descriptor.host_id = shell->plot.host_id;
      descriptor.protocol = kProtocol;
      MAYFLY_RETURN_IF_ERROR(WriteDescriptor(options_.state_dir, descriptor));
      const std::string folder = ScopeFolder(options_.state_dir, request.scope);
      MAYFLY_ASSIGN_OR_RETURN(UniqueFd listener, ListenControl(folder));
      Assign assign{request.scope, request.environment, false, ""};
      std::vector<UniqueFd> fds;
      fds.push_back(std::move(listener));
      if (!request.log_dir.empty()) {
        MAYFLY_ASSIGN_OR_RETURN(fds.emplace_back(), LogFolder(request.log_dir, root_ ? shell->plot.host_id : 0));
        assign.has_logs = true;
      }
      if (root_ && !request.source_root.empty()) {
        // A failure shows again, with its cause, when the first node asks for the folder.
        if (auto mount = SourceMount(request.source_root, shell->plot.host_id); mount.ok()) {
          fds.push_back(*std::move(mount));
          assign.source_root = request.source_root;
        }
      }
      shell->channel->Send(assign, std::move(fds));
      return PublishControl(folder);
    }();
    Reply(request.scope, std::string(status.message()), warm);
  }

  // The init writes there, as whoever it is outside.
  static absl::StatusOr<UniqueFd> LogFolder(const std::string& path, uint32_t host_id) {
    MAYFLY_RETURN_IF_ERROR(MakeDirs(path, 0700));
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, path);
    if (host_id != 0 && fchown(fd.get(), host_id, host_id) != 0) return ErrnoStatus(errno, path);
    return fd;
  }

  void Release(const std::string& scope) {
    if (std::find(unmade_.begin(), unmade_.end(), scope) != unmade_.end()) {
      unmade_.erase(std::find(unmade_.begin(), unmade_.end(), scope));
      requests_.erase(scope);
      Reply(scope, "the scope was destroyed");
      return SendReceipt(scope, Receipt{});
    }
    requests_.erase(scope);
    for (const auto& shell : shells_) {
      if (shell->scope != scope) continue;
      shell->release_began = reactor_.Now();
      switch (shell->state) {
        case Shell::State::kNetworks:
        case Shell::State::kWarming:
          shell->scope.clear();  // It goes to the pool instead.
          Reply(scope, "the scope was destroyed");
          return SendReceipt(scope, Receipt{});
        case Shell::State::kDead:
          return FinishRelease(shell.get());
        case Shell::State::kEnding:
          return;
        case Shell::State::kWarm:
        case Shell::State::kTaken:
          shell->release_wanted = true;
          shell->state = Shell::State::kEnding;
          SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
          return;
      }
    }
    ReleaseForeign(scope);
  }

  // A scope of an earlier launcher: known by its descriptor only.
  void ReleaseForeign(const std::string& scope) {
    const absl::Duration began = reactor_.Now();
    auto descriptor = ReadDescriptor(options_.state_dir, scope);
    if (!descriptor.ok()) {
      // A folder without a descriptor was made just before a crash, and nothing else was.
      RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope)).IgnoreError();
      return SendReceipt(scope, Receipt{});
    }
    auto pidfd = OpenInit(*descriptor);
    if (!pidfd.ok()) return FinishForeign(*descriptor, began, 0);
    if (foreign_.count(scope) > 0) return;
    foreign_[scope] = *std::move(pidfd);
    const int fd = foreign_[scope].get();
    reactor_
        .Add(fd, EPOLLIN,
             [this, scope, d = *descriptor, began](uint32_t) {
               reactor_.Remove(foreign_[scope].get());
               foreign_.erase(scope);
               FinishForeign(d, began, 1);
             })
        .IgnoreError();
    SignalPidfd(fd, SIGKILL).IgnoreError();
  }

  void FinishForeign(const ScopeDescriptor& descriptor, absl::Duration began, int inits) {
    Receipt receipt;
    receipt.processes = receipt.mounts = receipt.networks = inits;
    RemoveGroups(descriptor.cgroup, &receipt);
    RemoveFolder(descriptor.scope, &receipt);
    receipt.took = reactor_.Now() - began;
    host_ids_.erase(descriptor.host_id);
    SendReceipt(descriptor.scope, receipt);
  }

  void RemoveGroups(const std::string& group, Receipt* receipt) {
    if (group.empty()) return;
    const auto removed = RemoveCgroups(cgroups_, group);
    if (removed.ok()) {
      receipt->cgroups = *removed;
    } else {
      receipt->blockers.push_back(std::string(removed.status().message()));
      RemoveGroup(group);  // The descriptor, which names it, goes now.
    }
  }

  // Kept with the networks where that pays; a group that is not empty is no place for the next scope.
  void ReleaseGroups(Shell* shell, Receipt* receipt) {
    if (shell->group.empty()) return;
    if (KeepsCgroups(cgroups_)) {
      if (const auto empty = CountEmptyCgroups(cgroups_, shell->group, shell->plot.slots); empty.ok()) {
        receipt->cgroups = *empty;
        return;
      }
    }
    RemoveGroups(shell->group, receipt);
    shell->group.clear();
  }

  void RemoveFolder(const std::string& scope, Receipt* receipt) {
    const absl::Status folder = RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope));
    if (!folder.ok()) receipt->blockers.push_back(std::string(folder.message()));
  }

  void SendReceipt(const std::string& scope, const Receipt& receipt) {
    if (server_ != nullptr) server_->Send(ReleaseReply{scope, receipt});
  }

  void StartEgress(const std::string& scope) {
    const auto descriptor = ReadDescriptor(options_.state_dir, scope);
    auto pair = SocketPair(SOCK_STREAM);
    if (!descriptor.ok() || !pair.ok()) return server_->Send(EgressReply{scope, "no such scope"});
    const auto pid = CloneProcess(0);
    if (!pid.ok()) return server_->Send(EgressReply{scope, std::string(pid.status().message())});
    if (*pid == 0) RunEgress(std::move(pair->second), root_ ? descriptor->host_id : 0);
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(pair->first));
    server_->Send(EgressReply{scope, ""}, std::move(fds));
  }

  void Describe() {
    if (capabilities_.engine.empty()) capabilities_ = CheckHost(cgroups_, root_, filter_.size());
    if (server_ != nullptr) server_->Send(DescribeReply{capabilities_});
  }

  // ---- Making shells. ----
  uint32_t NewHostId() {
    if (!root_) return geteuid();
    // A range of its own for each installation, so that two servers of one host do not share an id.
    uint32_t id =
        kFirstHostId + static_cast<uint32_t>(std::stoul(installation_.substr(0, 5), nullptr, 16) % 100000) * 1000;
    while (host_ids_.count(id) > 0 || IsSomebody(id)) ++id;
    host_ids_.insert(id);
    return id;
  }

  void MakeShell(const std::string& scope, int slots) {
    auto shell = std::make_unique<Shell>();
    shell->scope = scope;
    shell->plot.slots = std::min(slots, kMaxSlots);
    shell->plot.host_id = NewHostId();
    shell->plot.host_group = root_ ? shell->plot.host_id : getegid();
    auto child = StartNetworkMaker(shell->plot, shell->plot.slots);
    if (!child.ok()) return GiveUp(shell.get(), child.status());
    Shell* const s = shell.get();
    shells_.push_back(std::move(shell));
    helpers_.insert(child->pid);
    s->channel = std::make_unique<Channel>(
        &reactor_, std::move(child->channel), [this, s](Frame frame) { OnNetworkFrame(s, std::move(frame)); },
        [this, s] { OnNetworksDone(s); });
  }

  void OnNetworkFrame(Shell* shell, Frame frame) {
    if (frame.type == kNetworkError) last_error_ = frame.body;
    for (UniqueFd& fd : frame.fds) shell->parts.push_back(std::move(fd));
  }

  void OnNetworksDone(Shell* shell) {
    ReapChildren();
    if (closing_) return Drop(shell);
    reactor_.AddTimer(absl::ZeroDuration(), [this] { MakeForRequests(); });  // Whatever becomes of this one.
    if (shell->parts.size() != static_cast<size_t>(shell->plot.slots) + 2) {
      return Discard(shell, absl::UnavailableError(last_error_.empty() ? "making networks failed" : last_error_));
    }
    Networks& networks = shell->plot.networks;
    networks.user = std::move(shell->parts[0]);
    networks.hub = std::move(shell->parts[1]);
    for (size_t i = 2; i < shell->parts.size(); ++i) networks.slots.push_back(std::move(shell->parts[i]));
    shell->parts.clear();
    last_error_.clear();
    Warm(shell);
  }

  void Warm(Shell* shell) {
    shell->state = Shell::State::kWarming;
    shell->born = shell->warm = false;
    if (shell->group.empty() && !cgroups_.folders.empty()) {
      shell->group = absl::StrCat("e", getpid(), "-", ++groups_made_);
    }
    auto child =
        StartShell(shell->plot, shell->group, ShellParts{ShimsAhead(), &cgroups_, &plan_, &filter_, lock_.get()});
    if (!child.ok()) return Discard(shell, child.status());
    helpers_.insert(child->pid);
    shell->channel = std::make_unique<Channel>(
        &reactor_, std::move(child->channel), [this, shell](Frame frame) { OnInitFrame(shell, std::move(frame)); },
        [this, shell] { OnInitClosed(shell); });
  }

  void OnInitFrame(Shell* shell, Frame frame) {
    if (frame.type == InitBorn::kType && frame.fds.size() == 1) {
      InitBorn born;
      if (!Decode(frame.body, born)) return;
      shell->init = static_cast<pid_t>(born.pid);
      shell->pidfd = std::move(frame.fds[0]);
      shell->born = true;
      reactor_.Add(shell->pidfd.get(), EPOLLIN, [this, shell](uint32_t) { OnInitEnded(shell); }).IgnoreError();
      if (closing_) SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
    } else if (frame.type == InitWarm::kType) {
      InitWarm warm;
      if (!Decode(frame.body, warm)) return;
      if (!warm.error.empty()) {
        last_error_ = warm.error;
        return;  // Its end follows.
      }
      shell->warm = true;
    }
    if (!closing_ && shell->state == Shell::State::kWarming && shell->born && shell->warm) OnWarm(shell);
  }

  void OnWarm(Shell* shell) {
    ReapChildren();
    shell->state = Shell::State::kWarm;
    last_error_.clear();
    ScheduleRefill();
    if (shell->scope.empty()) shell->scope = TakeWaiting(*shell);
    const auto it = requests_.find(shell->scope);
    if (it == requests_.end()) return;
    const TakeRequest request = it->second;
    requests_.erase(it);
    GiveTo(shell, request, /*warm=*/false);
  }

  void OnInitClosed(Shell* shell) {
    ReapChildren();
    // With an init, its pidfd tells. Without one the short-lived child has failed.
    if (!shell->born) Discard(shell, absl::UnavailableError(last_error_.empty() ? "no init came up" : last_error_));
  }

  void OnInitEnded(Shell* shell) {
    reactor_.Remove(shell->pidfd.get());
    shell->pidfd.Reset();
    shell->channel.reset();
    ReapChildren();
    switch (shell->state) {
      case Shell::State::kEnding:
        return FinishRelease(shell);
      case Shell::State::kTaken:
        shell->state = Shell::State::kDead;  // The server asks for its release when it has seen it.
        return;
      default:
        return Discard(shell, absl::UnavailableError(last_error_.empty() ? "an idle init ended" : last_error_));
    }
  }

  void FinishRelease(Shell* shell) {
    Receipt receipt;
    receipt.networks = shell->plot.slots + 1;
    receipt.mounts = shell->plot.slots + 1;
    const std::string scope = shell->scope;
    ReleaseGroups(shell, &receipt);
    RemoveFolder(scope, &receipt);
    receipt.took = reactor_.Now() - shell->release_began;
    SendReceipt(scope, receipt);
    shell->scope.clear();
    shell->release_wanted = false;
    // Beyond what is kept warm, because a few that come and go at the same time would otherwise be made and dropped in
    // turn.
    if (closing_ || PoolSize() >= 2 * options_.pool_limit) {
      RemoveGroup(shell->group);
      return Drop(shell);
    }
    idle_plots_.push_back(shell);
    shell->state = Shell::State::kDead;
    ScheduleRefill();
  }

  // A shell that did not come to life. Whoever waits for it is told, unless what was used before is to blame: then
  // something new may do.
  void Discard(Shell* shell, const absl::Status& status) {
    last_error_ = std::string(status.message());
    const std::string scope = shell->scope;
    const bool used = shell->plot.used;
    RemoveGroup(shell->group);
    Drop(shell);
    const auto request = requests_.find(scope);
    if (used && request != requests_.end()) {
      unmade_.push_front(scope);
      return MakeForRequests();
    }
    Fail(scope);
  }

  void GiveUp(Shell* shell, const absl::Status& status) {
    last_error_ = std::string(status.message());
    host_ids_.erase(shell->plot.host_id);
    Fail(shell->scope);
  }

  void Fail(const std::string& scope) {
    if (requests_.erase(scope) > 0) Reply(scope, last_error_);
  }

  void Drop(Shell* shell) {
    host_ids_.erase(shell->plot.host_id);
    if (shell->pidfd.valid()) reactor_.Remove(shell->pidfd.get());
    shells_.erase(std::find_if(shells_.begin(), shells_.end(), [shell](const auto& s) { return s.get() == shell; }));
    EndWhenDone();
  }

  void ReapChildren() {
    for (pid_t pid = 0; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) helpers_.erase(pid);
  }

  // ---- The pool. ----
  size_t WarmCount() const {
    return std::count_if(shells_.begin(), shells_.end(), [](const auto& s) { return s->state == Shell::State::kWarm; });
  }
  // Warm, or on the way and not promised to anybody.
  int ShellCount() const {
    return static_cast<int>(std::count_if(shells_.begin(), shells_.end(), [](const auto& s) {
      return s->scope.empty() && (s->state == Shell::State::kWarm || s->state == Shell::State::kNetworks ||
                                  s->state == Shell::State::kWarming);
    }));
  }
  int PoolSize() const { return ShellCount() + static_cast<int>(idle_plots_.size()); }

  // Work for the pool competes with the environment that was just taken, so it waits until requests pause, unless the
  // next request would find nothing.
  void ScheduleRefill() {
    if (closing_ || refill_timer_ != 0) return;
    const absl::Duration delay = WarmCount() == 0 ? absl::ZeroDuration() : kQuiet;
    refill_timer_ = reactor_.AddTimer(delay, [this] {
      refill_timer_ = 0;
      if (WarmCount() > 0 && reactor_.Now() - last_take_ < kQuiet) return ScheduleRefill();
      Refill();
    });
  }

  void Refill() {
    if (closing_) return;
    while (!idle_plots_.empty() && ShellCount() < target_) {
      Shell* const shell = idle_plots_.front();
      idle_plots_.pop_front();
      Warm(shell);
    }
    // New networks keep the whole kernel busy: what somebody waits for comes first, and the pool's come one by one.
    const bool busy = !requests_.empty() || MakersAtWork() > 0;
    if (!busy && PoolSize() < target_ && last_error_.empty()) MakeShell("", options_.slots);
  }

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
  std::string last_error_;
  Capabilities capabilities_;
};

absl::StatusOr<int> ThreadCount() {
  MAYFLY_ASSIGN_OR_RETURN(const std::string status, ReadSmallFile(AT_FDCWD, "/proc/self/status"));
  const size_t at = status.find("Threads:");
  return at == std::string::npos ? 1 : std::atoi(status.c_str() + at + 8);
}

// Beside the running program, if there is one.
UniqueFd OpenLauncherProgram() {
  char self[4096];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
  if (n <= 0) return UniqueFd();
  const std::string path(self, n);
  const std::string program = path.substr(0, path.rfind('/')) + "/mayfly-launcher";
  return access(program.c_str(), X_OK) == 0 ? UniqueFd(open(program.c_str(), O_PATH | O_CLOEXEC)) : UniqueFd();
}

// To be run by whoever has `program` open.
struct Command {
  Command(const LauncherOptions& options, int program, int channel)
      : path(absl::StrCat("/proc/self/fd/", program)), arguments(LauncherArguments(options, channel)) {
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
  }
  std::string path;
  std::vector<std::string> arguments;
  std::vector<char*> argv;
};

}  // namespace

void RunLauncher(const LauncherOptions& options, UniqueFd server) {
  (new Launcher(options, std::move(server)))->Run();
}

std::vector<std::string> LauncherArguments(const LauncherOptions& options, int channel) {
  std::vector<std::string> arguments = {"mayfly-launcher",
                                        absl::StrCat(channel),
                                        options.state_dir,
                                        absl::StrCat(options.pool),
                                        absl::StrCat(options.pool_limit),
                                        absl::StrCat(options.slots)};
  arguments.insert(arguments.end(), options.hidden.begin(), options.hidden.end());
  return arguments;
}

absl::StatusOr<std::pair<LauncherOptions, int>> ParseLauncherArguments(const std::vector<std::string>& arguments) {
  LauncherOptions options;
  int channel = -1;
  if (arguments.size() < 6 || !absl::SimpleAtoi(arguments[1], &channel) ||
      !absl::SimpleAtoi(arguments[3], &options.pool) || !absl::SimpleAtoi(arguments[4], &options.pool_limit) ||
      !absl::SimpleAtoi(arguments[5], &options.slots)) {
    return absl::InvalidArgumentError("this program is started by mayflyd");
  }
  options.state_dir = arguments[2];
  options.hidden.assign(arguments.begin() + 6, arguments.end());
  return std::make_pair(options, channel);
}

absl::StatusOr<LauncherHandle> ForkLauncher(const LauncherOptions& options) {
  MAYFLY_ASSIGN_OR_RETURN(const int threads, ThreadCount());
  if (threads != 1) return absl::FailedPreconditionError("the launcher must be forked before any thread is started");
  MAYFLY_RETURN_IF_ERROR(MakeDirs(options.state_dir + "/scopes", 0700));
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  LauncherHandle handle;
  handle.options = options;
  handle.program = OpenLauncherProgram();
  if (const passwd* user = getpwuid(getuid()); user != nullptr && std::strcmp(user->pw_dir, "/") != 0) {
    handle.options.hidden.push_back(user->pw_dir);
  }
  handle.pid = fork();
  if (handle.pid < 0) return ErrnoStatus(errno, "fork of the launcher");
  if (handle.pid == 0) {
    CloseAllExcept({0, 1, 2, pair.second.get(), handle.program.get()});
    if (handle.program.valid()) {
      const Command command(handle.options, handle.program.get(), pair.second.get());
      fcntl(pair.second.get(), F_SETFD, 0);
      execv(command.path.c_str(), command.argv.data());
    }
    RunLauncher(handle.options, std::move(pair.second));
  }
  handle.channel = std::move(pair.first);
  return handle;
}

absl::Status RestartLauncher(LauncherHandle& handle) {
  if (!handle.program.valid()) return absl::FailedPreconditionError("there is no program mayfly-launcher");
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const int channel = pair.second.get();
  const Command command(handle.options, handle.program.get(), channel);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, channel, channel);  // Keeps it over the exec.
  const int error = posix_spawn(&handle.pid, command.path.c_str(), &actions, &attributes, command.argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    handle.pid = 0;
    return ErrnoStatus(error, "starting the launcher");
  }
  handle.channel = std::move(pair.first);
  return absl::OkStatus();
}

absl::Status AwaitLauncherEnd(pid_t pid) {
  const auto pidfd = OpenPidfd(pid);
  pollfd ended{pidfd.ok() ? pidfd->get() : -1, POLLIN, 0};
  if (pidfd.ok() && poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(2 * kEndLimit))) == 0) {
    return absl::DeadlineExceededError(absl::StrCat("the launcher, process ", pid, ", does not end"));
  }
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return absl::OkStatus();
}

}  // namespace mayfly::local
