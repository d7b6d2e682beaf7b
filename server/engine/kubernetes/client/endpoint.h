// Where an API server is and how to prove oneself to it. Made from a kubeconfig, from a pod's service account, or by
// hand; the client asks no more than this.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_ENDPOINT_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/message.h"

namespace mayfly::kube {

// What one request carries to be let in. Never logged.
struct Credentials {
  http::Headers headers;                 // "authorization", "impersonate-user", ...
  std::shared_ptr<const http::Tls> tls;  // In place of the endpoint's, for credentials that bring a client certificate
                                         // or a re-read CA; null: the endpoint's. Give the same pointer while nothing
                                         // changes: connections are shared between equal values only.
};

// Gives credentials for each request. Thread-safe.
class Authorizer {
 public:
  using Done = std::function<void(absl::StatusOr<Credentials>)>;
  virtual ~Authorizer() = default;

  // Calls `done` exactly once, inline or later, on any thread. Must not block: what takes time (an exec plugin, a slow
  // file) happens on a thread of the authorizer's own, and waiting calls share one run of it. Errors are for users and
  // final for this request; UNAVAILABLE is tried again.
  virtual void Authorize(Done done) = 0;

  // The server answered 401 to a request with `used`. Credentials that have been replaced since are kept; else the next
  // Authorize gets new ones where there is a way to get them. The client tries such a request once more.
  virtual void Refused(const Credentials& used) = 0;
};

// The same headers for ever; none at all where the client certificate says who we are.
class FixedAuthorizer : public Authorizer {
 public:
  explicit FixedAuthorizer(http::Headers headers = {});
  void Authorize(Done done) override;
  void Refused(const Credentials& used) override;

 private:
  const http::Headers headers_;
};

struct Endpoint {
  std::string server;                    // "https://10.0.0.1:6443", with a path where a gateway serves under one.
  std::shared_ptr<const http::Tls> tls;  // Null: trust of the system, no client certificate.
  std::string proxy;                     // URL of a proxy; empty: none.
  std::shared_ptr<Authorizer> authorizer = std::make_shared<FixedAuthorizer>();
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_ENDPOINT_H_
