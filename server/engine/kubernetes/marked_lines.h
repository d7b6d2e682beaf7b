// Output of one of several that share a log: whole lines with its name before them.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_MARKED_LINES_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_MARKED_LINES_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace mayfly::kubernetes {

class MarkedLines {
 public:
  explicit MarkedLines(absl::string_view name) : mark_(MarkOf(name)) {}

  static std::string MarkOf(absl::string_view name) { return absl::StrCat("[", name, "] "); }

  // The lines that are complete with `bytes`; what has no end for long is cut.
  std::string Feed(absl::string_view bytes, bool stderr_stream) {
    constexpr size_t kLongest = 16 * 1024;
    std::string& partial = partial_[stderr_stream];
    partial.append(bytes.data(), bytes.size());
    std::string out;
    size_t begin = 0;
    for (size_t at; (at = partial.find('\n', begin)) != std::string::npos; begin = at + 1) {
      absl::StrAppend(&out, mark_, absl::string_view(partial).substr(begin, at + 1 - begin));
    }
    partial.erase(0, begin);
    if (partial.size() > kLongest) absl::StrAppend(&out, Rest(stderr_stream));
    return out;
  }

  // What is left without an end, as a line.
  std::string Rest(bool stderr_stream) {
    std::string& partial = partial_[stderr_stream];
    std::string out = partial.empty() ? "" : absl::StrCat(mark_, partial, "\n");
    partial.clear();
    return out;
  }

 private:
  const std::string mark_;
  std::string partial_[2];
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_MARKED_LINES_H_
