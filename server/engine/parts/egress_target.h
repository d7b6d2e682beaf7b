// What a node may reach outside of its environment: `egress: [host:port]`.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_EGRESS_TARGET_H_
#define MAYFLY_SERVER_ENGINE_PARTS_EGRESS_TARGET_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace mayfly {

struct EgressTarget {
  std::string host;
  int port = 0;
  bool literal = false;  // `host` is an IPv4 address: nodes reach it by itself, not by a name.
};
// INVALID_ARGUMENT for what is not "host:port".
absl::StatusOr<EgressTarget> ParseEgress(const std::string& text);

// Whether no `egress` leads to `address` (network order): the host's own loopback, unless `to_host`; link-local ones,
// where clouds keep a machine's credentials; and what is no host's address.
bool IsOutOfBounds(uint32_t address, bool to_host);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_EGRESS_TARGET_H_
