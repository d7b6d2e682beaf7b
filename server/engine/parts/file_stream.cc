#include "server/engine/parts/file_stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "server/base/folder.h"

namespace mayfly {
namespace {

// A record is {u32 name length, u64 size, name, bytes}; a file shorter than announced is filled up with zeros.
constexpr size_t kRecordHeader = 12;
constexpr size_t kMaxName = 4096;
constexpr int kMaxDepth = 64;

bool WriteAll(int out, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(out, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= n;
  }
  return true;
}

class Sender {
 public:
  Sender(int root, int64_t max_bytes, int out) : root_(root), left_(max_bytes), out_(out) {}

  absl::StatusCode Send(const std::string& path, int depth) {
    open_how how{};
    how.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const int fd = static_cast<int>(syscall(SYS_openat2, root_, path.c_str(), &how, sizeof(how)));
    if (fd < 0) return absl::StatusCode::kOk;  // Gone, a link, or not ours to read: left out.
    const UniqueFd file(fd);
    struct stat st;
    if (fstat(fd, &st) != 0) return absl::StatusCode::kOk;
    if (S_ISREG(st.st_mode)) return SendFile(path, fd, static_cast<uint64_t>(st.st_size));
    if (!S_ISDIR(st.st_mode) || depth >= kMaxDepth) return absl::StatusCode::kOk;
    DIR* dir = fdopendir(dup(fd));
    if (dir == nullptr) return absl::StatusCode::kOk;
    absl::StatusCode result = absl::StatusCode::kOk;
    while (const dirent* entry = readdir(dir)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      result = Send(path == "." ? name : absl::StrCat(path, "/", name), depth + 1);
      if (result != absl::StatusCode::kOk) break;
    }
    closedir(dir);
    return result;
  }

 private:
  absl::StatusCode SendFile(const std::string& path, int fd, uint64_t size) {
    if (static_cast<int64_t>(size) > left_) return absl::StatusCode::kResourceExhausted;
    left_ -= static_cast<int64_t>(size);
    char header[kRecordHeader];
    const uint32_t name_size = static_cast<uint32_t>(path.size());
    std::memcpy(header, &name_size, 4);
    std::memcpy(header + 4, &size, 8);
    if (!WriteAll(out_, header, sizeof(header)) || !WriteAll(out_, path.data(), path.size()))
      return absl::StatusCode::kAborted;
    char buffer[65536];
    while (size > 0) {
      const ssize_t n = read(fd, buffer, std::min<uint64_t>(size, sizeof(buffer)));
      const size_t got = n > 0 ? static_cast<size_t>(n) : std::min<uint64_t>(size, sizeof(buffer));
      if (n <= 0) std::memset(buffer, 0, got);
      if (!WriteAll(out_, buffer, got)) return absl::StatusCode::kAborted;
      size -= got;
    }
    return absl::StatusCode::kOk;
  }

  int root_;
  int64_t left_;
  int out_;
};

bool IsSafeName(absl::string_view name) {
  if (name.empty() || absl::StartsWith(name, "/")) return false;
  int depth = 0;
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == ".." || ++depth > kMaxDepth + 1) return false;
  }
  return name.find('\0') == absl::string_view::npos;
}

}  // namespace

int SendFiles(const std::string& folder, const std::vector<std::string>& paths, int64_t max_bytes, int out) {
  const UniqueFd root(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return static_cast<int>(absl::StatusCode::kNotFound);
  Sender sender(root.get(), max_bytes, out);
  for (const std::string& path : paths) {
    const absl::StatusCode code = sender.Send(path, 0);
    if (code != absl::StatusCode::kOk) return static_cast<int>(code);
  }
  return 0;
}

FileReceiver::FileReceiver(std::string destination, int64_t max_bytes)
    : destination_(std::move(destination)), left_(max_bytes) {}

absl::Status FileReceiver::OpenFile(const std::string& path) {
  if (!IsSafeName(path)) return absl::InvalidArgumentError("a file name that leads out of its folder");
  const std::string full = absl::StrCat(destination_, "/", path);
  MAYFLY_RETURN_IF_ERROR(MakeDirs(full.substr(0, full.rfind('/')), 0755));
  file_ = UniqueFd(open(full.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  return file_.valid() ? absl::OkStatus() : ErrnoStatus(errno, full);
}

absl::Status FileReceiver::Feed(absl::string_view bytes) {
  while (!bytes.empty()) {
    if (file_left_ > 0) {
      const size_t n = std::min<uint64_t>(file_left_, bytes.size());
      if (!WriteAll(file_.get(), bytes.data(), n)) return ErrnoStatus(errno, "writing a collected file");
      file_left_ -= n;
      bytes.remove_prefix(n);
      continue;
    }
    uint32_t name_size = 0;
    size_t wanted = kRecordHeader;
    if (pending_.size() >= kRecordHeader) {
      std::memcpy(&name_size, pending_.data(), 4);
      wanted += name_size;
    }
    const size_t n = std::min(wanted - pending_.size(), bytes.size());
    pending_.append(bytes.data(), n);
    bytes.remove_prefix(n);
    if (pending_.size() < kRecordHeader) continue;
    std::memcpy(&name_size, pending_.data(), 4);
    if (name_size > kMaxName) return absl::InvalidArgumentError("an over-long file name");
    if (pending_.size() < kRecordHeader + name_size) continue;
    std::memcpy(&file_left_, pending_.data() + 4, 8);
    if (file_left_ > static_cast<uint64_t>(left_)) return absl::ResourceExhaustedError("more files than allowed");
    left_ -= static_cast<int64_t>(file_left_);
    if (++files_ > kMaxFiles) return absl::ResourceExhaustedError(absl::StrCat("more than ", kMaxFiles, " files"));
    MAYFLY_RETURN_IF_ERROR(OpenFile(pending_.substr(kRecordHeader)));
    pending_.clear();
  }
  return absl::OkStatus();
}

}  // namespace mayfly
