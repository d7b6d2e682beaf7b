#include "server/engine/local/local_engine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/collect.h"
#include "server/engine/local/descriptor.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/fd_stream.h"
#include "server/engine/local/io_thread.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/proxy.h"
#include "server/engine/local/terminal.h"
#include "server/obs/log.h"

namespace mayfly::local {
namespace {

constexpr absl::Duration kUsageLimit = absl::Milliseconds(20);
constexpr absl::Duration kAnswerLimit = absl::Seconds(10);
// A launcher that ends again and again is started less and less often.
constexpr absl::Duration kRestartDelay = absl::Milliseconds(50), kRestartDelayLimit = absl::Seconds(10);

constexpr char kGone[] = "the launcher has ended and cannot be started again: stop and start mayflyd";

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

// The same port each time for the same port of the same service, as far as it is free.
constexpr int kFirstHostPort = 20480, kHostPorts = 12000, kHostPortTries = 200;

absl::StatusOr<UniqueFd> ListenOnHost(const std::string& key, int host_port) {
  if (host_port != 0) {
    MAYFLY_ASSIGN_OR_RETURN(const int fd, ListenOn("127.0.0.1", host_port));
    return UniqueFd(fd);
  }
  const int start = static_cast<int>(std::stoul(Sha256Hex(key).substr(0, 7), nullptr, 16) % kHostPorts);
  for (int i = 0; i < kHostPortTries; ++i) {
    const auto fd = ListenOn("127.0.0.1", kFirstHostPort + (start + i) % kHostPorts);
    if (fd.ok()) return UniqueFd(*fd);
    if (!absl::IsAlreadyExists(fd.status())) return fd.status();
  }
  return absl::ResourceExhaustedError("no free port on 127.0.0.1");
}

// Of one process alone, where no group counts for all of a node's.
Usage ProcessUsage(int64_t pid) {
  Usage usage;
  const auto stat = pid > 0 ? ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat")) : absl::NotFoundError("");
  if (!stat.ok()) return usage;
  const std::vector<std::string> fields = absl::StrSplit(stat->substr(stat->rfind(')') + 1), ' ');
  int64_t ticks = 0;
  for (size_t i = 12; i < 16 && i < fields.size(); ++i) {  // utime, stime, and those of children it waited for.
    int64_t value = 0;
    if (absl::SimpleAtoi(fields[i], &value)) ticks += value;
  }
  usage.cpu = absl::Seconds(ticks) / sysconf(_SC_CLK_TCK);
  const auto status = ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/", pid, "/status"));
  const size_t peak = status.ok() ? status->find("VmHWM:") : std::string::npos;
  if (peak != std::string::npos) usage.peak_memory_bytes = std::atoll(status->c_str() + peak + 6) * 1024;
  return usage;
}

int64_t HostPid(int pidfd) {
  const auto info = ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/self/fdinfo/", pidfd));
  if (!info.ok()) return 0;
  const size_t at = info->find("Pid:");
  return at == std::string::npos ? 0 : std::atoll(info->c_str() + at + 4);
}

absl::StatusOr<FdStreamOptions> OpenPipes(std::vector<UniqueFd>* theirs) {
  FdStreamOptions options;
  for (int i = 0; i < 3; ++i) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
    theirs->emplace_back(i == 0 ? fds[0] : fds[1]);
    (i == 0 ? options.input : i == 1 ? options.output : options.error) = i == 0 ? fds[1] : fds[0];
  }
  return options;
}

absl::StatusOr<FdStreamOptions> OpenTerminalFor(const ExecRequest& request, std::vector<UniqueFd>* theirs) {
  MAYFLY_ASSIGN_OR_RETURN(const Terminal terminal, OpenTerminal(request.columns, request.rows));
  theirs->emplace_back(terminal.inner);
  for (int i = 0; i < 2; ++i) theirs->emplace_back(fcntl(terminal.inner, F_DUPFD_CLOEXEC, 3));
  FdStreamOptions options;
  options.kind = FdStreamOptions::Kind::kTerminal;
  options.output = terminal.outer;
  return options;
}

class LocalEngineImpl : public LocalEngine {
 public:
  LocalEngineImpl(const LocalEngineOptions& options, LauncherHandle launcher, EngineEventSink* sink)
      : options_(options), sink_(sink), handle_(std::move(launcher)) {
    io_.Run([&] { AdoptLauncher(); });
  }

