// An Authorizer whose credentials are gathered by a function that may take its time, on a thread of its own.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RENEWING_AUTHORIZER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RENEWING_AUTHORIZER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/base/mutex.h"
#include "server/base/real_loop.h"
#include "server/base/unique_fd.h"
#include "server/engine/kubernetes/client/endpoint.h"

namespace mayfly::kube {

// Thread-safe. May be destroyed anywhere, from a callback of its own, too.
class RenewingAuthorizer final : public Authorizer {
 public:
  struct Gathered {
    http::Headers headers;
    http::Tls tls;
    absl::Time renew = absl::InfiniteFuture();  // When to gather again.
    absl::Time end = absl::InfiniteFuture();    // From when on they are worth nothing.
  };
  struct Options {
    // May wait; returns soon once the descriptor becomes readable. `refused`: what it gave last was refused. Never
    // called twice at a time.
    std::function<absl::StatusOr<Gathered>(int cancel_fd, bool refused)> gather;
    std::function<absl::Time()> now;
    absl::Duration refusal_pause;  // At least this long between two renewals that refusals ask for.
    // What could not be renewed is used on until its end, unless it was refused, and tried again after this.
    absl::Duration retry;
  };

  // `tls` is what gathered credentials start from: as long as they bring the same, it is that pointer.
  RenewingAuthorizer(Options options, std::shared_ptr<const http::Tls> tls);
  ~RenewingAuthorizer() override;

  void Authorize(Done done) override;
  void Refused(const Credentials& used) override;

 private:
  void Renew();
  absl::StatusOr<Credentials> Take(absl::StatusOr<Gathered> gathered) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  UniqueFd cancel_;
  std::atomic<std::thread::id> worker_id_;

  Mutex mutex_;
  std::shared_ptr<const http::Tls> tls_ ABSL_GUARDED_BY(mutex_);
  std::optional<Credentials> current_ ABSL_GUARDED_BY(mutex_);
  absl::Time renew_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time end_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool refused_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_refusal_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool renewing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<RealLoop> worker_;
};

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_RENEWING_AUTHORIZER_H_
