#include "server/engine/parts/log_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "server/engine/parts/log_format.h"

namespace mayfly {
namespace {

constexpr int64_t kMostAtOnce = 4 << 20;
constexpr size_t kLongestLine = 64 * 1024;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// The log folder of a scope and one node's segments in it.
class Segments {
 public:
  static absl::StatusOr<Segments> Open(const std::string& log_dir, const std::string& node) {
    MAYFLY_RETURN_IF_ERROR(CheckLogNode(node));
    Segments segments(Fd(open(log_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)), node);
    if (!segments.dir_ || !segments.OpenFile(0)) {
      return absl::NotFoundError(absl::StrCat("no output of ", node, " was captured"));
    }
    return segments;
  }

  Fd OpenFile(int64_t segment) const {
    Fd fd(openat(dir_.get(), SegmentName(node_, segment).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info = {};
    return fd && fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) ? std::move(fd) : Fd();
  }

  // Those with a number, in order; the first one is always there.
  std::vector<int64_t> List() const {
    std::vector<int64_t> found;
    const int fd = openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = fd >= 0 ? fdopendir(fd) : nullptr;
    if (dir == nullptr) {
      if (fd >= 0) close(fd);
      return found;
    }
    const std::string prefix = absl::StrCat(node_, ".log.");
    while (const dirent* entry = readdir(dir)) {
      absl::string_view name = entry->d_name;
      int64_t segment = 0;
      if (absl::ConsumePrefix(&name, prefix) && absl::SimpleAtoi(name, &segment) && segment > 0)
        found.push_back(segment);
    }
    closedir(dir);
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  Segments(Fd dir, std::string node) : dir_(std::move(dir)), node_(std::move(node)) {}
  Fd dir_;
  std::string node_;
};

int64_t SizeOf(const Fd& fd) {
  struct stat info = {};
  return fstat(fd.get(), &info) == 0 ? std::min<int64_t>(info.st_size, kSegmentBytes) : 0;
}

std::string ReadAt(const Fd& fd, int64_t at, int64_t size) {
  std::string bytes(static_cast<size_t>(std::max<int64_t>(0, size)), '\0');
  const ssize_t got = pread(fd.get(), bytes.data(), bytes.size(), at);
  bytes.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
  return bytes;
}

// The first record that begins at `at` or later; the end of what is there when none does.
int64_t RecordAt(const Fd& fd, int64_t at) {
  if (ParseRecord(ReadAt(fd, at, sizeof(LogRecordHeader)))) return at;
  const std::string bytes = ReadAt(fd, 0, SizeOf(fd));
  size_t begin = 0;
  while (begin < bytes.size() && static_cast<int64_t>(begin) < at) {
    const auto header = ParseRecord(absl::string_view(bytes).substr(begin));
    if (!header) return static_cast<int64_t>(bytes.size());
    begin += sizeof(LogRecordHeader) + header->length;
  }
  return static_cast<int64_t>(std::min(begin, bytes.size()));
}

// The direct successor may have been removed, but never before its segment was full.
bool HasNext(const Segments& segments, int64_t segment, int64_t size) {
  if (segments.OpenFile(segment + 1)) return true;
  if (size + static_cast<int64_t>(sizeof(LogRecordHeader) + kMaxRecordText) <= kSegmentBytes) return false;
  const std::vector<int64_t> list = segments.List();
  return !list.empty() && list.back() > segment;
}

// Puts records together to lines.
class Lines {
 public:
  explicit Lines(LogSource::Chunk& chunk) : chunk_(chunk) {}

  void Take(const LogRecordHeader& header, absl::string_view text) {
    if (header.flags & LogRecordHeader::kLost) {
      uint64_t lost = 0;
      if (text.size() == sizeof lost) memcpy(&lost, text.data(), sizeof lost);
      chunk_.dropped_bytes += static_cast<int64_t>(std::min<uint64_t>(lost, 1ull << 60));
      return;
    }
    const bool is_stderr = header.flags & LogRecordHeader::kStderr;
    std::optional<size_t>& open = open_[is_stderr];
    if (open && chunk_.lines[*open].text.size() + text.size() <= kLongestLine) {
      chunk_.lines[*open].text.append(text.data(), text.size());
    } else {
      open = chunk_.lines.size();
      chunk_.lines.push_back({absl::FromUnixMicros(header.time_us), std::string(text), is_stderr});
    }
    if (!(header.flags & LogRecordHeader::kPartial)) open.reset();
  }

 private:
  LogSource::Chunk& chunk_;
  std::optional<size_t> open_[2];
};

// Takes whole records from `bytes`, about `budget` bytes of them; returns how much was taken.
int64_t TakeRecords(absl::string_view bytes, int64_t budget, Lines& lines) {
  int64_t taken = 0;
  while (taken == 0 || taken < budget) {
    const absl::string_view rest = bytes.substr(static_cast<size_t>(taken));
    const auto header = ParseRecord(rest);
    const size_t size = header ? sizeof(LogRecordHeader) + header->length : 0;
    if (!header || size > rest.size()) break;
    lines.Take(*header, rest.substr(sizeof(LogRecordHeader), header->length));
    taken += static_cast<int64_t>(size);
  }
  return taken;
}

}  // namespace

absl::StatusOr<LogSource::Chunk> LogReader::ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                                    int64_t max_bytes) {
  if (offset < 0) return absl::InvalidArgumentError("the offset of a log is not negative");
  MAYFLY_ASSIGN_OR_RETURN(const Segments segments, Segments::Open(log_dir, node));
  Chunk chunk;
  Lines lines(chunk);
  int64_t budget = std::clamp<int64_t>(max_bytes, 1, kMostAtOnce);
  int64_t segment = offset / kSegmentBytes;
  int64_t at = offset % kSegmentBytes;
  while (true) {
    Fd fd = segments.OpenFile(segment);
    if (!fd) {
      // Removed meanwhile, or never there.
      const std::vector<int64_t> left = segments.List();
      const auto next = std::upper_bound(left.begin(), left.end(), segment);
      if (next != left.end()) {
        chunk.dropped_bytes += *next * kSegmentBytes - (segment * kSegmentBytes + at);
        segment = *next;
        at = 0;
        continue;
      }
      segment = left.empty() ? 0 : left.back();
      fd = segments.OpenFile(segment);
      chunk.next_offset = segment * kSegmentBytes + (fd ? SizeOf(fd) : 0);
      chunk.end = true;
      return chunk;
    }
    at = std::min(RecordAt(fd, at), SizeOf(fd));
    // Whether there is a next one is asked first: what is not in this one by then never will be.
    const bool has_next = HasNext(segments, segment, SizeOf(fd));
    const int64_t taken =
        TakeRecords(ReadAt(fd, at, std::min(SizeOf(fd) - at, budget + int64_t{1 << 15})), budget, lines);
    at += taken;
    budget -= taken;
    chunk.next_offset = segment * kSegmentBytes + at;
    if (budget <= 0) return chunk;
    // What is left of a full segment is room that no record fitted into, or half a record of a writer that was killed.
    if (!has_next) {
      chunk.end = true;
      return chunk;
    }
    if (taken == 0) {
      ++segment;
      at = 0;
    }
  }
}

absl::StatusOr<int64_t> OffsetOfLastLines(const std::string& log_dir, const std::string& node, int64_t lines) {
  MAYFLY_ASSIGN_OR_RETURN(const Segments segments, Segments::Open(log_dir, node));
  const std::vector<int64_t> list = segments.List();
  const int64_t segment = list.empty() ? 0 : list.back();
  const Fd fd = segments.OpenFile(segment);
  if (!fd) return segment * kSegmentBytes;
  const std::string bytes = ReadAt(fd, 0, SizeOf(fd));
  std::deque<int64_t> begins;
  bool new_line = true;
  size_t at = 0;
  while (const auto header = ParseRecord(absl::string_view(bytes).substr(at))) {
    if (new_line && !(header->flags & LogRecordHeader::kLost)) begins.push_back(static_cast<int64_t>(at));
    new_line = !(header->flags & LogRecordHeader::kPartial);
    if (static_cast<int64_t>(begins.size()) > std::max<int64_t>(0, lines)) begins.pop_front();
    at += sizeof(LogRecordHeader) + header->length;
    if (at > bytes.size()) break;
  }
  const int64_t begin =
      lines <= 0 || begins.empty() ? static_cast<int64_t>(std::min(at, bytes.size())) : begins.front();
  return segment * kSegmentBytes + begin;
}

}  // namespace mayfly
