#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/cgroup.h"
#include "server/engine/local/init_impl.h"
#include "server/engine/local/network.h"
#include "server/engine/local/plot.h"
#include "server/engine/local/rootfs.h"

namespace mayfly::local {

Node* Init::Find(const std::string& name) {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : it->second.get();
}

void Init::Prepare(PrepareRequest request) {
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

void Init::StartNode(const StartRequest& request) {
  if (Node* node = Find(request.node)) return node->Start(request.one_shot);
  if (const auto it = FindPlaceless(request.node); it != placeless_.end()) it->start = request;
}

void Init::StopNode(const std::string& name) {
  if (Node* node = Find(name)) return node->Stop();
  const auto it = FindPlaceless(name);
  if (it == placeless_.end()) return;
  const int attempt = it->prepare.attempt;
  placeless_.erase(it);
  EmitNeverStarted(name, attempt);
}

Slot* Init::FreeSlot() {
  for (Slot& slot : slots_) {
    if (!slot.used && slot.shim != nullptr) return &slot;
  }
  for (Slot& slot : slots_) {
    if (!slot.used && slot.shim_pid == 0 && StartShim(slot).ok()) return &slot;
  }
  return nullptr;
}

void Init::WaitForPlace(PrepareRequest request) {
  if (const auto it = FindPlaceless(request.node); it != placeless_.end()) placeless_.erase(it);
  placeless_.push_back({std::move(request), {}});
  // What else comes in this round is made together with it.
  reactor_.AddTimer(absl::ZeroDuration(), [this] { Grow(); });
}

std::vector<Init::Placeless>::iterator Init::FindPlaceless(const std::string& node) {
  return std::find_if(placeless_.begin(), placeless_.end(),
                      [&node](const Placeless& waiting) { return waiting.prepare.node == node; });
}

void Init::Grow() {
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

void Init::OnGrown() {
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

void Init::RefusePlaceless(absl::string_view why) {
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

void Init::EmitNeverStarted(const std::string& node, int attempt) {
  EngineEvent event;
  event.kind = EngineEvent::Kind::kExited;
  event.node = NodeRef{scope_, node, attempt};
  event.when = MonotonicNow();
  event.stopped = true;
  Emit(event, UniqueFd());
}

absl::Status Init::OpenEgress(const Node& node, const ProcessSpec& process, std::vector<std::string>* routes) {
  for (const std::string& text : process.egress) {
    MAYFLY_ASSIGN_OR_RETURN(const EgressTarget target, ParseEgress(text));
    in_addr literal{};
    if (target.host == "localhost") literal.s_addr = htonl(INADDR_LOOPBACK);
    if (target.literal) inet_pton(AF_INET, target.host.c_str(), &literal);
    if ((target.literal || literal.s_addr != 0) && IsOutOfBounds(literal.s_addr, config_.egress_to_host)) {
      return absl::InvalidArgumentError(
          absl::StrCat("egress to ", text,
                       ": not an address outside; a server started with --egress-to-host lets "
                       "services reach the loopback of its own host"));
    }
    MAYFLY_RETURN_IF_ERROR(egress_.Allow(target, SlotAddress(node.slot()->index)));
    if (target.literal) routes->push_back(target.host);
  }
  if (!process.egress.empty()) WriteHosts();
  return absl::OkStatus();
}

absl::StatusOr<int> Init::SourceNumber(const std::string& path) {
  if (const auto it = sources_.find(path); it != sources_.end()) return it->second;
  const int number = static_cast<int>(sources_.size());
  MAYFLY_RETURN_IF_ERROR(AttachSource(number, path, path == source_root_ ? source_.get() : -1));
  if (path == source_root_) source_.Reset();
  sources_[path] = number;
  return number;
}

void Init::WriteHosts() {
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

}  // namespace mayfly::local
