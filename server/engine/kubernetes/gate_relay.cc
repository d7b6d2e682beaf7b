#include "server/engine/kubernetes/gate_relay.h"

#include <arpa/inet.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/object_parts.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// Connections that wait for a gate: those that are to call, and some for gates that call again.
constexpr int kSpare = 2, kMostIdle = 64;
// Until the pod's process listens; nobody tells when.
constexpr absl::Duration kFirstDialPause = absl::Milliseconds(10), kLongestDialPause = absl::Milliseconds(500);
constexpr absl::Duration kNextPod = absl::Seconds(1);
constexpr int64_t kMemory = 64 << 20;

ProcessSpec RelayProcess(const std::string& image) {
  ProcessSpec process;
  process.image = image;
  process.argv = {"--relay", absl::StrCat(kRelayPort), absl::StrCat(kRelayBackPort)};
  process.ports = {{"gates", kRelayPort}};
  process.stable_address = true;
  process.resources.memory_bytes = kMemory;
  return process;
}

// Why the pod's image cannot be had; empty: nothing is known against it.
std::string ImageTrouble(const json& pod) {
  for (const json& container : pod.value("status", json::object()).value("containerStatuses", json::array())) {
    const std::string reason =
        container.value("state", json::object()).value("waiting", json::object()).value("reason", "");
    for (const char* known : {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}) {
      if (reason == known) return reason;
    }
  }
  return "";
}

}  // namespace

Creation RelayService(const Place& place) {
  return NameObjects(place, kRelayName, RelayProcess(""))[0];
}

std::string RelayAddress(const json& service) {
  const std::string address = service.value("spec", json::object()).value("clusterIP", "");
  in_addr parsed{};
  if (inet_pton(AF_INET, address.c_str(), &parsed) != 1) return "";
  return absl::StrCat(address, ":", kRelayPort);
}

GateRelay::GateRelay(PodHost* host, Access access)
    : host_(host), access_(std::move(access)), pause_(kFirstDialPause), self_(std::make_shared<GateRelay*>(this)) {}

GateRelay::~GateRelay() {
  host_->reactor().CancelTimer(again_);
  host_->reactor().CancelTimer(dial_again_);
}

void GateRelay::Expect(const ProcessSpec& process, int gates) {
  expected_ += gates;
  Know(process);
  if (attempt_ == 0) return Make();
  Fill();
}

void GateRelay::Know(const ProcessSpec& process) {
  const bool known = std::any_of(images_.begin(), images_.end(),
                                 [&process](const ProcessSpec& other) { return other.image == process.image; });
  if (!known && !process.image.empty()) images_.push_back(RelayProcess(process.image));
}

void GateRelay::Adopt(const std::string& pod, const std::string& uid, int attempt) {
  attempt_ = attempt;
  pod_ = pod;
  uid_ = uid;
  expected_ = std::max(expected_, 1);
  if (pod.empty()) return Make();
  placed_ = true;
  Fill();
}

void GateRelay::Make() {
  if (images_.empty()) return;
  streams_.clear();
  placed_ = false;
  uid_.clear();
  const NodeRef node{host_->place().scope, kRelayNode, ++attempt_};
  pod_ = PodName(node.node, node.attempt);
  std::vector<Creation> wanted =
      PodObjects(host_->place(), node, images_[image_++ % images_.size()], host_->MakePodOptions(""));
  Creation& pod = wanted.back();
  // It is nobody's gate, and has no secrets.
  pod.object["spec"]["containers"][0].erase("env");
  host_->Create(std::move(pod), [this, weak = std::weak_ptr<GateRelay*>(self_)](const absl::StatusOr<json>& answer) {
    if (weak.lock() == nullptr) return;
    if (answer.ok()) {
      uid_ = answer->at("metadata").value("uid", "");
      return;
    }
    LogWarning("the pod that passes on what gates say could not be made",
               {{"scope", host_->place().scope}, {"error", answer.status()}});
    Again();
  });
}

