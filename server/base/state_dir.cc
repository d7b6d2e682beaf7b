#include "mayfly/base/state_dir.h"

#include <errno.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr size_t kMaxSocketPath = 107;

std::string HomeDir() {
  if (const char* home = getenv("HOME"); home != nullptr && home[0] == '/') return home;
  const struct passwd* entry = getpwuid(geteuid());
  return entry != nullptr && entry->pw_dir != nullptr && entry->pw_dir[0] == '/' ? entry->pw_dir : "";
}

absl::Status MakeParents(const std::string& dir) {
  for (size_t slash = dir.find('/', 1); slash != std::string::npos; slash = dir.find('/', slash + 1)) {
    const std::string parent = dir.substr(0, slash);
    if (mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, absl::StrCat("mkdir ", parent));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> DefaultStateDir() {
  if (const char* named = getenv("MAYFLY_STATE_DIR"); named != nullptr && named[0] == '/') return std::string(named);
  // The XDG rules: a relative value is to be ignored.
  if (const char* state = getenv("XDG_STATE_HOME"); state != nullptr && state[0] == '/') {
    return absl::StrCat(state, "/mayfly");
  }
  const std::string home = HomeDir();
  if (home.empty()) {
    return absl::FailedPreconditionError(
        "no folder for the server's state: set HOME or XDG_STATE_HOME, or give --state-dir");
  }
  return absl::StrCat(home, "/.local/state/mayfly");
}

std::string SocketPath(absl::string_view state_dir) {
  const std::string path = absl::StrCat(state_dir, "/mayflyd.sock");
  if (path.size() <= kMaxSocketPath) return path;
  const std::string hash = Sha256Hex(state_dir).substr(0, 16);
  if (const char* runtime = getenv("XDG_RUNTIME_DIR"); runtime != nullptr && runtime[0] == '/') {
    const std::string in_runtime = absl::StrCat(runtime, "/mayfly-", hash, ".sock");
    if (in_runtime.size() <= kMaxSocketPath) return in_runtime;
  }
  return absl::StrCat("/tmp/mayfly-", geteuid(), "/", hash, ".sock");
}

std::string ServerFilePath(absl::string_view state_dir) {
  return absl::StrCat(state_dir, "/server.json");
}

absl::Status MakePrivateDir(const std::string& dir) {
  MAYFLY_RETURN_IF_ERROR(MakeParents(dir));
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, absl::StrCat("mkdir ", dir));
  struct stat info;
  if (lstat(dir.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", dir));
  if (!S_ISDIR(info.st_mode)) return absl::FailedPreconditionError(absl::StrCat(dir, " is not a folder"));
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(dir, " belongs to user ", info.st_uid, ", not to you"));
  }
  if ((info.st_mode & 0022) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " can be written by others; close it with: chmod 0700 ", dir));
  }
  return absl::OkStatus();
}

}  // namespace mayfly
