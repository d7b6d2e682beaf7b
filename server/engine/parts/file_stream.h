// Files of a finished node as a stream of bytes: written inside by a process without rights, read outside by the
// server, which trusts nothing of it.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_FILE_STREAM_H_
#define MAYFLY_SERVER_ENGINE_PARTS_FILE_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/base/unique_fd.h"

namespace mayfly {

// Streams `paths` (files, or folders with all below them), relative to `folder`, to `out`. Follows no link and leaves
// out what is neither file nor folder, what does not exist and what lies deeper than 64 folders. An absl::StatusCode as
// exit code.
int SendFiles(const std::string& folder, const std::vector<std::string>& paths, int64_t max_bytes, int out);

// Writes a stream of SendFiles below `destination`, which must exist. Fed in pieces of any size.
class FileReceiver {
 public:
  static constexpr int kMaxFiles = 10000;  // Empty ones cost the host something, too.

  FileReceiver(std::string destination, int64_t max_bytes);
  // INVALID_ARGUMENT for a name that leads out; RESOURCE_EXHAUSTED over `max_bytes` or kMaxFiles, keeping what was
  // written.
  absl::Status Feed(absl::string_view bytes);

 private:
  absl::Status OpenFile(const std::string& path);

  std::string destination_;
  int64_t left_;
  int files_ = 0;
  std::string pending_;
  UniqueFd file_;
  uint64_t file_left_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_FILE_STREAM_H_
