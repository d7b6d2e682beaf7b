// Finding the spec a command is about, without reading what it says.
#ifndef MAYFLY_CLIENT_CLI_SPEC_PATH_H_
#define MAYFLY_CLIENT_CLI_SPEC_PATH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// Absolute path of the spec: `path` when given (a folder, an envspec.yml or a service.yml; NOT_FOUND when missing),
// else the nearest envspec.yml in `start` or a folder above it, else the nearest service.yml. NOT_FOUND says what to
// do.
absl::StatusOr<std::string> ResolveSpec(absl::string_view path, absl::string_view start);

// The catalogue's name: the top-level `name` of the envspec, or the folder's name. Works on broken specs, too, because
// `down` must; always a valid environment name of at most `max_length` characters.
std::string PeekName(absl::string_view spec, size_t max_length = 40);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_SPEC_PATH_H_
