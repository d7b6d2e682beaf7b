#include "server/store/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

absl::Status Held(const std::string& dir, int fd) {
  char buffer[256] = {};
  const ssize_t size = pread(fd, buffer, sizeof(buffer) - 1, 0);
  std::string holder = EscapeLine(absl::StripAsciiWhitespace(absl::string_view(buffer, size < 0 ? 0 : size)));
  // Locked a moment ago and not written yet.
  if (holder.empty()) holder = "another process";
  return absl::FailedPreconditionError(absl::StrCat("state folder '", EscapeLine(dir), "' is held by ", holder,
                                                    ": stop it with `mayfly server stop`, or use another --state-dir"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateLock>> StateLock::Acquire(const std::string& state_dir) {
  MAYFLY_RETURN_IF_ERROR(MakePrivateDir(state_dir));
  const std::string path = LockFilePath(state_dir);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("lock file '", EscapeLine(path), "' cannot be opened"));
  std::unique_ptr<StateLock> lock(new StateLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Held(state_dir, fd);
    return ErrnoStatus(errno, absl::StrCat("lock file '", EscapeLine(path), "' cannot be locked"));
  }
  const std::string holder = LockLine({getpid(), ProcessStartTicks(getpid()).value_or(0)}, absl::Now());
  // The name is a courtesy: a full disk must not keep a server from starting and tearing down.
  if (ftruncate(fd, 0) == 0) (void)!pwrite(fd, holder.data(), holder.size(), 0);
  return lock;
}

StateLock::~StateLock() {
  close(fd_);
}

}  // namespace mayfly
