#include "server/spec/spec_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/yaml_reader.h"

namespace mayfly {
namespace {

std::string RealPath(const std::string& path) {
  char buffer[PATH_MAX];
  return realpath(path.c_str(), buffer) == nullptr ? "" : buffer;
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool IsThere(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

bool IsBelow(const std::string& real, const std::string& root) {
  return real == root || root == "/" || (absl::StartsWith(real, root) && real[root.size()] == '/');
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.push_back(entry->d_name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

// At most `limit` bytes and one more, so that the caller sees that there were more.
absl::StatusOr<std::string> ReadAll(const std::string& path, size_t limit) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return ErrnoStatus(errno, "cannot be read");
  struct stat info;
  absl::Status status;
  std::string text;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError("is not an ordinary file");
  } else {
    text.resize(std::min<size_t>(info.st_size, limit) + 1);
    size_t have = 0;
    while (have < text.size()) {
      const ssize_t n = read(fd, text.data() + have, text.size() - have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) status = ErrnoStatus(errno, "cannot be read");
      if (n <= 0) break;
      have += n;
    }
    text.resize(have);
  }
  close(fd);
  if (!status.ok()) return status;
  return text;
}

// What an empty-handed user probably has: the file under a name that is not read.
std::string HintForEmpty(const std::string& folder) {
  for (const std::string& name : Entries(folder)) {
    if (name == "envspec.yaml") return "rename envspec.yaml to envspec.yml";
    if (name == "service.yaml") return "rename service.yaml to service.yml";
  }
  return "`mayfly init` in a service's folder writes a first service.yml";
}

}  // namespace

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty() || folder == ".") return std::string(name);
  return absl::StrCat(folder, absl::EndsWith(folder, "/") ? "" : "/", name);
}

SpecFiles::SpecFiles(absl::string_view path, Sink& sink) {
  std::string given = path.empty() ? "." : std::string(path);
  while (given.size() > 1 && given.back() == '/') given.pop_back();
  const std::string real = RealPath(given);
  if (real.empty()) {
    sink.Error({given}, absl::StrCat("no such file or folder (", std::strerror(errno), ")"),
               "-f takes a folder or an envspec.yml");
    return;
  }
  if (!IsFolder(real)) {
    shown_root_ = Parent(given);
    root_ = RealPath(shown_root_);
    main_ = given.substr(given.rfind('/') == std::string::npos ? 0 : given.rfind('/') + 1);
    main_is_service_ = main_ == "service.yml";
    return;
  }
  root_ = real;
  shown_root_ = given;
  for (const char* name : {"envspec.yml", "service.yml"}) {
    if (!main_.empty() || !Exists(name)) continue;
    main_ = name;
    main_is_service_ = absl::string_view(name) == "service.yml";
  }
  if (main_.empty())
    sink.Error({given}, "there is no envspec.yml and no service.yml in this folder", HintForEmpty(real));
}

SourceFileRef SpecFiles::Read(const std::string& relative, const SourcePos& wanted, Sink& sink) {
  if (const auto known = read_.find(relative); known != read_.end()) return known->second;
  const std::string shown = Shown(relative);
  const bool itself = wanted.file.empty();
  const auto refuse = [&](absl::string_view why, std::string hint = "") {
    sink.Error(itself ? SourcePos{shown} : wanted, itself ? std::string(why) : absl::StrCat("'", relative, "' ", why),
               std::move(hint));
    return nullptr;
  };
  const std::string real = RealPath(JoinPath(root_, relative));
  if (real.empty()) {
    return refuse(absl::StrCat("cannot be read (", std::strerror(errno), ")"),
                  itself ? "" : "it is relative to the service's folder");
  }
  if (!IsBelow(real, root_))
    return refuse("is a symbolic link that leads out of the root folder", "put a copy below the root");
  absl::StatusOr<std::string> text = ReadAll(real, kMaxSpecBytes);
  if (!text.ok()) return refuse(text.status().message());
  auto file = std::make_shared<SourceFile>(SourceFile{shown, *std::move(text)});
  sink.AddFile(file);
  read_[relative] = file;
  return file;
}

bool SpecFiles::Exists(const std::string& relative) const {
  return IsThere(JoinPath(root_, relative));
}

std::vector<std::string> SpecFiles::Folders(const std::string& pattern) const {
  std::vector<std::string> found = {""};
  for (const absl::string_view part_view : absl::StrSplit(pattern, '/', absl::SkipEmpty())) {
    const std::string part(part_view);
    if (part == ".") continue;
    std::vector<std::string> next;
    for (const std::string& folder : found) {
      if (part.find_first_of("*?[") == std::string::npos) {
        if (IsFolder(JoinPath(root_, JoinPath(folder, part)))) next.push_back(JoinPath(folder, part));
        continue;
      }
      for (const std::string& name : Entries(JoinPath(root_, folder))) {
        const std::string inner = JoinPath(folder, name);
        if (fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0 && IsFolder(JoinPath(root_, inner)))
          next.push_back(inner);
      }
    }
    found = std::move(next);
  }
  return found;
}

std::string SpecFiles::HintForFolder(const std::string& folder) const {
  return HintForEmpty(JoinPath(root_, folder));
}

std::string SpecFiles::Shown(const std::string& relative) const {
  return JoinPath(shown_root_, relative);
}

std::string SpecFiles::Digest() const {
  std::string all;
  for (const auto& [path, file] : read_)
    absl::StrAppend(&all, path.size(), ":", path, file->text.size(), ":", file->text);
  return Sha256Hex(all);
}

Diagnostics WithSourceLines(Diagnostics diagnostics) {
  std::map<std::string, SourceFile> files;
  for (Diagnostic& d : diagnostics) {
    if (d.pos.line < 1 || d.pos.file.empty() || !d.source_line.empty()) continue;
    const auto [file, fresh] = files.try_emplace(d.pos.file);
    if (fresh) file->second.text = ReadAll(d.pos.file, kMaxSpecBytes).value_or("");
    d.source_line = file->second.Line(d.pos.line);
  }
  return diagnostics;
}

absl::StatusOr<std::string> FindSpec(absl::string_view start_dir) {
  const std::string start = RealPath(std::string(start_dir));
  if (start.empty()) return absl::NotFoundError(absl::StrCat(start_dir, ": no such folder"));
  std::string service;
  for (std::string folder = start;; folder = Parent(folder)) {
    if (IsThere(JoinPath(folder, "envspec.yml"))) return JoinPath(folder, "envspec.yml");
    if (service.empty() && IsThere(JoinPath(folder, "service.yml"))) service = JoinPath(folder, "service.yml");
    // A repository is a world of its own: what lies above it belongs to somebody else.
    if (folder == "/" || IsThere(JoinPath(folder, ".git"))) break;
  }
  if (!service.empty()) return service;
  return absl::NotFoundError(absl::StrCat("there is no envspec.yml and no service.yml in ", start,
                                          " or above it: name one with -f, or write a first one with `mayfly init`"));
}

}  // namespace mayfly