  ~LocalEngineImpl() override {
    io_.Run([this] {
      for (const auto& [id, scope] : scopes_io_) {
        scope->channel.reset();
        scope->lost = true;
      }
      calls_.clear();
      launcher_.reset();
      if (launcher_pidfd_.valid()) io_.reactor()->Remove(launcher_pidfd_.get());
      if (restart_timer_ != 0) io_.reactor()->CancelTimer(restart_timer_);
    });
    // It ends by itself when its channel closes; its idle pool is gone when it has.
    if (handle_.pid == 0) return;
    if (const absl::Status ended = AwaitLauncherEnd(handle_.pid); !ended.ok()) LogWarning(ended.message());
  }

  Capabilities Describe() override {
    MutexLock lock(mutex_);
    if (capabilities_.engine.empty()) {
      io_.Post([this] {
        if (launcher_ != nullptr) launcher_->Send(DescribeRequest{});
      });
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
      while (capabilities_.engine.empty()) {
        if (!changed_.WaitUntil(mutex_, limit)) break;
      }
    }
    return capabilities_;
  }

  absl::Status CreateScope(const ScopeSpec& spec) override {
    MutexLock lock(mutex_);
    if (launcher_gone_) return absl::UnavailableError(kGone);
    if (spec.id.empty() || spec.id.find('/') != std::string::npos) return absl::InvalidArgumentError("bad scope id");
    if (const auto it = scopes_.find(spec.id); it != scopes_.end()) {
      const ScopeSpec& old = it->second->spec;
      if (it->second->destroying)
        return absl::FailedPreconditionError(absl::StrCat("scope ", spec.id, " is being destroyed"));
      if (old.owner != spec.owner || old.environment != spec.environment) {
        return absl::AlreadyExistsError(absl::StrCat("scope ", spec.id, " exists"));
      }
      const std::shared_ptr<Scope> scope = it->second;
      io_.Post([this, scope] {
        if (scope->channel != nullptr) EmitScope(scope->spec.id, EngineEvent::Kind::kScopeReady);
      });
      return absl::OkStatus();
    }
    auto scope = std::make_shared<Scope>();
    scope->spec = spec;
    scopes_[spec.id] = scope;
    io_.Post([this, scope] {
      scopes_io_[scope->spec.id] = scope;
      Take(scope->spec);
    });
    return absl::OkStatus();
  }

  absl::Status Prepare(const NodeRef& ref, const ProcessSpec& process) override {
    if (process.argv.empty() || process.argv[0].empty()) return absl::InvalidArgumentError("a process needs a command");
    if (!process.image.empty()) return absl::InvalidArgumentError("the local engine runs no images");
    MutexLock lock(mutex_);
    MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
    NodeRecord& node = scope->nodes[ref.node];
    if (ref.attempt < node.attempt) return absl::FailedPreconditionError("an attempt that has passed");
    if (ref.attempt > node.attempt && node.prepared && !node.ended) {
      return absl::FailedPreconditionError(absl::StrCat(ref.node, " still runs attempt ", node.attempt));
    }
    if (ref.attempt > node.attempt) node = NodeRecord{ref.attempt, true, false, false, 0};
    for (const std::string& target : process.egress) MAYFLY_RETURN_IF_ERROR(ParseEgress(target).status());
    WhenConnected(scope, [this, ref, process](Scope& s) {
      if (!process.egress.empty() && !std::exchange(s.has_egress, true) && launcher_ != nullptr) {
        launcher_->Send(EgressRequest{ref.scope});
      }
      s.channel->Send(PrepareRequest{ref.node, ref.attempt, process});
    });
    return absl::OkStatus();
  }

