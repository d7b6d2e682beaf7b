// Names of environments and of what is made for them. Everything created outside is named here and nowhere else.
#ifndef MAYFLY_BASE_IDS_H_
#define MAYFLY_BASE_IDS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace mayfly {

// The scope of one generation of an environment: a readable prefix of at most 30 characters of `environment`, '-', and
// 10 base32 characters of SHA-256 over (installation, environment, generation). At most 41 characters, a DNS label, and
// never the same for two generations, so that a name is not reused while the old one may live.
std::string ScopeId(absl::string_view installation, absl::string_view environment, int64_t generation);

// Hex SHA-256.
std::string Sha256Hex(absl::string_view bytes);

// 128 random bits as a lower-case UUID (version 4).
std::string NewUuid();

}  // namespace mayfly

#endif  // MAYFLY_BASE_IDS_H_
