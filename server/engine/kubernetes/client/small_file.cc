#include "server/engine/kubernetes/client/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/base/unique_fd.h"

namespace mayfly::kube {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  const std::string shown = EscapeLine(path);
  // O_NONBLOCK: a named pipe would hold us up until somebody writes to it.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, shown);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, shown);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(shown, " is not a file"));
  std::string text;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t size = read(fd.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return ErrnoStatus(errno, shown);
    if (size == 0) return text;
    text.append(buffer, static_cast<size_t>(size));
    if (text.size() > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(shown, " is larger than ", HumanSize(static_cast<int64_t>(max_bytes))));
    }
  }
}

}  // namespace mayfly::kube