  absl::Status Start(const NodeRef& ref, bool one_shot) override {
    MutexLock lock(mutex_);
    MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindPrepared(ref));
    WhenConnected(scope, [ref, one_shot](Scope& s) { s.channel->Send(StartRequest{ref.node, ref.attempt, one_shot}); });
    return absl::OkStatus();
  }

  absl::Status Stop(const NodeRef& ref) override {
    MutexLock lock(mutex_);
    MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
    if (scope->nodes.count(ref.node) == 0) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
    WhenConnected(scope, [ref](Scope& s) { s.channel->Send(StopRequest{ref.node}); });
    return absl::OkStatus();
  }

  absl::Status Expose(const NodeRef& ref, int port, int host_port) override {
    MutexLock lock(mutex_);
    MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
    if (scope->nodes.count(ref.node) == 0) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
    const std::string key = absl::StrCat(ref.node, ":", port);
    if (const auto it = scope->addresses.find(key); it != scope->addresses.end()) {
      EngineEvent event;
      event.kind = EngineEvent::Kind::kExposed;
      event.node = ref;
      event.when = MonotonicNow();
      event.port = port;
      event.address = it->second;
      io_.Post([this, event] { Emit(event); });
      return absl::OkStatus();
    }
    MAYFLY_ASSIGN_OR_RETURN(UniqueFd fd, ListenOnHost(absl::StrCat(scope->spec.environment, "/", key), host_port));
    const std::string address = absl::StrCat("127.0.0.1:", PortOf(fd.get()));
    scope->addresses[key] = address;
    WhenConnected(scope, [ref, port, address, fd = std::make_shared<UniqueFd>(std::move(fd))](Scope& s) {
      std::vector<UniqueFd> fds;
      fds.push_back(std::move(*fd));
      s.channel->Send(ExposeRequest{ref.node, port, address}, std::move(fds));
    });
    return absl::OkStatus();
  }

