#include "server/app/lifetime.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly::app {
namespace {

absl::Duration Monotonic() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace

Lifetime::Lifetime() : stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

void Lifetime::Stop() {
  eventfd_write(stop_.get(), 1);
}

void Lifetime::EndWhen(int fd, std::function<std::string()> reason) {
  watched_ = fd;
  watch_reason_ = std::move(reason);
}

std::string Lifetime::Wait(const Idle& idle) {
  absl::Duration last_busy = Monotonic();
  while (true) {
    int timeout = -1;
    if (idle.after < absl::InfiniteDuration()) {
      // Nothing tells when the last connection ends, so this looks now and then: four times in what it waits for.
      const absl::Duration look = std::clamp(idle.after / 4, absl::Milliseconds(10), absl::Seconds(15));
      timeout = static_cast<int>(absl::ToInt64Milliseconds(look));
    }
    pollfd polls[] = {{signals_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}, {watched_, POLLIN, 0}};
    poll(polls, 3, timeout);
    signalfd_siginfo info{};
    if (polls[0].revents != 0 && read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      return absl::StrCat("signal ", info.ssi_signo, " of process ", info.ssi_pid);
    }
    if (polls[1].revents != 0) return "a client asked";
    if (polls[2].revents != 0) {
      if (std::string reason = watch_reason_(); !reason.empty()) return reason;
    }
    if (timeout < 0) continue;
    last_busy = std::max(last_busy, idle.last_activity());
    if (!idle.now()) last_busy = Monotonic();
    if (Monotonic() - last_busy >= idle.after) return "idle";
  }
}

}  // namespace mayfly::app
