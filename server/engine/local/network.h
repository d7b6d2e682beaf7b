// The networks of one environment: a hub (a bridge with an address, where the environment's init lives) and one network
// per slot, joined to it by a veth pair. Making them costs the kernel tens of milliseconds and letting go of them more,
// so they are made ahead, used again by the same owner after they were proved clean, and dropped as a whole.
//
// All environments use the same addresses; they cannot meet, since no hub has a link to anywhere else.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_NETWORK_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_NETWORK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

constexpr int kMaxSlots = 1000;  // Ports of one bridge, less the hub's own.

// Network order, as sockaddr_in wants it.
uint32_t HubAddress();              // 10.77.0.1
uint32_t SlotAddress(int slot);     // 10.77.1.1 on; slots count from 0
uint32_t EgressAddress(int index);  // 10.77.200.1 on: where names outside the environment resolve to
std::string FormatAddress(uint32_t address);

// Descriptors that keep the namespaces alive.
struct Networks {
  UniqueFd user;  // The user namespace that owns all of them.
  UniqueFd hub;
  std::vector<UniqueFd> slots;
};

// Makes networks for `slots` slots in the calling process's user namespace and waits until all of them carry traffic.
// The caller must be alone in a new user and network namespace, mapped, with all capabilities there; afterwards it is
// in the hub. For a child process made for the purpose.
absl::StatusOr<Networks> MakeNetworks(int slots);

// In the hub of a scope that lives, by a child process made for the purpose: networks of further slots, from number
// `first` on.
absl::StatusOr<std::vector<UniqueFd>> MakeMoreNetworks(int first, int count);

// In the hub: makes `address` one of the hub's own. ALREADY_EXISTS when it is.
absl::Status AddHubAddress(uint32_t address);
// In a slot's network: sends packets for `address` to the hub.
absl::Status AddSlotRoute(uint32_t address);

// Proves that a network is as MakeNetworks left it: no socket of any kind, and no link, address or
// route but ours.
// Sockets that the kernel still winds down for dead processes are destroyed first. The caller must be inside, with
// CAP_NET_ADMIN. FAILED_PRECONDITION names what was found.
absl::Status ProveClean(bool hub);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_NETWORK_H_