  absl::Status Destroy(const std::string& id) override {
    if (id.empty() || id.find('/') != std::string::npos || id[0] == '.')
      return absl::InvalidArgumentError("bad scope id");
    MutexLock lock(mutex_);
    if (launcher_gone_) return absl::UnavailableError(kGone);
    if (const auto it = scopes_.find(id); it != scopes_.end()) it->second->destroying = true;
    io_.Post([this, id] { Release(id); });
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<FoundScope>> Recover() override;

  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& ref, int port, Stream::Callbacks callbacks) override;
  void Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
               std::function<void(absl::Status)> done) override;

 private:
  // ---- Any thread, under the lock. ----
  absl::StatusOr<std::shared_ptr<Scope>> FindScope(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto it = scopes_.find(id);
    if (it == scopes_.end() || it->second->destroying) return absl::NotFoundError(absl::StrCat("no scope ", id));
    return it->second;
  }

  absl::StatusOr<std::shared_ptr<Scope>> FindPrepared(const NodeRef& ref) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    MAYFLY_ASSIGN_OR_RETURN(std::shared_ptr<Scope> scope, FindScope(ref.scope));
    const auto it = scope->nodes.find(ref.node);
    if (it == scope->nodes.end()) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
    if (it->second.attempt != ref.attempt || !it->second.prepared) {
      return absl::FailedPreconditionError(absl::StrCat(ref.node, " is not prepared for attempt ", ref.attempt));
    }
    return scope;
  }

  absl::StatusOr<std::shared_ptr<Scope>> FindRunning(const NodeRef& ref) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    MAYFLY_ASSIGN_OR_RETURN(std::shared_ptr<Scope> scope, FindScope(ref.scope));
    const auto it = scope->nodes.find(ref.node);
    if (it == scope->nodes.end()) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
    if (!it->second.running) return absl::FailedPreconditionError(absl::StrCat(ref.node, " does not run"));
    return scope;
  }

  void WhenConnected(const std::shared_ptr<Scope>& scope, std::function<void(Scope&)> fn) {
    io_.Post([scope, fn = std::move(fn)] {
      if (scope->channel != nullptr) {
        fn(*scope);
      } else if (!scope->lost) {
        scope->waiting.push_back(fn);
      }
    });
  }

  // ---- The I/O thread. ----
  void Emit(const EngineEvent& event) {
    if (!event.node.node.empty()) {
      MutexLock lock(mutex_);
      const auto it = scopes_.find(event.node.scope);
      if (it == scopes_.end() || it->second->destroying) return;  // Its end has been asked for: only that is told.
      NodeRecord& node = it->second->nodes[event.node.node];
      if (event.kind == EngineEvent::Kind::kStarted && node.attempt == event.node.attempt) {
        node.running = true;
        node.pid = event.pid;
      }
      if (event.kind == EngineEvent::Kind::kExited || event.kind == EngineEvent::Kind::kStartFailed) {
        if (node.attempt == event.node.attempt) {
          node.ended = true;
          node.running = false;
        }
      }
    }
    sink_->OnEngineEvent(event);
  }

  void EmitScope(const std::string& id, EngineEvent::Kind kind, Cause cause = Cause(), Receipt receipt = Receipt()) {
    EngineEvent event;
    event.kind = kind;
    event.node.scope = id;
    event.when = MonotonicNow();
    event.cause = std::move(cause);
    event.receipt = std::move(receipt);
    sink_->OnEngineEvent(event);
  }

  void FailScope(const std::string& id, const std::string& message) {
    if (const auto it = scopes_io_.find(id); it != scopes_io_.end()) it->second->lost = true;
    Cause cause;
    cause.code = CauseCode::kEngineUnavailable;
    cause.message = message;
    EmitScope(id, EngineEvent::Kind::kScopeFailed, cause);
  }

  // Without a launcher just now, the next one is asked.
  void Take(const ScopeSpec& spec) {
    if (launcher_ == nullptr) return;
    launcher_->Send(
        TakeRequest{spec.id, spec.environment, spec.owner, spec.source_root, spec.log_dir, spec.expected_nodes});
  }

  // What its nodes have used can be asked only before they end; an init that does not answer is not waited for.
  void Release(const std::string& id) {
    const auto it = scopes_io_.find(id);
    if (it == scopes_io_.end() || it->second->channel == nullptr) return SendRelease(id);
    if (it->second->release_timer != 0) return;
    it->second->channel->Send(UsageRequest{});
    it->second->release_timer = io_.reactor()->AddTimer(kUsageLimit, [this, id] { SendRelease(id); });
  }

  void OnUsage(const std::string& id, Scope& scope, UsageReply reply) {
    if (scope.release_timer == 0) return;
    scope.usage = std::move(reply.nodes);
    io_.reactor()->CancelTimer(scope.release_timer);
    SendRelease(id);
  }

  void SendRelease(const std::string& id) {
    releasing_.insert(id);
    if (const auto it = scopes_io_.find(id); it != scopes_io_.end()) {
      MutexLock lock(mutex_);
      for (const auto& [name, node] : it->second->nodes) {
        Usage& usage = it->second->usage[name];
        if (node.running && usage.peak_memory_bytes < 0) usage = ProcessUsage(node.pid);
      }
    }
    if (launcher_ != nullptr) launcher_->Send(ReleaseRequest{id});
  }

  void OnLauncherFrame(Frame frame) {
    switch (frame.type) {
      case TakeReply::kType: {
        TakeReply reply;
        if (Decode(frame.body, reply)) OnTaken(reply);
        return;
      }
      case ReleaseReply::kType: {
        ReleaseReply reply;
        if (Decode(frame.body, reply)) OnReleased(reply);
        return;
      }
      case EgressReply::kType: {
        EgressReply reply;
        if (!Decode(frame.body, reply) || frame.fds.size() != 1) return;
        const auto it = scopes_io_.find(reply.scope);
        if (it != scopes_io_.end() && it->second->channel != nullptr) {
          it->second->egress_open = true;
          it->second->channel->Send(EgressGate{}, std::move(frame.fds));
        }
        return;
      }
      case DescribeReply::kType: {
        DescribeReply reply;
        if (!Decode(frame.body, reply)) return;
        MutexLock lock(mutex_);
        capabilities_ = reply.capabilities;
        changed_.NotifyAll();
        return;
      }
      default:
        return;
    }
  }

  // ---- The launcher's own life. ----
  void AdoptLauncher() {
    launcher_ = std::make_unique<Channel>(
        io_.reactor(), std::move(handle_.channel), [this](Frame frame) { OnLauncherFrame(std::move(frame)); },
        [this] {
          launcher_.reset();
          OnLauncherGone();
        });
    launched_ = io_.reactor()->Now();
    auto pidfd = OpenPidfd(handle_.pid);
    if (!pidfd.ok()) return;
    launcher_pidfd_ = *std::move(pidfd);
    io_.reactor()
        ->Add(launcher_pidfd_.get(), EPOLLIN,
              [this](uint32_t) {
                io_.reactor()->Remove(launcher_pidfd_.get());
                launcher_pidfd_.Reset();
                OnLauncherGone();
              })
        .IgnoreError();
  }

  // Called for the end of its channel and for its own. Scopes need no launcher while they run.
  void OnLauncherGone() {
    if (launcher_ != nullptr || launcher_pidfd_.valid()) return;
    int status = 0;
    while (waitpid(handle_.pid, &status, 0) < 0 && errno == EINTR) {
    }
    LogWarning("the launcher has ended and is started again; environments go on",
               {{"pid", handle_.pid}, {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0}});
    handle_.pid = 0;
    const bool stayed = io_.reactor()->Now() - launched_ > kRestartDelayLimit;
    restart_delay_ = stayed ? absl::ZeroDuration() : std::clamp(restart_delay_ * 2, kRestartDelay, kRestartDelayLimit);
    ScheduleRestart();
  }

  void ScheduleRestart() {
    restart_timer_ = io_.reactor()->AddTimer(restart_delay_, [this] {
      restart_timer_ = 0;
      const absl::Status status = RestartLauncher(handle_);
      if (status.ok()) return ResumeWork();
      LogError("the launcher cannot be started", {{"why", status}});
      if (absl::IsFailedPrecondition(status)) return GiveUp();
      restart_delay_ = std::clamp(restart_delay_ * 2, kRestartDelay, kRestartDelayLimit);
      ScheduleRestart();
    });
  }

  void GiveUp() {
    {
      MutexLock lock(mutex_);
      launcher_gone_ = true;
    }
    for (const auto& [id, scope] : scopes_io_) {
      if (scope->channel == nullptr && !scope->lost) FailScope(id, kGone);
    }
  }

  // Whatever the one before was asked for and has not answered is asked for again.
  void ResumeWork() {
    AdoptLauncher();
    {
      MutexLock lock(mutex_);
      if (capabilities_.engine.empty()) launcher_->Send(DescribeRequest{});
    }
    for (const std::string& id : releasing_) launcher_->Send(ReleaseRequest{id});
    for (const auto& [id, scope] : scopes_io_) {
      if (releasing_.count(id) > 0 || scope->lost) continue;
      if (scope->channel == nullptr) {
        scope->undoing = true;
        launcher_->Send(ReleaseRequest{id});
      } else if (scope->has_egress && !scope->egress_open) {
        launcher_->Send(EgressRequest{id});
      }
    }
  }

  void OnTaken(const TakeReply& reply) {
    const auto it = scopes_io_.find(reply.scope);
    if (it == scopes_io_.end()) return;
    const std::shared_ptr<Scope> scope = it->second;
    if (!reply.error.empty()) return FailScope(reply.scope, reply.error);
    if (const absl::Status status = ConnectTo(scope); !status.ok()) {
      return FailScope(reply.scope, std::string(status.message()));
    }
    EmitScope(reply.scope, EngineEvent::Kind::kScopeReady);
    std::vector<std::function<void(Scope&)>> waiting;
    waiting.swap(scope->waiting);
    for (const auto& fn : waiting) fn(*scope);
  }

  absl::Status ConnectTo(const std::shared_ptr<Scope>& scope) {
    const std::string id = scope->spec.id;
    MAYFLY_ASSIGN_OR_RETURN(UniqueFd fd, ConnectControl(ScopeFolder(options_.state_dir, id)));
    scope->channel = std::make_unique<Channel>(
        io_.reactor(), std::move(fd), [this, id](Frame frame) { OnInitFrame(id, std::move(frame)); },
        [this, id] { OnInitGone(id); });
    scope->channel->Send(Hello{});
    return absl::OkStatus();
  }

  void OnInitFrame(const std::string& id, Frame frame) {
    const auto it = scopes_io_.find(id);
    if (it == scopes_io_.end()) return;
    if (frame.type == NodeEvent::kType) {
      NodeEvent message;
      if (!Decode(frame.body, message) || message.event.node.scope != id) return;
      if (!frame.fds.empty()) message.event.pid = HostPid(frame.fds[0].get());
      Emit(message.event);
    } else if (frame.type == UsageReply::kType) {
      UsageReply reply;
      if (Decode(frame.body, reply)) OnUsage(id, *it->second, std::move(reply));
    } else if (frame.type == CallDone::kType) {
      CallDone done;
      if (Decode(frame.body, done)) FinishCall(done);
    } else if (frame.type == Snapshot::kType) {
      Scope& scope = *it->second;
      if (!scope.snapshot_wanted || !Decode(frame.body, scope.snapshot)) return;
      MutexLock lock(mutex_);
      scope.snapshot_seen = true;
      changed_.NotifyAll();
    }
  }

  StartedStream Attach(FdStreamOptions options, Stream::Callbacks callbacks) {
    options.reactor = io_.reactor();
    options.post = [this](std::function<void()> fn) { io_.Post(std::move(fn)); };
    return StartFdStream(std::move(options), std::move(callbacks));
  }

  // Asks the scope's init for something that ends with a CallDone. `done` runs on the I/O thread.
  void Call(const std::shared_ptr<Scope>& scope, uint64_t id, std::function<void(Scope&)> send,
            std::function<void(absl::Status, int exit_code)> done) {
    io_.Post([this, scope, id, send = std::move(send), done = std::move(done)] {
      if (scope->channel == nullptr) return done(absl::UnavailableError("the environment does not answer"), 0);
      calls_[id] = {scope->spec.id, done};
      send(*scope);
    });
  }

  void FinishCall(const CallDone& done) {
    const auto it = calls_.find(done.id);
    if (it == calls_.end()) return;
    const auto fn = std::move(it->second.done);
    calls_.erase(it);
    fn(absl::Status(static_cast<absl::StatusCode>(done.code), done.message), done.exit_code);
  }

  void FailCalls(const std::string& scope) {
    std::vector<uint64_t> ids;
    for (const auto& [id, call] : calls_) {
      if (call.scope == scope) ids.push_back(id);
    }
    for (const uint64_t id : ids) {
      FinishCall(CallDone{id, static_cast<int>(absl::StatusCode::kUnavailable), "the environment has ended", 0});
    }
  }

  void OnInitGone(const std::string& id) {
    FailCalls(id);
    const auto it = scopes_io_.find(id);
    if (it == scopes_io_.end()) return;
    it->second->channel.reset();
    it->second->lost = true;
    {
      MutexLock lock(mutex_);
      changed_.NotifyAll();
      if (it->second->destroying) return;
    }
    Cause cause;
    cause.code = CauseCode::kScopeLost;
    cause.message = "the environment's first process has ended";
    EmitScope(id, EngineEvent::Kind::kScopeLost, cause);
  }

  void OnReleased(const ReleaseReply& reply) {
    const bool wanted = releasing_.erase(reply.scope) > 0;
    if (const auto it = scopes_io_.find(reply.scope); it != scopes_io_.end() && it->second->undoing && !wanted) {
      it->second->undoing = false;
      return Take(it->second->spec);
    }
    Receipt receipt = reply.receipt;
    if (const auto it = scopes_io_.find(reply.scope); it != scopes_io_.end()) {
      const std::shared_ptr<Scope> scope = it->second;
      std::vector<EngineEvent> ends;
      {
        MutexLock lock(mutex_);
        receipt.ports = static_cast<int>(scope->addresses.size());
        for (const auto& [name, node] : scope->nodes) {
          if (!node.prepared || node.ended) continue;
          receipt.processes += node.running;
          EngineEvent& end = ends.emplace_back();
          end.kind = EngineEvent::Kind::kExited;
          end.node = NodeRef{reply.scope, name, node.attempt};
          end.when = MonotonicNow();
          end.signal = node.running ? SIGKILL : 0;
          end.stopped = true;
          end.usage = scope->usage[name];
        }
        scopes_.erase(reply.scope);
        scopes_io_.erase(it);
      }
      FailCalls(reply.scope);
      for (const EngineEvent& end : ends) sink_->OnEngineEvent(end);
    }
    EmitScope(reply.scope, EngineEvent::Kind::kScopeReleased, Cause(), receipt);
    EmitScope(reply.scope, EngineEvent::Kind::kScopeGone);
  }

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

