#include "server/engine/kubernetes/client/renewing_authorizer.h"

#include <sys/eventfd.h>

#include <utility>

namespace mayfly::kube {

RenewingAuthorizer::RenewingAuthorizer(Options options, std::shared_ptr<const http::Tls> tls)
    : options_(std::move(options)),
      cancel_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      tls_(std::move(tls)),
      worker_(std::make_unique<RealLoop>()) {}

RenewingAuthorizer::~RenewingAuthorizer() {
  eventfd_write(cancel_.get(), 1);
  if (worker_id_ == std::this_thread::get_id()) {
    // The last owner was a callback: the thread that it runs on cannot wait for itself. Nothing of ours is used by it
    // any more, see Renew.
    std::thread([worker = std::move(worker_)]() mutable { worker.reset(); }).detach();
  } else {
    worker_->Stop();
  }
  std::vector<Done> waiting;
  {
    MutexLock lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const Done& done : waiting) done(absl::CancelledError("mayfly is ending"));
}

void RenewingAuthorizer::Authorize(Done done) {
  std::optional<Credentials> ready;
  {
    MutexLock lock(mutex_);
    if (!renewing_ && current_ && options_.now() < renew_) {
      ready = current_;
    } else {
      waiting_.push_back(done);
      if (renewing_) return;
      renewing_ = true;
    }
  }
  if (ready) return done(*std::move(ready));
  worker_->Post([this] { Renew(); });
}

void RenewingAuthorizer::Refused(const Credentials& used) {
  MutexLock lock(mutex_);
  if (renewing_ || !current_ || used.headers != current_->headers || used.tls != current_->tls) return;
  const absl::Time now = options_.now();
  if (now < last_refusal_ + options_.refusal_pause) return;
  last_refusal_ = now;
  refused_ = true;
  renew_ = absl::InfinitePast();
}

void RenewingAuthorizer::Renew() {
  worker_id_ = std::this_thread::get_id();
  bool refused = false;
  {
    MutexLock lock(mutex_);
    refused = refused_;
  }
  absl::StatusOr<Gathered> gathered = options_.gather(cancel_.get(), refused);
  absl::StatusOr<Credentials> credentials = absl::UnknownError("");
  std::vector<Done> waiting;
  {
    MutexLock lock(mutex_);
    credentials = Take(std::move(gathered));
    renewing_ = false;
    waiting.swap(waiting_);
  }
  // From here on nothing of this object: a callback may be its end.
  for (Done& done : waiting) {
    // A status of its own for each: they go to different threads.
    if (!credentials.ok()) {
      done(absl::Status(credentials.status().code(), credentials.status().message()));
    } else {
      done(credentials);
    }
    done = nullptr;
  }
}

absl::StatusOr<Credentials> RenewingAuthorizer::Take(absl::StatusOr<Gathered> gathered) {
  if (!gathered.ok()) {
    if (!current_ || refused_ || options_.now() >= end_) return gathered.status();
    renew_ = options_.now() + options_.retry;
    return *current_;
  }
  if (tls_ == nullptr || !(*tls_ == gathered->tls)) tls_ = std::make_shared<const http::Tls>(std::move(gathered->tls));
  current_ = Credentials{std::move(gathered->headers), tls_};
  renew_ = gathered->renew;
  end_ = gathered->end;
  refused_ = false;
  return *current_;
}

}  // namespace mayfly::kube
