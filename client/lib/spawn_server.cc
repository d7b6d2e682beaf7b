#include "client/lib/spawn_server.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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

std::vector<std::string> ServerVariables(char* const* variables) {
  std::vector<std::string> out;
  for (; *variables != nullptr; ++variables) {
    const absl::string_view variable = *variables;
    if (IsForServer(variable.substr(0, variable.find('=')))) out.emplace_back(variable);
  }
  return out;
}

absl::StatusOr<SpawnedServer> SpawnServer(const std::string& binary, const std::string& state_dir,
                                          absl::Duration exit_when_idle, int log_fd) {
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
  std::vector<std::string> variables = ServerVariables(environ);
  const int error = posix_spawn(&child.pid, binary.c_str(), &actions, &attributes, Pointers(words).data(),
                                Pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot start ", binary));
  return child;
}

}  // namespace mayfly
