#include "server/store/disk_reserve.h"

#include <fcntl.h>
#include <unistd.h>

namespace mayfly {
namespace {

// The records of some hundred teardowns, twice: once in the write-ahead log, once in the database.
constexpr off_t kBytes = 4 << 20;

}  // namespace

void DiskReserve::Hold() {
  if (held_) return;
  const int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  held_ = posix_fallocate(fd, 0, kBytes) == 0;
  close(fd);
  if (!held_) unlink(path_.c_str());
}

bool DiskReserve::Release() {
  if (!held_) return false;
  held_ = false;
  return unlink(path_.c_str()) == 0;
}

}  // namespace mayfly
