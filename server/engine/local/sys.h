// System calls with owners and Status: what the launcher, the inits and the engine need from the kernel besides mounts,
// networks and control groups. Everything here works in a single-threaded process that was forked without exec.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_SYS_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_SYS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/folder.h"

namespace mayfly::local {

// Owns one descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

// CLOCK_MONOTONIC, as Loop::Monotonic and Reactor::Now.
absl::Duration MonotonicNow();

// fork() with namespaces: `flags` are CLONE_* bits, SIGCHLD is added. 0 in the child; errno in the Status. With
// CLONE_PIDFD in `flags`, `*pidfd` receives it.
absl::StatusOr<pid_t> CloneProcess(uint64_t flags, int* pidfd = nullptr);

// A descriptor for a process; NOT_FOUND when it has ended.
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);
absl::Status SignalPidfd(int pidfd, int signal);

// When the process started, in clock ticks since boot: with the pid, a name that is never reused. NOT_FOUND without it.
absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid);
// Inode of /proc/<pid>/ns/<kind>.
absl::StatusOr<uint64_t> NamespaceInode(pid_t pid, const char* kind);

// Closes every descriptor but `keep`. For children that must not hold what their parent has open.
void CloseAllExcept(std::vector<int> keep);

// Reads at most `limit` bytes of a small file (also of /proc and cgroups). `dirfd` may be AT_FDCWD.
absl::StatusOr<std::string> ReadSmallFile(int dirfd, const std::string& path, size_t limit = 65536);
// One write(2) into an existing file, as /proc, sysctls and cgroups want it.
absl::Status WriteKernelFile(int dirfd, const std::string& path, absl::string_view text);
// Creates or replaces `path` with `text` by a rename, so that a reader sees all or nothing.
absl::Status ReplaceFile(const std::string& path, absl::string_view text, mode_t mode);

// Removes a tree without following links. A missing one is fine.
absl::Status RemoveTree(int dirfd, const std::string& path);

// A connected pair of stream sockets, close-on-exec.
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> SocketPair(int type);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_SYS_H_
