// Which objects one environment has made in a kube namespace that is not its own, on this machine's disk: what it may
// delete there, and must.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_LEDGER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_LEDGER_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/unique_fd.h"

namespace mayfly::kubernetes {

// An append-only file with a line for each step; survives kill -9 of the server, not a loss of power. Paths are those
// of the API, "/api/v1/namespaces/x/pods/y". Not thread-safe.
class Ledger {
 public:
  // Made where it is missing. Reads what is there; a last line that was cut off is as if it had not been written.
  static absl::StatusOr<Ledger> Open(const std::string& file);

  // Before the object is created.
  absl::Status Intend(const std::string& path);
  absl::Status Made(const std::string& path, const std::string& uid);
  absl::Status Gone(const std::string& path);

  // By path, the UID; empty where nobody knows whether the object was made.
  const std::map<std::string, std::string>& objects() const { return objects_; }

 private:
  Ledger(UniqueFd fd, std::string file) : fd_(std::move(fd)), file_(std::move(file)) {}
  absl::Status Append(const std::string& line);
  void Apply(absl::string_view line);

  UniqueFd fd_;
  std::string file_;
  std::map<std::string, std::string> objects_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_LEDGER_H_
