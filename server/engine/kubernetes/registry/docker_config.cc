#include "server/engine/kubernetes/registry/docker_config.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/small_file.h"

namespace mayfly::registry {
namespace {

using nlohmann::json;

constexpr size_t kLargestConfig = 1 << 20;
constexpr char kDockerKey[] = "https://index.docker.io/v1/";

// "https://registry.example.com/v2/" and the like mean the host.
std::string RegistryOf(absl::string_view key) {
  if (!absl::ConsumePrefix(&key, "https://")) absl::ConsumePrefix(&key, "http://");
  const std::string host = absl::AsciiStrToLower(key.substr(0, key.find('/')));
  return host == "index.docker.io" || host == "registry-1.docker.io" ? "docker.io" : host;
}

bool HasControl(absl::string_view text) {
  for (const char c : text) {
    if (absl::ascii_iscntrl(c)) return true;
  }
  return false;
}

bool ReadEntry(const json& entry, Credentials* out) {
  out->user = kube::TextAt(entry, {"username"});
  out->password = kube::TextAt(entry, {"password"});
  std::string plain;
  if (const std::string both = kube::TextAt(entry, {"auth"}); !both.empty() && absl::Base64Unescape(both, &plain)) {
    const std::vector<std::string> parts = absl::StrSplit(plain, absl::MaxSplits(':', 1));
    if (parts.size() == 2) *out = {parts[0], parts[1]};
  }
  return !out->user.empty() && !out->password.empty() && !HasControl(out->user) && !HasControl(out->password);
}

}  // namespace

absl::StatusOr<std::map<std::string, Credentials>> ParseDockerConfig(absl::string_view text, std::string* ignored) {
  const absl::StatusOr<json> parsed = kube::ParseJson(text);
  if (!parsed.ok() || !parsed->is_object()) return absl::InvalidArgumentError("not a docker config.json");
  std::map<std::string, Credentials> out;
  std::vector<std::string> unused;
  const json& auths = kube::ValueAt(*parsed, {"auths"});
  if (!auths.is_null() && !auths.is_object()) return absl::InvalidArgumentError("its `auths` is not an object");
  for (auto it = auths.begin(); it != auths.end(); ++it) {
    Credentials credentials;
    if (ReadEntry(*it, &credentials)) {
      out[RegistryOf(it.key())] = std::move(credentials);
    } else {
      unused.push_back(EscapeLine(it.key()));
    }
  }
  for (const char* key : {"credsStore", "credHelpers"}) {
    if (parsed->contains(key)) unused.push_back(key);
  }
  ignored->clear();
  if (!unused.empty()) {
    *ignored =
        absl::StrCat("not used, since only user and password below `auths` are read: ", absl::StrJoin(unused, ", "));
  }
  return out;
}

DockerConfig::DockerConfig(std::string path, std::function<void(absl::string_view)> warn)
    : path_(std::move(path)), warn_(std::move(warn)) {}

absl::Status DockerConfig::Load() {
  MutexLock lock(mutex_);
  stamp_.clear();
  return LoadIfChanged();
}

absl::Status DockerConfig::LoadIfChanged() {
  if (path_.empty()) return absl::OkStatus();
  struct stat info{};
  std::string stamp = "missing";
  if (stat(path_.c_str(), &info) == 0) {
    stamp = absl::StrCat(info.st_dev, " ", info.st_ino, " ", info.st_size, " ", info.st_mtim.tv_sec, " ",
                         info.st_mtim.tv_nsec);
  }
  if (stamp == stamp_) return absl::OkStatus();
  stamp_ = stamp;
  MAYFLY_ASSIGN_OR_RETURN(const std::string text, kube::ReadSmallFile(path_, kLargestConfig));
  std::string ignored;
  absl::StatusOr<std::map<std::string, Credentials>> read = ParseDockerConfig(text, &ignored);
  if (!read.ok()) return Annotate(read.status(), EscapeLine(path_));
  if (!ignored.empty() && warn_) warn_(absl::StrCat(EscapeLine(path_), ": ", ignored));
  known_.clear();
  for (auto& [registry, credentials] : *read) {
    known_[registry] = std::make_shared<const Credentials>(std::move(credentials));
  }
  return absl::OkStatus();
}

std::shared_ptr<const Credentials> DockerConfig::Find(const std::string& registry) {
  MutexLock lock(mutex_);
  if (const absl::Status loaded = LoadIfChanged(); !loaded.ok() && warn_) {
    warn_(absl::StrCat("registry credentials: ", loaded.message(), "; what was read before goes on counting"));
  }
  const auto it = known_.find(registry);
  return it == known_.end() ? nullptr : it->second;
}

std::string DockerConfigFor(const std::map<std::string, Credentials>& by_registry) {
  json auths = json::object();
  for (const auto& [registry, credentials] : by_registry) {
    auths[registry == "docker.io" ? std::string(kDockerKey) : registry] = {
        {"auth", absl::Base64Escape(absl::StrCat(credentials.user, ":", credentials.password))}};
  }
  return json{{"auths", auths}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace mayfly::registry
