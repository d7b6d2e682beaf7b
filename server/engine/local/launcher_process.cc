#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/launcher_impl.h"

namespace mayfly::local {
namespace {

absl::StatusOr<int> ThreadCount() {
  MAYFLY_ASSIGN_OR_RETURN(const std::string status, ReadSmallFile(AT_FDCWD, "/proc/self/status"));
  const size_t at = status.find("Threads:");
  return at == std::string::npos ? 1 : std::atoi(status.c_str() + at + 8);
}

// Beside the running program, if there is one.
UniqueFd OpenLauncherProgram() {
  char self[4096];
  const ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
  if (n <= 0) return UniqueFd();
  const std::string path(self, n);
  const std::string program = path.substr(0, path.rfind('/')) + "/mayfly-launcher";
  return access(program.c_str(), X_OK) == 0 ? UniqueFd(open(program.c_str(), O_PATH | O_CLOEXEC)) : UniqueFd();
}

// To be run by whoever has `program` open.
struct Command {
  Command(const LauncherOptions& options, int program, int channel)
      : path(absl::StrCat("/proc/self/fd/", program)), arguments(LauncherArguments(options, channel)) {
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
  }
  std::string path;
  std::vector<std::string> arguments;
  std::vector<char*> argv;
};

}  // namespace

std::vector<std::string> LauncherArguments(const LauncherOptions& options, int channel) {
  std::vector<std::string> arguments = {"mayfly-launcher",
                                        absl::StrCat(channel),
                                        options.state_dir,
                                        absl::StrCat(options.pool),
                                        absl::StrCat(options.pool_limit),
                                        absl::StrCat(options.slots),
                                        absl::StrCat(options.egress_to_host ? 1 : 0)};
  arguments.insert(arguments.end(), options.hidden.begin(), options.hidden.end());
  return arguments;
}

absl::StatusOr<std::pair<LauncherOptions, int>> ParseLauncherArguments(const std::vector<std::string>& arguments) {
  LauncherOptions options;
  int channel = -1, egress_to_host = 0;
  if (arguments.size() < 7 || !absl::SimpleAtoi(arguments[1], &channel) ||
      !absl::SimpleAtoi(arguments[3], &options.pool) || !absl::SimpleAtoi(arguments[4], &options.pool_limit) ||
      !absl::SimpleAtoi(arguments[5], &options.slots) || !absl::SimpleAtoi(arguments[6], &egress_to_host)) {
    return absl::InvalidArgumentError("this program is started by mayflyd");
  }
  options.state_dir = arguments[2];
  options.egress_to_host = egress_to_host != 0;
  options.hidden.assign(arguments.begin() + 7, arguments.end());
  return std::make_pair(options, channel);
}

absl::Status RestartLauncher(LauncherHandle& handle) {
  if (!handle.program.valid()) return absl::FailedPreconditionError("there is no program mayfly-launcher");
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const int channel = pair.second.get();
  const Command command(handle.options, handle.program.get(), channel);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, channel, channel);  // Keeps it over the exec.
  const int error = posix_spawn(&handle.pid, command.path.c_str(), &actions, &attributes, command.argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    handle.pid = 0;
    return ErrnoStatus(error, "starting the launcher");
  }
  handle.channel = std::move(pair.first);
  return absl::OkStatus();
}

absl::StatusOr<LauncherHandle> ForkLauncher(const LauncherOptions& options) {
  MAYFLY_RETURN_IF_ERROR(MakeDirs(options.state_dir + "/scopes", 0700));
  LauncherHandle handle;
  handle.options = options;
  handle.program = OpenLauncherProgram();
  if (const passwd* user = getpwuid(getuid()); user != nullptr && std::strcmp(user->pw_dir, "/") != 0) {
    handle.options.hidden.push_back(user->pw_dir);
  }
  if (handle.program.valid()) {
    MAYFLY_RETURN_IF_ERROR(RestartLauncher(handle));
    return handle;
  }
  MAYFLY_ASSIGN_OR_RETURN(const int threads, ThreadCount());
  if (threads != 1) return absl::FailedPreconditionError("the launcher must be forked before any thread is started");
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  handle.pid = fork();
  if (handle.pid < 0) return ErrnoStatus(errno, "fork of the launcher");
  if (handle.pid == 0) {
    CloseAllExcept({0, 1, 2, pair.second.get()});
    RunLauncher(handle.options, std::move(pair.second));
  }
  handle.channel = std::move(pair.first);
  return handle;
}

absl::Status AwaitLauncherEnd(pid_t pid) {
  const auto pidfd = OpenPidfd(pid);
  pollfd ended{pidfd.ok() ? pidfd->get() : -1, POLLIN, 0};
  if (pidfd.ok() && poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(2 * kLauncherEndLimit))) == 0) {
    return absl::DeadlineExceededError(absl::StrCat("the launcher, process ", pid, ", does not end"));
  }
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return absl::OkStatus();
}

}  // namespace mayfly::local
