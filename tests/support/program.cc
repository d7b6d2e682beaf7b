#include "tests/support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include <chrono>
#include <csignal>
#include <cstring>

extern char** environ;

namespace mayfly {
namespace {

constexpr std::chrono::seconds kLimit(60);
using Clock = std::chrono::steady_clock;

std::vector<std::string> Environment(const std::string& folder, const std::map<std::string, std::string>& variables) {
  std::map<std::string, std::string> all = {{"HOME", folder}, {"TERM", "xterm"}, {"LANG", "C.UTF-8"}};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string key = text.substr(0, text.find('='));
    const bool ours = key.rfind("MAYFLY_", 0) == 0 || key.rfind("XDG_", 0) == 0 || key == "CI" || key == "NO_COLOR";
    if (!ours) all.try_emplace(key, text.substr(std::min(key.size() + 1, text.size())));
  }
  for (const auto& [key, value] : variables) all[key] = value;
  std::vector<std::string> out;
  for (const auto& [key, value] : all) out.push_back(key + "=" + value);
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Program::Program(const std::vector<std::string>& argv, const std::string& folder, On on,
                 const std::map<std::string, std::string>& variables) {
  std::vector<std::string> words = argv;
  std::vector<std::string> environment = Environment(folder, variables);
  std::vector<char*> argv_pointers = Pointers(words), environment_pointers = Pointers(environment);
  int out[2] = {-1, -1}, err[2] = {-1, -1};
  if (on == On::kTerminal) {
    winsize size = {24, 80, 0, 0};
    if (openpty(&out_fd_, &terminal_, nullptr, nullptr, &size) != 0) return;
    fcntl(out_fd_, F_SETFD, FD_CLOEXEC);
    fcntl(terminal_, F_SETFD, FD_CLOEXEC);
  } else {
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) return;
    out_fd_ = out[0];
    err_fd_ = err[0];
  }
  pid_ = fork();
  if (pid_ == 0) {
    if (on == On::kTerminal) {
      login_tty(dup(terminal_));
    } else {
      dup2(open("/dev/null", O_RDONLY), 0);
      dup2(out[1], 1);
      dup2(err[1], 2);
    }
    if (chdir(folder.c_str()) == 0) execve(argv_pointers[0], argv_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  if (out[1] >= 0) close(out[1]);
  if (err[1] >= 0) close(err[1]);
}

Program::~Program() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {out_fd_, err_fd_, terminal_}) {
    if (fd >= 0) close(fd);
  }
}

bool Program::ReadSome(int milliseconds) {
  pollfd fds[2] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
  if (out_fd_ < 0 && err_fd_ < 0) return false;
  poll(fds, 2, milliseconds);
  char buffer[65536];
  for (int i = 0; i < 2; ++i) {
    if (fds[i].fd < 0 || fds[i].revents == 0) continue;
    const ssize_t got = read(fds[i].fd, buffer, sizeof(buffer));
    if (got > 0) {
      (i == 0 ? out_ : err_).append(buffer, static_cast<size_t>(got));
    } else {
      int& fd = i == 0 ? out_fd_ : err_fd_;
      close(fd);
      fd = -1;
    }
  }
  return true;
}

bool Program::WaitFor(const std::string& text) {
  const auto deadline = Clock::now() + kLimit;
  while (out_.find(text) == std::string::npos && err_.find(text) == std::string::npos) {
    if (Clock::now() > deadline || !ReadSome(1000)) return false;
    // A terminal of which we hold the other side open has no end of file.
    if (terminal_ >= 0 && waitid(P_PID, static_cast<id_t>(pid_), nullptr, WEXITED | WNOHANG | WNOWAIT) != 0)
      return false;
  }
  return true;
}

void Program::Type(const std::string& text) {
  (void)!write(out_fd_, text.data(), text.size());
}

void Program::Kill(int signal) {
  kill(pid_, signal);
}

int Program::Wait() {
  const auto deadline = Clock::now() + kLimit;
  while (true) {
    siginfo_t info = {};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (info.si_pid == pid_) break;
    if (Clock::now() > deadline) kill(pid_, SIGKILL);
    if (!ReadSome(20)) break;
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  if (terminal_ >= 0) {
    // What is still on its way.
    pollfd fd = {out_fd_, POLLIN, 0};
    while (poll(&fd, 1, 0) > 0 && (fd.revents & POLLIN) != 0 && ReadSome(0)) {
    }
  } else {
    while (ReadSome(1000)) {
    }
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool Program::TerminalIsSane() const {
  termios modes = {};
  constexpr tcflag_t kNeeded = ICANON | ECHO | ISIG;
  return tcgetattr(terminal_, &modes) == 0 && (modes.c_lflag & kNeeded) == kNeeded && (modes.c_oflag & OPOST) != 0;
}

}  // namespace mayfly
