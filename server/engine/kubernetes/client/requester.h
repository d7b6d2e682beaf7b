// One request to the API server with all its attempts, and streams; what ApiClient, Watch and LogStream stand on.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_REQUESTER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_REQUESTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/base/loop.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/http/client.h"

namespace mayfly::kube {

struct ApiCall {
  std::string verb;  // Of ClientStats.
  std::string what;  // "create pods/x in ns/y", for messages.
  std::string method = "GET";
  std::string target;  // Path and query.
  std::string content_type;
  std::string body;
  // May be put again although an earlier attempt may have arrived.
  bool repeatable = true;
  // When the last attempt ends, by Requester::Now().
  absl::Duration deadline;
  // Attempts made before this call, for the length of pauses; the first waits when there were some.
  int earlier = 0;
};

struct ApiReply {
  absl::StatusOr<std::string> body;  // Of an answer below 400.
  // An attempt other than the one that `body` answers may have been carried out.
  bool maybe_done = false;
};

struct StreamCall {
  std::string verb;
  std::string what;
  std::string target;
  absl::Duration deadline = absl::InfiniteDuration();
  absl::Duration idle = absl::InfiniteDuration();
};

struct StreamEnd {
  absl::Status status;         // OK: the server ended its answer properly.
  absl::Duration retry_after;  // As the server asked; zero when it did not.
};

// Thread-safe where nothing else is said; callbacks run on the thread of `loop()`.
class Requester {
 public:
  Requester(Endpoint endpoint, const ApiClientOptions& options, int connections);
  ~Requester();  // Ends what runs with CANCELLED first.
  Requester(const Requester&) = delete;
  Requester& operator=(const Requester&) = delete;

  void Call(ApiCall call, std::function<void(ApiReply)> done);

  // An answer without end. No second attempts; statuses from 400 on end it with what the server said. On the thread
  // only; `on_open` is called once the server has answered below 400.
  uint64_t Open(StreamCall call, std::function<void()> on_open, std::function<void(absl::string_view)> on_data,
                std::function<void(StreamEnd)> on_end);
  // Nothing of the stream is called any more. On the thread only.
  void Close(uint64_t stream);

  // Runs `fn` on the thread, `delay` from now by the injected clock; never once the Requester is gone.
  void After(absl::Duration delay, std::function<void()> fn);
  // The pause before attempt `earlier` + 1, with jitter.
  absl::Duration Pause(int earlier);
  double Random();
  absl::Duration Now() const { return timers_.Monotonic(); }
  Loop& loop() { return http_->loop(); }
  void RunAndWait(const std::function<void()>& fn) { http_->RunAndWait(fn); }
  const ApiClientOptions& options() const { return options_; }
  void AddTo(ClientStats& stats) const;

 private:
  struct Flight;
  struct Stream;
  // Lets threads that are not ours reach the loop for as long as it is there.
  class Door;

  void Try(const std::shared_ptr<Flight>& flight);
  void Put(const std::shared_ptr<Flight>& flight, absl::StatusOr<Credentials> credentials);
  void OnOutcome(const std::shared_ptr<Flight>& flight, const http::Outcome& outcome);
  void OnAnswer(const std::shared_ptr<Flight>& flight, const http::Response& response);
  void Again(const std::shared_ptr<Flight>& flight, absl::Status why, absl::Duration retry_after);
  void Finish(const std::shared_ptr<Flight>& flight, absl::StatusOr<std::string> body);
  void Connect(uint64_t id, absl::StatusOr<Credentials> credentials);
  void EndStream(uint64_t id, absl::Status status);
  http::Request Prepare(absl::string_view target, const Credentials& credentials) const;
  void Count(const std::string& verb, uint64_t requests, uint64_t failures, uint64_t sent, uint64_t received);

  const Endpoint endpoint_;
  const ApiClientOptions options_;
  std::shared_ptr<Door> door_;
  std::unique_ptr<http::Client> http_;
  Loop& timers_;

  // Of the thread alone.
  std::map<uint64_t, std::shared_ptr<Flight>> flights_;
  std::map<uint64_t, std::shared_ptr<Stream>> streams_;
  uint64_t last_id_ = 0;
  bool closing_ = false;

  mutable Mutex mutex_;
  ClientStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_REQUESTER_H_
