#include "server/engine/kubernetes/client/kubeconfig.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "nlohmann/json.hpp"
#include "server/engine/kubernetes/client/kubeconfig_entries.h"
#include "server/engine/kubernetes/client/kubeconfig_yaml.h"
#include "server/engine/kubernetes/client/small_file.h"

namespace mayfly::kube {
namespace {

using nlohmann::json;

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", EscapeLine(text), "'");
}

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  ConfigFile file;
  file.path = path;
  file.shown = EscapeLine(path);
  std::error_code ignored;
  file.folder = std::filesystem::absolute(path, ignored).parent_path().string();
  MAYFLY_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxKubeconfigBytes));
  MAYFLY_ASSIGN_OR_RETURN(file.json, KubeconfigYamlToJson(text, file.shown));
  const json::const_iterator kind = file.json.find("kind");
  if (kind != file.json.end() && *kind != "Config") {
    return absl::InvalidArgumentError(absl::StrCat(file.shown, ": not a kubeconfig: its kind is not Config"));
  }
  return file;
}

absl::StatusOr<std::vector<ConfigFile>> ReadConfigFiles(const KubeconfigOptions& options) {
  std::vector<std::string> paths;
  if (!options.path.empty()) {
    paths.push_back(options.path);
  } else if (!options.list.empty()) {
    paths = absl::StrSplit(options.list, ':', absl::SkipEmpty());
  } else if (!options.home.empty()) {
    paths.push_back(options.home + "/.kube/config");
  }
  std::vector<ConfigFile> files;
  for (const std::string& path : paths) {
    absl::StatusOr<ConfigFile> file = ReadConfigFile(path);
    if (file.ok()) {
      files.push_back(*std::move(file));
    } else if (!options.path.empty() || !absl::IsNotFound(file.status())) {
      return Annotate(file.status(), "kubeconfig");
    }
  }
  if (files.empty()) {
    const std::string looked =
        paths.empty() ? "HOME is not set" : absl::StrCat("looked for ", EscapeLine(absl::StrJoin(paths, ", ")));
    return absl::NotFoundError(
        absl::StrCat("no kubeconfig: ", looked, "; name one with --kubeconfig or in KUBECONFIG"));
  }
  return files;
}

std::string ShownPaths(const std::vector<ConfigFile>& files) {
  return absl::StrJoin(files, ", ", [](std::string* out, const ConfigFile& file) { out->append(file.shown); });
}

// The first entry of that name in the lists `list` ("clusters") of all files. A list entry holds `inner` ("cluster").
absl::StatusOr<ConfigEntry> FindEntry(const std::vector<ConfigFile>& files, const char* list, const char* inner,
                                      const std::string& name, const std::string& wanted_by) {
  std::vector<std::string> names;
  for (const ConfigFile& file : files) {
    const json::const_iterator entries = file.json.find(list);
    if (entries == file.json.end() || entries->is_null()) continue;
    if (!entries->is_array())
      return absl::InvalidArgumentError(absl::StrCat(file.shown, ": ", list, " must be a list"));
    for (const json& entry : *entries) {
      const json::const_iterator found = entry.is_object() ? entry.find("name") : entry.end();
      if (!entry.is_object() || found == entry.end() || !found->is_string()) {
        return absl::InvalidArgumentError(absl::StrCat(file.shown, ": an entry of ", list, " has no name"));
      }
      names.push_back(found->get<std::string>());
      if (names.back() != name) continue;
      ConfigEntry result;
      result.file = &file;
      result.name = name;
      result.shown = absl::StrCat(inner, " ", Quoted(name), " of ", file.shown);
      const json::const_iterator value = entry.find(inner);
      result.value = value == entry.end() || value->is_null() ? json::object() : *value;
      if (!result.value.is_object()) return absl::InvalidArgumentError(absl::StrCat(result.shown, " must be a map"));
      return result;
    }
  }
  std::string message = absl::StrCat(wanted_by, "there is no ", inner, " ", Quoted(name), " in ", ShownPaths(files));
  const std::string nearest = Nearest(name, names);
  if (!nearest.empty()) {
    absl::StrAppend(&message, "; did you mean ", Quoted(nearest), "?");
  } else if (!names.empty()) {
    if (names.size() > 10) names.resize(10);
    absl::StrAppend(&message, "; there is ", EscapeLine(absl::StrJoin(names, ", ")));
  }
  return absl::NotFoundError(message);
}

