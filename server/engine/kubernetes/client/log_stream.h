// What a container prints, line by line, without gaps or repeats when the connection breaks.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LOG_STREAM_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LOG_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly::kube {

class ApiClient;

struct LogOptions {
  std::string kube_namespace;
  std::string pod;
  std::string container;  // Empty: the pod's only one.
  bool follow = true;     // False: what is there now.
  bool previous = false;  // Of the instance before the last restart; not followed.
  absl::Time since = absl::InfinitePast();
  std::optional<int64_t> tail_lines;    // Of what is there at the start; infinite when absent.
  size_t max_line = size_t{256} << 10;  // Longer lines come in pieces.
};

// On the thread of the client's streams, one at a time; none may block. They may destroy the LogStream.
struct LogCallbacks {
  // The time at which the container runtime read the line, and the line without its end. Untrusted bytes.
  std::function<void(absl::Time, absl::string_view)> on_line;
  // The last callback. OK: the container has ended and all of its lines have come. NOT_FOUND: no such pod.
  // INVALID_ARGUMENT: the container has not started, or which one is meant is not said; others as of ApiClient.
  std::function<void(const absl::Status&)> on_end;
  // The connection broke and is being made again. May be empty.
  std::function<void(const absl::Status&)> on_trouble;
};

// Breaks are resumed at the time of the last line, for as long as the server can be reached again within the client's
// deadline; lines that come twice are told by their time and dropped. A container that restarts is followed on.
// Threads and lifetime are those of Watch.
class LogStream {
 public:
  LogStream(ApiClient& client, LogOptions options, LogCallbacks callbacks);
  ~LogStream();
  LogStream(const LogStream&) = delete;
  LogStream& operator=(const LogStream&) = delete;

 private:
  class State;
  std::shared_ptr<State> state_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LOG_STREAM_H_
