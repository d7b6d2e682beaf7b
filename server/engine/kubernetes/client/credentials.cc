#include "server/engine/kubernetes/client/credentials.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "mayfly/base/status.h"
#include "server/base/pem.h"
#include "server/engine/kubernetes/client/exec_plugin.h"
#include "server/engine/kubernetes/client/renewing_authorizer.h"
#include "server/engine/kubernetes/client/small_file.h"

namespace mayfly::kube {
namespace {

constexpr size_t kMostPem = 1 << 20;
constexpr size_t kMostToken = 64 << 10;
constexpr absl::Duration kEarly = absl::Seconds(10);

bool IsSecure(const KubeCluster& cluster) {
  return absl::StartsWith(cluster.server, "https://");
}

absl::StatusOr<std::string> ReadText(const TextOrFile& from, const std::string& who, const char* what) {
  if (!from.text.empty() || from.path.empty()) return from.text;
  absl::StatusOr<std::string> text = ReadSmallFile(from.path, kMostPem);
  if (!text.ok()) return Annotate(text.status(), absl::StrCat(who, ": ", what));
  if (absl::StripAsciiWhitespace(*text).empty()) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": ", what, " is empty: ", from.path));
  }
  return text;
}

// RFC 3986: what is no unreserved character becomes %XX, as header names want it.
std::string EscapeExtraKey(const std::string& key) {
  std::string out;
  for (const char c : absl::AsciiStrToLower(key)) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-_.~", std::string(1, c))) {
      out.push_back(c);
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

http::Headers Impersonation(const KubeUser& user) {
  http::Headers headers;
  if (user.as.empty()) return headers;
  headers.push_back({"impersonate-user", user.as});
  if (!user.as_uid.empty()) headers.push_back({"impersonate-uid", user.as_uid});
  for (const std::string& group : user.as_groups) headers.push_back({"impersonate-group", group});
  for (const auto& [key, values] : user.as_extra) {
    for (const std::string& value : values) headers.push_back({"impersonate-extra-" + EscapeExtraKey(key), value});
  }
  return headers;
}

// Everything that a request carries, gathered anew at each call.
class Gatherer {
 public:
  Gatherer(KubeContext context, CredentialOptions options)
      : context_(std::move(context)),
        options_(std::move(options)),
        cluster_(absl::StrCat(context_.source, ": cluster '", context_.cluster.name, "'")),
        user_(absl::StrCat(context_.source, ": user '", context_.user.name, "'")) {}

  bool CanChange() const { return IsSecure(context_.cluster) && (HasFiles() || HasPlugin()); }
  bool HasPlugin() const { return context_.user.exec.has_value() && IsSecure(context_.cluster); }

  absl::StatusOr<http::Tls> ReadTls() const {
    http::Tls tls;
    tls.server_name = context_.cluster.tls_server_name;
    tls.insecure = context_.cluster.insecure;
    MAYFLY_ASSIGN_OR_RETURN(tls.ca, ReadText(context_.cluster.ca, cluster_, "certificate-authority"));
    MAYFLY_ASSIGN_OR_RETURN(tls.certificate, ReadText(context_.user.certificate, user_, "client-certificate"));
    MAYFLY_ASSIGN_OR_RETURN(tls.key, ReadText(context_.user.key, user_, "client-key"));
    if (!tls.certificate.empty()) {
      MAYFLY_RETURN_IF_ERROR(Annotate(CheckTlsPem(tls.certificate, tls.key, ""), user_ + ": client-certificate"));
    }
    return tls;
  }

  absl::StatusOr<http::Headers> ReadHeaders() const {
    const KubeUser& user = context_.user;
    http::Headers headers = Impersonation(user);
    if (!IsSecure(context_.cluster)) return headers;
    if (!user.username.empty() || !user.password.empty()) {
      headers.push_back(
          {"authorization", "Basic " + absl::Base64Escape(absl::StrCat(user.username, ":", user.password))});
    }
    MAYFLY_ASSIGN_OR_RETURN(const std::string token, ReadToken());
    if (!token.empty()) headers.push_back({"authorization", "Bearer " + token});
    return headers;
  }

  // Waits for disk and plugin. One call at a time.
  absl::StatusOr<RenewingAuthorizer::Gathered> Gather(int cancel_fd, bool refused) {
    RenewingAuthorizer::Gathered gathered;
    MAYFLY_ASSIGN_OR_RETURN(gathered.tls, ReadTls());
    MAYFLY_ASSIGN_OR_RETURN(gathered.headers, ReadHeaders());
    gathered.renew = options_.now() + options_.file_period;
    if (!HasPlugin()) return gathered;
    if (!given_ || refused || options_.now() >= plugin_due_) {
      MAYFLY_ASSIGN_OR_RETURN(given_, RunPlugin(PluginOf(gathered.tls.ca, cancel_fd)));
      // A little early, so that nothing ends on its way; of what lives shortly, a tenth.
      plugin_due_ = given_->expiry - std::min(kEarly, (given_->expiry - options_.now()) / 10);
    }
    if (!given_->token.empty()) gathered.headers.push_back({"authorization", "Bearer " + given_->token});
    if (!given_->certificate.empty()) {
      gathered.tls.certificate = given_->certificate;
      gathered.tls.key = given_->key;
    }
    gathered.renew = std::min(plugin_due_, HasFiles() ? gathered.renew : absl::InfiniteFuture());
    gathered.end = given_->expiry;
    return gathered;
  }

 private:
  static bool FromFile(const TextOrFile& from) { return from.text.empty() && !from.path.empty(); }
  bool HasFiles() const {
    const KubeUser& user = context_.user;
    return FromFile(context_.cluster.ca) || FromFile(user.certificate) || FromFile(user.key) ||
           !user.token_file.empty();
  }

  absl::StatusOr<std::string> ReadToken() const {
    const KubeUser& user = context_.user;
    if (user.token_file.empty()) return user.token;
    const absl::StatusOr<std::string> text = ReadSmallFile(user.token_file, kMostToken);
    if (!text.ok() && !user.token.empty()) return user.token;
    if (!text.ok()) return Annotate(text.status(), user_ + ": tokenFile");
    const absl::string_view token = absl::StripAsciiWhitespace(*text);
    for (const char c : token) {
      if (static_cast<unsigned char>(c) > 0x20 && c != 0x7F) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(user_, ": tokenFile: ", user.token_file, " holds more than one token"));
    }
    if (token.empty())
      return absl::InvalidArgumentError(absl::StrCat(user_, ": tokenFile is empty: ", user.token_file));
    return std::string(token);
  }

  PluginRun PluginOf(const std::string& ca, int cancel_fd) const {
    PluginRun run;
    run.who = user_;
    run.plugin = *context_.user.exec;
    run.info = PluginInfo(run.plugin, context_.cluster, ca);
    run.env = options_.plugin_env;
    run.deadline = options_.plugin_deadline;
    run.cancel_fd = cancel_fd;
    return run;
  }

  const KubeContext context_;
  const CredentialOptions options_;
  const std::string cluster_;
  const std::string user_;
  std::optional<PluginCredential> given_;
  absl::Time plugin_due_;
};

}  // namespace

