#include "server/api/source_gate.h"

#include <errno.h>
#include <sys/stat.h>

#include <climits>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::api {
namespace {

// Without "." and "..", by the words alone.
std::string Normal(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

bool IsBelow(absl::string_view path, absl::string_view folder) {
  if (folder == "/") return true;
  return absl::ConsumePrefix(&path, folder) && (path.empty() || path[0] == '/');
}

}  // namespace

absl::StatusOr<SourceGate> SourceGate::Open(const std::vector<std::string>& folders) {
  SourceGate gate;
  for (const std::string& folder : folders) {
    const std::string flag = absl::StrCat("--sources ", EscapeLine(folder));
    if (folder.empty() || folder[0] != '/')
      return absl::InvalidArgumentError(absl::StrCat(flag, ": give the absolute path of a folder"));
    char real[PATH_MAX];
    struct stat info;
    if (realpath(folder.c_str(), real) == nullptr || stat(real, &info) != 0) return ErrnoStatus(errno, flag);
    if (!S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(flag, ": is not a folder"));
    if (Normal(folder) != real)
      return absl::InvalidArgumentError(absl::StrCat(flag, ": is reached by a symbolic link; give ", EscapeLine(real)));
    gate.folders_.push_back(real);
  }
  return gate;
}

absl::Status SourceGate::Confine(const Caller& caller, EnvironmentRequest& request) const {
  request.source_below.clear();
  if (caller.local) return absl::OkStatus();
  if (folders_.empty()) {
    return absl::PermissionDeniedError(
        "source: this server reads no folder of its machine for callers over the network; whoever runs it allows some "
        "with mayflyd --sources DIR");
  }
  const std::string source = Normal(request.source);
  for (const std::string& folder : folders_) {
    if (!IsBelow(source, folder)) continue;
    // As it was written otherwise: clients tell by it whether an environment is of their folder.
    request.source = absl::StrCat(source, source != "/" && absl::EndsWith(request.source, "/") ? "/" : "");
    request.source_below = folder;
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "source: ", EscapeLine(request.source), " is not below a folder that this server reads for callers over the ",
      "network: ", absl::StrJoin(folders_, ", "), "; whoever runs it allows more with mayflyd --sources DIR"));
}

}  // namespace mayfly::api
