// Runs one program inside a service's tree with everything taken away that a service must not have.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_EXEC_CHILD_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_EXEC_CHILD_H_

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
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

// What is ready long before the start, so that the start is a vfork and an exec.
class PreparedExec {
 public:
  PreparedExec(ExecSpec spec, const std::vector<sock_filter>* filter);
  PreparedExec(const PreparedExec&) = delete;
  PreparedExec& operator=(const PreparedExec&) = delete;

  struct Started {
    pid_t pid = 0;
    UniqueFd pidfd;
  };
  // Returns when the program runs, or has failed to: then `cause` says why, from what is on disk.
  absl::StatusOr<Started> Run(Cause* cause);

 private:
  friend int ExecChildMain(void* argument);
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
