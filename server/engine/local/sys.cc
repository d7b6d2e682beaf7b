#include "server/engine/local/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"

namespace mayfly::local {

void UniqueFd::Reset() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

absl::Duration MonotonicNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

absl::StatusOr<pid_t> CloneProcess(uint64_t flags, int* pidfd) {
  if (pidfd != nullptr) flags |= CLONE_PIDFD;
  // The raw call: glibc's fork() takes no flags, and its clone() wants a stack of its own.
  const long pid = syscall(SYS_clone, flags | SIGCHLD, nullptr, pidfd, nullptr, nullptr);
  if (pid < 0) return ErrnoStatus(errno, "clone");
  return static_cast<pid_t>(pid);
}

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0)
    return errno == ESRCH ? absl::NotFoundError(absl::StrCat("no process ", pid)) : ErrnoStatus(errno, "pidfd_open");
  return UniqueFd(fd);
}

absl::Status SignalPidfd(int pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0 || errno == ESRCH) return absl::OkStatus();
  return ErrnoStatus(errno, "pidfd_send_signal");
}

absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid) {
  auto stat = ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return absl::NotFoundError(absl::StrCat("no process ", pid));
  // The command's name stands in parentheses and may itself hold any of them.
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return absl::InternalError("unreadable /proc/<pid>/stat");
  const std::vector<absl::string_view> fields = absl::StrSplit(absl::string_view(*stat).substr(name_end + 2), ' ');
  uint64_t start = 0;
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &start))
    return absl::InternalError("unreadable /proc/<pid>/stat");
  if (fields[0] == "Z" || fields[0] == "X") return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
  return start;
}

absl::StatusOr<uint64_t> NamespaceInode(pid_t pid, const char* kind) {
  struct stat st;
  if (stat(absl::StrCat("/proc/", pid, "/ns/", kind).c_str(), &st) != 0)
    return ErrnoStatus(errno, "stat of a namespace");
  return st.st_ino;
}

void CloseAllExcept(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned next = 0;
  for (const int fd : keep) {
    if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
    if (static_cast<unsigned>(fd) > next) syscall(SYS_close_range, next, fd - 1, 0);
    next = fd + 1;
  }
  syscall(SYS_close_range, next, UINT_MAX, 0);
}

absl::StatusOr<std::string> ReadSmallFile(int dirfd, const std::string& path, size_t limit) {
  const UniqueFd fd(openat(dirfd, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  std::string text;
  char buffer[4096];
  while (text.size() < limit) {
    const ssize_t n = read(fd.get(), buffer, std::min(sizeof(buffer), limit - text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, path);
    if (n == 0) break;
    text.append(buffer, n);
  }
  return text;
}

absl::Status WriteKernelFile(int dirfd, const std::string& path, absl::string_view text) {
  const UniqueFd fd(openat(dirfd, path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& path, absl::string_view text, mode_t mode) {
  const std::string temporary = path + ".new";
  {
    const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return ErrnoStatus(errno, temporary);
    if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return ErrnoStatus(errno, temporary);
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status RemoveTree(int dirfd, const std::string& path) {
  if (unlinkat(dirfd, path.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return ErrnoStatus(errno, path);
  const int fd = openat(dirfd, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, path);
  DIR* dir = fdopendir(fd);
  absl::Status status;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    status.Update(RemoveTree(fd, name));
  }
  closedir(dir);
  if (unlinkat(dirfd, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) status.Update(ErrnoStatus(errno, path));
  return status;
}

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> SocketPair(int type) {
  int fds[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoStatus(errno, "socketpair");
  return std::make_pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

}  // namespace mayfly::local
