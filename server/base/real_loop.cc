#include "server/base/real_loop.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "absl/time/clock.h"

namespace mayfly {
namespace {

int64_t NowNs() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return int64_t{ts.tv_sec} * 1000000000 + ts.tv_nsec;
}

}  // namespace

RealLoop::RealLoop() : thread_([this] { Run(); }) {}

RealLoop::~RealLoop() {
  Stop();
}

void RealLoop::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  // Destroyed outside the lock: a function's captures may post from their destructors.
  std::map<Key, std::function<void()>> unrun;
  {
    MutexLock lock(mutex_);
    unrun.swap(queue_);
    due_.clear();
  }
}

void RealLoop::Post(std::function<void()> fn) {
  Add(NowNs(), std::move(fn));
}

TimerId RealLoop::PostAfter(absl::Duration delay, std::function<void()> fn) {
  if (delay > absl::Hours(24 * 3650)) delay = absl::Hours(24 * 3650);
  return Add(NowNs() + std::max<int64_t>(0, absl::ToInt64Nanoseconds(delay)), std::move(fn));
}

TimerId RealLoop::Add(int64_t due_ns, std::function<void()> fn) {
  MutexLock lock(mutex_);
  if (stopping_) return 0;
  const TimerId id = next_id_++;
  // What was posted first and is due runs first, even when the clock has not moved on.
  const bool first = queue_.empty() || Key{due_ns, id} < queue_.begin()->first;
  queue_.emplace(Key{due_ns, id}, std::move(fn));
  due_.emplace(id, due_ns);
  if (first) wake_.NotifyOne();
  return id;
}

void RealLoop::Cancel(TimerId timer) {
  std::function<void()> unrun;
  MutexLock lock(mutex_);
  const auto it = due_.find(timer);
  if (it == due_.end()) return;
  const auto entry = queue_.find(Key{it->second, timer});
  unrun = std::move(entry->second);
  queue_.erase(entry);
  due_.erase(it);
}

absl::Duration RealLoop::Monotonic() const {
  return absl::Nanoseconds(NowNs());
}

absl::Time RealLoop::Wall() const {
  return absl::Now();
}

void RealLoop::Run() {
  while (true) {
    std::function<void()> fn;
    {
      MutexLock lock(mutex_);
      while (!stopping_) {
        if (queue_.empty()) {
          wake_.Wait(mutex_);
          continue;
        }
        const int64_t due = queue_.begin()->first.first;
        if (due <= NowNs()) break;
        // steady_clock is CLOCK_MONOTONIC here.
        wake_.WaitUntil(mutex_, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(due)));
      }
      if (stopping_) return;
      auto entry = queue_.begin();
      fn = std::move(entry->second);
      due_.erase(entry->first.second);
      queue_.erase(entry);
    }
    fn();
  }
}

}  // namespace mayfly
