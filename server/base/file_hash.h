// The content of a file as a short text.
#ifndef MAYFLY_SERVER_BASE_FILE_HASH_H_
#define MAYFLY_SERVER_BASE_FILE_HASH_H_

#include <string>

#include "absl/status/statusor.h"

namespace mayfly {

// Hex SHA-256 of what can be read from `fd` from its start on. Reads in pieces: a file that is cut short meanwhile is
// no danger.
absl::StatusOr<std::string> Sha256HexOfFile(int fd);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_BASE_FILE_HASH_H_