absl::StatusOr<std::vector<FoundScope>> LocalEngineImpl::Recover() {
  // A launcher that answers has outlived the one of the server before, which might else still take a scope.
  if (Describe().engine.empty()) {
    return absl::UnavailableError(
        "the launcher does not answer; it may be waiting for one that an earlier server left "
        "behind: look for a process mayfly-launcher that hangs");
  }
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, ListScopes(options_.state_dir));
  std::vector<FoundScope> found;
  for (const std::string& id : ids) {
    const auto descriptor = ReadDescriptor(options_.state_dir, id);
    FoundScope result;
    result.id = id;
    if (descriptor.ok()) result.environment = descriptor->environment;
    std::shared_ptr<Scope> scope;
    {
      MutexLock lock(mutex_);
      if (scopes_.count(id) > 0) continue;
      scope = std::make_shared<Scope>();
      scope->spec.id = id;
      if (descriptor.ok()) {
        scope->spec.environment = descriptor->environment;
        scope->spec.owner = descriptor->owner;
      }
      scope->snapshot_wanted = true;
      scopes_[id] = scope;
    }
    const bool alive = descriptor.ok() && descriptor->protocol == kProtocol && OpenInit(*descriptor).ok();
    bool connected = false;
    io_.Run([&] {
      scopes_io_[id] = scope;
      connected = alive && ConnectTo(scope).ok();
      scope->lost = !connected;
    });
    bool answered = false;
    if (connected) {
      const auto limit = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kAnswerLimit);
      MutexLock lock(mutex_);
      while (!scope->snapshot_seen && changed_.WaitUntil(mutex_, limit)) {
      }
      answered = scope->snapshot_seen;
    }
    std::vector<EngineEvent> replay;
    if (answered) {
      io_.Run([&] {
        result.addresses = scope->snapshot.addresses;
        MutexLock lock(mutex_);
        scope->addresses = scope->snapshot.addresses;
        for (const NodeSnapshot& node : scope->snapshot.nodes) {
          FoundScope::Node& n = result.nodes.emplace_back();
          n.node = node.node;
          n.attempt = node.attempt;
          int64_t pid = 0;
          for (const EngineEvent& event : node.events) {
            replay.push_back(event);
            if (event.pid != 0) pid = event.pid;
            if (event.kind == EngineEvent::Kind::kStarted) n.running = true;
            if (event.kind == EngineEvent::Kind::kReady) n.ready = true;
            if (event.kind == EngineEvent::Kind::kExited || event.kind == EngineEvent::Kind::kStartFailed) {
              n.exited = true;
              n.running = n.ready = false;
              n.exit_code = event.exit_code;
              n.signal = event.signal;
            }
          }
          scope->nodes[node.node] = NodeRecord{node.attempt, true, n.running, n.exited, pid};
        }
      });
    }
    found.push_back(std::move(result));
    io_.Post([this, id, answered, replay] {
      for (const EngineEvent& event : replay) Emit(event);
      if (answered) return;
      Cause cause;
      cause.code = CauseCode::kScopeLost;
      cause.message = "the environment's first process has ended";
      EmitScope(id, EngineEvent::Kind::kScopeLost, cause);
    });
  }
  return found;
}

