// Runs one program inside a service's tree with everything taken away that a service must not have.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_EXEC_CHILD_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_EXEC_CHILD_H_

#include <linux/filter.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mayfly/base/cause.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct ExecSpec {
  std::vector<std::string> argv;
  std::map<std::string, std::string> variables;  // Complete.
  std::string workdir;                           // Absolute, inside.
  int stdio[3] = {-1, -1, -1};
  bool terminal = false;   // stdio[0] becomes the controlling terminal.
  int64_t data_bytes = 0;  // RLIMIT_DATA; 0: none.
  int64_t processes = 0;   // RLIMIT_NPROC; 0: none.
};

struct ExecAttempt;

// A child that shares the caller's memory and descriptors, has given up everything that a service must not have, and
// sleeps until it is told what to execute. That much less is left between a start and the program's first instruction.
// The caller must not run anything that it does not trust in its pid namespace meanwhile.
class WaitingChild {
 public:
  // In the service's tree as it is at that time; mounts that come later are seen. Null when there is none to be had.
  static std::unique_ptr<WaitingChild> Make(const std::vector<sock_filter>* filter);
  ~WaitingChild();
  WaitingChild(const WaitingChild&) = delete;
  WaitingChild& operator=(const WaitingChild&) = delete;

  pid_t pid() const { return pid_; }

 private:
  friend class PreparedExec;
  enum State : uint32_t { kPreparing, kWaiting, kTold, kFailed };

  explicit WaitingChild(const std::vector<sock_filter>* filter);
  static int Main(void* self);
  void Tell(ExecAttempt* attempt);  // Returns when it has executed or ended.
  void AwaitOwnMemory();

  const std::vector<sock_filter>* filter_;
  std::unique_ptr<char[]> stack_;
  std::atomic<uint32_t> state_{kPreparing};
  std::atomic<uint32_t> shares_{1};  // Cleared by the kernel when it no longer shares our memory.
  ExecAttempt* attempt_ = nullptr;
  pid_t pid_ = 0;
  UniqueFd pidfd_;
};

// What is ready long before the start, so that the start is a vfork and an exec, or with a WaitingChild an exec.
class PreparedExec {
 public:
  PreparedExec(ExecSpec spec, const std::vector<sock_filter>* filter);
  PreparedExec(const PreparedExec&) = delete;
  PreparedExec& operator=(const PreparedExec&) = delete;

  struct Started {
    pid_t pid = 0;
    UniqueFd pidfd;
  };
  // Returns when the program runs, or has failed to: then `cause` says why, from what is on disk. In `child`, which is
  // used up, or for nullptr in a new one.
  absl::StatusOr<Started> Run(Cause* cause, std::unique_ptr<WaitingChild> child = nullptr);

 private:
  Cause Explain(int error, const std::string& step) const;

  ExecSpec spec_;
  const std::vector<sock_filter>* filter_;
  std::vector<std::string> candidates_;
  std::vector<std::string> environment_;
  std::vector<char*> argv_, envp_;
};

// Variables that every process has unless the spec says otherwise.
std::map<std::string, std::string> WithDefaultVariables(std::map<std::string, std::string> variables);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_EXEC_CHILD_H_
