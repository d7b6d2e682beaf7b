// What a node does about its sidecars: they start when its service does, are told of when they end by themselves, and
// its own end is told when theirs has come.
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/pod_node.h"

namespace mayfly::kubernetes {
namespace {

// A gate ends what it sees within milliseconds; one that does not answer is left to the kubelet.
constexpr absl::Duration kSidecarsEnd = absl::Seconds(1);

}  // namespace

void PodNode::MakeSidecars() {
  Sidecars::Callbacks callbacks;
  callbacks.on_output = [this](absl::string_view lines, bool stderr_stream) {
    if (output_ == nullptr) OpenOutput();
    sidecar_speaks_ = true;
    if (output_ != nullptr) output_->Feed(lines, stderr_stream);
    sidecar_speaks_ = false;
  };
  callbacks.on_trouble = [this](const std::string& what) {
    sidecar_ends_.push_back(what);
    sidecar_speaks_ = true;
    if (output_ != nullptr) output_->Feed(absl::StrCat("[mayfly] ", what, "\n"), /*stderr_stream=*/true);
    sidecar_speaks_ = false;
    if (!Live()) return;
    EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
    event.message = what;
    event.cause.code = CauseCode::kExited;
    event.cause.node = name_;
    event.cause.message = what;
    Emit(event);
  };
  callbacks.on_ended = [this] {
    // Never from here: it is they who call.
    host_->reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<PodNode*>(self_)] {
      if (const auto self = weak.lock()) (*self)->TellEnd();
    });
  };
  sidecars_ = std::make_unique<Sidecars>(host_->reactor(), std::move(callbacks));
}

void PodNode::OnSidecarGate(const std::string& sidecar, const GateHello& hello, std::unique_ptr<GateLink> link) {
  if (sidecars_ == nullptr) MakeSidecars();
  if (HasProcess()) sidecars_->Start();
  if (state_ == State::kEnded) sidecars_->End();
  sidecars_->OnGate(sidecar, hello, std::move(link));
}

void PodNode::EmitEnd(EngineEvent event) {
  if (sidecars_ != nullptr) sidecars_->End();
  if (sidecars_ == nullptr || !sidecars_->running()) return Emit(std::move(event));
  held_end_ = std::make_unique<EngineEvent>(std::move(event));
  held_timer_ = host_->reactor().AddTimer(kSidecarsEnd, [this] {
    held_timer_ = 0;
    TellEnd();
  });
}

void PodNode::TellEnd() {
  host_->reactor().CancelTimer(std::exchange(held_timer_, 0));
  if (held_end_ == nullptr) return;
  const std::unique_ptr<EngineEvent> event = std::move(held_end_);
  Emit(std::move(*event));
}

}  // namespace mayfly::kubernetes
