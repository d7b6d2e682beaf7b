#include "server/app/folder_guard.h"

#include <errno.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"

namespace mayfly::app {

absl::StatusOr<std::unique_ptr<FolderGuard>> FolderGuard::Watch(const std::string& state_dir) {
  const std::string lock = LockFilePath(state_dir);
  UniqueFd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  // A file that somebody has open is never deleted, it only has no name any more: its attributes change.
  if (inotify_add_watch(inotify.get(), lock.c_str(), IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) < 0 ||
      inotify_add_watch(inotify.get(), state_dir.c_str(), IN_DELETE_SELF | IN_MOVE_SELF) < 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot watch the state folder ", state_dir));
  }
  auto guard = absl::WrapUnique(new FolderGuard(lock, std::move(inotify)));
  struct stat info;
  if (stat(lock.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("lock file ", lock));
  guard->device_ = info.st_dev;
  guard->inode_ = info.st_ino;
  return guard;
}

bool FolderGuard::Gone() {
  alignas(inotify_event) char buffer[4096];
  while (read(inotify_.get(), buffer, sizeof(buffer)) > 0) {
  }
  struct stat info;
  if (stat(lock_.c_str(), &info) != 0) return errno == ENOENT || errno == ENOTDIR;
  return info.st_dev != device_ || info.st_ino != inode_;
}

}  // namespace mayfly::app
