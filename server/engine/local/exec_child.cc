#include "server/engine/local/exec_child.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace mayfly::local {
namespace {

constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr rlim_t kOpenFiles = 65536;

constexpr size_t kStackBytes = 64 * 1024;

void SetLimit(__rlimit_resource resource, rlim_t value) {
  rlimit limit;
  if (getrlimit(resource, &limit) != 0) return;
  limit.rlim_max = std::min(limit.rlim_max, value);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(resource, &limit);
}

bool DropPrivileges(const std::vector<sock_filter>& filter) {
  for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; ++cap) {
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capset, &header, data) != 0) return false;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  sock_fprog program{static_cast<unsigned short>(filter.size()), const_cast<sock_filter*>(filter.data())};
  return program.len == 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Everything that does not depend on what will be executed. The step that failed; nullptr: none.
// Only what is safe between vfork and exec, here and in all that follows: the memory, and with it every lock, is the
// parent's.
const char* GiveUpRights(const std::vector<sock_filter>& filter) {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  if (setsid() < 0) return "setsid";
  if (chroot("/root") != 0 || chdir("/") != 0) return "chroot";
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (oom >= 0 && write(oom, "500", 3) < 0) errno = 0;
  if (oom >= 0) close(oom);
  umask(022);
  SetLimit(RLIMIT_CORE, 0);
  SetLimit(RLIMIT_NOFILE, kOpenFiles);
  return DropPrivileges(filter) ? nullptr : "dropping privileges";
}

long Futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* limit = nullptr) {
  return syscall(SYS_futex, word, operation, value, limit, nullptr, 0);
}

}  // namespace

// Shared between the child and its parent, which sleeps until the exec.
struct ExecAttempt {
  const ExecSpec* spec;
  const std::vector<sock_filter>* filter;
  const std::vector<std::string>* candidates;
  char* const* argv;
  char* const* envp;
  int error = 0;
  const char* step = "";
};

namespace {

int Fail(ExecAttempt* attempt, const char* step) {
  attempt->error = errno;
  attempt->step = step;
  _exit(127);
}

int Execute(ExecAttempt* attempt) {
  const ExecSpec& spec = *attempt->spec;
  // Unshared: a waiting child has had the parent's descriptors, also those that came while it slept.
  syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC);
  if (spec.terminal) ioctl(spec.stdio[0], TIOCSCTTY, 0);
  // Above 2 first: one of the sources may itself be 0, 1 or 2.
  int moved[3];
  for (int i = 0; i < 3; ++i) moved[i] = fcntl(spec.stdio[i], F_DUPFD_CLOEXEC, 3);
  for (int i = 0; i < 3; ++i) {
    if (dup2(moved[i], i) < 0) return Fail(attempt, "standard streams");
  }
  if (chdir(spec.workdir.empty() ? "/" : spec.workdir.c_str()) != 0) return Fail(attempt, "workdir");
  if (spec.data_bytes > 0) SetLimit(RLIMIT_DATA, static_cast<rlim_t>(spec.data_bytes));
  if (spec.processes > 0) SetLimit(RLIMIT_NPROC, static_cast<rlim_t>(spec.processes));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int worst = ENOENT;
  for (const std::string& candidate : *attempt->candidates) {
    execve(candidate.c_str(), attempt->argv, attempt->envp);
    // As execvp: an unusable file further back in PATH may hide a usable one.
    if (errno != ENOENT && errno != ENOTDIR) worst = errno;
    if (errno == ENOENT && access(candidate.c_str(), F_OK) == 0) worst = ELIBBAD;
  }
  errno = worst;
  return Fail(attempt, "exec");
}

int VforkedMain(void* argument) {
  auto* attempt = static_cast<ExecAttempt*>(argument);
  if (const char* step = GiveUpRights(*attempt->filter); step != nullptr) return Fail(attempt, step);
  return Execute(attempt);
}

// All signals are blocked in the child until it executes.
pid_t Clone(int (*main)(void*), char* stack_end, int flags, void* argument, int* pidfd, void* shares) {
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &old);
  const pid_t pid = clone(main, stack_end, CLONE_VM | CLONE_PIDFD | SIGCHLD | flags, argument, pidfd, nullptr, shares);
  const int error = errno;
  sigprocmask(SIG_SETMASK, &old, nullptr);
  errno = error;
  return pid;
}

}  // namespace

WaitingChild::WaitingChild(const std::vector<sock_filter>* filter)
    : filter_(filter), stack_(std::make_unique_for_overwrite<char[]>(kStackBytes)) {}

std::unique_ptr<WaitingChild> WaitingChild::Make(const std::vector<sock_filter>* filter) {
#ifdef __SANITIZE_THREAD__
  // A second thread of control with the first one's thread state, which TSan keeps its locks in. The child of a vfork
  // never runs beside its parent.
  return nullptr;
#endif
  std::unique_ptr<WaitingChild> child(new WaitingChild(filter));
  int pidfd = -1;
  char* const end = child->stack_.get() + kStackBytes;
  child->pid_ = Clone(&WaitingChild::Main, end - reinterpret_cast<uintptr_t>(end) % 16,
                      CLONE_FILES | CLONE_CHILD_CLEARTID, child.get(), &pidfd, &child->shares_);
  if (child->pid_ < 0) return nullptr;
  child->pidfd_ = UniqueFd(pidfd);
  // Until it sleeps: two at work in one memory would write each other's errno. It needs microseconds, unless it was
  // killed.
  const timespec limit{1, 0};
  while (child->state_ == kPreparing && Futex(&child->state_, FUTEX_WAIT_PRIVATE, kPreparing, &limit) == 0) {
  }
  if (child->state_ != kWaiting) return nullptr;
  return child;
}

