#include "client/lib/files.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

absl::Status Write(const std::string& path, absl::string_view content, int flags) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  const OwnedFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
  if (fd.get() < 0 && errno == EEXIST) return absl::AlreadyExistsError(absl::StrCat(path, " exists already"));
  if (fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", path));
  return Annotate(WriteAll(fd.get(), content), absl::StrCat("cannot write ", path));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit) {
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
  std::string content;
  char buffer[16384];
  while (true) {
    const ssize_t got = read(fd.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
    if (content.size() > limit) return absl::OutOfRangeError(absl::StrCat(path, " is over ", limit, " bytes"));
  }
}

absl::Status WriteFile(const std::string& path, absl::string_view content) {
  return Write(path, content, O_TRUNC);
}

absl::Status WriteNewFile(const std::string& path, absl::string_view content) {
  return Write(path, content, O_EXCL);
}

absl::Status WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t wrote = write(fd, data.data(), data.size());
    if (wrote >= 0) {
      data.remove_prefix(static_cast<size_t>(wrote));
    } else if (errno == EAGAIN) {
      // A terminal that somebody else made non-blocking.
      pollfd wait = {fd, POLLOUT, 0};
      poll(&wait, 1, -1);
    } else if (errno != EINTR) {
      return ErrnoStatus(errno, "write");
    }
  }
  return absl::OkStatus();
}

}  // namespace mayfly
