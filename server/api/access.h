// Who calls, and may they? Every RPC has a rule here; one without is refused.
//
// Callers on the Unix socket have been checked when they connected (acceptor.h): they are the server's own user. On TCP
// a caller is who its client certificate says, or whose bearer token it shows.
#ifndef MAYFLY_SERVER_API_ACCESS_H_
#define MAYFLY_SERVER_API_ACCESS_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/server_context.h"

namespace mayfly::api {

enum class Rule {
  kDenied,      // What has no rule.
  kIdentified,  // The server's own user, or whoever has a certificate or token.
  kOwner,       // Of them: the owner of the environment, an administrator, the server's own user. See CheckOwner.
  kLocal,       // The server's own user only.
};

// By method name without package: "GetEnvironment". kDenied when unknown. Health and reflection answer whoever can
// connect: they tell nothing about environments.
Rule RuleFor(absl::string_view method);

struct Caller {
  std::string name;
  bool local = false;
  bool admin = false;

  bool any_owner() const { return local || admin; }
};

// PERMISSION_DENIED, naming the owner and what to do, unless `caller` may change `environment` and reach into it.
absl::Status CheckOwner(const Caller& caller, absl::string_view environment, absl::string_view owner);

class AccessPolicy {
 public:
  struct Options {
    std::string local_name;                            // The server's own user.
    std::map<std::string, std::string> token_digests;  // Hex SHA-256 of a bearer token -> name.
    std::set<std::string> admins;                      // Names that may act on everybody's environments.
  };
  explicit AccessPolicy(Options options) : options_(std::move(options)) {}

  // UNAUTHENTICATED without an identity, PERMISSION_DENIED when the rule does not allow it; whose environment it is,
  // kOwner leaves to CheckOwner. Thread-safe.
  absl::StatusOr<Caller> Check(absl::string_view method, const grpc::ServerContextBase& context) const;

 private:
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context) const;

  const Options options_;
};

// Lines of "name token", or one of just "token" (whose name is "token"); '#' begins a comment. A token has at least 16
// characters. INVALID_ARGUMENT names the line; FAILED_PRECONDITION when others may read the file.
absl::StatusOr<std::map<std::string, std::string>> ReadTokenFile(const std::string& path);

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_ACCESS_H_
