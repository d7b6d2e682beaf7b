// Where gates call: listens, hears each one out, and hands it to whom it concerns.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_HUB_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_HUB_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/kubernetes/gate_link.h"

namespace mayfly::kubernetes {

// What a gate says of itself when it calls.
struct GateHello {
  int version = GATE_VERSION;  // Of the protocol, as that gate speaks it: from 1 to the server's own.
  std::string scope;
  std::string pod;
  std::string address;  // Of the pod, IPv4, as it says itself.
  std::string peer;     // From where it called, as the network says; empty where nobody knows.
  bool one_shot = false;
  int64_t now_us = 0;  // By the pod's machine's clock.
  enum class State { kWaiting, kRunning, kReady, kEnded, kFailed } state = State::kWaiting;
};

// What only the gate of that pod is given. `secret` is the installation's; the token opens nothing but this pod's part.
std::string GateToken(absl::string_view secret, absl::string_view scope, absl::string_view pod);

// Not thread-safe; lives on one reactor.
class GateHub {
 public:
  // Decides about a gate that proved who it is. It takes the link and answers GATE_WELCOME, or lets it go: the gate
  // calls again, ever more seldom.
  using OnGate = std::function<void(const GateHello& hello, std::unique_ptr<GateLink> link)>;

  // Listens on `address` ("192.0.2.7:9444"; port 0: any). INVALID_ARGUMENT for what is no address, ALREADY_EXISTS when
  // the port is taken. `newest` is the latest version of the protocol that is spoken; tests have another one.
  static absl::StatusOr<std::unique_ptr<GateHub>> Create(Reactor& reactor, const std::string& address,
                                                         std::string secret, OnGate on_gate, int newest = GATE_VERSION);
  ~GateHub();
  GateHub(const GateHub&) = delete;
  GateHub& operator=(const GateHub&) = delete;

  // A connected socket at whose other end a gate speaks, as if it had called from `peer`.
  void Take(UniqueFd socket, std::string peer);

  const std::string& address() const { return address_; }  // As listened on, with the port.

 private:
  struct Caller {
    std::unique_ptr<GateLink> link;
    std::string peer;
    Reactor::TimerId limit = 0;
  };
  GateHub(Reactor& reactor, UniqueFd socket, std::string address, std::string secret, OnGate on_gate, int newest);
  void Accept();
  void Pause();
  void OnHello(uint64_t caller, bool one_shot, absl::string_view text);
  void Drop(uint64_t caller);

  Reactor& reactor_;
  const UniqueFd socket_;
  const std::string address_;
  const std::string secret_;
  const OnGate on_gate_;
  const int newest_;
  std::set<int> refused_;  // Versions that were told of.
  Reactor::TimerId pause_ = 0;
  uint64_t next_caller_ = 1;
  std::map<uint64_t, Caller> callers_;  // Not heard out yet.
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_HUB_H_
