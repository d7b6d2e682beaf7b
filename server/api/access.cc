#include "server/api/access.h"

#include <errno.h>
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::api {
namespace {

constexpr size_t kMinToken = 16;

absl::string_view View(grpc::string_ref text) {
  return absl::string_view(text.data(), text.size());
}

}  // namespace

Rule RuleFor(absl::string_view method) {
  static const auto* const rules = new absl::flat_hash_map<absl::string_view, Rule>{
      {"CreateEnvironment", Rule::kIdentified},
      {"GetEnvironment", Rule::kIdentified},
      {"ListEnvironments", Rule::kIdentified},
      {"UpdateEnvironment", Rule::kOwner},
      {"DeleteEnvironment", Rule::kOwner},
      {"WatchEnvironment", Rule::kIdentified},
      {"StreamLogs", Rule::kIdentified},
      {"PlanEnvironment", Rule::kIdentified},
      {"RunTests", Rule::kOwner},
      {"RestartServices", Rule::kOwner},
      {"GetReport", Rule::kIdentified},
      {"Exec", Rule::kOwner},
      {"PortForward", Rule::kOwner},
      {"GetServerInfo", Rule::kIdentified},
      {"StopServer", Rule::kLocal},
  };
  const auto it = rules->find(method);
  return it == rules->end() ? Rule::kDenied : it->second;
}

absl::Status CheckOwner(const Caller& caller, absl::string_view environment, absl::string_view owner) {
  if (caller.any_owner() || caller.name == owner) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      "environment '", environment, "' belongs to ", EscapeLine(owner), " and you are ", EscapeLine(caller.name),
      ": ask them, or an administrator of this server (mayflyd --admins); or make one of your own with --name"));
}

absl::StatusOr<Caller> AccessPolicy::Check(absl::string_view method, const grpc::ServerContextBase& context) const {
  const Rule rule = RuleFor(method);
  if (rule == Rule::kDenied) return absl::PermissionDeniedError(absl::StrCat(method, " is not allowed to anybody"));
  MAYFLY_ASSIGN_OR_RETURN(Caller caller, Identify(context));
  caller.admin = options_.admins.count(caller.name) > 0;
  if (rule == Rule::kLocal && !caller.local) {
    return absl::PermissionDeniedError(
        absl::StrCat(method, " is allowed only to the server's own user, over its Unix socket"));
  }
  return caller;
}

absl::StatusOr<Caller> AccessPolicy::Identify(const grpc::ServerContextBase& context) const {
  if (absl::StartsWith(context.peer(), "unix:")) return Caller{options_.local_name, true};
  if (const auto auth = context.auth_context(); auth != nullptr && auth->IsPeerAuthenticated()) {
    const auto names = auth->FindPropertyValues("x509_common_name");
    if (!names.empty() && !names[0].empty()) return Caller{std::string(names[0].data(), names[0].size()), false};
  }
  const auto header = context.client_metadata().find("authorization");
  if (header != context.client_metadata().end()) {
    absl::string_view value = View(header->second);
    if (absl::ConsumePrefix(&value, "Bearer ")) {
      // Digests are compared, so that the time it takes tells nothing about a token.
      const auto token = options_.token_digests.find(Sha256Hex(value));
      if (token != options_.token_digests.end()) return Caller{token->second, false};
      return absl::UnauthenticatedError("the bearer token is not one of this server's");
    }
  }
  return absl::UnauthenticatedError(
      "no identity: show a client certificate, or a bearer token with --token-file or MAYFLY_TOKEN_FILE");
}

absl::StatusOr<std::map<std::string, std::string>> ReadTokenFile(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("token file ", path));
  if ((info.st_mode & 0077) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("token file ", path, " can be read by others; close it with: chmod 0600 ", path));
  }
  std::ifstream file(path);
  std::map<std::string, std::string> tokens;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty() || words[0][0] == '#') continue;
    if (words.size() > 2 || words.back().size() < kMinToken) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number,
                                                     ": a line is \"name token\" or \"token\", a token has ", kMinToken,
                                                     " characters or more"));
    }
    tokens[Sha256Hex(words.back())] = words.size() == 2 ? words[0] : "token";
  }
  if (tokens.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
  return tokens;
}

}  // namespace mayfly::api
