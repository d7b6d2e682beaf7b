// A Stream (mayfly/engine/interactive.h) over descriptors: the outer ends of a command's pipes or terminal, or one end
// of a connection. The inner ends were passed to whoever runs the command or joins them with a port.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_FD_STREAM_H_
#define MAYFLY_SERVER_ENGINE_PARTS_FD_STREAM_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "mayfly/engine/interactive.h"
#include "server/engine/parts/reactor.h"

namespace mayfly {

struct FdStreamOptions {
  enum class Kind {
    kPipes,     // `input` is closed by CloseWrite.
    kTerminal,  // `output` is the outer end, for input too; CloseWrite types Ctrl-D, Resize resizes it.
    kSocket,  // `output` is the socket, for input too; CloseWrite shuts that direction down. Ends with the connection.
  };
  Kind kind = Kind::kPipes;
  int input = -1;  // kPipes only; may be -1.
  int output = -1;
  int error = -1;                                   // kPipes only; may be -1.
  Reactor* reactor = nullptr;                       // Not owned; outlives what is posted.
  std::function<void(std::function<void()>)> post;  // Runs a function on the reactor's thread, in order. Thread-safe.
  std::function<void()> on_abandoned;               // On the reactor's thread: the stream was destroyed before its end.
};

struct StartedStream {
  // Thread-safe as Stream demands. What it was told to write waits in at most 8 MiB; a writer that does not wait for
  // on_written before it writes more ends it with RESOURCE_EXHAUSTED.
  std::unique_ptr<Stream> stream;
  // To be called on the reactor's thread when the command has ended, or could not be run: what it still has printed is
  // read, then on_close is called with this. Also after the stream's end, when it does nothing. A socket needs it for
  // failures only: its own end is on_close with OK and 0.
  std::function<void(absl::Status status, int exit_code)> finish;
};

// Takes over the descriptors and makes them non-blocking. The callbacks run on the reactor's thread, on_close last and
// once, and none of them after the stream's destructor was called on that thread; at most 32 KiB a turn are read.
StartedStream StartFdStream(FdStreamOptions options, Stream::Callbacks callbacks);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_FD_STREAM_H_
