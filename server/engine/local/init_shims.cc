#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/local/init_impl.h"
#include "server/engine/local/network.h"

namespace mayfly::local {
namespace {

// A probe's command that hangs says nothing, and nothing else is asked while it does.
constexpr absl::Duration kProbeCommandLimit = absl::Seconds(5);

}  // namespace

Node* Init::NodeOf(const Slot& slot) {
  for (const auto& [name, node] : nodes_) {
    if (node->slot() == &slot) return node.get();
  }
  return nullptr;
}

void Init::OnShimFrame(Slot& slot, Frame frame) {
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

void Init::OnShimWarm(Slot& slot, Frame frame) {
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

void Init::OnShimGone(Slot& slot) {
  if (Node* node = NodeOf(slot)) return node->OnShimLost();
  slot.shim.reset();
}

void Init::RunInside(Slot& slot, const std::vector<std::string>& argv, std::function<void(int, std::string)> done) {
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
  const Reactor::TimerId limit =
      reactor_.AddTimer(kProbeCommandLimit, [this, id, &slot] { OnCommandOverdue(id, slot); });
  commands_[id] = Command{UniqueFd(pipe_fds[0]), std::move(done), limit};
  slot.shim->Send(ShimSpawn{id, argv, false}, std::move(fds));
}

void Init::OnCommandDone(const ShimSpawnDone& done) {
  const auto it = commands_.find(done.id);
  if (it == commands_.end()) return;
  Command command = std::move(it->second);
  commands_.erase(it);
  reactor_.CancelTimer(command.limit);
  // What it printed fits into the pipe; more than that was not awaited.
  std::string output(4096, '\0');
  const ssize_t n = read(command.output.get(), output.data(), output.size());
  output.resize(n > 0 ? n : 0);
  if (command.overdue) {
    return command.done(-1, absl::StrCat("still ran after ", HumanDuration(kProbeCommandLimit), "; ", output));
  }
  command.done(done.code == 0 ? done.exit_code : -1, done.code == 0 ? output : done.message);
}

// Of a probe: it is killed, and the next run may do better. Its end comes as every other.
void Init::OnCommandOverdue(uint64_t id, Slot& slot) {
  const auto it = commands_.find(id);
  if (it == commands_.end()) return;
  it->second.overdue = true;
  if (slot.shim != nullptr) return slot.shim->Send(ShimSpawnKill{id});
  ShimSpawnDone gone;
  gone.id = id;
  OnCommandDone(gone);
}

void Init::Expose(const ExposeRequest& request, UniqueFd listener) {
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

void Init::Connect(const ConnectRequest& request, UniqueFd peer) {
  Node* node = Find(request.node);
  if (node == nullptr) return FailCall(request.id, absl::StatusCode::kNotFound, "no such node");
  const std::string address = FormatAddress(SlotAddress(node->slot()->index));
  if (const auto listening = node->slot()->diag->IsListening(address, request.port); listening.ok() && !*listening) {
    return FailCall(request.id, absl::StatusCode::kUnavailable,
                    absl::StrCat("nothing in ", request.node, " listens on port ", request.port));
  }
  const uint64_t id = request.id;
  ConnectToAddress(
      address, request.port)([this, id, fd = std::make_shared<UniqueFd>(std::move(peer))](absl::StatusOr<int> inside) {
    if (!inside.ok()) return FailCall(id, inside.status().code(), std::string(inside.status().message()));
    relays_[id] = std::make_unique<Relay>(reactor_, *inside, fd->Release(), [this, id] { relays_.erase(id); });
  });
}

}  // namespace mayfly::local