std::vector<std::string> CredentialOptions::ServerEnvironment() {
  std::vector<std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) variables.emplace_back(*entry);
  return variables;
}

absl::StatusOr<Endpoint> MakeEndpoint(const KubeContext& context, const CredentialOptions& options) {
  auto gatherer = std::make_shared<Gatherer>(context, options);
  Endpoint endpoint;
  endpoint.server = context.cluster.server;
  endpoint.proxy = context.cluster.proxy_url;
  MAYFLY_ASSIGN_OR_RETURN(http::Tls tls, gatherer->ReadTls());
  endpoint.tls = std::make_shared<const http::Tls>(std::move(tls));
  MAYFLY_ASSIGN_OR_RETURN(http::Headers headers, gatherer->ReadHeaders());
  if (!gatherer->CanChange()) {
    endpoint.authorizer = std::make_shared<FixedAuthorizer>(std::move(headers));
    return endpoint;
  }
  RenewingAuthorizer::Options renewing;
  renewing.gather = [gatherer](int cancel_fd, bool refused) { return gatherer->Gather(cancel_fd, refused); };
  renewing.now = options.now;
  renewing.refusal_pause = gatherer->HasPlugin() ? options.refusal_pause : absl::ZeroDuration();
  renewing.retry = std::min(options.file_period, absl::Seconds(10));
  endpoint.authorizer = std::make_shared<RenewingAuthorizer>(std::move(renewing), endpoint.tls);
  return endpoint;
}

}  // namespace mayfly::kube
