#include "server/engine/kubernetes/client/kubeconfig_entries.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;

constexpr char kPluginGroup[] = "client.authentication.k8s.io";

const json* Find(const json& map, const char* key) {
  const json::const_iterator found = map.find(key);
  return found == map.end() || found->is_null() ? nullptr : &*found;
}

// Line breaks and control characters would let a value end the header that it is put into.
bool FitsHeader(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7F; });
}

absl::Status CheckHeaders(const ConfigEntry& entry, const KubeUser& user) {
  const auto check = [&entry](absl::string_view text, const char* key) {
    return FitsHeader(text) ? absl::OkStatus()
                            : entry.Error(absl::StrCat(key, " holds a line break or control character"));
  };
  MAYFLY_RETURN_IF_ERROR(check(user.token, "token"));
  MAYFLY_RETURN_IF_ERROR(check(user.username, "username"));
  MAYFLY_RETURN_IF_ERROR(check(user.as, "as"));
  MAYFLY_RETURN_IF_ERROR(check(user.as_uid, "as-uid"));
  for (const std::string& group : user.as_groups) MAYFLY_RETURN_IF_ERROR(check(group, "as-groups"));
  for (const auto& [key, values] : user.as_extra) {
    for (const std::string& value : values) MAYFLY_RETURN_IF_ERROR(check(value, "as-user-extra"));
  }
  if (absl::StrContains(user.username, ":")) return entry.Error("username must not hold ':'");
  return absl::OkStatus();
}

