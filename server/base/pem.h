// Whether what is in PEM files can be used for TLS, said in words.
#ifndef MAYFLY_SERVER_BASE_PEM_H_
#define MAYFLY_SERVER_BASE_PEM_H_

#include <string>

#include "absl/status/status.h"

namespace mayfly {

// INVALID_ARGUMENT when `cert` holds no certificate, `key` no private key, the two do not belong together, or
// `authorities`, unless empty, holds no certificate.
absl::Status CheckTlsPem(const std::string& cert, const std::string& key, const std::string& authorities);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_BASE_PEM_H_
