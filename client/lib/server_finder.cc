#include "client/lib/server_finder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/lib/files.h"
#include "client/lib/spawn_server.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

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

// Waits for one of `fds` (negative: none), for the caller to give up or for the deadline, which is what `late` says.
absl::Status WaitFor(std::initializer_list<int> fds, int cancel_fd, absl::Time deadline, absl::string_view late) {
  std::vector<pollfd> polls = {{cancel_fd, POLLIN, 0}};
  for (const int fd : fds) polls.push_back({fd, POLLIN, 0});
  while (true) {
    const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
    const int ready = poll(polls.data(), polls.size(), static_cast<int>(std::min<int64_t>(left, INT_MAX)));
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "poll");
    if (ready == 0) return absl::UnavailableError(late);
    if (ready > 0 && polls[0].revents != 0) return absl::CancelledError("interrupted");
    if (ready > 0) return absl::OkStatus();
  }
}

struct Holder {
  int64_t pid = 0;    // 0: its name is not written (yet).
  OwnedFd ended{-1};  // A pidfd: readable when it has ended.
};

// Who holds the state folder, by its lock file. NOT_FOUND: whoever it names has ended.
absl::StatusOr<Holder> FindHolder(const std::string& state_dir) {
  const auto line = ReadFile(LockFilePath(state_dir), 4096);
  const std::optional<LockHolder> named = line.ok() ? ParseLockLine(*line) : std::nullopt;
  if (!named.has_value()) return Holder();
  Holder holder;
  holder.pid = named->pid;
  // The descriptor first: from then on the number means one process.
  holder.ended = OwnedFd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(named->pid), 0)));
  // One that has ended stays in the table until its parent looks.
  pollfd ended = {holder.ended.get(), POLLIN, 0};
  if (ended.fd < 0 || poll(&ended, 1, 0) != 0 || ProcessStartTicks(named->pid) != named->start_ticks) {
    return absl::NotFoundError(absl::StrCat("process ", named->pid, " has ended"));
  }
  return holder;
}

// A process holds the state folder and does not serve: it starts or ends. Waits until it serves, which leads to its
// server, or is gone, which is nothing. `refused`: somebody holds it for certain, whatever the lock file says.
absl::StatusOr<std::optional<LocalServer>> AwaitHolder(const StartOptions& options, absl::Time deadline, bool refused) {
  const OwnedFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_add_watch(watch.get(), options.state_dir.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE) < 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot watch ", options.state_dir));
  }
  while (true) {
    if (auto server = FindServer(options.state_dir); server.ok()) return *std::move(server);
    const auto holder = FindHolder(options.state_dir);
    if (!holder.ok() || (holder->pid == 0 && !refused)) return std::nullopt;
    const std::string who = holder->pid == 0 ? "another process" : absl::StrCat("process ", holder->pid);
    MAYFLY_RETURN_IF_ERROR(
        WaitFor({watch.get(), holder->ended.get()}, options.cancel_fd, deadline,
                absl::StrCat(who, " holds the state folder ", EscapeLine(options.state_dir),
                             " and has neither served nor ended within ", mayfly::FormatDuration(options.timeout),
                             ": see server.log in it; if that process hangs, end it "
                             "(environments live on and are taken over)")));
    char buffer[4096];
    while (read(watch.get(), buffer, sizeof(buffer)) > 0) {
    }
  }
}

// One try. Nothing: another process holds the state folder.
absl::StatusOr<std::optional<LocalServer>> TryToStart(const StartOptions& options, const std::string& binary,
                                                      absl::Time deadline) {
  const std::string log = options.state_dir + "/server.log";
  const OwnedFd log_fd(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (log_fd.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot write ", log));
  const off_t log_start = lseek(log_fd.get(), 0, SEEK_END);
  MAYFLY_ASSIGN_OR_RETURN(const SpawnedServer child,
                          SpawnServer(binary, options.state_dir, options.exit_when_idle, log_fd.get(), options.engine));
  if (const absl::Status waited = WaitFor({child.ready.get()}, options.cancel_fd, deadline, "late"); !waited.ok()) {
    if (!absl::IsUnavailable(waited)) return waited;
    return absl::UnavailableError(absl::StrCat(
        "mayflyd did not serve within ", mayfly::FormatDuration(options.timeout), " and goes on trying (see ", log, ")",
        options.engine == "kubernetes" ? ": does the API server of your kubeconfig answer?" : "",
        LastWords(log, log_start)));
  }
  char line[256];
  if (read(child.ready.get(), line, sizeof(line)) > 0) {
    MAYFLY_ASSIGN_OR_RETURN(LocalServer server, FindServer(options.state_dir));
    server.started = server.pid == child.pid;
    return server;
  }
  int wait_status = 0;
  waitpid(child.pid, &wait_status, 0);
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kServerStateTaken) return std::nullopt;
  return absl::UnavailableError(
      absl::StrCat("mayflyd ended before it served (see ", log, "):", LastWords(log, log_start)));
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
  if (const auto it = fields.find("engine"); it != fields.end()) server.engine = it->second.string_value();
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
  const absl::Time deadline = absl::Now() + options.timeout;
  for (bool refused = false;; refused = true) {
    MAYFLY_ASSIGN_OR_RETURN(std::optional<LocalServer> server, AwaitHolder(options, deadline, refused));
    if (server.has_value()) return *std::move(server);
    MAYFLY_ASSIGN_OR_RETURN(server, TryToStart(options, binary, deadline));
    if (server.has_value()) return *std::move(server);
  }
}

absl::StatusOr<LocalServer> FindSettledServer(const StartOptions& options) {
  if (access(options.state_dir.c_str(), F_OK) != 0) return FindServer(options.state_dir);
  MAYFLY_ASSIGN_OR_RETURN(std::optional<LocalServer> server,
                          AwaitHolder(options, absl::Now() + options.timeout, /*refused=*/false));
  return server.has_value() ? *std::move(server) : FindServer(options.state_dir);
}

absl::Status EndServer(const StartOptions& options, const std::function<absl::Status()>& stop) {
  const auto holder = FindHolder(options.state_dir);
  MAYFLY_RETURN_IF_ERROR(stop());
  if (!holder.ok() || holder->pid == 0) return absl::OkStatus();
  return WaitFor(
      {holder->ended.get()}, options.cancel_fd, absl::Now() + options.timeout,
      absl::StrCat("the server, process ", holder->pid, ", was told to stop but has not ended within ",
                   mayfly::FormatDuration(options.timeout), ": it still holds ", EscapeLine(options.state_dir),
                   "; see server.log there, or end the process (environments live on)"));
}

}  // namespace mayfly
