#include "server/run/catalogue_cache.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace mayfly {
namespace {

constexpr int64_t kRacyNs = 1000000000;
constexpr size_t kEntries = 64;

struct Stamp {
  std::string text;
  int64_t newest_ns = 0;

  void Add(const std::string& path) {
    struct stat st{};
    if (stat(path.c_str(), &st) != 0) {
      absl::StrAppend(&text, path, " gone\n");
      return;
    }
    const int64_t changed = int64_t{st.st_ctim.tv_sec} * 1000000000 + st.st_ctim.tv_nsec;
    newest_ns = std::max(newest_ns, changed);
    absl::StrAppend(&text, path, " ", st.st_ino, " ", st.st_size, " ", changed, "\n");
  }

  void AddSubfolders(const std::string& folder) {
    DIR* dir = opendir(folder.c_str());
    if (dir == nullptr) return;
    std::set<std::string> names;
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_name[0] != '.' && entry->d_type != DT_REG) names.insert(entry->d_name);
    }
    closedir(dir);
    for (const std::string& name : names) Add(absl::StrCat(folder, "/", name));
  }
};

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "" : path.substr(0, slash);
}

Stamp StampOf(const std::string& source, const Catalogue& catalogue) {
  std::set<std::string> files = {source};
  std::set<std::string> folders;
  if (!catalogue.root.empty()) folders.insert(catalogue.root);
  for (const char* file : {"envspec.yml", "service.yml"}) files.insert(absl::StrCat(catalogue.root, "/", file));
  for (const auto& [name, service] : catalogue.services) {
    if (!service.pos.file.empty()) files.insert(service.pos.file);
    files.insert(absl::StrCat(service.folder, "/service.yml"));
    for (std::string at = service.folder; !at.empty() && at != catalogue.root; at = Parent(at)) {
      if (!folders.insert(at).second) break;
    }
  }
  for (const auto& [name, test] : catalogue.tests) {
    if (!test.pos.file.empty()) files.insert(test.pos.file);
  }
  Stamp stamp;
  for (const std::string& file : files) stamp.Add(file);
  for (const std::string& folder : folders) {
    stamp.Add(folder);
    stamp.AddSubfolders(folder);
  }
  return stamp;
}

}  // namespace

CatalogueRef CatalogueCache::Load(const std::string& source, const std::string& below) {
  const std::pair key(source, below);
  const auto known = entries_.find(key);
  if (known != entries_.end() && StampOf(source, known->second.catalogue->catalogue).text == known->second.stamp) {
    return known->second.catalogue;
  }
  entries_.erase(key);
  const int64_t now_ns = absl::ToUnixNanos(now_());
  auto loaded = std::make_shared<const LoadedCatalogue>(load_(source, below));
  if (!loaded->ok() || loaded->catalogue.services.empty()) return loaded;
  Stamp stamp = StampOf(source, loaded->catalogue);
  if (stamp.newest_ns > now_ns - kRacyNs) return loaded;
  if (entries_.size() >= kEntries) entries_.clear();
  entries_[key] = {loaded, std::move(stamp.text)};
  return loaded;
}

}  // namespace mayfly
