// The writing side of one node's log (log_format.h): appends records, starts segments, removes the oldest, and counts
// what it could not write. A full disk or a folder that vanished costs output, never the process.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_LOG_FILE_H_
#define MAYFLY_SERVER_ENGINE_PARTS_LOG_FILE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/parts/log_format.h"

namespace mayfly {

// Not thread-safe; one writer per node at a time. A later one, of the node's next attempt, continues the log.
class LogFile {
 public:
  // `dir_fd`: the log folder, not owned, open for as long as this lives; the node's name was checked. At least two
  // segments.
  LogFile(int dir_fd, std::string node, int max_segments = kDefaultSegments);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Takes one record of at most kMaxRecordText bytes; it is on disk after Flush.
  void Append(uint8_t flags, absl::Time time, absl::string_view text);
  void Flush();

  // Makes the file if there is none yet, so that a node that ran and said nothing can be told from one that never ran.
  // The destructor does, too.
  void Create();

  // Bytes of output (without headers) that were lost to a disk that would not take them. Output that made way for later
  // output is not counted here: readers see that from the offsets.
  int64_t lost_bytes() const { return lost_bytes_; }

 private:
  bool Open();
  bool OpenSegment(int64_t segment);
  int64_t LastSegment() const;
  int64_t ValidLength() const;
  bool WriteBatch();

  const int dir_fd_;
  const std::string node_;
  const int max_segments_;
  int fd_ = -1;
  int64_t segment_ = -1;
  int64_t size_ = 0;        // Of the segment's file.
  std::string batch_;       // Records that fit into the segment and are not written yet.
  int64_t batch_text_ = 0;  // Bytes of output in it.
  int64_t lost_bytes_ = 0;
  int64_t unrecorded_ = 0;  // Of the lost ones, those that no kLost record tells of yet.
  absl::Time retry_ = absl::InfinitePast();
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_LOG_FILE_H_
