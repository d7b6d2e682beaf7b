// The way out: `egress: [host:port]` of a node. Inside, the name resolves to an address of the hub where the init
// listens and lets only the nodes through that were given this way out. Outside, a small process that belongs to the
// environment and ends with its init makes the connections from the host's network and hands them in as descriptors.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_EGRESS_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_EGRESS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/sys.h"
#include "server/engine/parts/egress_target.h"
#include "server/engine/parts/reactor.h"
#include "server/engine/parts/relay.h"

namespace mayfly::local {

// The process outside: serves `channel` until it closes. Never returns. `host_id`, unless 0, is what it becomes first.
[[noreturn]] void RunEgress(UniqueFd channel, uint32_t host_id, bool to_host);

// The inside half, in the init. Not thread-safe.
class EgressGateway {
 public:
  explicit EgressGateway(Reactor* reactor) : reactor_(reactor) {}
  ~EgressGateway();

  // The link to the process outside; a new one takes the place of the old. Connections wait for the first one.
  void SetGate(UniqueFd channel);
  // Lets the node with address `source` (network order) reach `target`.
  absl::Status Allow(const EgressTarget& target, uint32_t source);
  // Lines for the hosts file.
  std::string HostsLines() const;

 private:
  struct Listener {
    UniqueFd fd;
    std::string host;
    int port = 0;
    std::set<uint32_t> sources;
  };
  struct Waiting {
    UniqueFd accepted;
  };
  void Accept(Listener& listener);
  void OnGateFrame(Frame frame);

  Reactor* reactor_;
  std::unique_ptr<Channel> gate_;
  std::map<std::string, uint32_t> addresses_;  // Host -> address on the hub.
  std::map<std::pair<std::string, int>, std::unique_ptr<Listener>> listeners_;
  std::map<uint64_t, Waiting> waiting_;       // For a connection outside.
  std::deque<std::function<void()>> unsent_;  // Until there is a gate.
  std::map<uint64_t, std::unique_ptr<Relay>> relays_;
  uint64_t last_id_ = 0;
};

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_EGRESS_H_
