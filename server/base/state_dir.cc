#include "mayfly/base/state_dir.h"

#include <errno.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

std::string LockFilePath(absl::string_view state_dir) {
  return absl::StrCat(state_dir, "/lock");
}

std::string LockLine(const LockHolder& holder, absl::Time since) {
  return absl::StrCat("mayflyd, pid ", holder.pid, " (start ", holder.start_ticks, "), since ",
                      absl::FormatTime(absl::RFC3339_sec, since, absl::UTCTimeZone()), "\n");
}

std::optional<LockHolder> ParseLockLine(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" (),\n"), absl::SkipEmpty());
  LockHolder holder;
  if (words.size() < 5 || words[0] != "mayflyd" || words[1] != "pid" || words[3] != "start") return std::nullopt;
  if (!absl::SimpleAtoi(words[2], &holder.pid) || !absl::SimpleAtoi(words[4], &holder.start_ticks)) return std::nullopt;
  return holder.pid > 0 ? std::make_optional(holder) : std::nullopt;
}

std::optional<int64_t> ProcessStartTicks(int64_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::stringstream text;
  text << file.rdbuf();
  const std::string stat = text.str();
  // The command may hold blanks and brackets; the last bracket ends it. Field 22 of all, 20 of those behind it.
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(stat.rfind(')') + 1), ' ', absl::SkipEmpty());
  int64_t ticks = 0;
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &ticks)) return std::nullopt;
  return ticks;
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
