// How a node's pod is known: by its name, its UID and its gate.
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/pod_node.h"

namespace mayfly::kubernetes {

std::map<std::string, std::string> PodNode::Pods() const {
  if (!Live() || uid_.empty()) return {};
  return {{pod(), uid_}};
}

void PodNode::Adopt(int attempt, const std::string&, const std::string& uid, ProcessSpec process) {
  attempt_ = attempt;
  uid_ = uid;
  process_ = std::move(process);
  state_ = State::kPreparing;
}

void PodNode::Join(int attempt, ProcessSpec process, const std::string& pod) {
  attempt_ = attempt;
  process_ = std::move(process);
  replica_ = pod;
  named_ = true;
  state_ = State::kPreparing;
}

void PodNode::Retire() {
  if (!uid_.empty()) host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), uid_);
}

bool PodNode::TakeGate(const GateHello& hello, std::unique_ptr<GateLink>& link) {
  const std::vector<std::string> names = absl::StrSplit(hello.pod, absl::MaxSplits('/', 1));
  if (state_ == State::kNew || names[0] != pod()) return false;
  if (names.size() == 2) {
    OnSidecarGate(names[1], hello, std::move(link));
  } else {
    OnGate(hello, std::move(link));
  }
  return true;
}

void PodNode::OnPodEvent(const std::string&, const std::string& uid, int attempt, const nlohmann::json* object) {
  if (attempt != attempt_ || (!uid_.empty() && uid_ != uid)) return;
  OnPod(object);
}

// A replica's gate stays until its pod is deleted: the kubelet would start its container anew.
void PodNode::LetGateGo() {
  if (link_ != nullptr && replica_.empty()) link_->Send(GATE_RELEASE, 0, 0, "");
}

void PodNode::KillGate() {
  if (link_ != nullptr) link_->Send(GATE_KILL, replica_.empty() ? 1 : 0, 0, "");
}

}  // namespace mayfly::kubernetes
