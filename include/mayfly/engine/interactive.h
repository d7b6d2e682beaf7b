// Optional interfaces of an engine, apart from the contract that orchestration needs: captured output, commands inside,
// connections to ports that are not exposed, and files of finished jobs. An engine that has none of them is still an
// engine; callers ask by pointer and say "not supported by this engine" for nullptr.
#ifndef MAYFLY_ENGINE_INTERACTIVE_H_
#define MAYFLY_ENGINE_INTERACTIVE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/engine/engine.h"

namespace mayfly {

struct LogLine {
  absl::Time time;
  std::string text;  // Without the line end. Untrusted.
  bool stderr_stream = false;
};

class LogSource {
 public:
  virtual ~LogSource() = default;

  // The captured output of a node from byte `offset` of its log on, at most `max_bytes`; works while it runs and after
  // teardown, as long as the scope's log folder exists. `next_offset` continues; `end` is true when nothing more is
  // there now. NOT_FOUND when the node never ran.
  struct Chunk {
    std::vector<LogLine> lines;
    int64_t next_offset = 0;
    bool end = false;
    int64_t dropped_bytes = 0;  // Lost to the log's bound before `lines`.
  };
  virtual absl::StatusOr<Chunk> ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                        int64_t max_bytes) = 0;
};

// A byte stream to something inside a scope: a command's terminal, or a connection to a port. Closing is destroying it.
//
// Neither side may fill the other's memory: what comes stops at `window` bytes until they are given back by Taken, and
// is then held up at its source; who writes waits for on_written before it reads much more from its own source.
class Stream {
 public:
  struct Callbacks {
    std::function<void(std::string bytes, bool stderr_stream)> on_data;  // Any thread.
    std::function<void(absl::Status status, int exit_code)> on_close;    // Once, last.
    // So many bytes of Write were handed on, or are dropped because nobody reads them any more. Optional. Any thread.
    std::function<void(size_t bytes)> on_written;
    size_t window = 0;  // 0: no limit. By the last chunk it may be exceeded, and by what is left when a command ends.
  };
  virtual ~Stream() = default;
  virtual void Write(std::string bytes) = 0;
  // So many bytes of on_data are no longer held.
  virtual void Taken(size_t bytes) = 0;
  virtual void CloseWrite() = 0;
  virtual void Resize(int columns, int rows) = 0;
};

struct ExecRequest {
  NodeRef node;
  std::vector<std::string> argv;
  bool terminal = false;
  int columns = 80;
  int rows = 24;
};

class Execer {
 public:
  virtual ~Execer() = default;
  // Runs a command beside a running node: its file system, network, variables and limits.
  virtual absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) = 0;
};

class Connector {
 public:
  virtual ~Connector() = default;
  // A TCP connection to `port` of a node, as port-forward needs it.
  virtual absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& node, int port,
                                                          Stream::Callbacks callbacks) = 0;
};

class FileCollector {
 public:
  virtual ~FileCollector() = default;
  // Copies `paths` (files or folders, relative to the node's working directory) of an exited node that is not yet torn
  // down into `destination`. Follows no link out of the working directory; stops at `max_bytes` with
  // RESOURCE_EXHAUSTED, keeping what was copied. Calls `done` on any thread.
  virtual void Collect(const NodeRef& node, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
                       std::function<void(absl::Status)> done) = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_ENGINE_INTERACTIVE_H_
