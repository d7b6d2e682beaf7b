// Captures what one attempt of a node prints: takes the reading ends of its stdout and stderr, stamps every line, keeps
// it in the node's log, and tells whoever waits for a line.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_LOG_WRITER_H_
#define MAYFLY_SERVER_ENGINE_PARTS_LOG_WRITER_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/parts/log_file.h"
#include "server/engine/parts/reactor.h"

namespace mayfly {

// Not thread-safe. Reads at most 32 KiB of each stream per turn of the reactor, so that a service which prints without
// end delays others by some ten microseconds a turn, and is itself held back by its full pipe.
class LogWriter {
 public:
  struct Options {
    int dir_fd = -1;   // The log folder; not owned, outlives this.
    std::string node;  // INVALID_ARGUMENT when it is no node's name.
    int max_segments = kDefaultSegments;
    // Every line without its end, at most 16 KiB of it, whatever the bytes; a line that has waited 100 ms for its end
    // is told as it is, and again when it is complete. Must not destroy the writer.
    std::function<void(absl::string_view line, bool stderr_stream)> on_line;
    // Both streams have ended: nobody holds their writing ends any more. Once; may destroy the writer.
    std::function<void()> on_end;
  };

  // Takes over both descriptors (either may be -1), also when it fails, and makes them non-blocking. Fails only for a
  // bad name or a reactor that cannot watch them; a log that cannot be written is not a failure (see lost_bytes).
  static absl::StatusOr<std::unique_ptr<LogWriter>> Create(Reactor& reactor, Options options, int stdout_fd,
                                                           int stderr_fd);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Takes output that came another way than through a pipe; for a writer made without descriptors.
  void Feed(absl::string_view bytes, bool stderr_stream);

  // Reads what is in the pipes now (at most 1 MiB of each), and writes everything, lines without an end too. Call it
  // when the process has exited, before Tail: its last words may not have been read. Does not call on_end.
  void Drain();

  // The latest lines, oldest first, stderr and stdout as they came; at most 100, each cut at 1 KiB. Untrusted bytes.
  std::vector<std::string> Tail(size_t count = 100) const;

  bool ended() const { return streams_[0].fd < 0 && streams_[1].fd < 0; }
  int64_t lost_bytes() const { return file_.lost_bytes(); }

 private:
  struct Stream {
    int fd = -1;
    bool is_stderr = false;
    std::string line;    // The line that has no end yet.
    size_t written = 0;  // How much of it is in the log already.
    Reactor::TimerId timer = 0;
  };

  LogWriter(Reactor& reactor, Options options);
  absl::Status Watch(Stream& stream, int fd);
  // False at the end of the stream or when nothing is there now.
  bool Read(Stream& stream);
  void Take(Stream& stream, absl::string_view bytes);
  void EndLine(Stream& stream, absl::Time now);
  void WritePartial(Stream& stream);
  void Close(Stream& stream);
  void Remember(absl::string_view line);
  void EndWhenBothDid();

  Reactor& reactor_;
  Options options_;
  LogFile file_;
  Reactor::TimerId create_timer_ = 0;
  Stream streams_[2];
  std::deque<std::string> tail_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_LOG_WRITER_H_
