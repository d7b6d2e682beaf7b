// Requests to a Kubernetes API server that answer once, tried again where that is safe and found out where it is not.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_CLIENT_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/kubernetes/client/endpoint.h"

namespace mayfly {
class Loop;
}

namespace mayfly::kube {

class Requester;

struct ApiClientOptions {
  std::string user_agent = "mayfly";
  std::string field_manager = "mayfly";
  // Annotation by which a create recognises its own object after its answer was lost. The object to be created carries
  // it, with a value that nobody else gives. Empty: an object that exists is always somebody else's.
  std::string identity_annotation;
  // Every write goes through all of the server's checks and is then not done.
  bool dry_run = false;
  absl::Duration attempt = absl::Seconds(15);            // For one request and its answer.
  absl::Duration deadline = absl::Seconds(60);           // For a call with everything that is tried again in it.
  absl::Duration first_pause = absl::Milliseconds(100);  // Doubled each time, up to:
  absl::Duration longest_pause = absl::Seconds(5);       // A Retry-After may be longer.
  int connections = 3;                                   // For calls; HTTP/2 carries 100 at a time over each.
  int stream_connections =
      4;              // For watches and logs. A server that speaks HTTP/1.1 only has no more streams than that.
  size_t page = 500;  // Objects per chunk of a list.
  size_t max_bytes = size_t{64} << 20;  // Of one answer.
  // For tests. Null: the clock of the client's threads, and a generator seeded by the system. `timers` runs its
  // functions on any thread and outlives the client; `random` gives values in [0, 1) and is called on one thread at a
  // time.
  Loop* timers = nullptr;
  std::function<double()> random;
};

struct DeleteOptions {
  std::string uid;  // Only the object with this UID; empty: whatever bears the name.
  std::optional<int64_t> grace_seconds;
  std::string propagation = "Background";  // "Background", "Foreground", "Orphan".
};

// What was sent and received for one verb, attempts that failed included.
struct VerbStats {
  uint64_t requests = 0;
  uint64_t failures = 0;  // Without an answer, or with an HTTP status from 400 on.
  uint64_t bytes_sent = 0;
  uint64_t bytes_received = 0;  // Bodies after TLS and HTTP framing.
};
// By "get", "list", "create", "apply", "patch", "delete", "deletecollection", "watch", "log".
using ClientStats = std::map<std::string, VerbStats>;

// Paths are those of the API: "/api/v1/namespaces/x/pods/y", "/apis/apps/v1/namespaces/x/deployments". Queries are the
// client's business, paths carry none.
//
// Thread-safe. `done` is called exactly once per call, on the client's thread, must not block, and may call everything
// here but destroy the client. Destroying it ends what runs with CANCELLED first; Watches and LogStreams go before it.
//
// Connection failures, 429 (after Retry-After) and 5xx are tried again with jittered pauses up to the deadline; 401
// once, with new credentials. What fails for good is a status as api_error.h says: the server's own sentence after what
// was asked, "create pods/x in ns/y: ...". Without an answer it is UNAVAILABLE, DEADLINE_EXCEEDED, UNAUTHENTICATED (TLS
// or credentials), RESOURCE_EXHAUSTED (answer too large) or INVALID_ARGUMENT, as http::Outcome has it.
class ApiClient {
 public:
  using Done = std::function<void(absl::StatusOr<nlohmann::json>)>;

  explicit ApiClient(Endpoint endpoint, ApiClientOptions options = {});
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  void Get(absl::string_view path, Done done);

  // POST to a collection. Fields that the server does not know are errors, as in every write. After an answer that was
  // lost the object is read by name: it is the success when it carries the identity annotation with the same value;
  // when it is absent it is created again; anything else is ALREADY_EXISTS. An object without a name (generateName,
  // reviews) is not tried again once it may have been created: the status then says unknown_outcome.
  void Create(absl::string_view collection, nlohmann::json object, Done done);

  // Server-side apply of a whole object under our field manager, which takes over what others own. Creates what is
  // absent: give metadata.uid to change only the object that was read before (ABORTED when it is another one).
  void Apply(absl::string_view path, nlohmann::json object, Done done);

  // PATCH with one of the API's patch types. "application/json-patch+json" is not tried again once it may have arrived
  // (unknown_outcome); the others are, because twice is as good as once.
  void Patch(absl::string_view path, absl::string_view content_type, nlohmann::json patch, Done done);

  // OK when the server has accepted the deletion or nothing is there to delete; the object may still be there for its
  // grace period and finalizers. FAILED_PRECONDITION when another object than `uid` bears the name and that was so
  // before anything of ours could have arrived.
  void Delete(absl::string_view path, DeleteOptions options, Done done);
  void DeleteCollection(absl::string_view collection, absl::string_view label_selector, DeleteOptions options,
                        Done done);

  // All objects, read in chunks; the value is one list object with all `items` and the resourceVersion to watch from.
  // A list that expires between two chunks is read again from the start.
  void List(absl::string_view collection, absl::string_view label_selector, absl::string_view field_selector,
            Done done);

  // Of this client with its watches and logs, since it was made.
  ClientStats stats() const;

  // For Watch and LogStream: what runs beside the calls, on a thread and connections of its own.
  Requester& streams() { return *streams_; }

 private:
  std::unique_ptr<Requester> calls_;
  std::unique_ptr<Requester> streams_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_API_CLIENT_H_
