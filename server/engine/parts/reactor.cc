#include "server/engine/parts/reactor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

constexpr int kEventsPerRound = 128;

}  // namespace

Reactor::Reactor() {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = timer_fd_;
  // Nothing can run without these two, and the process that wanted a reactor has nobody to report to yet.
  if (epoll_fd_ < 0 || timer_fd_ < 0 || epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, timer_fd_, &event) != 0) std::abort();
}

Reactor::~Reactor() {
  // What a handler owns may come back here from its destructor, and must find whole maps.
  const auto handlers = std::exchange(handlers_, {});
  const auto timers = std::exchange(timers_, {});
  due_.clear();
  close(timer_fd_);
  close(epoll_fd_);
}

absl::Status Reactor::Add(int fd, uint32_t epoll_events, Handler handler) {
  if (handlers_.contains(fd)) return absl::AlreadyExistsError(absl::StrCat("descriptor ", fd, " is watched already"));
  epoll_event event = {};
  event.events = epoll_events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    const std::string message = absl::StrCat("epoll cannot watch descriptor ", fd, ": ", strerror(error));
    if (error == ENOSPC || error == ENOMEM) return absl::ResourceExhaustedError(message);
    // Such as EEXIST for a descriptor that was closed and came back under the same number without Remove.
    return error == EEXIST ? absl::AlreadyExistsError(message) : absl::InvalidArgumentError(message);
  }
  handlers_.emplace(fd, std::make_shared<Handler>(std::move(handler)));
  return absl::OkStatus();
}

absl::Status Reactor::Modify(int fd, uint32_t epoll_events) {
  if (!handlers_.contains(fd)) return absl::NotFoundError(absl::StrCat("descriptor ", fd, " is not watched"));
  epoll_event event = {};
  event.events = epoll_events;
  event.data.fd = fd;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("epoll cannot change descriptor ", fd, ": ", strerror(errno)));
}

void Reactor::Remove(int fd) {
  const auto it = handlers_.find(fd);
  if (it == handlers_.end()) return;
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  // The handler's captures may end in a destructor that comes back here, so it dies after the map is whole again.
  const std::shared_ptr<Handler> dying = std::move(it->second);
  handlers_.erase(it);
}

Reactor::TimerId Reactor::AddTimer(absl::Duration delay, std::function<void()> fn) {
  const TimerId id = next_id_++;
  const absl::Duration due = Now() + std::max(delay, absl::ZeroDuration());
  timers_.emplace(std::make_pair(due, id), std::move(fn));
  due_.emplace(id, due);
  return id;
}

void Reactor::CancelTimer(TimerId timer) {
  const auto it = due_.find(timer);
  if (it == due_.end()) return;
  const auto entry = timers_.extract({it->second, timer});
  due_.erase(it);
}

absl::Duration Reactor::Now() const {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

void Reactor::Run() {
  stopping_ = false;
  while (!stopping_) RunOnce(absl::InfiniteDuration());
}

void Reactor::RunOnce(absl::Duration max_wait) {
  int wait_ms = -1;
  if (max_wait < absl::Hours(1)) {
    wait_ms = static_cast<int>(
        absl::ToInt64Milliseconds(absl::Ceil(std::max(max_wait, absl::ZeroDuration()), absl::Milliseconds(1))));
  }
  if (!timers_.empty() && timers_.begin()->first.first <= Now()) {
    // Setting a timer that is due makes an interrupt, which costs 15 us in a virtual machine.
    wait_ms = 0;
  } else {
    ArmTimer();
  }
  epoll_event events[kEventsPerRound];
  const int count = epoll_wait(epoll_fd_, events, kEventsPerRound, wait_ms);
  // Weak, so that what Remove dropped after the event was collected is not called, even if its number was taken anew.
  std::vector<std::pair<std::weak_ptr<Handler>, uint32_t>> round;
  round.reserve(std::max(count, 0));
  for (int i = 0; i < count; ++i) {
    const auto it = handlers_.find(events[i].data.fd);
    if (it != handlers_.end()) round.emplace_back(it->second, uint32_t{events[i].events});
  }
  for (const auto& [weak, epoll_events] : round) {
    if (const std::shared_ptr<Handler> handler = weak.lock()) (*handler)(epoll_events);
  }
  RunTimers();
}

// Once a round instead of at every change: most timers are cancelled before they are due. Setting the timer also takes
// back its readiness, so that it never needs a read.
void Reactor::ArmTimer() {
  const absl::Duration due = timers_.empty() ? absl::InfiniteDuration() : timers_.begin()->first.first;
  if (due == armed_) return;
  itimerspec spec = {};
  if (due != absl::InfiniteDuration()) spec.it_value = absl::ToTimespec(due);
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr);
  armed_ = due;
}

void Reactor::RunTimers() {
  if (timers_.empty()) return;
  // What a timer adds waits for the next round even if it is due at once, so that descriptors are not starved.
  const absl::Duration now = Now();
  const TimerId first_new = next_id_;
  while (!timers_.empty()) {
    const auto it = timers_.begin();
    const auto [due, id] = it->first;
    if (due > now || id >= first_new) break;
    const auto entry = timers_.extract(it);
    due_.erase(id);
    entry.mapped()();
  }
}

}  // namespace mayfly
