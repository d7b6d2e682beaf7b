#include "server/engine/parts/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

#include "mayfly/base/status.h"

namespace mayfly {

absl::StatusOr<Terminal> OpenTerminal(int columns, int rows, const char* ptmx) {
  Terminal terminal;
  terminal.outer = open(ptmx, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (terminal.outer < 0) return ErrnoStatus(errno, "opening a terminal");
  const int unlocked = 0;
  // Not by the path that ptsname gives: it may mean another devpts, or nothing, here.
  if (ioctl(terminal.outer, TIOCSPTLCK, &unlocked) != 0 ||
      (terminal.inner = ioctl(terminal.outer, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
    const int error = errno;
    close(terminal.outer);
    return ErrnoStatus(error, "opening a terminal's other end");
  }
  ResizeTerminal(terminal.outer, columns, rows).IgnoreError();
  return terminal;
}

absl::Status ResizeTerminal(int fd, int columns, int rows) {
  winsize size = {};
  size.ws_col = static_cast<unsigned short>(std::clamp(columns, 1, 1000));
  size.ws_row = static_cast<unsigned short>(std::clamp(rows, 1, 1000));
  if (ioctl(fd, TIOCSWINSZ, &size) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError("not a terminal");
}

int TakeTerminal(int inner) {
  // Fails for a group leader, which has a session of its own already.
  setsid();
  return ioctl(inner, TIOCSCTTY, 0) == 0 ? 0 : errno;
}

}  // namespace mayfly
