// Which folders of the server's machine callers over the network may have read.
#ifndef MAYFLY_SERVER_API_SOURCE_GATE_H_
#define MAYFLY_SERVER_API_SOURCE_GATE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/spec/environment_request.h"
#include "server/api/access.h"

namespace mayfly::api {

class SourceGate {
 public:
  SourceGate() = default;  // No folder.

  // Absolute paths of folders that exist, without symbolic links: a source has one name. INVALID_ARGUMENT, NOT_FOUND
  // and the like name the path and --sources.
  static absl::StatusOr<SourceGate> Open(const std::vector<std::string>& folders);

  // The server's own user on its socket may name any source. Of everybody else, the source must be below one of the
  // folders, else PERMISSION_DENIED; `request.source_below` then says which, so that whoever reads it holds to it after
  // symbolic links. Decided by the words of the path: nothing is looked at, so nothing can be learnt from the answer.
  absl::Status Confine(const Caller& caller, EnvironmentRequest& request) const;

 private:
  std::vector<std::string> folders_;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_SOURCE_GATE_H_
