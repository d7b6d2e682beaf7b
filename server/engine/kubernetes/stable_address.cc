#include "server/engine/kubernetes/stable_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/gate_link.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(2);
constexpr absl::Duration kLongestPause = absl::Milliseconds(50);
// A cluster in which it takes longer has a problem of its own; the service is told ready, with a note.
constexpr absl::Duration kLimit = absl::Seconds(10);

}  // namespace

StableAddress::StableAddress(PodHost* host, const std::string& service, int port,
                             std::function<void(const std::string&)> done)
    : host_(host),
      port_(port),
      done_(std::move(done)),
      began_(host->reactor().Now()),
      pause_(kFirstPause),
      self_(std::make_shared<StableAddress*>(this)) {
  limit_ = host_->reactor().AddTimer(kLimit, [this] {
    limit_ = 0;
    Finish(absl::StrCat("its stable address ", address_, " is not known to lead to it after ", HumanDuration(kLimit)));
  });
  host_->api().Get(absl::StrCat(Collection(host_->place(), "services"), "/", service),
                   host_->Here([this, weak = std::weak_ptr<StableAddress*>(self_)](const auto& answer) {
                     if (weak.lock() != nullptr) OnService(answer);
                   }));
}

StableAddress::~StableAddress() {
  host_->reactor().CancelTimer(timer_);
  host_->reactor().CancelTimer(limit_);
}

void StableAddress::OnService(const absl::StatusOr<nlohmann::json>& answer) {
  if (!answer.ok()) return Finish(absl::StrCat("its stable address: ", EscapeLine(answer.status().message())));
  address_ = answer->value("spec", nlohmann::json::object()).value("clusterIP", "");
  in_addr parsed{};
  if (inet_pton(AF_INET, address_.c_str(), &parsed) != 1) {
    return Finish("it has no stable address: its name was made without one in this environment; make a new one");
  }
  Round();
}

void StableAddress::Round() {
  timer_ = 0;
  std::vector<GateLink*> gates = host_->Gates();
  gates.erase(std::remove_if(gates.begin(), gates.end(), [this](GateLink* gate) { return good_.count(gate) > 0; }),
              gates.end());
  if (gates.empty()) {
    return Finish(absl::StrCat("its stable address ", address_, " led to it ",
                               HumanDuration(host_->reactor().Now() - began_), " after it was ready by itself"));
  }
  const uint16_t port = static_cast<uint16_t>(port_);
  in_addr address{};
  inet_pton(AF_INET, address_.c_str(), &address);
  std::string payload(reinterpret_cast<const char*>(&port), sizeof port);
  payload.append(reinterpret_cast<const char*>(&address), sizeof address);
  trying_ = gates.size();
  for (GateLink* const gate : gates) {
    const auto id = std::make_shared<uint16_t>(0);
    const auto tell = [this, weak = std::weak_ptr<StableAddress*>(self_), gate](bool good) {
      if (weak.lock() != nullptr) OnTried(gate, good);
    };
    StreamEvents events;
    events.on_opened = [gate, id, tell] {
      gate->CloseStream(*id, /*half=*/false);
      tell(true);
    };
    events.on_end = [tell](int, int) { tell(false); };
    *id = gate->OpenStream(GATE_DIAL, payload, std::move(events));
  }
}

void StableAddress::OnTried(GateLink* gate, bool good) {
  if (good) good_.insert(gate);
  if (--trying_ > 0) return;
  // Never from here: it is a link that calls.
  timer_ = host_->reactor().AddTimer(good ? absl::ZeroDuration() : pause_, [this] { Round(); });
  pause_ = std::min(pause_ * 2, kLongestPause);
}

void StableAddress::Finish(const std::string& note) {
  const auto done = std::exchange(done_, nullptr);
  if (!done) return;
  host_->reactor().CancelTimer(std::exchange(limit_, 0));
  done(note);  // It may destroy this.
}

}  // namespace mayfly::kubernetes
