// A terminal in raw mode for as long as the object lives.
#ifndef MAYFLY_CLIENT_CLI_RAW_TERMINAL_H_
#define MAYFLY_CLIENT_CLI_RAW_TERMINAL_H_

#include <termios.h>

namespace mayfly {

// Restores what was there when it goes, and also when the process is ended by a signal or leaves by exit(). At most one
// at a time.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);  // Does nothing when `fd` is no terminal.
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

  bool active() const { return active_; }

 private:
  bool active_ = false;
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_RAW_TERMINAL_H_
