// Tells when files in a folder grow, so that following a log costs nothing while nothing is written.
#ifndef MAYFLY_SERVER_API_FOLDER_WATCH_H_
#define MAYFLY_SERVER_API_FOLDER_WATCH_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/base/mutex.h"
#include "server/base/unique_fd.h"

namespace mayfly::api {

// inotify and one thread for all watches of the server. Thread-safe; must outlive its watches.
class FolderWatcher {
 public:
  // Unregisters when destroyed; once that returns, the function is not running and will not.
  class Watch {
   public:
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    friend class FolderWatcher;
    Watch(FolderWatcher* owner, int64_t id) : owner_(owner), id_(id) {}
    FolderWatcher* const owner_;
    const int64_t id_;
  };

  FolderWatcher();
  ~FolderWatcher();
  FolderWatcher(const FolderWatcher&) = delete;
  FolderWatcher& operator=(const FolderWatcher&) = delete;

  // `changed` is called on the watcher's thread after files in `folder` were made, written, moved or removed; many
  // changes may be one call. It must not block. RESOURCE_EXHAUSTED when the host's limit of watches is reached,
  // NOT_FOUND without the folder.
  absl::StatusOr<std::unique_ptr<Watch>> Add(const std::string& folder, std::function<void()> changed);

 private:
  struct Entry {
    int descriptor;
    std::function<void()> changed;
  };
  void Remove(int64_t id);
  void Run();

  UniqueFd inotify_;
  UniqueFd stop_;
  Mutex mutex_;
  int64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<int64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_FOLDER_WATCH_H_