void GateRelay::Again() {
  streams_.clear();
  placed_ = false;
  if (again_ != 0) return;
  again_ = host_->reactor().AddTimer(kNextPod, [this] {
    again_ = 0;
    Make();
  });
}

void GateRelay::OnPod(const std::string& pod, const std::string& uid, int attempt, const json* object) {
  if (attempt != attempt_ || again_ != 0) return;
  uid_ = uid;
  const std::string phase = object == nullptr ? "" : object->value("status", json::object()).value("phase", "");
  if (object == nullptr || phase == "Failed" || phase == "Succeeded") {
    LogWarning("the pod that passes on what gates say has ended; another one is made",
               {{"scope", host_->place().scope}, {"pod", pod}});
    return Again();
  }
  if (const std::string trouble = ImageTrouble(*object); !trouble.empty() && images_.size() > 1) {
    LogWarning("the pod that passes on what gates say takes another image",
               {{"scope", host_->place().scope}, {"pod", pod}, {"reason", trouble}});
    host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod), uid);
    return Again();
  }
  if (placed_ || object->value("spec", json::object()).value("nodeName", "").empty()) return;
  placed_ = true;
  pause_ = kFirstDialPause;
  Fill();
}

void GateRelay::Fill() {
  if (!placed_ || dial_again_ != 0) return;
  int idle = 0;
  bool greeted = false;
  for (const auto& stream : streams_) {
    idle += stream->joined() ? 0 : 1;
    greeted |= stream->greeted();
  }
  // One asks whether it listens; the others follow when it does.
  const int wanted = greeted ? std::min(expected_ + kSpare, kMostIdle) : 1;
  for (; idle < wanted; ++idle) Open();
}

void GateRelay::Open() {
  // Its callbacks come later, when it is known.
  const auto self = std::make_shared<RelayStream*>(nullptr);
  RelayStream::Callbacks callbacks;
  callbacks.on_greeting = [this, self](const std::string& address) { OnGreeting(*self, address); };
  callbacks.on_gate = [this](UniqueFd socket, const std::string& peer) {
    expected_ = std::max(expected_ - 1, 0);
    access_.on_gate(std::move(socket), peer);
    Fill();
  };
  callbacks.on_end = [this, self](const absl::Status& status) { OnEnd(*self, status); };
  auto stream = std::make_unique<RelayStream>(
      host_->reactor(), access_.post,
      [this](Stream::Callbacks events) { return access_.dial(pod_, kRelayBackPort, std::move(events)); },
      std::move(callbacks));
  *self = stream.get();
  streams_.insert(std::move(stream));
}

void GateRelay::OnGreeting(RelayStream*, const std::string& address) {
  pause_ = kFirstDialPause;
  if (address != address_) WriteEndpoints(address);
  Fill();
}

void GateRelay::OnEnd(RelayStream* stream, const absl::Status& status) {
  const auto it = std::find_if(streams_.begin(), streams_.end(), [stream](const auto& s) { return s.get() == stream; });
  if (it == streams_.end()) return;
  const bool greeted = stream->greeted();
  streams_.erase(it);
  if (greeted) return Fill();
  if (absl::IsPermissionDenied(status)) return access_.on_refused(status);
  if (dial_again_ != 0) return;
  dial_again_ = host_->reactor().AddTimer(pause_, [this] {
    dial_again_ = 0;
    Fill();
  });
  pause_ = std::min(pause_ * 2, kLongestDialPause);
}

void GateRelay::WriteEndpoints(const std::string& address) {
  in_addr parsed{};
  if (inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
    return LogWarning("the pod that passes on what gates say has no address", {{"scope", host_->place().scope}});
  }
  address_ = address;
  host_->Apply(EndpointsObject(host_->place(), kRelayName, RelayProcess(""), address),
               [this, weak = std::weak_ptr<GateRelay*>(self_)](const absl::StatusOr<json>& answer) {
                 if (weak.lock() == nullptr || answer.ok()) return;
                 address_.clear();
                 LogWarning("gates are not led to the pod that passes on what they say",
                            {{"scope", host_->place().scope}, {"error", answer.status()}});
               });
}

}  // namespace mayfly::kubernetes
