// A folder that is held open, and what is below it: nothing outside of it is ever opened, whatever others put in the
// place of a file or a folder meanwhile.
#ifndef MAYFLY_SERVER_BASE_FOLDER_H_
#define MAYFLY_SERVER_BASE_FOLDER_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/base/unique_fd.h"

namespace mayfly {

// Symbolic links below the folder are followed as long as they stay below it, those with an absolute path too. What
// leads out of it is EXDEV, and is not looked at. Thread-safe where const.
class Folder {
 public:
  Folder() = default;  // None.

  // `path` is absolute and has no symbolic link in it: one that is met is ELOOP. Not valid() with errno.
  static Folder Open(std::string path);

  bool valid() const { return fd_.valid(); }
  const std::string& path() const { return path_; }  // Absolute, without symbolic links.

  // The file or folder at `relative`, with the flags of open(2). Not valid() with errno.
  UniqueFd OpenBelow(absl::string_view relative, int flags) const;

  // The folder at `relative`, with its own resolved path. Not valid() with errno.
  Folder Enter(absl::string_view relative) const;

 private:
  Folder(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  UniqueFd fd_;
  std::string path_;
};

// mkdir -p. Existing folders are left as they are.
absl::Status MakeDirs(const std::string& path, mode_t mode);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_BASE_FOLDER_H_
