#include "server/engine/parts/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace mayfly {
namespace {

// After a failure the disk is left alone for this long: a service that prints without end must not turn into as many
// failing system calls.
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
constexpr size_t kBatchBytes = 64 * 1024;

}  // namespace

LogFile::LogFile(int dir_fd, std::string node, int max_segments)
    : dir_fd_(dir_fd), node_(std::move(node)), max_segments_(std::max(2, max_segments)) {}

LogFile::~LogFile() {
  Flush();
  Create();
  if (fd_ >= 0) close(fd_);
}

void LogFile::Append(uint8_t flags, absl::Time time, absl::string_view text) {
  const int64_t needs = static_cast<int64_t>(sizeof(LogRecordHeader) + text.size());
  if (fd_ >= 0 && size_ + static_cast<int64_t>(batch_.size()) + needs > kSegmentBytes) {
    if (WriteBatch() && !OpenSegment(segment_ + 1)) retry_ = time + kRetryAfter;
  }
  AppendRecord(batch_, flags, absl::ToUnixMicros(time), text);
  batch_text_ += static_cast<int64_t>(text.size());
  if (batch_.size() >= kBatchBytes) Flush();
}

void LogFile::Create() {
  if (fd_ < 0 && segment_ < 0) Open();
}

void LogFile::Flush() {
  if (batch_.empty()) return;
  const absl::Time now = absl::Now();
  // With no file, or one that just refused, the batch is given up: memory stays bounded.
  if (now >= retry_ && (fd_ >= 0 || Open())) {
    if (unrecorded_ > 0) {
      std::string lost;
      const uint64_t count = static_cast<uint64_t>(unrecorded_);
      AppendRecord(lost, LogRecordHeader::kLost, absl::ToUnixMicros(now),
                   absl::string_view(reinterpret_cast<const char*>(&count), sizeof count));
      if (size_ + static_cast<int64_t>(lost.size() + batch_.size()) <= kSegmentBytes || OpenSegment(segment_ + 1)) {
        batch_.insert(0, lost);
        unrecorded_ = 0;
        if (!WriteBatch()) unrecorded_ += static_cast<int64_t>(count);
        return;
      }
    } else if (size_ + static_cast<int64_t>(batch_.size()) <= kSegmentBytes || OpenSegment(segment_ + 1)) {
      WriteBatch();
      return;
    }
  }
  lost_bytes_ += batch_text_;
  unrecorded_ += batch_text_;
  batch_.clear();
  batch_text_ = 0;
}

bool LogFile::WriteBatch() {
  const int64_t text = std::exchange(batch_text_, 0);
  const std::string batch = std::exchange(batch_, {});
  if (batch.empty()) return true;
  const ssize_t written = write(fd_, batch.data(), batch.size());
  if (written == static_cast<ssize_t>(batch.size())) {
    size_ += written;
    return true;
  }
  // Half a record would hide all that follow.
  if (written > 0 && ftruncate(fd_, size_) != 0) {
    close(fd_);
    fd_ = -1;
  }
  lost_bytes_ += text;
  unrecorded_ += text;
  retry_ = absl::Now() + kRetryAfter;
  return false;
}

bool LogFile::Open() {
  if (segment_ >= 0) return OpenSegment(segment_);
  if (!OpenSegment(LastSegment())) {
    retry_ = absl::Now() + kRetryAfter;
    return false;
  }
  return true;
}

bool LogFile::OpenSegment(int64_t segment) {
  const int fd = openat(dir_fd_, SegmentName(node_, segment).c_str(),
                        O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
  struct stat info = {};
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    if (fd >= 0) close(fd);
    return false;
  }
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
  segment_ = segment;
  size_ = info.st_size == 0 ? 0 : ValidLength();
  if (size_ != info.st_size && ftruncate(fd_, size_) != 0) {
    close(fd_);
    fd_ = -1;
    return false;
  }
  const int64_t oldest = segment_ - max_segments_ + 1;
  if (oldest >= 1) unlinkat(dir_fd_, SegmentName(node_, oldest).c_str(), 0);
  return true;
}

// 0 when there is none yet.
int64_t LogFile::LastSegment() const {
  int64_t last = 0;
  const int fd = openat(dir_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd >= 0 ? fdopendir(fd) : nullptr;
  if (dir == nullptr) {
    if (fd >= 0) close(fd);
    return 0;
  }
  const std::string prefix = absl::StrCat(node_, ".log.");
  while (const dirent* entry = readdir(dir)) {
    absl::string_view name = entry->d_name;
    int64_t segment = 0;
    if (absl::ConsumePrefix(&name, prefix) && absl::SimpleAtoi(name, &segment)) last = std::max(last, segment);
  }
  closedir(dir);
  return last;
}

// Up to the end of the last whole record: a writer that was killed may have left half a one.
int64_t LogFile::ValidLength() const {
  std::string bytes(kSegmentBytes, '\0');
  const ssize_t size = pread(fd_, bytes.data(), bytes.size(), 0);
  if (size <= 0) return 0;
  const absl::string_view all(bytes.data(), static_cast<size_t>(size));
  size_t at = 0;
  while (const auto header = ParseRecord(all.substr(at))) {
    const size_t next = at + sizeof(LogRecordHeader) + header->length;
    if (next > all.size()) break;
    at = next;
  }
  return static_cast<int64_t>(at);
}

}  // namespace mayfly