absl::StatusOr<std::unique_ptr<Stream>> LocalEngineImpl::Exec(const ExecRequest& request, Stream::Callbacks callbacks) {
  if (request.argv.empty()) return absl::InvalidArgumentError("a command is needed");
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindRunning(request.node));
  auto theirs = std::make_shared<std::vector<UniqueFd>>();
  MAYFLY_ASSIGN_OR_RETURN(FdStreamOptions options,
                          request.terminal ? OpenTerminalFor(request, theirs.get()) : OpenPipes(theirs.get()));
  const uint64_t id = ++last_call_;
  options.on_abandoned = [this, scope, id, node = request.node.node] {
    if (calls_.erase(id) > 0 && scope->channel != nullptr) scope->channel->Send(KillCommand{id, node});
  };
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  Call(
      scope, id,
      [request, id, theirs](Scope& s) {
        s.channel->Send(ExecCommand{id, request.node.node, request.argv, request.terminal}, std::move(*theirs));
      },
      started.finish);
  return std::move(started.stream);
}

absl::StatusOr<std::unique_ptr<Stream>> LocalEngineImpl::Connect(const NodeRef& ref, int port,
                                                                 Stream::Callbacks callbacks) {
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindRunning(ref));
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const uint64_t id = ++last_call_;
  FdStreamOptions options;
  options.kind = FdStreamOptions::Kind::kSocket;
  options.output = pair.first.Release();
  options.on_abandoned = [this, id] { calls_.erase(id); };
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  Call(
      scope, id,
      [id, ref, port, theirs = std::make_shared<UniqueFd>(std::move(pair.second))](Scope& s) {
        std::vector<UniqueFd> fds;
        fds.push_back(std::move(*theirs));
        s.channel->Send(ConnectRequest{id, ref.node, port}, std::move(fds));
      },
      started.finish);
  return std::move(started.stream);
}

