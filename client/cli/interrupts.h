// Ctrl-C and SIGTERM as something to wait for beside other things.
#ifndef MAYFLY_CLIENT_CLI_INTERRUPTS_H_
#define MAYFLY_CLIENT_CLI_INTERRUPTS_H_

#include "client/lib/files.h"

namespace mayfly {

// From its construction on SIGINT, SIGTERM and SIGWINCH are blocked in this thread and those it starts, and come
// through the descriptors instead. Construct before the first thread. A program started by posix_spawn gets its mask
// reset by whoever starts it.
class Interrupts {
 public:
  Interrupts();

  int fd() const { return stop_.get(); }           // Readable: SIGINT or SIGTERM is there.
  int resize_fd() const { return resize_.get(); }  // Readable: the terminal changed its size.

  // Takes the next SIGINT or SIGTERM; 0 when there is none. Never blocks.
  int Take();
  void TakeResize();
  // Waits up to `milliseconds` for a SIGINT or SIGTERM; 0 when none came.
  int WaitFor(int milliseconds);

 private:
  OwnedFd stop_;
  OwnedFd resize_;
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_INTERRUPTS_H_