absl::StatusOr<ExecPlugin::Interactive> ReadInteractive(const ConfigEntry& exec, const std::string& api_version) {
  MAYFLY_ASSIGN_OR_RETURN(const std::string mode, exec.Text("interactiveMode"));
  if (mode == "Never") return ExecPlugin::Interactive::kNever;
  if (mode == "IfAvailable") return ExecPlugin::Interactive::kIfAvailable;
  if (mode == "Always") return ExecPlugin::Interactive::kAlways;
  if (mode.empty() && absl::EndsWith(api_version, "/v1beta1")) return ExecPlugin::Interactive::kIfAvailable;
  return exec.Error("interactiveMode must be Never, IfAvailable or Always");
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadEnv(const ConfigEntry& exec) {
  std::vector<std::pair<std::string, std::string>> env;
  const json* list = Find(exec.value, "env");
  if (list == nullptr) return env;
  if (!list->is_array()) return exec.Error("env must be a list of {name, value}");
  for (const json& item : *list) {
    if (!item.is_object()) return exec.Error("env must be a list of {name, value}");
    const ConfigEntry variable = {exec.file, "", exec.shown + ": env", item};
    MAYFLY_ASSIGN_OR_RETURN(std::string name, variable.Text("name"));
    MAYFLY_ASSIGN_OR_RETURN(std::string value, variable.Text("value"));
    if (name.empty() || absl::StrContains(name, "=")) return variable.Error("a variable needs a name without '='");
    env.emplace_back(std::move(name), std::move(value));
  }
  return env;
}

absl::StatusOr<ExecPlugin> ReadPlugin(const ConfigEntry& user, const json& value) {
  if (!value.is_object()) return user.Error("exec must be a map");
  const ConfigEntry exec = {user.file, user.name, user.shown + ": exec", value};
  ExecPlugin plugin;
  MAYFLY_ASSIGN_OR_RETURN(plugin.api_version, exec.Text("apiVersion"));
  if (plugin.api_version != absl::StrCat(kPluginGroup, "/v1") &&
      plugin.api_version != absl::StrCat(kPluginGroup, "/v1beta1")) {
    return exec.Error(absl::StrCat("apiVersion '", EscapeLine(plugin.api_version), "' is not spoken here: write ",
                                   kPluginGroup, "/v1 or /v1beta1; an older plugin needs an update"));
  }
  MAYFLY_ASSIGN_OR_RETURN(plugin.command, exec.Text("command"));
  if (plugin.command.empty()) return exec.Error("command is missing");
  if (absl::StrContains(plugin.command, "/")) {
    MAYFLY_ASSIGN_OR_RETURN(plugin.command, exec.Path("command"));
  }
  MAYFLY_ASSIGN_OR_RETURN(plugin.args, exec.Texts("args"));
  MAYFLY_ASSIGN_OR_RETURN(plugin.env, ReadEnv(exec));
  MAYFLY_ASSIGN_OR_RETURN(plugin.install_hint, exec.Text("installHint"));
  MAYFLY_ASSIGN_OR_RETURN(plugin.interactive, ReadInteractive(exec, plugin.api_version));
  MAYFLY_ASSIGN_OR_RETURN(plugin.provide_cluster_info, exec.Flag("provideClusterInfo"));
  return plugin;
}

absl::Status RefuseAuthProvider(const ConfigEntry& user) {
  const json* provider = Find(user.value, "auth-provider");
  if (provider == nullptr) return absl::OkStatus();
  const json* name = provider->is_object() ? Find(*provider, "name") : nullptr;
  const std::string called = name != nullptr && name->is_string() ? name->get<std::string>() : "";
  const char* instead = called == "gcp"     ? "run: gke-gcloud-auth-plugin --version, then: gcloud container clusters "
                                              "get-credentials NAME"
                        : called == "azure" ? "run: kubelogin convert-kubeconfig"
                        : called == "oidc"  ? "use the exec plugin kubectl-oidc_login"
                                            : "use an exec plugin of its maker";
  return user.Error(
      absl::StrCat("auth-provider '", EscapeLine(called), "' is no longer part of Kubernetes; ", instead));
}

absl::Status ReadImpersonation(const ConfigEntry& entry, KubeUser& user) {
  MAYFLY_ASSIGN_OR_RETURN(user.as, entry.Text("as"));
  MAYFLY_ASSIGN_OR_RETURN(user.as_uid, entry.Text("as-uid"));
  MAYFLY_ASSIGN_OR_RETURN(user.as_groups, entry.Texts("as-groups"));
  if (const json* extra = Find(entry.value, "as-user-extra")) {
    if (!extra->is_object()) return entry.Error("as-user-extra must be a map of lists");
    const ConfigEntry map = {entry.file, "", entry.shown + ": as-user-extra", *extra};
    for (const auto& [key, ignored] : extra->items()) {
      MAYFLY_ASSIGN_OR_RETURN(std::vector<std::string> values, map.Texts(key.c_str()));
      user.as_extra.emplace_back(key, std::move(values));
    }
  }
  if (user.as.empty() && !(user.as_uid.empty() && user.as_groups.empty() && user.as_extra.empty())) {
    return entry.Error("as-uid, as-groups and as-user-extra need 'as' beside them");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ConfigEntry::Error(absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(shown, ": ", message));
}

absl::StatusOr<std::string> ConfigEntry::Text(const char* key) const {
  const json* found = Find(value, key);
  if (found == nullptr) return "";
  if (!found->is_string()) return Error(absl::StrCat(key, " must be text; put it in quotes"));
  auto text = found->get<std::string>();
  // Paths, arguments and variables end at a NUL for the kernel, unseen.
  if (absl::StrContains(text, absl::string_view("\0", 1))) return Error(absl::StrCat(key, " holds a NUL"));
  return text;
}

absl::StatusOr<bool> ConfigEntry::Flag(const char* key) const {
  const json* found = Find(value, key);
  if (found == nullptr) return false;
  if (!found->is_boolean()) return Error(absl::StrCat(key, " must be true or false"));
  return found->get<bool>();
}

absl::StatusOr<std::vector<std::string>> ConfigEntry::Texts(const char* key) const {
  std::vector<std::string> texts;
  const json* found = Find(value, key);
  if (found == nullptr) return texts;
  const absl::Status wrong = Error(absl::StrCat(EscapeLine(key), " must be a list of texts; put numbers in quotes"));
  if (!found->is_array()) return wrong;
  for (const json& item : *found) {
    if (!item.is_string()) return wrong;
    texts.push_back(item.get<std::string>());
    if (absl::StrContains(texts.back(), absl::string_view("\0", 1))) return wrong;
  }
  return texts;
}

absl::StatusOr<std::string> ConfigEntry::Path(const char* key) const {
  MAYFLY_ASSIGN_OR_RETURN(const std::string path, Text(key));
  if (path.empty() || path[0] == '/') return path;
  return (std::filesystem::path(file->folder) / path).lexically_normal().string();
}

absl::StatusOr<TextOrFile> ConfigEntry::DataOrPath(const char* data_key, const char* path_key) const {
  TextOrFile result;
  MAYFLY_ASSIGN_OR_RETURN(std::string data, Text(data_key));
  MAYFLY_ASSIGN_OR_RETURN(result.path, Path(path_key));
  if (data.empty()) return result;
  if (!absl::Base64Unescape(data, &result.text) || result.text.empty()) {
    return Error(absl::StrCat(data_key, " is not base64"));
  }
  return result;
}

absl::StatusOr<KubeCluster> ReadCluster(const ConfigEntry& entry) {
  KubeCluster cluster;
  cluster.name = entry.name;
  MAYFLY_ASSIGN_OR_RETURN(cluster.server, entry.Text("server"));
  if (cluster.server.empty()) return entry.Error("server is missing");
  // kubectl takes a bare host for http://, which nobody means.
  if (!absl::StartsWith(cluster.server, "https://") && !absl::StartsWith(cluster.server, "http://")) {
    return entry.Error("server must begin with https:// (or http://)");
  }
  MAYFLY_ASSIGN_OR_RETURN(cluster.ca, entry.DataOrPath("certificate-authority-data", "certificate-authority"));
  MAYFLY_ASSIGN_OR_RETURN(cluster.tls_server_name, entry.Text("tls-server-name"));
  MAYFLY_ASSIGN_OR_RETURN(cluster.insecure, entry.Flag("insecure-skip-tls-verify"));
  if (cluster.insecure && !cluster.ca.empty()) {
    return entry.Error("insecure-skip-tls-verify and a certificate authority cannot both be meant; remove one");
  }
  MAYFLY_ASSIGN_OR_RETURN(cluster.proxy_url, entry.Text("proxy-url"));
  if (!cluster.proxy_url.empty() && !absl::StartsWith(cluster.proxy_url, "http://") &&
      !absl::StartsWith(cluster.proxy_url, "https://") && !absl::StartsWith(cluster.proxy_url, "socks5://")) {
    return entry.Error("proxy-url must begin with http://, https:// or socks5://");
  }
  MAYFLY_ASSIGN_OR_RETURN(cluster.disable_compression, entry.Flag("disable-compression"));
  const json* extensions = Find(entry.value, "extensions");
  if (extensions == nullptr || !extensions->is_array()) return cluster;
  for (const json& extension : *extensions) {
    if (!extension.is_object() || extension.value("name", json()) != absl::StrCat(kPluginGroup, "/exec")) continue;
    if (const json* config = Find(extension, "extension")) {
      cluster.plugin_config = config->dump(-1, ' ', false, json::error_handler_t::replace);
    }
  }
  return cluster;
}

absl::StatusOr<KubeUser> ReadUser(const ConfigEntry& entry) {
  MAYFLY_RETURN_IF_ERROR(RefuseAuthProvider(entry));
  KubeUser user;
  user.name = entry.name;
  MAYFLY_ASSIGN_OR_RETURN(user.certificate, entry.DataOrPath("client-certificate-data", "client-certificate"));
  MAYFLY_ASSIGN_OR_RETURN(user.key, entry.DataOrPath("client-key-data", "client-key"));
  if (user.certificate.empty() != user.key.empty()) {
    return entry.Error(user.key.empty() ? "a client certificate without client-key"
                                        : "client-key without a certificate");
  }
  MAYFLY_ASSIGN_OR_RETURN(user.token, entry.Text("token"));
  MAYFLY_ASSIGN_OR_RETURN(user.token_file, entry.Path("tokenFile"));
  MAYFLY_ASSIGN_OR_RETURN(user.username, entry.Text("username"));
  MAYFLY_ASSIGN_OR_RETURN(user.password, entry.Text("password"));
  if (const json* exec = Find(entry.value, "exec")) {
    MAYFLY_ASSIGN_OR_RETURN(user.exec, ReadPlugin(entry, *exec));
  }
  const int ways = (user.token.empty() && user.token_file.empty() ? 0 : 1) +
                   (user.username.empty() && user.password.empty() ? 0 : 1) + (user.exec ? 1 : 0);
  if (ways > 1) return entry.Error("more than one of token, username and exec; keep the one that is meant");
  MAYFLY_RETURN_IF_ERROR(ReadImpersonation(entry, user));
  MAYFLY_RETURN_IF_ERROR(CheckHeaders(entry, user));
  return user;
}

}  // namespace mayfly::kube
