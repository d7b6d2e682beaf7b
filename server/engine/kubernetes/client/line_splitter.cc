#include "server/engine/kubernetes/client/line_splitter.h"

#include "absl/strings/str_cat.h"

namespace mayfly::kube {

absl::Status LineSplitter::Feed(absl::string_view data, const std::function<bool(absl::string_view)>& on_line) {
  while (!data.empty()) {
    const size_t end = data.find('\n');
    const absl::string_view piece = data.substr(0, end);
    if (rest_.size() + piece.size() > max_line_) {
      return absl::ResourceExhaustedError(absl::StrCat("a line is longer than ", max_line_, " bytes"));
    }
    if (end == absl::string_view::npos) {
      absl::StrAppend(&rest_, piece);
      break;
    }
    data.remove_prefix(end + 1);
    bool more = true;
    if (rest_.empty()) {
      more = on_line(piece);
    } else {
      absl::StrAppend(&rest_, piece);
      more = on_line(rest_);
      rest_.clear();
    }
    if (!more) break;
  }
  return absl::OkStatus();
}

}  // namespace mayfly::kube
