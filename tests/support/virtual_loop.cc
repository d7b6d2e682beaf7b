#include "tests/support/virtual_loop.h"

#include <algorithm>

namespace mayfly {

TimerId VirtualLoop::PostAfter(absl::Duration delay, std::function<void()> fn) {
  const TimerId id = next_id_++;
  const absl::Duration due = now_ + std::max(delay, absl::ZeroDuration());
  queue_.emplace(std::make_pair(due, id), std::move(fn));
  due_.emplace(id, due);
  return id;
}

void VirtualLoop::Cancel(TimerId timer) {
  const auto it = due_.find(timer);
  if (it == due_.end()) return;
  queue_.erase({it->second, timer});
  due_.erase(it);
}

bool VirtualLoop::RunNext(absl::Duration until) {
  if (queue_.empty() || queue_.begin()->first.first > until) return false;
  auto entry = queue_.begin();
  now_ = std::max(now_, entry->first.first);
  std::function<void()> fn = std::move(entry->second);
  due_.erase(entry->first.second);
  queue_.erase(entry);
  fn();
  return true;
}

int VirtualLoop::RunReady() {
  int ran = 0;
  while (RunNext(now_)) ++ran;
  return ran;
}

void VirtualLoop::Advance(absl::Duration duration) {
  const absl::Duration end = now_ + duration;
  while (RunNext(end)) {
  }
  now_ = end;
}

bool VirtualLoop::RunUntilIdle(absl::Duration limit) {
  const absl::Duration end = now_ + limit;
  while (RunNext(end)) {
  }
  return queue_.empty();
}

}  // namespace mayfly
