// Lines out of pieces of any size.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LINE_SPLITTER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LINE_SPLITTER_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly::kube {

class LineSplitter {
 public:
  explicit LineSplitter(size_t max_line) : max_line_(max_line) {}

  // Calls `on_line` for each line that `data` completes, without its "\n", and stops early when that returns false.
  // RESOURCE_EXHAUSTED when a line exceeds max_line: nothing more may be fed then. `on_line` must not destroy the
  // splitter, nor feed it.
  absl::Status Feed(absl::string_view data, const std::function<bool(absl::string_view)>& on_line);

  // What has come of a line that is not complete.
  absl::string_view rest() const { return rest_; }
  void Clear() { rest_.clear(); }

 private:
  const size_t max_line_;
  std::string rest_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LINE_SPLITTER_H_
