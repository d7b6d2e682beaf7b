#include "client/cli/follow.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "client/cli/live_block.h"
#include "mayfly/base/mutex.h"

namespace mayfly {
namespace {

constexpr absl::Duration kRedrawEvery = absl::Milliseconds(100);

// Hands events from the watching thread to the one that shows them.
class Mailbox {
 public:
  Mailbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  int fd() const { return fd_.get(); }

  void Put(const v1::WatchEnvironmentResponse& batch) {
    MutexLock lock(mutex_);
    for (const v1::Event& event : batch.events()) events_.push_back(event);
    eventfd_write(fd_.get(), 1);
  }
  void Close(absl::Status status) {
    MutexLock lock(mutex_);
    status_ = std::move(status);
    closed_ = true;
    eventfd_write(fd_.get(), 1);
  }
  // Takes what has come; true when nothing more will.
  bool Take(std::vector<v1::Event>& events, absl::Status& status) {
    eventfd_t count;
    eventfd_read(fd_.get(), &count);
    MutexLock lock(mutex_);
    events = std::exchange(events_, {});
    status = status_;
    return closed_;
  }

 private:
  OwnedFd fd_;
  Mutex mutex_;
  std::vector<v1::Event> events_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

class Follower {
 public:
  Follower(Session& session, const FollowRequest& request)
      : session_(session), request_(request), redraws_(!request.silent && !request.on_event && Interactive(session)) {}

  FollowResult Run(ProvisionerClient& client) {
    std::thread watcher([&] {
      v1::WatchEnvironmentRequest watch;
      watch.set_name(request_.name);
      watch.set_uid(request_.uid);
      watch.set_until_gone(request_.until_gone);
      mailbox_.Close(client.WatchEnvironment(
          watch,
          [&](const v1::WatchEnvironmentResponse& batch) {
            mailbox_.Put(batch);
            return true;
          },
          &cancel_));
    });
    FollowResult result;
    result.end = Loop(result.status);
    cancel_.Cancel();
    watcher.join();
    Redraw();
    result.progress = std::move(progress_);
    return result;
  }

 private:
  static bool Interactive(Session& session) { return session.console().interactive() && !session.console().quiet(); }

  FollowEnd Loop(absl::Status& status) {
    while (true) {
      Wait();
      if (session_.interrupts() != nullptr && session_.interrupts()->fd() >= 0) {
        pollfd stop = {session_.interrupts()->fd(), POLLIN, 0};
        if (poll(&stop, 1, 0) > 0) return FollowEnd::kInterrupted;
        session_.interrupts()->TakeResize();
      }
      std::vector<v1::Event> events;
      const bool closed = mailbox_.Take(events, status);
      for (const v1::Event& event : events) {
        if (Tell(event)) return FollowEnd::kDone;
      }
      if (closed) return status.ok() ? FollowEnd::kDone : FollowEnd::kError;
      if (absl::Now() >= request_.deadline) return FollowEnd::kTimeout;
      if (redraws_ && absl::Now() - drawn_at_ >= kRedrawEvery) Redraw();
    }
  }

  void Wait() {
    pollfd fds[3] = {{mailbox_.fd(), POLLIN, 0}, {-1, POLLIN, 0}, {-1, POLLIN, 0}};
    if (session_.interrupts() != nullptr) {
      fds[1].fd = session_.interrupts()->fd();
      fds[2].fd = session_.interrupts()->resize_fd();
    }
    absl::Duration wait = request_.deadline - absl::Now();
    if (redraws_) wait = std::min(wait, kRedrawEvery);
    wait = std::clamp(wait, absl::ZeroDuration(), absl::Hours(1));
    // One more millisecond, because the deadline itself is not rounded down.
    poll(fds, 3, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
  }

  // True when that was what the caller waits for.
  bool Tell(const v1::Event& event) {
    if (event.sequence() <= progress_.last_sequence()) return false;
    const bool news = event.sequence() > request_.told_until;
    if (request_.on_event && news) request_.on_event(event);
    // A probe's every answer is for those who ask for it; what it came to stands in the node's last line.
    const bool chatter = event.kind() == v1::Event::NOTE && !event.node().empty() && !session_.options().verbose;
    if (news && !chatter && !redraws_ && !request_.silent && !request_.on_event) {
      const std::string line = RenderEvent(progress_, event, session_.console().err());
      if (!line.empty()) session_.console().Note(line);
    }
    progress_.Apply(event);
    return request_.done && event.sequence() >= request_.told_until && request_.done(progress_);
  }

  void Redraw() {
    if (!redraws_) return;
    session_.console().MeasureAgain();
    drawn_at_ = absl::Now();
    absl::Duration offset = progress_.last_offset();
    const bool moves = progress_.state() != v1::Environment::DELETED && progress_.last_time() > absl::InfinitePast();
    if (moves) offset += std::max(absl::Now() - progress_.last_time(), absl::ZeroDuration());
    session_.console().Raw(
        block_.Draw(RenderFrame(progress_, request_.name, session_.console().err(), offset, tick_++)));
  }

  Session& session_;
  const FollowRequest& request_;
  const bool redraws_;
  Cancellation cancel_;
  Mailbox mailbox_;
  Progress progress_;
  LiveBlock block_;
  absl::Time drawn_at_ = absl::InfinitePast();
  int tick_ = 0;
};

}  // namespace

FollowResult Follow(Session& session, ProvisionerClient& client, const FollowRequest& request) {
  return Follower(session, request).Run(client);
}

}  // namespace mayfly
