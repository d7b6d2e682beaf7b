#include "server/plan/file_fingerprint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/file_hash.h"
#include "server/base/unique_fd.h"

namespace mayfly {
namespace {

constexpr int64_t kMostRead = int64_t{1} << 30;
constexpr size_t kMostKnown = 20000;
// The times of a file tell nothing apart that happens within one tick of its file system's clock (up to two seconds): a
// file that has just changed is read again the next time.
constexpr absl::Duration kTick = absl::Seconds(2);

}  // namespace

std::string FileFingerprints::Of(const std::string& path) {
  // Not blocking: a pipe without a writer would be waited for.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!fd.valid() || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
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
  const absl::StatusOr<std::string> hash = Sha256HexOfFile(fd.get());
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
