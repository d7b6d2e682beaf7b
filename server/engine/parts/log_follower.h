// Wakes followers of logs when there is more to read, so that nobody polls. One inotify descriptor for all of them: a
// user has few of those.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_LOG_FOLLOWER_H_
#define MAYFLY_SERVER_ENGINE_PARTS_LOG_FOLLOWER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace mayfly {

// Not thread-safe. The descriptor is readable when something may have grown; then OnReadable calls whom it concerns.
//   reactor.Add(follower->fd(), EPOLLIN, [&](uint32_t) { follower->OnReadable(); });
class LogFollower {
 public:
  using WatchId = uint64_t;

  // RESOURCE_EXHAUSTED when the user has no inotify instance left.
  static absl::StatusOr<std::unique_ptr<LogFollower>> Create();
  ~LogFollower();
  LogFollower(const LogFollower&) = delete;
  LogFollower& operator=(const LogFollower&) = delete;

  int fd() const { return fd_; }

  // Calls `on_grown` whenever the node's log may have grown, also once for many lines and now and then for none. Watch
  // first and read then: what comes in between is told. NOT_FOUND when the folder does not exist; a log that does not
  // exist yet is told when it appears. `on_grown` may call Watch and Unwatch.
  absl::StatusOr<WatchId> Watch(const std::string& log_dir, const std::string& node, std::function<void()> on_grown);
  // After it returns, `on_grown` is not called again. Unknown ids are ignored.
  void Unwatch(WatchId watch);

  void OnReadable();

 private:
  struct Follower {
    int folder = 0;
    std::string prefix;
    std::shared_ptr<std::function<void()>> on_grown;
  };
  explicit LogFollower(int fd) : fd_(fd) {}
  // Everybody of this folder (any: -1) whom a change of the file `name` (any: empty) concerns.
  void Wake(int folder, const std::string& name);

  const int fd_;
  WatchId next_ = 1;
  std::map<WatchId, Follower> followers_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_LOG_FOLLOWER_H_
