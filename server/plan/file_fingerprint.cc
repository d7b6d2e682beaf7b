#include "server/plan/file_fingerprint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mayfly/base/ids.h"
#include "server/base/file_hash.h"
#include "server/base/unique_fd.h"

namespace mayfly {
namespace {

constexpr int64_t kMostRead = int64_t{1} << 30;
constexpr size_t kMostKnown = 20000;
// The times of a file tell nothing apart that happens within one tick of its file system's clock (up to two seconds): a
// file that has just changed is read again the next time.
constexpr absl::Duration kTick = absl::Seconds(2);

// Not blocking: a pipe without a writer would be waited for.
constexpr int kLook = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int kMostInFolder = 2000;
constexpr int kDeepest = 8;
const std::set<std::string>& NotSources() {
  static const auto& names = *new std::set<std::string>{"node_modules", "__pycache__", "venv"};
  return names;
}

}  // namespace

std::string FileFingerprints::Of(const Folder& folder, absl::string_view relative) {
  const UniqueFd fd = folder.OpenBelow(relative, kLook);
  struct stat info{};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return "";
  int left = kMostInFolder;
  if (S_ISDIR(info.st_mode)) return OfFolder(fd.get(), 0, &left);
  return S_ISREG(info.st_mode) ? OfOpenFile(fd.get(), info) : "";
}

std::string FileFingerprints::OfFolder(int folder, int depth, int* left) {
  DIR* dir = fdopendir(fcntl(folder, F_DUPFD_CLOEXEC, 3));
  if (dir == nullptr) return "";
  std::set<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name[0] != '.' && NotSources().count(name) == 0) names.insert(name);
  }
  closedir(dir);
  std::string all;
  for (const std::string& name : names) {
    const UniqueFd fd(openat(folder, name.c_str(), kLook | O_NOFOLLOW));
    struct stat info{};
    if (!fd.valid() || fstat(fd.get(), &info) != 0) continue;
    std::string print;
    if (S_ISDIR(info.st_mode) && depth < kDeepest) print = OfFolder(fd.get(), depth + 1, left);
    if (S_ISREG(info.st_mode) && (*left)-- > 0) print = OfOpenFile(fd.get(), info);
    if (!print.empty()) absl::StrAppend(&all, name, "/", print, "\n");
  }
  return all.empty() ? "" : Sha256Hex(all);
}

std::string FileFingerprints::OfOpenFile(int file, const struct stat& info) {
  const std::string written = absl::StrCat(info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
  if (info.st_size > kMostRead) return written;
  const std::string stamp = absl::StrCat(written, ":", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
  const FileId id = {info.st_dev, info.st_ino};
  {
    MutexLock lock(mutex_);
    const auto known = known_.find(id);
    if (known != known_.end() && known->second.stamp == stamp) return known->second.fingerprint;
  }
  const absl::Time now = absl::Now();
  const absl::StatusOr<std::string> hash = Sha256HexOfFile(file);
  if (!hash.ok()) return "";
  const absl::Time changed = std::max(absl::TimeFromTimespec(info.st_mtim), absl::TimeFromTimespec(info.st_ctim));
  MutexLock lock(mutex_);
  ++reads_;
  if (known_.size() >= kMostKnown) known_.clear();
  if (now - changed > kTick) {
    known_[id] = {stamp, *hash};
  } else {
    known_.erase(id);
  }
  return *hash;
}

int FileFingerprints::reads() const {
  MutexLock lock(mutex_);
  return reads_;
}

}  // namespace mayfly
