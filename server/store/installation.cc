#include "server/store/installation.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/base/unique_fd.h"

namespace mayfly {
namespace {

constexpr size_t kMost = 64;  // Characters of an id.

std::string PathIn(const std::string& state_dir) {
  return absl::StrCat(state_dir, "/installation");
}

absl::Status Failed(int error, absl::string_view path, absl::string_view what) {
  return ErrnoStatus(error, absl::StrCat("the installation's id, '", EscapeLine(path), "', cannot be ", what));
}

bool IsId(absl::string_view text) {
  return !text.empty() && text.size() <= kMost &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalnum(c) || c == '-'; });
}

}  // namespace

absl::StatusOr<std::optional<std::string>> ReadInstallation(const std::string& state_dir) {
  const std::string path = PathIn(state_dir);
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid() && errno == ENOENT) return std::nullopt;
  if (!fd.valid()) return Failed(errno, path, "opened");
  char buffer[2 * kMost];
  const ssize_t size = read(fd.get(), buffer, sizeof(buffer));
  if (size < 0) return Failed(errno, path, "read");
  const absl::string_view id = absl::StripAsciiWhitespace(absl::string_view(buffer, static_cast<size_t>(size)));
  if (!IsId(id)) return std::nullopt;
  return std::string(id);
}

absl::Status WriteInstallation(const std::string& state_dir, const std::string& id) {
  const std::string path = PathIn(state_dir);
  const std::string next = absl::StrCat(path, ".next");
  const std::string line = absl::StrCat(id, "\n");
  unlink(next.c_str());
  {
    const UniqueFd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid()) return Failed(errno, next, "made");
    errno = ENOSPC;  // What a short write means.
    if (write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) || fsync(fd.get()) != 0) {
      return Failed(errno, next, "written");
    }
  }
  if (rename(next.c_str(), path.c_str()) != 0) return Failed(errno, path, "written");
  const UniqueFd folder(open(state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || fsync(folder.get()) != 0) return Failed(errno, path, "written");
  return absl::OkStatus();
}

}  // namespace mayfly
