// Reads what LogWriter wrote, while it is written and long afterwards.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_LOG_READER_H_
#define MAYFLY_SERVER_ENGINE_PARTS_LOG_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "mayfly/engine/interactive.h"

namespace mayfly {

// Thread-safe: it has no state. Never waits; follow with LogFollower.
class LogReader final : public LogSource {
 public:
  // As LogSource says. An offset that another call did not return is moved on to the next record; one past the end
  // comes back as the end. Offsets outlive the removal of old output: reading goes on with the oldest that is left, and
  // `dropped_bytes` tells how much log lay between, plus what the disk did not take. A line of several records is put
  // together up to 64 KiB. INVALID_ARGUMENT for a negative offset or what is no node's name; NOT_FOUND when the node
  // never ran. Links in the log folder are not followed. At least one line comes back if there is one, whatever
  // `max_bytes`.
  absl::StatusOr<Chunk> ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                int64_t max_bytes) override;
};

// The offset from which about the last `lines` lines can be read, for showing the end of a long log: exact within the
// last segment (1 MiB), its beginning when it holds fewer. Errors as ReadLog.
absl::StatusOr<int64_t> OffsetOfLastLines(const std::string& log_dir, const std::string& node, int64_t lines);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_LOG_READER_H_
