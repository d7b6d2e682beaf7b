#include "server/engine/kubernetes/registry/manifest.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/client/json_text.h"

namespace mayfly::registry {
namespace {

using nlohmann::json;

constexpr size_t kMostWords = 1000;
constexpr size_t kMostBytes = 128 << 10;
constexpr size_t kMostManifests = 1000;

// Words that a process may be given; counts `left` down.
absl::StatusOr<std::vector<std::string>> Words(const json& list, size_t& left) {
  std::vector<std::string> out;
  if (list.is_null()) return out;
  if (!list.is_array() || list.size() > kMostWords)
    return absl::DataLossError("the image's configuration has no words");
  for (const json& item : list) {
    if (!item.is_string()) return absl::DataLossError("the image's configuration holds a word that is no text");
    std::string word = item.get<std::string>();
    if (word.size() > left || absl::StrContains(word, '\0')) {
      return absl::DataLossError("the image's configuration holds unreasonably long words");
    }
    left -= word.size();
    out.push_back(std::move(word));
  }
  return out;
}

}  // namespace

absl::StatusOr<ManifestLink> ReadManifest(absl::string_view text, absl::string_view architecture) {
  const absl::StatusOr<json> parsed = kube::ParseJson(text);
  if (!parsed.ok() || !parsed->is_object()) return absl::DataLossError("its manifest is no JSON object");
  ManifestLink out;
  const json& manifests = kube::ValueAt(*parsed, {"manifests"});
  if (!manifests.is_array()) {
    out.config = kube::TextAt(*parsed, {"config", "digest"});
    if (!IsDigest(out.config)) return absl::DataLossError("its manifest names no configuration");
    return out;
  }
  if (manifests.size() > kMostManifests) return absl::DataLossError("its index is unreasonably long");
  for (const json& entry : manifests) {
    // Attestations and the like stand there for platform unknown/unknown.
    if (kube::TextAt(entry, {"platform", "os"}) != "linux") continue;
    if (kube::TextAt(entry, {"platform", "architecture"}) != architecture) continue;
    out.manifest = kube::TextAt(entry, {"digest"});
    if (!IsDigest(out.manifest)) return absl::DataLossError("its index names no manifest");
    return out;
  }
  return absl::NotFoundError(absl::StrCat("it has no image for linux/", architecture));
}

absl::StatusOr<ImageConfig> ReadConfig(absl::string_view text) {
  const absl::StatusOr<json> parsed = kube::ParseJson(text);
  if (!parsed.ok() || !parsed->is_object()) return absl::DataLossError("the image's configuration is no JSON object");
  const json& config = kube::ValueAt(*parsed, {"config"});
  ImageConfig out;
  size_t left = kMostBytes;
  for (const char* key : {"Entrypoint", "Cmd"}) {
    absl::StatusOr<std::vector<std::string>> words = Words(kube::ValueAt(config, {key}), left);
    if (!words.ok()) return words.status();
    for (std::string& word : *words) out.command.push_back(std::move(word));
  }
  const absl::StatusOr<std::vector<std::string>> variables = Words(kube::ValueAt(config, {"Env"}), left);
  if (!variables.ok()) return variables.status();
  for (const std::string& variable : *variables) {
    std::pair<std::string, std::string> parts = absl::StrSplit(variable, absl::MaxSplits('=', 1));
    if (!parts.first.empty()) out.variables[parts.first] = std::move(parts.second);
  }
  out.workdir = kube::TextAt(config, {"WorkingDir"});
  out.user = kube::TextAt(config, {"User"});
  if (out.workdir.size() > 4096 || out.user.size() > 256 || absl::StrContains(out.workdir, '\0')) {
    return absl::DataLossError("the image's configuration is unreasonable");
  }
  return out;
}

Challenge ParseChallenge(absl::string_view header) {
  Challenge out;
  header = absl::StripAsciiWhitespace(header);
  const size_t space = header.find(' ');
  out.scheme = absl::AsciiStrToLower(header.substr(0, space));
  absl::string_view rest = space == absl::string_view::npos ? "" : header.substr(space + 1);
  while (!rest.empty()) {
    const size_t equals = rest.find('=');
    if (equals == absl::string_view::npos) break;
    const std::string name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(rest.substr(0, equals)));
    rest = rest.substr(equals + 1);
    std::string value;
    if (!rest.empty() && rest.front() == '"') {
      size_t i = 1;
      for (; i < rest.size() && rest[i] != '"'; ++i) {
        if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
        value.push_back(rest[i]);
      }
      rest = rest.substr(std::min(i + 1, rest.size()));
    } else {
      const size_t end = std::min(rest.find(','), rest.size());
      value = std::string(absl::StripAsciiWhitespace(rest.substr(0, end)));
      rest = rest.substr(end);
    }
    out.parameters[name] = std::move(value);
    const size_t comma = rest.find(',');
    rest = comma == absl::string_view::npos ? "" : rest.substr(comma + 1);
  }
  return out;
}

}  // namespace mayfly::registry
