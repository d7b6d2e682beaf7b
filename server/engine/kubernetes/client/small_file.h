// Whole small files.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SMALL_FILE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SMALL_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace mayfly::kube {

// What `path` holds. NOT_FOUND when it does not exist, RESOURCE_EXHAUSTED over `max_bytes`, INVALID_ARGUMENT for what
// is no regular file; the message names the path. Waits for the disk.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SMALL_FILE_H_
