// One server per state folder: a lock file that the kernel lets go of when its holder dies, whatever way.
#ifndef MAYFLY_SERVER_STORE_STATE_LOCK_H_
#define MAYFLY_SERVER_STORE_STATE_LOCK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mayfly {

// Held until destroyed. The file <state_dir>/lock stays; it names the holder for people and for messages, the lock on
// it is what counts.
class StateLock {
 public:
  // Makes the folder as MakePrivateDir does. FAILED_PRECONDITION when another process holds it: the message has its
  // pid, when it was started and what to do. Does not wait.
  static absl::StatusOr<std::unique_ptr<StateLock>> Acquire(const std::string& state_dir);
  ~StateLock();
  StateLock(const StateLock&) = delete;
  StateLock& operator=(const StateLock&) = delete;

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_STATE_LOCK_H_