WaitingChild::~WaitingChild() {
  if (pid_ <= 0) return;
  SignalPidfd(pidfd_.get(), SIGKILL).IgnoreError();
  AwaitOwnMemory();
}

int WaitingChild::Main(void* self) {
  auto* child = static_cast<WaitingChild*>(self);
  const bool ready = GiveUpRights(*child->filter_) == nullptr;
  child->state_ = ready ? kWaiting : kFailed;
  Futex(&child->state_, FUTEX_WAKE_PRIVATE, 1);
  if (!ready) _exit(127);
  while (child->state_ != kTold) Futex(&child->state_, FUTEX_WAIT_PRIVATE, kWaiting);
  return Execute(child->attempt_);
}

void WaitingChild::Tell(ExecAttempt* attempt) {
  attempt_ = attempt;
  state_ = kTold;
  Futex(&state_, FUTEX_WAKE_PRIVATE, 1);
  AwaitOwnMemory();
}

// The kernel's wake-up is not a private one.
void WaitingChild::AwaitOwnMemory() {
  while (shares_ != 0) Futex(&shares_, FUTEX_WAIT, 1);
}

std::map<std::string, std::string> WithDefaultVariables(std::map<std::string, std::string> variables) {
  variables.try_emplace("PATH", kDefaultPath);
  variables.try_emplace("HOME", "/home/app");
  variables.try_emplace("USER", "app");
  variables.try_emplace("LOGNAME", "app");
  variables.try_emplace("LANG", "C.UTF-8");
  return variables;
}

PreparedExec::PreparedExec(ExecSpec spec, const std::vector<sock_filter>* filter)
    : spec_(std::move(spec)), filter_(filter) {
  const std::string& program = spec_.argv[0];
  if (program.find('/') != std::string::npos) {
    candidates_.push_back(program);
  } else {
    for (const absl::string_view folder : absl::StrSplit(spec_.variables["PATH"], ':', absl::SkipEmpty())) {
      candidates_.push_back(absl::StrCat(folder, "/", program));
    }
  }
  for (const auto& [name, value] : spec_.variables) environment_.push_back(absl::StrCat(name, "=", value));
  for (std::string& word : spec_.argv) argv_.push_back(word.data());
  for (std::string& variable : environment_) envp_.push_back(variable.data());
  argv_.push_back(nullptr);
  envp_.push_back(nullptr);
}

absl::StatusOr<PreparedExec::Started> PreparedExec::Run(Cause* cause, std::unique_ptr<WaitingChild> child) {
  ExecAttempt attempt{&spec_, filter_, &candidates_, argv_.data(), envp_.data()};
  Started started;
  if (child != nullptr) {
    child->Tell(&attempt);
    started = Started{std::exchange(child->pid_, 0), std::move(child->pidfd_)};
  } else {
    alignas(16) static char stack[kStackBytes];
#ifdef __SANITIZE_ADDRESS__
    // The child before left its frames here without returning from them, and ASan their red zones.
    __asan_unpoison_memory_region(stack, sizeof(stack));
#endif
    int pidfd = -1;
    const pid_t pid = Clone(VforkedMain, stack + sizeof(stack), CLONE_VFORK, &attempt, &pidfd, nullptr);
    if (pid < 0) {
      *cause = Explain(errno, "fork");
      return absl::ResourceExhaustedError(cause->message);
    }
    started = Started{pid, UniqueFd(pidfd)};
  }
  if (attempt.error == 0) return started;
  *cause = Explain(attempt.error, attempt.step);
  return absl::FailedPreconditionError(cause->message);
}

Cause PreparedExec::Explain(int error, const std::string& step) const {
  Cause cause;
  const std::string& program = spec_.argv[0];
  const std::string reason = std::strerror(error);
  if (step == "workdir") {
    cause.code = CauseCode::kStartFailed;
    cause.message = absl::StrCat("working directory ", spec_.workdir, ": ", reason);
    return cause;
  }
  if (step != "exec") {
    cause.code = step == "fork" ? CauseCode::kHostLimit : CauseCode::kStartFailed;
    cause.message = absl::StrCat("cannot start ", program, ": ", step, ": ", reason);
    return cause;
  }
  if (error == ENOENT) {
    cause.code = CauseCode::kCommandNotFound;
    cause.message =
        program.find('/') != std::string::npos
            ? absl::StrCat("no file ", program, absl::StartsWith(program, "/") ? "" : " in " + spec_.workdir)
            : absl::StrCat("no program '", program, "' in PATH");
    return cause;
  }
  cause.code = CauseCode::kNotExecutable;
  cause.message = absl::StrCat(program, " cannot be executed: ", reason);
  for (const std::string& candidate : candidates_) {
    const std::string path = absl::StartsWith(candidate, "/") ? candidate : absl::StrCat(spec_.workdir, "/", candidate);
    const auto head = ReadSmallFile(AT_FDCWD, "/root" + path, 256);
    if (error == ELIBBAD && head.ok() && absl::StartsWith(*head, "#!")) {
      const std::string line = head->substr(2, head->find('\n') - 2);
      cause.message = absl::StrCat(program, " needs the interpreter ", absl::StripLeadingAsciiWhitespace(line),
                                   ", which is not here");
    } else if (error == ELIBBAD) {
      cause.message = absl::StrCat(program, " needs a loader that is not here (built for another system?)");
    } else if (error == ENOEXEC) {
      cause.message = absl::StrCat(program, " is not a program for this machine, nor a script that begins with #!");
    } else if (error == EACCES) {
      cause.message =
          absl::StrCat(program, " may not be executed: the execute permission is missing, or it is a folder");
    }
  }
  return cause;
}

}  // namespace mayfly::local
