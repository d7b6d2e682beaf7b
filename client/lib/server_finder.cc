#include "client/lib/server_finder.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/lib/files.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

extern char** environ;

namespace mayfly {
namespace {

std::string FromEnvironment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// Whether somebody accepts on the socket: a file that is left over refuses.
bool Answers(const std::string& socket_path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.empty() || socket_path.size() >= sizeof(address.sun_path)) return false;
  memcpy(address.sun_path, socket_path.data(), socket_path.size());
  const OwnedFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) return false;
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return true;
  return errno == EAGAIN || errno == EINPROGRESS;  // A full backlog is somebody, too.
}

std::string ServerBinary() {
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
  if (length > 0) {
    const std::filesystem::path beside =
        std::filesystem::path(std::string(self, static_cast<size_t>(length))).parent_path() / "mayflyd";
    if (access(beside.c_str(), X_OK) == 0) return beside;
  }
  for (absl::string_view folder : absl::StrSplit(FromEnvironment("PATH"), ':')) {
    const std::string candidate = absl::StrCat(folder, "/mayflyd");
    if (!folder.empty() && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

// The last lines that the server wrote since `from`, as one line.
std::string LastWords(const std::string& log, off_t from) {
  const OwnedFd fd(open(log.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return "";
  const off_t size = lseek(fd.get(), 0, SEEK_END);
  std::string tail(static_cast<size_t>(std::min<off_t>(std::max<off_t>(size - from, 0), 4096)), '\0');
  const ssize_t got = pread(fd.get(), tail.data(), tail.size(), size - static_cast<off_t>(tail.size()));
  tail.resize(got > 0 ? static_cast<size_t>(got) : 0);
  std::vector<std::string> lines = absl::StrSplit(tail, '\n', absl::SkipWhitespace());
  if (lines.size() > 3) lines.erase(lines.begin(), lines.end() - 3);
  std::string out;
  for (const std::string& line : lines) absl::StrAppend(&out, "\n  ", EscapeLine(line));
  return out;
}

struct Child {
  pid_t pid = -1;
  OwnedFd ready;  // One line when it serves; end of file when it is gone.
};

absl::StatusOr<Child> Spawn(const std::string& binary, const StartOptions& options, int log_fd) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  Child child{.ready = OwnedFd(ends[0])};
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
  std::vector<std::string> words = {binary, absl::StrCat("--state-dir=", options.state_dir),
                                    absl::StrCat("--ready-fd=", kReadyFd),
                                    absl::StrCat("--exit-when-idle=", mayfly::FormatDuration(options.exit_when_idle))};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int error = posix_spawn(&child.pid, binary.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("cannot start ", binary));
  return child;
}

// Waits for `fd` or for the caller to give up. OK: `fd` is readable.
absl::Status WaitFor(int fd, int cancel_fd, absl::Time deadline, absl::string_view what) {
  while (true) {
    pollfd fds[2] = {{fd, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
    const int ready = poll(fds, cancel_fd < 0 ? 1 : 2, static_cast<int>(std::min<int64_t>(left, INT_MAX)));
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "poll");
    if (ready > 0 && cancel_fd >= 0 && fds[1].revents != 0) return absl::CancelledError("interrupted");
    if (ready > 0 && fds[0].revents != 0) return absl::OkStatus();
    if (ready == 0) return absl::UnavailableError(absl::StrCat(what, " in time"));
  }
}

// Another process is about to serve the same state folder: waits until its server.json leads to it.
absl::StatusOr<LocalServer> WaitForOther(const StartOptions& options, absl::Time deadline) {
  const OwnedFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_add_watch(watch.get(), options.state_dir.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE) < 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot watch ", options.state_dir));
  }
  while (true) {
    if (auto server = FindServer(options.state_dir); server.ok()) return server;
    MAYFLY_RETURN_IF_ERROR(
        WaitFor(watch.get(), options.cancel_fd, deadline, "the other server on this state folder did not serve"));
    char buffer[4096];
    while (read(watch.get(), buffer, sizeof(buffer)) > 0) {
    }
  }
}

}  // namespace

absl::StatusOr<std::string> StateDir(absl::string_view flag) {
  std::string dir(flag);
  if (dir.empty()) dir = FromEnvironment("MAYFLY_STATE_DIR");
  if (dir.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(dir, DefaultStateDir());
  }
  std::error_code error;
  std::string absolute = std::filesystem::absolute(dir, error).lexically_normal().string();
  if (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
  return absolute;
}

absl::StatusOr<LocalServer> FindServer(const std::string& state_dir) {
  const auto text = ReadFile(ServerFilePath(state_dir), 1 << 16);
  if (!text.ok()) return absl::NotFoundError(absl::StrCat("no server runs on ", state_dir));
  google::protobuf::Struct json;
  if (!google::protobuf::util::JsonStringToMessage(*text, &json).ok()) {
    return absl::NotFoundError(absl::StrCat(ServerFilePath(state_dir), " is not readable"));
  }
  const auto& fields = json.fields();
  LocalServer server;
  if (const auto it = fields.find("socket"); it != fields.end()) server.socket = it->second.string_value();
  if (const auto it = fields.find("version"); it != fields.end()) server.version = it->second.string_value();
  if (const auto it = fields.find("pid"); it != fields.end())
    server.pid = static_cast<int64_t>(it->second.number_value());
  if (!Answers(server.socket)) return absl::NotFoundError(absl::StrCat("no server runs on ", state_dir));
  return server;
}

absl::StatusOr<LocalServer> FindOrStartServer(const StartOptions& options) {
  if (auto server = FindServer(options.state_dir); server.ok()) return server;
  const std::string binary = options.binary.empty() ? ServerBinary() : options.binary;
  if (binary.empty()) {
    return absl::NotFoundError(
        "there is no mayflyd beside this program or in PATH: install it, or name a running "
        "server with --server");
  }
  MAYFLY_RETURN_IF_ERROR(MakePrivateDir(options.state_dir));
  const std::string log = options.state_dir + "/server.log";
  const OwnedFd log_fd(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (log_fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", log));
  const off_t log_start = lseek(log_fd.get(), 0, SEEK_END);
  const absl::Time deadline = absl::Now() + options.timeout;
  MAYFLY_ASSIGN_OR_RETURN(const Child child, Spawn(binary, options, log_fd.get()));
  MAYFLY_RETURN_IF_ERROR(WaitFor(child.ready.get(), options.cancel_fd, deadline, "mayflyd did not serve"));
  char line[256];
  if (read(child.ready.get(), line, sizeof(line)) > 0) {
    MAYFLY_ASSIGN_OR_RETURN(LocalServer server, FindServer(options.state_dir));
    server.started = server.pid == child.pid;
    return server;
  }
  int wait_status = 0;
  waitpid(child.pid, &wait_status, 0);
  const bool lost_the_race = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kServerStateTaken;
  if (lost_the_race) return WaitForOther(options, deadline);
  return absl::UnavailableError(
      absl::StrCat("mayflyd ended before it served (see ", log, "):", LastWords(log, log_start)));
}

}  // namespace mayfly
