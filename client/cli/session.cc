#include "client/cli/session.h"

#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/spec_path.h"
#include "client/lib/diagnostics.h"
#include "client/lib/files.h"
#include "client/lib/server_finder.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "mayfly/base/version.h"

namespace mayfly {
namespace {

bool IsLoopback(absl::string_view target) {
  return absl::StartsWith(target, "127.") || absl::StartsWith(target, "localhost:") ||
         absl::StartsWith(target, "[::1]:");
}

absl::StatusOr<std::string> ReadIfNamed(const std::string& path) {
  if (path.empty()) return std::string();
  return ReadFile(path, 1 << 20);
}

}  // namespace

Session::Session(Options options, Console* console, Interrupts* interrupts)
    : options_(std::move(options)), console_(console), interrupts_(interrupts) {}

absl::StatusOr<StartOptions> Session::PerUserServer() {
  StartOptions start;
  MAYFLY_ASSIGN_OR_RETURN(start.state_dir, StateDir(options_.state_dir));
  if (interrupts_ != nullptr) start.cancel_fd = interrupts_->fd();
  if (options_.engine != "kubernetes") return start;
  // A server has one engine: that for a cluster lives beside the one of this machine, unless that is for a cluster.
  if (const auto server = FindServer(start.state_dir); server.ok() && server->engine == options_.engine) return start;
  MAYFLY_RETURN_IF_ERROR(MakePrivateDir(start.state_dir));
  start.state_dir += "/on-kubernetes";
  start.engine = options_.engine;
  return start;
}

absl::StatusOr<std::string> Session::Locate(bool may_start) {
  MAYFLY_ASSIGN_OR_RETURN(const StartOptions start, PerUserServer());
  const std::string& state_dir = start.state_dir;
  auto server = may_start ? FindOrStartServer(start) : FindServer(state_dir);
  if (!server.ok() && may_start && absl::IsNotFound(server.status())) {
    return absl::UnavailableError(server.status().message());
  }
  MAYFLY_RETURN_IF_ERROR(server.status());
  if (may_start && server->version != Version()) {
    return absl::AbortedError(
        absl::StrCat("mayflyd ", EscapeLine(server->version), " serves ", state_dir, ", this is mayfly ", Version(),
                     ": run `mayfly server stop --force`, then this again (environments live on and are taken over)"));
  }
  if (server->started && options_.verbose) console_->Note(absl::StrCat("started mayflyd, process ", server->pid));
  return absl::StrCat("unix:", server->socket);
}

absl::StatusOr<ProvisionerClient::Options> Session::ClientOptions(bool may_start) {
  ProvisionerClient::Options client;
  if (options_.server.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(client.target, Locate(may_start));
    if (may_start) client.revive = [this] { return Locate(true).status(); };
    return client;
  }
  client.target = options_.server;
  MAYFLY_ASSIGN_OR_RETURN(const std::string token, ReadIfNamed(options_.token_file));
  client.token = std::string(absl::StripAsciiWhitespace(token));
  const bool local = IsLoopback(client.target) || absl::StartsWith(client.target, "unix:");
  client.tls = !options_.tls_ca.empty() || !options_.tls_certificate.empty() || !local;
  MAYFLY_ASSIGN_OR_RETURN(client.ca_certificates, ReadIfNamed(options_.tls_ca));
  MAYFLY_ASSIGN_OR_RETURN(client.client_certificate, ReadIfNamed(options_.tls_certificate));
  MAYFLY_ASSIGN_OR_RETURN(client.client_key, ReadIfNamed(options_.tls_key));
  return client;
}

absl::StatusOr<ProvisionerClient*> Session::Connect(bool may_start) {
  if (client_ == nullptr) {
    MAYFLY_ASSIGN_OR_RETURN(ProvisionerClient::Options client, ClientOptions(may_start));
    client_ = std::make_unique<ProvisionerClient>(std::move(client));
  }
  return client_.get();
}

absl::StatusOr<std::string> Session::Source() {
  std::error_code error;
  // A path for a server on another machine need not exist on this one.
  if (!options_.server.empty() && !options_.path.empty()) {
    return std::filesystem::absolute(options_.path, error).lexically_normal().string();
  }
  return ResolveSpec(options_.path, std::filesystem::current_path(error).string());
}

absl::StatusOr<std::string> Session::EnvironmentName(size_t word) {
  if (options_.name.empty() && word < options_.words.size()) return options_.words[word];
  return EnvironmentNameFromSpec();
}

absl::StatusOr<std::string> Session::EnvironmentNameFromSpec() {
  if (!options_.name.empty()) return options_.name;
  const auto source = Source();
  if (!source.ok()) {
    return absl::NotFoundError(absl::StrCat("which environment? ", source.status().message(),
                                            "; or name the environment (`mayfly list` shows them)"));
  }
  return PeekName(*source);
}

ExitCode Session::Fail(const absl::Status& status) {
  const Look& look = console_->err();
  const std::string head = Paint(look, Style::kRed, "error:");
  const std::string diagnostics = FormatPayload(status);
  if (!diagnostics.empty()) {
    console_->Error(diagnostics.substr(0, diagnostics.size() - 1));
  } else {
    // Messages of several lines (what a server wrote last) keep them; each was escaped where it came from.
    std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
    for (std::string& line : lines) line = EscapeLine(line);
    console_->Error(absl::StrCat(head, " ", lines.front()));
    for (size_t i = 1; i < lines.size(); ++i) console_->Error(lines[i]);
  }
  return ExitCodeFor(status);
}

}  // namespace mayfly
