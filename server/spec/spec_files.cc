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
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/yaml_reader.h"

namespace mayfly {
namespace {

std::string RealPath(const std::string& path) {
  char buffer[PATH_MAX];
  return realpath(path.c_str(), buffer) == nullptr ? "" : buffer;
}

bool IsFolderAt(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool IsThere(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string BaseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::vector<std::string> NamesIn(DIR* dir) {
  std::vector<std::string> names;
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.push_back(entry->d_name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

// At most `limit` bytes and one more, so that the caller sees that there were more.
absl::StatusOr<std::string> ReadAll(int fd, size_t limit) {
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return absl::InvalidArgumentError("is not an ordinary file");
  std::string text(std::min<size_t>(info.st_size, limit) + 1, '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t n = read(fd, text.data() + have, text.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "cannot be read");
    if (n == 0) break;
    have += n;
  }
  text.resize(have);
  return text;
}

}  // namespace

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty() || folder == ".") return std::string(name);
  return absl::StrCat(folder, absl::EndsWith(folder, "/") ? "" : "/", name);
}

SpecFiles::SpecFiles(absl::string_view path, absl::string_view below, Sink& sink) : below_(below) {
  std::string given = path.empty() ? "." : std::string(path);
  while (given.size() > 1 && given.back() == '/') given.pop_back();
  if (below_.empty()) {
    OpenRoot(given, sink);
  } else {
    OpenRootBelow(given, sink);
  }
  if (root_.valid() && main_.empty()) ChooseMain(given, sink);
  main_is_service_ = main_ == "service.yml";
}

SpecFiles::SpecFiles(std::shared_ptr<const CatalogueSource> recorded)
    : recorded_(std::move(recorded)), shown_root_(recorded_->shown), main_(recorded_->main) {
  main_is_service_ = main_ == "service.yml";
}

void SpecFiles::OpenRoot(const std::string& given, Sink& sink) {
  shown_root_ = given;
  std::string real = RealPath(given);
  if (!real.empty() && !IsFolderAt(real)) {
    shown_root_ = Parent(given);
    main_ = BaseName(given);
    real = RealPath(shown_root_);
  }
  if (!real.empty()) root_ = Folder::Open(real);
  if (!root_.valid()) Missing(given, sink);
}

void SpecFiles::OpenRootBelow(const std::string& given, Sink& sink) {
  shown_root_ = given;
  absl::string_view relative = given;
  const bool inside = absl::ConsumePrefix(&relative, below_) && (relative.empty() || relative[0] == '/');
  if (!inside && below_ != "/") {
    errno = EXDEV;
  } else if (const Folder top = Folder::Open(below_); top.valid()) {
    const std::string path(relative);
    root_ = top.Enter(path);
    if (!root_.valid() && errno == ENOTDIR) {
      root_ = top.Enter(Parent(path));
      shown_root_ = Parent(given);
      main_ = BaseName(given);
    }
  }
  if (root_.valid()) return;
  if (errno == EXDEV) {
    access_ = absl::PermissionDeniedError(absl::StrCat("source: ", EscapeLine(given), " leads out of ", below_,
                                                       " by a symbolic link; name a folder whose files are below ",
                                                       below_, " themselves"));
  }
  Missing(given, sink);
}

void SpecFiles::Missing(const std::string& given, Sink& sink) {
  main_.clear();
  sink.Error({given}, absl::StrCat("no such file or folder (", std::strerror(errno), ")"),
             "-f takes a folder or an envspec.yml");
}

void SpecFiles::ChooseMain(const std::string& given, Sink& sink) {
  for (const char* name : {"envspec.yml", "service.yml"}) {
    if (main_.empty() && Exists(name)) main_ = name;
  }
  if (main_.empty())
    sink.Error({given}, "there is no envspec.yml and no service.yml in this folder", HintForFolder(""));
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
  if (recorded_ != nullptr) {
    const auto text = recorded_->files.find(relative);
    if (text == recorded_->files.end()) return refuse("was not recorded");
    auto file = std::make_shared<SourceFile>(SourceFile{shown, *text->second});
    sink.AddFile(file);
    read_[relative] = file;
    return file;
  }
  // Not blocking: a pipe without a writer would be waited for.
  const UniqueFd fd = root_.OpenBelow(relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd.valid() && errno == EXDEV)
    return refuse("is a symbolic link that leads out of the root folder", "put a copy below the root");
  if (!fd.valid()) {
    return refuse(absl::StrCat("cannot be read (", std::strerror(errno), ")"),
                  itself ? "" : "it is relative to the service's folder");
  }
  absl::StatusOr<std::string> text = ReadAll(fd.get(), kMaxSpecBytes);
  if (!text.ok()) return refuse(text.status().message());
  auto file = std::make_shared<SourceFile>(SourceFile{shown, *std::move(text)});
  sink.AddFile(file);
  read_[relative] = file;
  return file;
}

// What leads out of the root is refused when it is read. Whether something is there decides, as far as the server's own
// user is concerned, whether a pattern means it; others must not learn that, and get the refusal.
bool SpecFiles::Exists(const std::string& relative) const {
  if (recorded_ != nullptr) return recorded_->files.count(relative) > 0;
  if (root_.OpenBelow(relative, O_PATH).valid()) return true;
  return errno == EXDEV && (!below_.empty() || IsThere(JoinPath(root(), relative)));
}

bool SpecFiles::IsFolder(const std::string& relative) const {
  if (recorded_ != nullptr) return !Entries(relative).empty();
  if (root_.OpenBelow(relative, O_PATH | O_DIRECTORY).valid()) return true;
  return errno == EXDEV && (!below_.empty() || IsFolderAt(JoinPath(root(), relative)));
}

std::vector<std::string> SpecFiles::Entries(const std::string& relative) const {
  if (recorded_ != nullptr) {
    std::set<std::string> names;
    const std::string folder = relative.empty() ? "" : absl::StrCat(relative, "/");
    for (const auto& [path, text] : recorded_->files) {
      absl::string_view inner = path;
      if (absl::ConsumePrefix(&inner, folder)) names.insert(std::string(inner.substr(0, inner.find('/'))));
    }
    return {names.begin(), names.end()};
  }
  UniqueFd fd = root_.OpenBelow(relative, O_RDONLY | O_DIRECTORY);
  if (fd.valid()) return NamesIn(fdopendir(fd.release()));
  if (errno != EXDEV || !below_.empty()) return {};
  return NamesIn(opendir(JoinPath(root(), relative).c_str()));
}

std::vector<std::string> SpecFiles::Folders(const std::string& pattern) const {
  std::vector<std::string> found = {""};
  for (const absl::string_view part_view : absl::StrSplit(pattern, '/', absl::SkipEmpty())) {
    const std::string part(part_view);
    if (part == ".") continue;
    std::vector<std::string> next;
    for (const std::string& folder : found) {
      if (part.find_first_of("*?[") == std::string::npos) {
        if (IsFolder(JoinPath(folder, part))) next.push_back(JoinPath(folder, part));
        continue;
      }
      for (const std::string& name : Entries(folder)) {
        const std::string inner = JoinPath(folder, name);
        if (fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) == 0 && IsFolder(inner)) next.push_back(inner);
      }
    }
    found = std::move(next);
  }
  return found;
}

// What an empty-handed user probably has: the file under a name that is not read.
std::string SpecFiles::HintForFolder(const std::string& folder) const {
  for (const std::string& name : Entries(folder)) {
    if (name == "envspec.yaml") return "rename envspec.yaml to envspec.yml";
    if (name == "service.yaml") return "rename service.yaml to service.yml";
  }
  return "`mayfly init` in a service's folder writes a first service.yml";
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

std::shared_ptr<const CatalogueSource> SpecFiles::Source() const {
  auto source = std::make_shared<CatalogueSource>(CatalogueSource{root(), shown_root_, main_, {}});
  for (const auto& [path, file] : read_) source->files[path] = {file, &file->text};
  return source;
}

std::map<std::string, std::shared_ptr<const std::string>> SpecFiles::Texts() const {
  std::map<std::string, std::shared_ptr<const std::string>> texts;
  for (const auto& [path, file] : read_) texts[file->name] = {file, &file->text};
  return texts;
}

Diagnostics WithSourceLines(Diagnostics diagnostics, const Catalogue& catalogue) {
  for (Diagnostic& d : diagnostics) {
    if (d.pos.line < 1 || !d.source_line.empty()) continue;
    const auto text = catalogue.texts.find(d.pos.file);
    if (text != catalogue.texts.end()) d.source_line = LineOf(*text->second, d.pos.line);
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
