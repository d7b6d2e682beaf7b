// A plain HTTP proxy in front of an API server that fails in the ways networks and servers fail, as a test tells it.
#ifndef MAYFLY_TESTS_SUPPORT_FAULT_PROXY_H_
#define MAYFLY_TESTS_SUPPORT_FAULT_PROXY_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "server/http/client.h"
#include "tests/support/http_server.h"

namespace mayfly {

struct Fault {
  enum class Kind {
    kNone,
    kReset,       // Before anything is passed on.
    kLoseAnswer,  // Passed on and carried out; then a reset.
    kRefuse,      // Answered with `status`, nothing passed on.
    kLie,         // Passed on and carried out; answered with `status`.
    kSlow,        // Passed on after `delay`, unless the client has given up by then.
    kSlowAnswer,  // Passed on at once, answered after `delay`.
    kCut,         // A stream: reset after `bytes`; another request: the answer is cut off there.
    kGoneEvent,   // A watch: answered with an ERROR event of 410.
  };
  Kind kind = Kind::kNone;
  int status = 503;
  int retry_after = -1;  // Seconds, with kRefuse; none when negative.
  absl::Duration delay;
  size_t bytes = 0;
};

class FaultProxy {
 public:
  // Asked for each request, on any thread, one at a time.
  using Plan = std::function<Fault(const HttpRequest&)>;

  // What was passed on and answered by the server itself.
  struct Passed {
    std::string method;
    std::string target;
    std::string body;
    int status = 0;
    std::string answer;  // Empty for streams.
  };

  explicit FaultProxy(kube::Endpoint upstream);
  ~FaultProxy();

  // The proxy's own address, to be used without credentials.
  kube::Endpoint endpoint() const;
  void SetPlan(Plan plan);  // Empty: no faults.
  // Nothing goes through: requests wait, streams stand still. When it is lifted everything that waited is reset.
  void SetPartition(bool on);
  // Resets every stream that runs, the way a proxy that restarts does.
  void CutStreams();

  int requests() const;  // That came, faults and streams included.
  int streams() const;   // That run.
  std::vector<Passed> passed() const;

 private:
  struct Relay;
  void Handle(HttpExchange& exchange);
  // False when the exchange was ended instead of being let through.
  bool Hold(HttpExchange& exchange);
  void PassOn(HttpExchange& exchange, const Fault& fault);
  void PassStream(HttpExchange& exchange, const Fault& fault);
  http::Request Outgoing(const HttpRequest& request) const;

  const kube::Endpoint upstream_;
  http::Client http_;

  mutable Mutex mutex_;
  Plan plan_ ABSL_GUARDED_BY(mutex_);
  bool partition_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<HttpExchange*> held_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Relay>> relays_ ABSL_GUARDED_BY(mutex_);
  std::vector<Passed> passed_ ABSL_GUARDED_BY(mutex_);
  int requests_ ABSL_GUARDED_BY(mutex_) = 0;

  HttpServer server_;  // Last: its handlers use all of the above.
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAULT_PROXY_H_
