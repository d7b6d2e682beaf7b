#include "server/engine/local/init.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/cgroup.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/network.h"
#include "server/engine/local/node.h"
#include "server/engine/local/plot.h"
#include "server/engine/local/proxy.h"
#include "server/engine/local/relay.h"
#include "server/engine/local/shim.h"

namespace mayfly::local {
namespace {

// Marks the ids of commands that the init itself runs; the server's have it clear.
constexpr uint64_t kOwnCalls = uint64_t{1} << 63;

class Init : public NodeHost {
 public:
  explicit Init(InitConfig config) : config_(std::move(config)) {}

  [[noreturn]] void Run() {
    prctl(PR_SET_NAME, "mayfly-init", 0, 0, 0);
    launcher_ = std::make_unique<Channel>(
        &reactor_, std::move(config_.launcher), [this](Frame frame) { OnLauncherFrame(std::move(frame)); },
        [this] { OnLauncherGone(); });
    if (const absl::Status status = WarmUp(); !status.ok()) {
      launcher_->Send(InitWarm{std::string(status.message())});
      launcher_->Flush();
      _exit(1);
    }
    reactor_.Run();
    _exit(0);
  }

  // NodeHost:
  Reactor* reactor() override { return &reactor_; }
  const std::string& scope() const override { return scope_; }
  int log_folder() const override { return log_folder_.get(); }
  ProbeBudget* probe_budget() override { return &probe_budget_; }
  void RunInside(Slot& slot, const std::vector<std::string>& argv,
                 std::function<void(int, std::string)> done) override {
    const uint64_t id = kOwnCalls | ++own_calls_;
    int pipe_fds[2];
    if (slot.shim == nullptr || pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0) {
      reactor_.AddTimer(absl::ZeroDuration(), [done = std::move(done)] { done(-1, "cannot be run"); });
      return;
    }
    std::vector<UniqueFd> fds;
    fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
    fds.emplace_back(pipe_fds[1]);
    fds.emplace_back(fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 3));
    commands_[id] = Command{UniqueFd(pipe_fds[0]), std::move(done)};
    slot.shim->Send(ShimSpawn{id, argv, false}, std::move(fds));
  }
  void Emit(const EngineEvent& event, UniqueFd pidfd) override {
    const bool passing = event.kind == EngineEvent::Kind::kProbe || event.kind == EngineEvent::Kind::kExposed;
    if (const auto it = nodes_.find(event.node.node); it != nodes_.end() && !passing) {
      it->second->Remember(event);
    }
    if (server_ == nullptr) return;
    std::vector<UniqueFd> fds;
    if (pidfd.valid()) fds.push_back(std::move(pidfd));
    server_->Send(NodeEvent{event}, std::move(fds));
  }

 private:
  absl::Status WarmUp() {
    signal(SIGPIPE, SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    children_ = UniqueFd(signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC));
    MAYFLY_RETURN_IF_ERROR(reactor_.Add(children_.get(), EPOLLIN, [this](uint32_t) { Reap(); }));
    MAYFLY_RETURN_IF_ERROR(PrepareShared(config_.root));
    slots_.resize(config_.slots.size());
    for (size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].index = static_cast<int>(i);
      slots_[i].network = std::move(config_.slots[i]);
      slots_[i].cgroup = std::move(config_.cgroups[i]);
    }
    waiting_for_shims_ = std::min(slots_.size(), static_cast<size_t>(config_.shims));
    for (size_t i = 0; i < waiting_for_shims_; ++i) MAYFLY_RETURN_IF_ERROR(StartShim(slots_[i]));
    if (waiting_for_shims_ == 0) launcher_->Send(InitWarm{});
    return absl::OkStatus();
  }

  absl::Status StartShim(Slot& slot) {
    MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
    const int network = slot.network.get();
    MAYFLY_ASSIGN_OR_RETURN(const pid_t pid, CloneProcess(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS));
    if (pid == 0) {
      std::vector<int> keep = slot.cgroup.Fds();
      keep.push_back(network);
      keep.push_back(pair.second.get());
      CloseAllExcept(std::move(keep));
      ShimConfig config;
      config.channel = std::move(pair.second);
      config.network = network;
      config.cgroup = &slot.cgroup;
      config.root = &config_.root;
      config.filter = config_.filter;
      RunShim(std::move(config));
    }
    slot.shim_pid = pid;
    Slot* const place = &slot;
    slot.shim = std::make_unique<Channel>(
        &reactor_, std::move(pair.first), [this, place](Frame frame) { OnShimFrame(*place, std::move(frame)); },
        [this, place] { OnShimGone(*place); });
    return absl::OkStatus();
  }

