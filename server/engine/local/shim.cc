#include "server/engine/local/shim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/exec_child.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/network.h"
#include "server/engine/parts/file_stream.h"
#include "server/engine/parts/reactor.h"

namespace mayfly::local {
namespace {

class Shim {
 public:
  explicit Shim(ShimConfig config) : config_(std::move(config)) {}

  [[noreturn]] void Run() {
    const absl::Status warm = WarmUp();
    // After BuildRoot: an epoll set of our own, not the init's.
    reactor_ = std::make_unique<Reactor>();
    channel_ = std::make_unique<Channel>(
        reactor_.get(), std::move(config_.channel), [this](Frame frame) { OnFrame(std::move(frame)); },
        [] { _exit(0); });
    std::vector<UniqueFd> fds;
    if (diag_.valid()) fds.push_back(std::move(diag_));
    channel_->Send(ShimWarm{warm.ok() ? "" : std::string(warm.message())}, std::move(fds));
    if (!warm.ok()) _exit(1);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    children_ = UniqueFd(signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC));
    reactor_->Add(children_.get(), EPOLLIN, [this](uint32_t) { Reap(); }).IgnoreError();
    reactor_->Run();
    _exit(0);
  }

 private:
  absl::Status WarmUp() {
    // A v1 group takes milliseconds to enter when nobody has for a while; that is why it is done here.
    for (const UniqueFd& procs : config_.cgroup->procs) {
      if (write(procs.get(), "0", 1) != 1) return ErrnoStatus(errno, "entering a control group");
    }
    if (setns(config_.network, CLONE_NEWNET) != 0) return ErrnoStatus(errno, "entering the network");
    close(config_.network);
    // The init asks the kernel through it what listens here, without ever coming in.
    diag_ = UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    for (const int fd : config_.cgroup->Fds()) close(fd);
    prctl(PR_SET_NAME, "mayfly-shim", 0, 0, 0);
    MAYFLY_RETURN_IF_ERROR(BuildRoot(*config_.root));
    devnull_ = UniqueFd(open("/root/dev/null", O_RDWR | O_CLOEXEC));
    waiting_ = WaitingChild::Make(config_.filter);
    return absl::OkStatus();
  }

  void OnFrame(Frame frame) {
    switch (frame.type) {
      case ShimSetup::kType: {
        ShimSetup setup;
        if (Decode(frame.body, setup) && frame.fds.size() >= 2) Setup(std::move(setup), std::move(frame.fds));
        break;
      }
      case ShimStart::kType:
        Start();
        break;
      case ShimSignal::kType: {
        ShimSignal request;
        if (Decode(frame.body, request) && main_ > 0)
          kill(request.signal == 0 ? -1 : main_, request.signal == 0 ? SIGKILL : request.signal);
        break;
      }
      case ShimSpawn::kType: {
        ShimSpawn spawn;
        if (Decode(frame.body, spawn) && frame.fds.size() == 3) Spawn(spawn, frame.fds);
        break;
      }
      case ShimSpawnKill::kType: {
        ShimSpawnKill request;
        if (!Decode(frame.body, request)) break;
        for (const auto& [pid, id] : spawned_) {
          if (id == request.id) kill(-pid, SIGKILL);  // It leads a session and a group of its own.
        }
        break;
      }
      case ShimCollect::kType: {
        ShimCollect collect;
        if (Decode(frame.body, collect) && frame.fds.size() == 1) Collect(collect, std::move(frame.fds[0]));
        break;
      }
      default:
        break;
    }
  }

  void Setup(ShimSetup setup, std::vector<UniqueFd> fds) {
    const auto fail = [this](CauseCode code, const absl::Status& status) {
      ShimFailed failed;
      failed.cause.code = code;
      failed.cause.message = std::string(status.message());
      channel_->Send(failed);
    };
    if (main_ > 0) return fail(CauseCode::kInternal, absl::FailedPreconditionError("the node still runs"));
    process_ = std::move(setup.process);
    if (sethostname(setup.host_name.c_str(), setup.host_name.size()) != 0) errno = 0;
    if (const absl::Status status = Furnish(*config_.root, process_, setup.source, setup.wipe_source); !status.ok()) {
      return fail(CauseCode::kStartFailed, status);
    }
    for (const std::string& address : setup.routes) {
      if (const absl::Status status = AddSlotRoute(inet_addr(address.c_str())); !status.ok()) {
        return fail(CauseCode::kStartFailed, Annotate(status, absl::StrCat("egress to ", address)));
      }
    }
    ExecSpec exec;
    exec.argv = process_.argv;
    exec.variables = process_.variables;
    exec.workdir = process_.workdir;
    if (setup.limit_data) exec.data_bytes = process_.resources.memory_bytes;
    if (setup.limit_processes) exec.processes = process_.resources.processes;
    stdout_ = std::move(fds[0]);
    stderr_ = std::move(fds[1]);
    exec.stdio[0] = devnull_.get();
    exec.stdio[1] = stdout_.get();
    exec.stdio[2] = stderr_.get();
    prepared_ = std::make_unique<PreparedExec>(std::move(exec), config_.filter);
    if (waiting_ == nullptr) waiting_ = WaitingChild::Make(config_.filter);
    std::vector<UniqueFd> notify;
    if (setup.notify) {
      auto socket = MakeNotifySocket();
      if (!socket.ok()) return fail(CauseCode::kStartFailed, socket.status());
      notify.push_back(*std::move(socket));
    }
    channel_->Send(ShimReady{}, std::move(notify));
  }