void LocalEngineImpl::Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination,
                              int64_t max_bytes, std::function<void(absl::Status)> done) {
  const auto scope = [&] {
    MutexLock lock(mutex_);
    return FindScope(ref.scope);
  }();
  if (!scope.ok()) return done(scope.status());
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return done(ErrnoStatus(errno, "pipe"));
  if (const absl::Status made = MakeDirs(destination, 0755); !made.ok()) return done(made);
  const auto receiver = std::make_shared<FileReceiver>(destination, max_bytes);
  const auto failure = std::make_shared<absl::Status>();
  // Holds the stream until its own end.
  const auto holder = std::make_shared<std::unique_ptr<Stream>>();
  Stream::Callbacks callbacks;
  callbacks.on_data = [receiver, failure](const std::string& bytes, bool) {
    if (failure->ok()) *failure = receiver->Feed(bytes);
  };
  callbacks.on_close = [this, failure, done, holder](absl::Status status, int) {
    io_.Post([holder] { holder->reset(); });
    done(failure->ok() ? status : *failure);
  };
  FdStreamOptions options;
  options.output = pipe_fds[0];
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  *holder = std::move(started.stream);
  const uint64_t id = ++last_call_;
  Call(
      *scope, id,
      [id, ref, paths, max_bytes, theirs = std::make_shared<UniqueFd>(pipe_fds[1])](Scope& s) {
        std::vector<UniqueFd> fds;
        fds.push_back(std::move(*theirs));
        s.channel->Send(CollectRequest{id, ref.node, paths, max_bytes}, std::move(fds));
      },
      started.finish);
}

}  // namespace

std::unique_ptr<LocalEngine> LocalEngine::Create(const LocalEngineOptions& options, LauncherHandle launcher,
                                                 EngineEventSink* sink) {
  return std::make_unique<LocalEngineImpl>(options, std::move(launcher), sink);
}

}  // namespace mayfly::local
