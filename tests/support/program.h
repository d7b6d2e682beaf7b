// A program as a user runs it: with its two outputs apart, or on a terminal of its own.
#ifndef MAYFLY_TESTS_SUPPORT_PROGRAM_H_
#define MAYFLY_TESTS_SUPPORT_PROGRAM_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace mayfly {

class Program {
 public:
  enum class On { kPipes, kTerminal };

  // Starts argv[0] (a path) in `folder` with HOME there, the given variables on top, and nothing of MAYFLY_*, XDG_*,
  // CI. On a terminal (80 x 24) both outputs are one stream, found in out().
  Program(const std::vector<std::string>& argv, const std::string& folder, On on,
          const std::map<std::string, std::string>& variables = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads until `text` stands in out() or err(). False when the program ended, or after 60 s, without it.
  bool WaitFor(const std::string& text);
  void Type(const std::string& text);  // To its terminal.
  void Kill(int signal);
  // Its exit code, or 128 + the signal; all output has been read then. Kills it after 60 s.
  int Wait();

  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }
  // The terminal is as it was before the program: lines, echo, signals.
  bool TerminalIsSane() const;

 private:
  bool ReadSome(int milliseconds);  // False at the end of both.

  pid_t pid_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  int terminal_ = -1;  // The side of the program, held open so that its modes can be read afterwards.
  std::string out_;
  std::string err_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_PROGRAM_H_
