// Every object of one kind, kept up to date.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_WATCH_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_WATCH_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::kube {

class ApiClient;

enum class WatchEvent { kAdded, kModified, kDeleted };
absl::string_view WatchEventName(WatchEvent event);

// All on the thread of the client's streams, one at a time; none may block. They may destroy the Watch.
struct WatchCallbacks {
  // The complete state at one moment. The first thing that comes, and again whenever continuity was lost: what was
  // known before and is not in it is gone, without a kDeleted.
  std::function<void(std::vector<nlohmann::json>)> on_replace;
  // One change after it, in the server's order. An object may come again unchanged.
  std::function<void(WatchEvent, nlohmann::json)> on_event;
  // What is seen may be behind for this reason; the watch goes on trying. May be empty.
  std::function<void(const absl::Status&)> on_trouble;
};

struct WatchOptions {
  std::string collection;  // "/api/v1/pods", "/api/v1/namespaces/x/pods"
  std::string label_selector;
  std::string field_selector;
  // How long the server holds one connection of the watch, a random value between the two; a resume costs one request.
  absl::Duration shortest = absl::Minutes(5);
  absl::Duration longest = absl::Minutes(10);
  // A connection without a byte for this long is made anew: servers send bookmarks about every minute.
  absl::Duration idle = absl::Minutes(3);
  // Continue after this resourceVersion instead of listing first, for what was listed before; on_replace then comes
  // only when that version is too old.
  std::string resume_from;
};

// List and watch, for ever: bookmarks, resume from the last version seen, a new list where the server has forgotten it
// (410, also as an event), pauses with jitter after failures, and dead peers noticed.
// Create and destroy on any thread. When the destructor returns no callback runs or comes; called inside one of its own
// callbacks none comes after that one. Dies before its ApiClient.
class Watch {
 public:
  Watch(ApiClient& client, WatchOptions options, WatchCallbacks callbacks);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_WATCH_H_
