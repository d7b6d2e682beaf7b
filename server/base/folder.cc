#include "server/base/folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr int kMostLinks = 40;  // The kernel's own limit.
constexpr int kFolderFlags = O_PATH | O_DIRECTORY;

UniqueFd OpenResolved(int at, const std::string& path, int flags, uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = resolve;
  return UniqueFd(static_cast<int>(syscall(SYS_openat2, at, path.c_str(), &how, sizeof(how))));
}

// No openat2 in this kernel, or in what a container lets through.
bool IsUnknownCall(int error) {
  return error == ENOSYS || error == EPERM;
}

// One component at a time, each opened in the one before it and never through a link; links are read and walked here.
class Walk {
 public:
  Walk(int root, const std::string& root_path, int most_links)
      : root_(root), root_path_(root_path), links_left_(most_links) {}

  UniqueFd Open(absl::string_view relative, int flags) {
    Push(relative);
    while (!rest_.empty()) {
      const std::string name = std::move(rest_.back());
      rest_.pop_back();
      if (!Step(name)) return UniqueFd();
    }
    if (levels_.empty()) return UniqueFd(openat(root_, ".", flags | O_CLOEXEC));
    // Opened anew, as what was walked over is not open for reading.
    const int parent = levels_.size() == 1 ? root_ : levels_[levels_.size() - 2].fd.get();
    return UniqueFd(openat(parent, levels_.back().name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  }

  // Of what was opened, relative to the root and without links.
  std::string Resolved() const {
    return absl::StrJoin(levels_, "/", [](std::string* out, const Level& level) { out->append(level.name); });
  }

 private:
  struct Level {
    UniqueFd fd;
    std::string name;
  };

  void Push(absl::string_view path) {
    const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
    rest_.insert(rest_.end(), parts.rbegin(), parts.rend());
  }

  bool Step(const std::string& name) {
    if (name == ".") return true;
    if (name == "..") {
      if (levels_.empty()) return Fail(EXDEV);
      levels_.pop_back();
      return true;
    }
    const int at = levels_.empty() ? root_ : levels_.back().fd.get();
    UniqueFd fd(openat(at, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat info{};
    if (!fd.valid() || fstat(fd.get(), &info) != 0) return false;
    if (S_ISLNK(info.st_mode)) return Follow(fd.get());
    levels_.push_back({std::move(fd), name});
    return true;
  }

  bool Follow(int link) {
    if (links_left_-- <= 0) return Fail(ELOOP);
    char target[PATH_MAX];
    const ssize_t size = readlinkat(link, "", target, sizeof(target));
    if (size < 0) return false;
    absl::string_view to(target, static_cast<size_t>(size));
    if (to.empty() || to[0] != '/') {
      Push(to);
      return true;
    }
    if (root_path_ != "/" && (!absl::ConsumePrefix(&to, root_path_) || (!to.empty() && to[0] != '/')))
      return Fail(EXDEV);
    levels_.clear();
    Push(to);
    return true;
  }

  static bool Fail(int error) {
    errno = error;
    return false;
  }

  const int root_;
  const std::string& root_path_;
  int links_left_;
  std::vector<Level> levels_;
  std::vector<std::string> rest_;  // What is still to be walked, the next one last.
};

}  // namespace

Folder Folder::Open(std::string path) {
  UniqueFd fd = OpenResolved(AT_FDCWD, path, kFolderFlags, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (!fd.valid() && IsUnknownCall(errno)) {
    const UniqueFd top(open("/", kFolderFlags | O_CLOEXEC));
    fd = Walk(top.get(), "/", 0).Open(path, kFolderFlags);
  }
  return Folder(std::move(fd), std::move(path));
}

UniqueFd Folder::OpenBelow(absl::string_view relative, int flags) const {
  const std::string path = relative.empty() ? "." : std::string(relative);
  UniqueFd fd = OpenResolved(fd_.get(), path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
  if (fd.valid()) return fd;
  // EXDEV: perhaps only an absolute link to what is below. EAGAIN: something was renamed meanwhile.
  if (errno != EXDEV && errno != EAGAIN && !IsUnknownCall(errno)) return fd;
  return Walk(fd_.get(), path_, kMostLinks).Open(relative, flags);
}

Folder Folder::Enter(absl::string_view relative) const {
  Walk walk(fd_.get(), path_, kMostLinks);
  UniqueFd fd = walk.Open(relative, kFolderFlags);
  if (!fd.valid()) return Folder();
  const std::string resolved = walk.Resolved();
  if (resolved.empty()) return Folder(std::move(fd), path_);
  return Folder(std::move(fd), absl::StrCat(path_ == "/" ? "" : path_, "/", resolved));
}

absl::Status MakeDirs(const std::string& path, mode_t mode) {
  for (size_t end = 1; end != std::string::npos;) {
    end = path.find('/', end);
    const std::string prefix = path.substr(0, end);
    if (mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) {
      // On the way down a folder may be unwritable and yet exist (EROFS, EACCES).
      struct stat st;
      const int error = errno;
      if (stat(prefix.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
        return ErrnoStatus(error, absl::StrCat("mkdir ", prefix));
    }
    if (end != std::string::npos) ++end;
  }
  return absl::OkStatus();
}

}  // namespace mayfly
