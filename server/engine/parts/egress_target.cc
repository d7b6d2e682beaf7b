#include "server/engine/parts/egress_target.h"

#include <arpa/inet.h>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace mayfly {

absl::StatusOr<EgressTarget> ParseEgress(const std::string& text) {
  EgressTarget target;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &target.port) ||
      target.port < 1 || target.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("egress '", text, "' is not host:port"));
  }
  target.host = text.substr(0, colon);
  for (const char c : target.host) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') {
      return absl::InvalidArgumentError(absl::StrCat("egress '", text, "' is not host:port"));
    }
  }
  in_addr address;
  target.literal = inet_pton(AF_INET, target.host.c_str(), &address) == 1;
  return target;
}

bool IsOutOfBounds(uint32_t address, bool to_host) {
  const uint32_t host = ntohl(address);
  const uint32_t first = host >> 24;
  if (first == 127) return !to_host;
  return first == 0 || first >= 224 || host >> 16 == 0xA9FE;
}

}  // namespace mayfly