  // Only this node's tree holds its path, so whatever arrives comes from this node.
  static absl::StatusOr<UniqueFd> MakeNotifySocket() {
    UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = absl::StrCat("/root", kNotifySocket);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    unlink(path.c_str());
    if (!fd.valid() || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return ErrnoStatus(errno, "notify socket");
    }
    return fd;
  }

  void Start() {
    if (prepared_ == nullptr || main_ > 0) return;
    Cause cause;
    getrusage(RUSAGE_CHILDREN, &before_);
    // Before the exec: on a busy machine the program may have run for a while before this process gets another turn.
    const absl::Duration when = MonotonicNow();
    auto started = prepared_->Run(&cause, std::move(waiting_));
    prepared_.reset();
    // Held by the node alone from here on: their end is the end of its output.
    stdout_.Reset();
    stderr_.Reset();
    if (!started.ok()) {
      ShimFailed failed;
      failed.cause = cause;
      channel_->Send(failed);
      return;
    }
    main_ = started->pid;
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(started->pidfd));
    channel_->Send(ShimStarted{when}, std::move(fds));
  }

  void Spawn(const ShimSpawn& spawn, const std::vector<UniqueFd>& fds) {
    ExecSpec exec;
    exec.argv = spawn.argv;
    exec.variables = process_.variables;
    exec.workdir = process_.workdir;
    exec.terminal = spawn.terminal;
    for (int i = 0; i < 3; ++i) exec.stdio[i] = fds[i].get();
    ShimSpawnDone done{spawn.id, static_cast<int>(absl::StatusCode::kFailedPrecondition), "the node does not run", 0};
    if (main_ > 0 && !spawn.argv.empty()) {
      Cause cause;
      PreparedExec prepared(std::move(exec), config_.filter);
      auto started = prepared.Run(&cause);
      if (started.ok()) {
        spawned_[started->pid] = spawn.id;
        return;
      }
      done.code = static_cast<int>(cause.code == CauseCode::kCommandNotFound ? absl::StatusCode::kNotFound
                                                                             : absl::StatusCode::kFailedPrecondition);
      done.message = cause.message;
    }
    channel_->Send(done);
  }

  // In a child without rights: what it reads was made by the node.
  void Collect(const ShimCollect& collect, UniqueFd out) {
    const auto pid = CloneProcess(0);
    if (!pid.ok()) {
      channel_->Send(
          ShimSpawnDone{collect.id, static_cast<int>(pid.status().code()), std::string(pid.status().message()), 0});
      return;
    }
    if (*pid == 0) {
      CloseAllExcept({out.get()});
      _exit(SendFiles("/root" + process_.workdir, collect.paths, collect.max_bytes, out.get()));
    }
    collectors_[*pid] = collect.id;
  }

  void Reap() {
    signalfd_siginfo info;
    while (read(children_.get(), &info, sizeof(info)) > 0) {
    }
    for (;;) {
      int status = 0;
      rusage usage{};
      const pid_t pid = wait4(-1, &status, WNOHANG, &usage);
      if (pid <= 0) return;
      if (pid == main_) {
        MainEnded(status, usage);
      } else {
        OtherEnded(pid, status);
      }
    }
  }

  void OtherEnded(pid_t pid, int status) {
    if (waiting_ != nullptr && pid == waiting_->pid()) waiting_.reset();
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (const auto it = spawned_.find(pid); it != spawned_.end()) {
      channel_->Send(ShimSpawnDone{it->second, 0, "", code});
      spawned_.erase(it);
    } else if (const auto c = collectors_.find(pid); c != collectors_.end()) {
      channel_->Send(ShimSpawnDone{c->second, code, code == 0 ? "" : "not all files were copied", 0});
      collectors_.erase(c);
    }
  }

  void MainEnded(int status, const rusage& main_usage) {
    ShimExited exited;
    exited.when = MonotonicNow();
    exited.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    exited.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    exited.disk_full = RootIsFull();
    // Everything that is left in the pid namespace was started by the node, however often it has forked.
    kill(-1, SIGKILL);
    for (;;) {
      int other = 0;
      const pid_t pid = waitpid(-1, &other, 0);
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) break;
      OtherEnded(pid, other);
    }
    rusage after{};
    getrusage(RUSAGE_CHILDREN, &after);
    const auto cpu = [](const rusage& r) {
      return absl::DurationFromTimeval(r.ru_utime) + absl::DurationFromTimeval(r.ru_stime);
    };
    exited.usage.cpu = cpu(after) - cpu(before_);
    exited.usage.peak_memory_bytes = int64_t{main_usage.ru_maxrss} * 1024;
    main_ = 0;
    channel_->Send(exited);
  }

  ShimConfig config_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Channel> channel_;
  UniqueFd children_, devnull_, diag_, stdout_, stderr_;
  ProcessSpec process_;
  std::unique_ptr<PreparedExec> prepared_;
  std::unique_ptr<WaitingChild> waiting_;  // The next attempt's process.
  rusage before_{};
  pid_t main_ = 0;
  std::map<pid_t, uint64_t> spawned_, collectors_;
};

}  // namespace

void RunShim(ShimConfig config) {
  (new Shim(std::move(config)))->Run();
}

}  // namespace mayfly::local
