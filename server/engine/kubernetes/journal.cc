#include "server/engine/kubernetes/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "server/base/unique_fd.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr char kSuffix[] = ".json";

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return ErrnoStatus(errno, path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool Get(const json& object, const char* key, std::string* value) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return false;
  *value = it->get<std::string>();
  return true;
}

bool Parse(const std::string& text, JournalEntry* entry) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return false;
  const auto says = [&object](const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_boolean() && it->get<bool>();
  };
  entry->ready = says("ready");
  entry->destroying = says("destroying");
  const auto expected = object.find("expected_nodes");
  Get(object, "given", &entry->given);  // Not in older records.
  if (expected != object.end() && expected->is_number_integer()) entry->spec.expected_nodes = expected->get<int>();
  return Get(object, "scope", &entry->spec.id) && Get(object, "environment", &entry->spec.environment) &&
         Get(object, "owner", &entry->spec.owner) && Get(object, "log_dir", &entry->spec.log_dir) &&
         Get(object, "source_root", &entry->spec.source_root) && Get(object, "identity", &entry->identity) &&
         Get(object, "uid", &entry->uid) &&
         (object.count("gate_address") == 0 || Get(object, "gate_address", &entry->gate_address));
}

}  // namespace

absl::StatusOr<Journal> Journal::Open(const std::string& folder) {
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, folder);
  return Journal(folder);
}

absl::Status Journal::WriteFile(const std::string& path, const std::string& text) {
  const std::string fresh = absl::StrCat(path, ".new");
  {
    const UniqueFd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.valid()) return ErrnoStatus(errno, fresh);
    if (write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      return ErrnoStatus(errno == 0 ? ENOSPC : errno, fresh);
    }
  }
  return rename(fresh.c_str(), path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, path);
}

absl::Status Journal::Write(const JournalEntry& entry) {
  const json object = {{"scope", entry.spec.id},
                       {"environment", entry.spec.environment},
                       {"owner", entry.spec.owner},
                       {"log_dir", entry.spec.log_dir},
                       {"source_root", entry.spec.source_root},
                       {"expected_nodes", entry.spec.expected_nodes},
                       {"identity", entry.identity},
                       {"uid", entry.uid},
                       {"gate_address", entry.gate_address},
                       {"ready", entry.ready},
                       {"given", entry.given},
                       {"destroying", entry.destroying}};
  return WriteFile(absl::StrCat(folder_, "/", entry.spec.id, kSuffix),
                   object.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string Journal::LedgerFile(const std::string& scope) const {
  return absl::StrCat(folder_, "/", scope, ".objects");
}

absl::Status Journal::Remove(const std::string& scope) {
  const std::string ledger = LedgerFile(scope);
  if (unlink(ledger.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, ledger);
  const std::string path = absl::StrCat(folder_, "/", scope, kSuffix);
  return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, path);
}

absl::StatusOr<std::vector<JournalEntry>> Journal::Read(std::vector<std::string>* broken) const {
  DIR* const dir = opendir(folder_.c_str());
  if (dir == nullptr) return ErrnoStatus(errno, folder_);
  std::vector<JournalEntry> entries;
  while (const dirent* found = readdir(dir)) {
    const std::string name = found->d_name;
    if (!absl::EndsWith(name, kSuffix)) continue;
    JournalEntry entry;
    const auto text = ReadFile(absl::StrCat(folder_, "/", name));
    if (text.ok() && Parse(*text, &entry) && absl::StrCat(entry.spec.id, kSuffix) == name) {
      entries.push_back(std::move(entry));
    } else {
      if (broken != nullptr) broken->push_back(name);
    }
  }
  closedir(dir);
  return entries;
}

absl::StatusOr<std::string> Journal::Value(const std::string& name, const std::string& fresh) {
  const std::string path = absl::StrCat(folder_, "/", name);
  if (const auto known = ReadFile(path); known.ok() && !known->empty()) return *known;
  MAYFLY_RETURN_IF_ERROR(WriteFile(path, fresh));
  return fresh;
}

absl::Status Journal::SetValue(const std::string& name, const std::string& value) {
  return WriteFile(absl::StrCat(folder_, "/", name), value);
}

}  // namespace mayfly::kubernetes