  void Reap() {
    signalfd_siginfo info;
    while (read(children_.get(), &info, sizeof(info)) > 0) {
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }

  // ---- Launcher. ----
  void OnLauncherFrame(Frame frame) {
    Assign assign;
    if (frame.type != Assign::kType || !Decode(frame.body, assign)) return;
    if (frame.fds.size() != 1u + assign.has_logs + !assign.source_root.empty()) return;
    if (assign.has_logs) log_folder_ = std::move(frame.fds[1]);
    if (!assign.source_root.empty()) source_ = std::move(frame.fds.back());
    source_root_ = assign.source_root;
    scope_ = assign.scope;
    environment_ = assign.environment;
    if (sethostname(environment_.c_str(), environment_.size()) != 0) errno = 0;
    listener_ = std::move(frame.fds[0]);
    reactor_.Add(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); }).IgnoreError();
  }

  void OnLauncherGone() {
    if (!listener_.valid()) _exit(0);
    launcher_.reset();
  }

  // ---- Server. ----
  void Accept() {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) return;
    // A new server takes the place of the one before, which is gone or about to find out.
    server_ = std::make_unique<Channel>(
        &reactor_, std::move(fd), [this](Frame frame) { OnServerFrame(std::move(frame)); },
        [this] { server_.reset(); });
  }

  void OnServerFrame(Frame frame) {
    switch (frame.type) {
      case Hello::kType:
        return SendSnapshot();
      case PrepareRequest::kType: {
        PrepareRequest request;
        if (Decode(frame.body, request)) Prepare(std::move(request));
        return;
      }
      case StartRequest::kType: {
        StartRequest request;
        if (Decode(frame.body, request)) StartNode(request);
        return;
      }
      case StopRequest::kType: {
        StopRequest request;
        if (!Decode(frame.body, request)) return;
        StopNode(request.node);
        return;
      }
      case ExecCommand::kType: {
        ExecCommand request;
        if (!Decode(frame.body, request) || frame.fds.size() != 3) return;
        Node* node = Find(request.node);
        if (node == nullptr || node->slot()->shim == nullptr)
          return FailCall(request.id, absl::StatusCode::kNotFound, "no such node");
        node->slot()->shim->Send(ShimSpawn{request.id, request.argv, request.terminal}, std::move(frame.fds));
        return;
      }
      case UsageRequest::kType: {
        UsageReply reply;
        for (const auto& [name, node] : nodes_) {
          if (node->Live()) reply.nodes[name] = node->slot()->cgroup.Read();
        }
        return server_->Send(reply);
      }
      case EgressGate::kType:
        if (frame.fds.size() == 1) egress_.SetGate(std::move(frame.fds[0]));
        return;
      case KillCommand::kType: {
        KillCommand request;
        if (!Decode(frame.body, request)) return;
        if (Node* node = Find(request.node); node != nullptr && node->slot()->shim != nullptr) {
          node->slot()->shim->Send(ShimSpawnKill{request.id});
        }
        return;
      }
      case ExposeRequest::kType: {
        ExposeRequest request;
        if (Decode(frame.body, request) && frame.fds.size() == 1) Expose(request, std::move(frame.fds[0]));
        return;
      }
      case ConnectRequest::kType: {
        ConnectRequest request;
        if (Decode(frame.body, request) && frame.fds.size() == 1) Connect(request, std::move(frame.fds[0]));
        return;
      }
      case CollectRequest::kType: {
        CollectRequest request;
        if (!Decode(frame.body, request) || frame.fds.size() != 1) return;
        Node* node = Find(request.node);
        if (node == nullptr || node->slot()->shim == nullptr)
          return FailCall(request.id, absl::StatusCode::kNotFound, "no such node");
        node->slot()->shim->Send(ShimCollect{request.id, request.paths, request.max_bytes}, std::move(frame.fds));
        return;
      }
      default:
        return;
    }
  }

  void StopNode(const std::string& name) {
    if (Node* node = Find(name)) return node->Stop();
    const auto it = FindPlaceless(name);
    if (it == placeless_.end()) return;
    const int attempt = it->prepare.attempt;
    placeless_.erase(it);
    EmitNeverStarted(name, attempt);
  }

  void StartNode(const StartRequest& request) {
    if (Node* node = Find(request.node)) return node->Start(request.one_shot);
    if (const auto it = FindPlaceless(request.node); it != placeless_.end()) it->start = request;
  }

  void Expose(const ExposeRequest& request, UniqueFd listener) {
    Node* node = Find(request.node);
    if (node == nullptr) return;
    const std::string key = absl::StrCat(request.node, ":", request.port);
    proxies_.erase(key);
    auto proxy = TcpProxy::Create(reactor_, listener.Release(),
                                  ConnectToAddress(FormatAddress(SlotAddress(node->slot()->index)), request.port));
    if (!proxy.ok()) return;
    proxies_[key] = *std::move(proxy);
    addresses_[key] = request.address;
    EngineEvent event;
    event.kind = EngineEvent::Kind::kExposed;
    event.node = NodeRef{scope_, request.node, node->attempt()};
    event.when = MonotonicNow();
    event.port = request.port;
    event.address = request.address;
    Emit(event, UniqueFd());
  }

  void Connect(const ConnectRequest& request, UniqueFd peer) {
    Node* node = Find(request.node);
    if (node == nullptr) return FailCall(request.id, absl::StatusCode::kNotFound, "no such node");
    const std::string address = FormatAddress(SlotAddress(node->slot()->index));
    if (const auto listening = node->slot()->diag->IsListening(address, request.port); listening.ok() && !*listening) {
      return FailCall(request.id, absl::StatusCode::kUnavailable,
                      absl::StrCat("nothing in ", request.node, " listens on port ", request.port));
    }
    const uint64_t id = request.id;
    ConnectToAddress(address, request.port)(
        [this, id, fd = std::make_shared<UniqueFd>(std::move(peer))](absl::StatusOr<int> inside) {
          if (!inside.ok()) return FailCall(id, inside.status().code(), std::string(inside.status().message()));
          relays_[id] = std::make_unique<Relay>(reactor_, *inside, fd->Release(), [this, id] { relays_.erase(id); });
        });
  }

  void FailCall(uint64_t id, absl::StatusCode code, std::string message) {
    if (server_ != nullptr) server_->Send(CallDone{id, static_cast<int>(code), std::move(message), 0});
  }

  void SendSnapshot() {
    Snapshot snapshot;
    snapshot.scope = scope_;
    snapshot.environment = environment_;
    for (const auto& [name, node] : nodes_) snapshot.nodes.push_back({name, node->attempt(), node->events()});
    snapshot.addresses = addresses_;
    server_->Send(snapshot);
  }

  Node* Find(const std::string& name) {
    const auto it = nodes_.find(name);
    return it == nodes_.end() ? nullptr : it->second.get();
  }

  void Prepare(PrepareRequest request) {
    Node* node = Find(request.node);
    if (node == nullptr) {
      Slot* const free = FreeSlot();
      if (free == nullptr) return WaitForPlace(std::move(request));
      node = nodes_.emplace(request.node, std::make_unique<Node>(this, request.node, free)).first->second.get();
      WriteHosts();
    }
    int source = -1;
    if (!request.process.source_root.empty()) {
      const auto number = SourceNumber(request.process.source_root);
      if (!number.ok()) {
        Cause cause;
        cause.code = CauseCode::kStartFailed;
        cause.message = std::string(number.status().message());
        return node->FailPreparation(request.attempt, cause);
      }
      source = *number;
    }
    std::vector<std::string> routes;
    if (const absl::Status status = OpenEgress(*node, request.process, &routes); !status.ok()) {
      Cause cause;
      cause.code = CauseCode::kStartFailed;
      cause.message = std::string(status.message());
      return node->FailPreparation(request.attempt, cause);
    }
    node->Prepare(request.attempt, std::move(request.process), source, std::move(routes));
  }

  // One with a shim if there is one, so that nobody waits.
  Slot* FreeSlot() {
    for (Slot& slot : slots_) {
      if (!slot.used && slot.shim != nullptr) return &slot;
    }
    for (Slot& slot : slots_) {
      if (!slot.used && slot.shim_pid == 0 && StartShim(slot).ok()) return &slot;
    }
    return nullptr;
  }

  absl::Status OpenEgress(const Node& node, const ProcessSpec& process, std::vector<std::string>* routes) {
    for (const std::string& text : process.egress) {
      MAYFLY_ASSIGN_OR_RETURN(const EgressTarget target, ParseEgress(text));
      MAYFLY_RETURN_IF_ERROR(egress_.Allow(target, SlotAddress(node.slot()->index)));
      if (target.literal) routes->push_back(target.host);
    }
    if (!process.egress.empty()) WriteHosts();
    return absl::OkStatus();
  }

  // ---- More nodes than were expected. ----
  struct Placeless {
    PrepareRequest prepare;
    StartRequest start;  // Asked for meanwhile; without a node: not yet.
  };

  void WaitForPlace(PrepareRequest request) {
    if (const auto it = FindPlaceless(request.node); it != placeless_.end()) placeless_.erase(it);
    placeless_.push_back({std::move(request), {}});
    // What else comes in this round is made together with it.
    reactor_.AddTimer(absl::ZeroDuration(), [this] { Grow(); });
  }

  std::vector<Placeless>::iterator FindPlaceless(const std::string& node) {
    return std::find_if(placeless_.begin(), placeless_.end(),
                        [&node](const Placeless& waiting) { return waiting.prepare.node == node; });
  }

  // By a child, because the kernel may take its time over networks.
  void Grow() {
    if (maker_ != nullptr || placeless_.empty()) return;
    const int first = static_cast<int>(slots_.size());
    const int count = std::min(static_cast<int>(placeless_.size()), kMaxSlots - first);
    if (count <= 0) return RefusePlaceless("no environment has more");
    auto child = StartMoreNetworksMaker(first, count);
    if (!child.ok()) return RefusePlaceless(child.status().message());
    maker_error_ = "the kernel refused";
    maker_ = std::make_unique<Channel>(
        &reactor_, std::move(child->channel),
        [this](Frame frame) {
          if (frame.type == kNetworkError) maker_error_ = frame.body;
          for (UniqueFd& fd : frame.fds) more_networks_.push_back(std::move(fd));
        },
        [this] { OnGrown(); });
  }

  void OnGrown() {
    maker_.reset();
    if (more_networks_.empty()) return RefusePlaceless(maker_error_);
    CgroupHost groups;
    if (!config_.groups.empty()) groups.mode = CgroupHost::Mode::kV1;
    for (const auto& [controller, folder] : config_.groups) {
      groups.folders[controller] = absl::StrCat("/proc/self/fd/", folder.get());
    }
    for (UniqueFd& network : std::exchange(more_networks_, {})) {
      Slot& slot = slots_.emplace_back();
      slot.index = static_cast<int>(slots_.size()) - 1;
      slot.network = std::move(network);
      // Without a group of its own, a node is limited as on hosts without control groups.
      if (auto cgroup = MakeSlotCgroup(groups, ".", slot.index); cgroup.ok()) slot.cgroup = *std::move(cgroup);
    }
    for (Placeless& waiting : std::exchange(placeless_, {})) {
      Prepare(std::move(waiting.prepare));
      if (!waiting.start.node.empty()) StartNode(waiting.start);
    }
  }

  void RefusePlaceless(absl::string_view why) {
    for (const Placeless& waiting : std::exchange(placeless_, {})) {
      const PrepareRequest& request = waiting.prepare;
      EngineEvent event;
      event.kind = EngineEvent::Kind::kStartFailed;
      event.node = NodeRef{scope_, request.node, request.attempt};
      event.when = MonotonicNow();
      event.cause.code = CauseCode::kHostLimit;
      event.cause.node = request.node;
      event.cause.message =
          absl::StrCat("the environment has ", slots_.size(), " places for services, and more cannot be made: ", why,
                       "; take it down and bring it up again, or start fewer services");
      Emit(event, UniqueFd());
    }
  }

  // It never had a place: that is its end.
  void EmitNeverStarted(const std::string& node, int attempt) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kExited;
    event.node = NodeRef{scope_, node, attempt};
    event.when = MonotonicNow();
    event.stopped = true;
    Emit(event, UniqueFd());
  }

  absl::StatusOr<int> SourceNumber(const std::string& path) {
    if (const auto it = sources_.find(path); it != sources_.end()) return it->second;
    const int number = static_cast<int>(sources_.size());
    MAYFLY_RETURN_IF_ERROR(AttachSource(number, path, path == source_root_ ? source_.get() : -1));
    if (path == source_root_) source_.Reset();
    sources_[path] = number;
    return number;
  }

  // In place: the file is bound into every service's tree.
  void WriteHosts() {
    std::string text = "127.0.0.1 localhost\n::1 localhost\n";
    for (const auto& [name, node] : nodes_) {
      absl::StrAppend(&text, FormatAddress(SlotAddress(node->slot()->index)), " ", name, " ", name, ".", environment_,
                      "\n");
    }
    text += egress_.HostsLines();
    const UniqueFd fd(open(kHostsFile, O_WRONLY | O_CLOEXEC));
    if (pwrite(fd.get(), text.data(), text.size(), 0) < 0 || ftruncate(fd.get(), static_cast<off_t>(text.size())) < 0)
      errno = 0;
  }

  // ---- Shims. ----
  Node* NodeOf(const Slot& slot) {
    for (const auto& [name, node] : nodes_) {
      if (node->slot() == &slot) return node.get();
    }
    return nullptr;
  }

  void OnShimFrame(Slot& slot, Frame frame) {
    if (frame.type == ShimWarm::kType) return OnShimWarm(slot, std::move(frame));
    Node* node = NodeOf(slot);
    if (node == nullptr) return;
    switch (frame.type) {
      case ShimReady::kType:
        return node->OnReady(frame.fds.empty() ? UniqueFd() : std::move(frame.fds[0]));
      case ShimFailed::kType: {
        ShimFailed failed;
        if (Decode(frame.body, failed)) node->OnFailed(failed.cause);
        return;
      }
      case ShimStarted::kType: {
        ShimStarted started;
        if (Decode(frame.body, started))
          node->OnStarted(started.when, frame.fds.empty() ? UniqueFd() : std::move(frame.fds[0]));
        return;
      }
      case ShimExited::kType: {
        ShimExited exited;
        if (Decode(frame.body, exited)) node->OnExited(exited);
        return;
      }
      case ShimSpawnDone::kType: {
        ShimSpawnDone done;
        if (!Decode(frame.body, done)) return;
        if ((done.id & kOwnCalls) != 0) {
          OnCommandDone(done);
        } else if (server_ != nullptr) {
          server_->Send(CallDone{done.id, done.code, done.message, done.exit_code});
        }
        return;
      }
      default:
        return;
    }
  }

  void OnCommandDone(const ShimSpawnDone& done) {
    const auto it = commands_.find(done.id);
    if (it == commands_.end()) return;
    Command command = std::move(it->second);
    commands_.erase(it);
    // What it printed fits into the pipe; more than that was not awaited.
    std::string output(4096, '\0');
    const ssize_t n = read(command.output.get(), output.data(), output.size());
    output.resize(n > 0 ? n : 0);
    command.done(done.code == 0 ? done.exit_code : -1, done.code == 0 ? output : done.message);
  }

  void OnShimWarm(Slot& slot, Frame frame) {
    ShimWarm warm;
    if (!Decode(frame.body, warm)) return;
    if (!frame.fds.empty()) slot.diag = std::make_unique<SockDiag>(frame.fds[0].Release());
    // Later, the end of the shim tells its node.
    if (!warm.error.empty() && waiting_for_shims_ > 0 && launcher_ != nullptr) {
      launcher_->Send(InitWarm{warm.error});
      launcher_->Flush();
      _exit(1);
    }
    if (waiting_for_shims_ > 0 && --waiting_for_shims_ == 0 && launcher_ != nullptr) launcher_->Send(InitWarm{});
  }

  void OnShimGone(Slot& slot) {
    if (Node* node = NodeOf(slot)) return node->OnShimLost();
    slot.shim.reset();
  }

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
  };
  std::map<uint64_t, Command> commands_;  // Of probes.
  uint64_t own_calls_ = 0;
};

}  // namespace

void RunInit(InitConfig config) {
  (new Init(std::move(config)))->Run();
}

}  // namespace mayfly::local
