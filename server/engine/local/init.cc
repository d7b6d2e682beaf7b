#include "server/engine/local/init.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mayfly/base/status.h"
#include "server/engine/local/init_impl.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/local/shim.h"

namespace mayfly::local {

void Init::Run() {
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

absl::Status Init::WarmUp() {
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

absl::Status Init::StartShim(Slot& slot) {
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

void Init::Reap() {
  signalfd_siginfo info;
  while (read(children_.get(), &info, sizeof(info)) > 0) {
  }
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

void Init::OnLauncherFrame(Frame frame) {
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

void Init::OnLauncherGone() {
  if (!listener_.valid()) _exit(0);
  launcher_.reset();
}

void Init::Accept() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd.valid()) return;
  // A new server takes the place of the one before, which is gone or about to find out.
  server_ = std::make_unique<Channel>(
      &reactor_, std::move(fd), [this](Frame frame) { OnServerFrame(std::move(frame)); }, [this] { server_.reset(); });
}

void Init::OnServerFrame(Frame frame) {
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

void Init::Emit(const EngineEvent& event, UniqueFd pidfd) {
  const bool passing = event.kind == EngineEvent::Kind::kProbe || event.kind == EngineEvent::Kind::kExposed;
  if (const auto it = nodes_.find(event.node.node); it != nodes_.end() && !passing) {
    it->second->Remember(event);
  }
  if (server_ == nullptr) return;
  std::vector<UniqueFd> fds;
  if (pidfd.valid()) fds.push_back(std::move(pidfd));
  server_->Send(NodeEvent{event}, std::move(fds));
}

void Init::FailCall(uint64_t id, absl::StatusCode code, std::string message) {
  if (server_ != nullptr) server_->Send(CallDone{id, static_cast<int>(code), std::move(message), 0});
}

void Init::SendSnapshot() {
  Snapshot snapshot;
  snapshot.scope = scope_;
  snapshot.environment = environment_;
  for (const auto& [name, node] : nodes_) snapshot.nodes.push_back({name, node->attempt(), node->events()});
  snapshot.addresses = addresses_;
  server_->Send(snapshot);
}

void RunInit(InitConfig config) {
  (new Init(std::move(config)))->Run();
}

}  // namespace mayfly::local
