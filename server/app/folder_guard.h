// Tells when the state folder is taken away under its server: nobody finds the server any more, and the next one would
// know nothing of its environments.
#ifndef MAYFLY_SERVER_APP_FOLDER_GUARD_H_
#define MAYFLY_SERVER_APP_FOLDER_GUARD_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/unique_fd.h"

namespace mayfly::app {

class FolderGuard {
 public:
  // Of a folder whose lock this process holds.
  static absl::StatusOr<std::unique_ptr<FolderGuard>> Watch(const std::string& state_dir);

  // Readable when Gone may have another answer.
  int fd() const { return inotify_.get(); }

  // Whether the lock file was deleted, or lies elsewhere because its folder was moved.
  bool Gone();

 private:
  FolderGuard(std::string lock, UniqueFd inotify) : lock_(std::move(lock)), inotify_(std::move(inotify)) {}

  const std::string lock_;
  const UniqueFd inotify_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace mayfly::app

#endif  // MAYFLY_SERVER_APP_FOLDER_GUARD_H_
