#include "server/engine/kubernetes/client/exec_plugin.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "nlohmann/json.hpp"
#include "server/base/pem.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/spawn.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> TextOf(const json& map, const char* key) {
  const json::const_iterator found = map.find(key);
  if (found == map.end() || found->is_null()) return "";
  if (!found->is_string()) return absl::InvalidArgumentError(absl::StrCat("its ", key, " is not text"));
  return found->get<std::string>();
}

absl::Status CheckToken(const std::string& token) {
  const bool clean = std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 0x20 && c != 0x7F; });
  return clean ? absl::OkStatus() : absl::InvalidArgumentError("its token holds spaces or control characters");
}

// The last line of `err` that says something: tools print the reason last.
std::string LastLine(const std::string& err) {
  std::string last;
  for (absl::string_view line : absl::StrSplit(err, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!line.empty()) last = std::string(line.substr(0, 500));
  }
  return EscapeLine(last);
}

// Later variables replace earlier ones of the same name.
std::vector<std::string> Environment(const PluginRun& run, std::string* path) {
  std::map<std::string, std::string> variables;
  for (const std::string& entry : run.env) {
    const size_t equals = entry.find('=');
    if (equals != std::string::npos && equals > 0) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const auto& [name, value] : run.plugin.env) variables[name] = value;
  variables["KUBERNETES_EXEC_INFO"] = run.info;
  *path = variables["PATH"];
  std::vector<std::string> env;
  for (const auto& [name, value] : variables) env.push_back(absl::StrCat(name, "=", value));
  return env;
}

}  // namespace

std::string PluginInfo(const ExecPlugin& plugin, const KubeCluster& cluster, const std::string& ca) {
  json spec = {{"interactive", false}};
  if (plugin.provide_cluster_info) {
    json told = {{"server", cluster.server}};
    if (!cluster.tls_server_name.empty()) told["tls-server-name"] = cluster.tls_server_name;
    if (cluster.insecure) told["insecure-skip-tls-verify"] = true;
    if (!ca.empty()) told["certificate-authority-data"] = absl::Base64Escape(ca);
    if (!cluster.proxy_url.empty()) told["proxy-url"] = cluster.proxy_url;
    if (cluster.disable_compression) told["disable-compression"] = true;
    if (!cluster.plugin_config.empty()) told["config"] = json::parse(cluster.plugin_config, nullptr, false);
    spec["cluster"] = std::move(told);
  }
  const json info = {{"apiVersion", plugin.api_version}, {"kind", "ExecCredential"}, {"spec", std::move(spec)}};
  return info.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<PluginCredential> ParsePluginOutput(const std::string& output, const std::string& api_version) {
  const json object = ParseJson(output).value_or(json());
  if (!object.is_object()) return absl::InvalidArgumentError("it printed no JSON object");
  if (object.value("kind", json()) != "ExecCredential")
    return absl::InvalidArgumentError("it printed no ExecCredential");
  if (object.value("apiVersion", json()) != api_version) {
    return absl::InvalidArgumentError(
        absl::StrCat("its ExecCredential is not of ", api_version, ", the version in the kubeconfig"));
  }
  const json status = object.value("status", json());
  if (!status.is_object()) return absl::InvalidArgumentError("its ExecCredential has no status");
  PluginCredential credential;
  MAYFLY_ASSIGN_OR_RETURN(credential.token, TextOf(status, "token"));
  MAYFLY_ASSIGN_OR_RETURN(credential.certificate, TextOf(status, "clientCertificateData"));
  MAYFLY_ASSIGN_OR_RETURN(credential.key, TextOf(status, "clientKeyData"));
  MAYFLY_ASSIGN_OR_RETURN(const std::string expiry, TextOf(status, "expirationTimestamp"));
  MAYFLY_RETURN_IF_ERROR(CheckToken(credential.token));
  if (credential.certificate.empty() != credential.key.empty()) {
    return absl::InvalidArgumentError("it gave a client certificate without its key, or a key without its certificate");
  }
  if (credential.token.empty() && credential.certificate.empty()) {
    return absl::InvalidArgumentError("it gave neither a token nor a client certificate");
  }
  if (!credential.certificate.empty()) {
    MAYFLY_RETURN_IF_ERROR(Annotate(CheckTlsPem(credential.certificate, credential.key, ""), "its client certificate"));
  }
  std::string ignored;
  if (!expiry.empty() && !absl::ParseTime(absl::RFC3339_full, expiry, &credential.expiry, &ignored)) {
    return absl::InvalidArgumentError("its expirationTimestamp is no time as of RFC 3339");
  }
  return credential;
}

absl::StatusOr<PluginCredential> RunPlugin(const PluginRun& run) {
  const ExecPlugin& plugin = run.plugin;
  const std::string name = absl::StrCat(run.who, ": credential plugin ", EscapeLine(plugin.command));
  if (plugin.interactive == ExecPlugin::Interactive::kAlways) {
    return absl::UnauthenticatedError(absl::StrCat(
        name,
        " must talk to somebody (interactiveMode: Always), but mayfly has no terminal; use a plugin or arguments "
        "that work without"));
  }
  SpawnRequest request;
  std::string path;
  request.env = Environment(run, &path);
  request.deadline = run.deadline;
  request.cancel_fd = run.cancel_fd;
  const absl::StatusOr<std::string> program = FindProgram(plugin.command, path);
  if (!program.ok()) {
    const std::string hint = plugin.install_hint.empty()
                                 ? "; install it, or name its path in the kubeconfig"
                                 : absl::StrCat("; ", EscapeLine(absl::StripAsciiWhitespace(plugin.install_hint)));
    return absl::UnauthenticatedError(
        absl::StrCat(run.who, ": the credential plugin cannot be run: ", program.status().message(), hint));
  }
  request.argv = {*program};
  request.argv.insert(request.argv.end(), plugin.args.begin(), plugin.args.end());
  const absl::StatusOr<SpawnResult> result = RunProgram(request);
  if (absl::IsCancelled(result.status())) return result.status();
  if (!result.ok()) {
    return absl::UnauthenticatedError(absl::StrCat(run.who, ": credential plugin: ", result.status().message()));
  }
  const std::string said = LastLine(result->err);
  const std::string because = said.empty() ? "" : absl::StrCat(": ", said);
  if (result->exit_code != 0) {
    return absl::UnauthenticatedError(absl::StrCat(name, " ended with exit code ", result->exit_code, because));
  }
  absl::StatusOr<PluginCredential> credential = ParsePluginOutput(result->out, plugin.api_version);
  if (!credential.ok()) {
    return absl::UnauthenticatedError(absl::StrCat(name, ": ", credential.status().message(), because));
  }
  if (credential->expiry <= absl::Now()) {
    return absl::UnauthenticatedError(
        absl::StrCat(name, " gave credentials that ended at ",
                     absl::FormatTime(absl::RFC3339_sec, credential->expiry, absl::UTCTimeZone()),
                     "; log in again, or set this machine's clock"));
  }
  return credential;
}

}  // namespace mayfly::kube
