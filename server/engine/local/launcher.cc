#include "server/engine/local/launcher.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/host_checks.h"
#include "server/engine/local/launcher_impl.h"
#include "server/engine/local/seccomp_filter.h"

namespace mayfly::local {
namespace {

// A control group cannot be waited for on every kind of host.
constexpr absl::Duration kBusyDelay = absl::Milliseconds(2), kBusyDelayLimit = absl::Seconds(1);

// Names become parts of paths and lines of descriptors.
bool IsOneLine(absl::string_view text) {
  return text.size() < 4096 && text.find_first_of(absl::string_view("\n\0", 2)) == absl::string_view::npos;
}

bool IsScopeName(absl::string_view name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' && name.find('/') == absl::string_view::npos &&
         IsOneLine(name);
}

}  // namespace

Launcher::Launcher(const LauncherOptions& options, UniqueFd server) : options_(options), target_(options.pool) {
  server_ = std::make_unique<Channel>(
      &reactor_, std::move(server), [this](Frame frame) { OnServerFrame(std::move(frame)); },
      [this] { OnServerGone(); });
}

void Launcher::Run() {
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

void Launcher::AwaitPredecessor() {
  lock_ = UniqueFd(open((options_.state_dir + "/scopes/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  while (lock_.valid() && flock(lock_.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
}

void Launcher::Undo(const std::string& scope) {
  if (const auto descriptor = ReadDescriptor(options_.state_dir, scope); descriptor.ok()) {
    if (const auto pidfd = OpenInit(*descriptor); pidfd.ok()) {
      SignalPidfd(pidfd->get(), SIGKILL).IgnoreError();
      pollfd ended{pidfd->get(), POLLIN, 0};
      poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(kLauncherEndLimit)));
    }
  }
  RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope)).IgnoreError();
}

void Launcher::SweepLeftovers() {
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
    adopted_[scope] = *descriptor;
    host_ids_.insert(descriptor->host_id);
  }
  for (const std::string& group : ListCgroups(cgroups_)) {
    if (live.count(group) == 0) RemoveGroup(group);
  }
}

void Launcher::RemoveGroup(const std::string& group) {
  if (group.empty() || RemoveCgroups(cgroups_, group).ok()) return;
  busy_groups_.insert(group);
  if (busy_timer_ != 0) return;
  busy_delay_ = kBusyDelay;
  RetryBusyGroups();
}

void Launcher::RetryBusyGroups() {
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

void Launcher::OnServerFrame(Frame frame) {
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

void Launcher::OnServerGone() {
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
  reactor_.AddTimer(kLauncherEndLimit, [] { _exit(1); });
}

void Launcher::EndWhenDone() {
  if (!closing_ || !busy_groups_.empty()) return;
  for (const auto& shell : shells_) {
    // Whoever makes networks has been killed, but may wait seconds for the kernel's lock of all links first; nothing
    // beside that process is there yet.
    const bool outlives = shell->state == Shell::State::kTaken || shell->state == Shell::State::kNetworks;
    if (!outlives && shell->state != Shell::State::kDead) return;
  }
  RemoveInstallation(cgroups_);
  _exit(0);
}

void Launcher::StartEgress(const std::string& scope) {
  const auto descriptor = ReadDescriptor(options_.state_dir, scope);
  auto pair = SocketPair(SOCK_STREAM);
  if (!descriptor.ok() || !pair.ok()) return server_->Send(EgressReply{scope, "no such scope"});
  const auto pid = CloneProcess(0);
  if (!pid.ok()) return server_->Send(EgressReply{scope, std::string(pid.status().message())});
  if (*pid == 0) RunEgress(std::move(pair->second), root_ ? descriptor->host_id : 0, options_.egress_to_host);
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(pair->first));
  server_->Send(EgressReply{scope, ""}, std::move(fds));
}

void Launcher::Describe() {
  if (capabilities_.engine.empty()) capabilities_ = CheckHost(cgroups_, root_, filter_.size());
  if (server_ != nullptr) server_->Send(DescribeReply{capabilities_});
}

void Launcher::ReapChildren() {
  for (pid_t pid = 0; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) helpers_.erase(pid);
}

void RunLauncher(const LauncherOptions& options, UniqueFd server) {
  (new Launcher(options, std::move(server)))->Run();
}

}  // namespace mayfly::local
