#include "server/engine/kubernetes/client/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/base/unique_fd.h"

namespace mayfly::kube {
namespace {

constexpr size_t kKeptErrors = 4096;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  Pipe made = {UniqueFd(fds[0]), UniqueFd(fds[1])};
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return made;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// What the program inherits, and what not.
class Setup {
 public:
  Setup(int out, int err) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, out, 1);
    posix_spawn_file_actions_adddup2(&actions_, err, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    sigset_t signals;
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
  }
  ~Setup() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// A started program; killed with its session and reaped by End.
class Running {
 public:
  Running(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  ~Running() { End(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  int pidfd() const { return pidfd_.get(); }

  // Its exit code. Until it is reaped here, its number, which is its session's and group's too, belongs to nobody else.
  int End() {
    if (std::exchange(ended_, true)) return exit_code_;
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);  // Until it has made its session, there is no such group.
    siginfo_t info = {};
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
    }
    exit_code_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    return exit_code_;
  }

 private:
  const pid_t pid_;
  const UniqueFd pidfd_;
  bool ended_ = false;
  int exit_code_ = 0;
};

// Reads what is there; false at the end of the pipe.
bool Drain(int fd, std::string& into, size_t keep_last, size_t most) {
  char buffer[16 * 1024];
  while (into.size() <= most) {
    const ssize_t size = read(fd, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN;
    if (size == 0) return false;
    into.append(buffer, static_cast<size_t>(size));
    if (keep_last > 0 && into.size() > keep_last) into.erase(0, into.size() - keep_last);
  }
  return true;
}

int MillisecondsUntil(std::chrono::steady_clock::time_point end) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& command, const std::string& path) {
  bool forbidden = false;
  const auto runs = [&forbidden](const std::string& file) {
    struct stat info;
    if (stat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
    if (access(file.c_str(), X_OK) == 0) return true;
    forbidden = true;
    return false;
  };
  if (absl::StrContains(command, "/")) {
    if (runs(command)) return command;
  } else {
    for (absl::string_view folder : absl::StrSplit(path, ':', absl::SkipEmpty())) {
      // A relative folder would run what lies wherever the server was started.
      if (!absl::StartsWith(folder, "/")) continue;
      std::string file = absl::StrCat(folder, "/", command);
      if (runs(file)) return file;
    }
  }
  const std::string shown = EscapeLine(command);
  if (forbidden) return absl::PermissionDeniedError(absl::StrCat(shown, " may not be executed"));
  return absl::NotFoundError(absl::StrContains(command, "/") ? absl::StrCat(shown, " does not exist")
                                                             : absl::StrCat(shown, " is not in PATH"));
}

absl::StatusOr<SpawnResult> RunProgram(const SpawnRequest& request) {
  MAYFLY_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  MAYFLY_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  const std::string shown = EscapeLine(request.argv[0]);
  const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(request.deadline);
  pid_t pid = -1;
  {
    const Setup setup(out.write.get(), err.write.get());
    const int error = posix_spawn(&pid, request.argv[0].c_str(), setup.actions(), setup.attributes(),
                                  Pointers(request.argv).data(), Pointers(request.env).data());
    if (error != 0) return ErrnoStatus(error, absl::StrCat(shown, " cannot be started"));
  }
  out.write.reset();
  err.write.reset();
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  const int pidfd_error = errno;
  Running running(pid, std::move(pidfd));
  if (running.pidfd() < 0) return ErrnoStatus(pidfd_error, "pidfd_open");
  SpawnResult result;
  while (true) {
    pollfd fds[] = {{running.pidfd(), POLLIN, 0},
                    {out.read.get(), POLLIN, 0},
                    {err.read.get(), POLLIN, 0},
                    {request.cancel_fd, POLLIN, 0}};
    const int ready = poll(fds, 4, MillisecondsUntil(end));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return ErrnoStatus(errno, "poll");
    if (ready == 0) {
      return absl::DeadlineExceededError(
          absl::StrCat(shown, " did not end within ", HumanDuration(request.deadline), " and was killed"));
    }
    if (fds[3].revents != 0) return absl::CancelledError(absl::StrCat(shown, " was killed: mayfly is ending"));
    if (fds[1].revents != 0 && !Drain(out.read.get(), result.out, 0, request.max_output)) out.read.reset();
    if (fds[2].revents != 0 && !Drain(err.read.get(), result.err, kKeptErrors, kKeptErrors)) err.read.reset();
    if (result.out.size() > request.max_output) {
      return absl::ResourceExhaustedError(absl::StrCat(
          shown, " printed more than ", HumanSize(static_cast<int64_t>(request.max_output)), " and was killed"));
    }
    if (fds[0].revents != 0) break;
  }
  // Whatever it started may hold the pipes open for ever: what is in them now is what it printed.
  if (out.read.valid()) Drain(out.read.get(), result.out, 0, request.max_output);
  if (err.read.valid()) Drain(err.read.get(), result.err, kKeptErrors, kKeptErrors);
  result.exit_code = running.End();
  return result;
}

}  // namespace mayfly::kube
