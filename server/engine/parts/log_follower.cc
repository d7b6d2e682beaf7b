#include "server/engine/parts/log_follower.h"

#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "server/engine/parts/log_format.h"

namespace mayfly {

absl::StatusOr<std::unique_ptr<LogFollower>> LogFollower::Create() {
  const int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0) return std::unique_ptr<LogFollower>(new LogFollower(fd));
  if (errno == EMFILE) return absl::ResourceExhaustedError("no inotify instance left (fs.inotify.max_user_instances)");
  return ErrnoStatus(errno, "inotify");
}

LogFollower::~LogFollower() {
  close(fd_);
}

absl::StatusOr<LogFollower::WatchId> LogFollower::Watch(const std::string& log_dir, const std::string& node,
                                                        std::function<void()> on_grown) {
  MAYFLY_RETURN_IF_ERROR(CheckLogNode(node));
  // The same number comes back for a folder that is watched already.
  const int folder = inotify_add_watch(fd_, log_dir.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
  if (folder < 0) return ErrnoStatus(errno, "watching the log folder");
  const WatchId id = next_++;
  followers_[id] = {folder, SegmentName(node, 0), std::make_shared<std::function<void()>>(std::move(on_grown))};
  return id;
}

void LogFollower::Unwatch(WatchId watch) {
  const auto it = followers_.find(watch);
  if (it == followers_.end()) return;
  const int folder = it->second.folder;
  followers_.erase(it);
  for (const auto& [id, follower] : followers_) {
    if (follower.folder == folder) return;
  }
  inotify_rm_watch(fd_, folder);
}

void LogFollower::OnReadable() {
  // The same file over and over is one reason to wake.
  std::set<std::pair<int, std::string>> changed;
  alignas(inotify_event) char buffer[16 * 1024];
  const ssize_t size = read(fd_, buffer, sizeof buffer);
  for (ssize_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    at += static_cast<ssize_t>(sizeof *event + event->len);
    if (event->mask & IN_Q_OVERFLOW) {
      changed.emplace(-1, "");
    } else if (event->len > 0) {
      changed.emplace(event->wd, event->name);
    }
  }
  for (const auto& [folder, name] : changed) Wake(folder, name);
}

void LogFollower::Wake(int folder, const std::string& name) {
  std::vector<WatchId> concerned;
  for (const auto& [id, follower] : followers_) {
    if (folder >= 0 && follower.folder != folder) continue;
    // The first segment, or one of its successors: "web.log", "web.log.7".
    absl::string_view rest = name;
    const bool same = name.empty() || (absl::ConsumePrefix(&rest, follower.prefix) && (rest.empty() || rest[0] == '.'));
    if (same) concerned.push_back(id);
  }
  for (const WatchId id : concerned) {
    const auto it = followers_.find(id);
    if (it == followers_.end()) continue;
    const auto on_grown = it->second.on_grown;
    (*on_grown)();
  }
}

}  // namespace mayfly