absl::StatusOr<std::string> CurrentContext(const std::vector<ConfigFile>& files) {
  for (const ConfigFile& file : files) {
    const json::const_iterator current = file.json.find("current-context");
    if (current == file.json.end() || current->is_null() || *current == "") continue;
    if (!current->is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(file.shown, ": current-context must be text; put it in quotes"));
    }
    return current->get<std::string>();
  }
  return absl::NotFoundError(absl::StrCat("no context is chosen in ", ShownPaths(files),
                                          "; name one with --context, or run: kubectl config use-context NAME"));
}

}  // namespace

KubeconfigOptions KubeconfigOptions::FromEnvironment() {
  KubeconfigOptions options;
  options.list = Variable("KUBECONFIG");
  options.home = Variable("HOME");
  return options;
}

absl::StatusOr<KubeContext> LoadKubeconfig(const KubeconfigOptions& options) {
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<ConfigFile> files, ReadConfigFiles(options));
  std::string name = options.context;
  if (name.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(name, CurrentContext(files));
  }
  MAYFLY_ASSIGN_OR_RETURN(const ConfigEntry entry, FindEntry(files, "contexts", "context", name, ""));
  KubeContext context;
  context.source = entry.shown;
  MAYFLY_ASSIGN_OR_RETURN(const std::string cluster_name, entry.Text("cluster"));
  if (cluster_name.empty()) return absl::InvalidArgumentError(absl::StrCat(entry.shown, " names no cluster"));
  MAYFLY_ASSIGN_OR_RETURN(const std::string user_name, entry.Text("user"));
  MAYFLY_ASSIGN_OR_RETURN(context.name_space, entry.Text("namespace"));
  if (!options.name_space.empty()) context.name_space = options.name_space;
  if (context.name_space.empty()) context.name_space = "default";
  if (const absl::Status status = CheckName(context.name_space, 63); !status.ok()) {
    return Annotate(status, absl::StrCat(entry.shown, ": namespace"));
  }
  const std::string wanted_by = absl::StrCat(entry.shown, ": ");
  MAYFLY_ASSIGN_OR_RETURN(const ConfigEntry cluster, FindEntry(files, "clusters", "cluster", cluster_name, wanted_by));
  MAYFLY_ASSIGN_OR_RETURN(context.cluster, ReadCluster(cluster));
  if (!user_name.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(const ConfigEntry user, FindEntry(files, "users", "user", user_name, wanted_by));
    MAYFLY_ASSIGN_OR_RETURN(context.user, ReadUser(user));
  }
  return context;
}

InClusterOptions InClusterOptions::FromEnvironment() {
  InClusterOptions options;
  options.host = Variable("KUBERNETES_SERVICE_HOST");
  options.port = Variable("KUBERNETES_SERVICE_PORT");
  return options;
}

absl::StatusOr<KubeContext> LoadInCluster(const InClusterOptions& options) {
  if (options.host.empty() || options.port.empty()) {
    return absl::FailedPreconditionError(
        "not inside a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; outside, name a "
        "kubeconfig");
  }
  int port = 0;
  if (!absl::SimpleAtoi(options.port, &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("KUBERNETES_SERVICE_PORT is no port: ", Quoted(options.port)));
  }
  KubeContext context;
  context.source = "the pod's service account";
  const bool ipv6 = absl::StrContains(options.host, ":") && !absl::StartsWith(options.host, "[");
  context.cluster.name = "in-cluster";
  context.cluster.server = absl::StrCat("https://", ipv6 ? "[" : "", options.host, ipv6 ? "]" : "", ":", port);
  context.cluster.ca.path = options.folder + "/ca.crt";
  context.user.name = "service account";
  context.user.token_file = options.folder + "/token";
  for (const std::string& path : {context.user.token_file, context.cluster.ca.path}) {
    if (access(path.c_str(), R_OK) == 0) continue;
    return absl::NotFoundError(absl::StrCat(path,
                                            " cannot be read; does the pod's spec or its service account say "
                                            "automountServiceAccountToken: false?"));
  }
  const absl::StatusOr<std::string> name_space = ReadSmallFile(options.folder + "/namespace", 1024);
  if (name_space.ok()) context.name_space = std::string(absl::StripAsciiWhitespace(*name_space));
  if (!absl::IsNotFound(name_space.status()) && !name_space.ok()) return name_space.status();
  if (const absl::Status status = CheckName(context.name_space, 63); !status.ok()) {
    return Annotate(status, absl::StrCat(options.folder, "/namespace"));
  }
  return context;
}

}  // namespace mayfly::kube
