#include "client/lib/spawn_server.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

// Where things are, in which language, and what its libraries read. Nothing of a surrounding systemd unit: the server
// would speak to systemd in that unit's name.
constexpr absl::string_view kNames[] = {
    "PATH",  "HOME",          "USER",         "LOGNAME",         "LANG",           "LANGUAGE",   "TZ", "TMPDIR",
    "TZDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "GRPC_VERBOSITY", "GRPC_TRACE",
};
constexpr absl::string_view kPrefixes[] = {"LC_", "XDG_"};
// Clusters are reached through proxies, and credential plugins of clouds have settings of their own.
constexpr absl::string_view kClusterNames[] = {"KUBECONFIG",  "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY",
                                               "https_proxy", "http_proxy",  "no_proxy"};
constexpr absl::string_view kClusterPrefixes[] = {"KUBERNETES_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_"};

bool IsForCluster(absl::string_view name) {
  for (const absl::string_view prefix : kClusterPrefixes) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  for (const absl::string_view known : kClusterNames) {
    if (name == known) return true;
  }
  return false;
}

// The server runs in "/".
std::string AbsolutePaths(absl::string_view list) {
  std::vector<std::string> paths;
  for (const absl::string_view path : absl::StrSplit(list, ':', absl::SkipEmpty())) {
    std::error_code error;
    paths.push_back(std::filesystem::absolute(std::string(path), error).string());
  }
  return absl::StrJoin(paths, ":");
}

bool IsForServer(absl::string_view name) {
  for (const absl::string_view prefix : kPrefixes) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  for (const absl::string_view known : kNames) {
    if (name == known) return true;
  }
  return false;
}

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::vector<std::string> ServerVariables(char* const* variables, absl::string_view engine) {
  std::vector<std::string> out;
  for (; *variables != nullptr; ++variables) {
    const absl::string_view variable = *variables;
    const absl::string_view name = variable.substr(0, variable.find('='));
    if (name == "KUBECONFIG" && engine == "kubernetes") {
      out.push_back(absl::StrCat("KUBECONFIG=", AbsolutePaths(variable.substr(name.size() + 1))));
    } else if (IsForServer(name) || (engine == "kubernetes" && IsForCluster(name))) {
      out.emplace_back(variable);
    }
  }
  return out;
}

absl::StatusOr<SpawnedServer> SpawnServer(const std::string& binary, const std::string& state_dir,
                                          absl::Duration exit_when_idle, int log_fd, const std::string& engine) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  SpawnedServer child{.ready = OwnedFd(ends[0])};
  const OwnedFd write_end(ends[1]);
  constexpr int kReadyFd = 3;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, log_fd, 1);
  posix_spawn_file_actions_adddup2(&actions, log_fd, 2);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), kReadyFd);  // Clears close-on-exec, also on 3 itself.
  posix_spawn_file_actions_addchdir_np(&actions, "/");
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> words = {binary, absl::StrCat("--state-dir=", state_dir),
                                    absl::StrCat("--ready-fd=", kReadyFd),
                                    absl::StrCat("--exit-when-idle=", mayfly::FormatDuration(exit_when_idle))};
  if (!engine.empty()) words.push_back(absl::StrCat("--engine=", engine));
  if (engine == "kubernetes") {
    const auto pass = [&words](const char* variable, const char* flag) {
      const char* const value = getenv(variable);
      if (value != nullptr && *value != '\0') words.push_back(absl::StrCat(flag, value));
    };
    pass("MAYFLY_KUBE_CONTEXT", "--kube-context=");
    pass("MAYFLY_REGISTRY", "--registry=");
    pass("MAYFLY_KUBE_NAMESPACES", "--kube-namespaces=");
    const char* const relay = getenv("MAYFLY_GATE_RELAY");
    if (relay != nullptr && std::strcmp(relay, "1") == 0) words.push_back("--gate-relay");
  }
  std::vector<std::string> variables = ServerVariables(environ, engine);
  const int error = posix_spawn(&child.pid, binary.c_str(), &actions, &attributes, Pointers(words).data(),
                                Pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot start ", binary));
  return child;
}

}  // namespace mayfly
