// A child process with pipes to its stdin and stdout; killed and reaped with the object.
#ifndef MAYFLY_TESTS_SUPPORT_CHILD_H_
#define MAYFLY_TESTS_SUPPORT_CHILD_H_

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

namespace mayfly {

class Child {
 public:
  // Starts `argv` (argv[0] is a path). Its stderr is the test's. A failed start shows as exit code 127.
  explicit Child(std::vector<std::string> argv);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  // The next line without its newline; "" at the end. A last line without newline is not returned.
  std::string ReadLine();
  void CloseStdin();
  void Kill(int signal = SIGKILL);
  // Waits for its end: the exit code, or 128 + the signal.
  int Wait();

 private:
  pid_t pid_ = -1;
  int stdin_ = -1;
  int stdout_ = -1;
  std::string buffer_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_CHILD_H_
