#include "server/run/event_logs.h"

#include <algorithm>
#include <utility>

namespace mayfly {
namespace {

// In memory per live environment; a watcher that is further behind reads from the store.
constexpr size_t kKept = 4096;

}  // namespace

class EventLogs::Log {
 public:
  Log(std::string uid, Store* store, int64_t last_sequence, bool finished)
      : uid_(std::move(uid)), store_(store), last_(last_sequence), finished_(finished) {}

  void Append(std::vector<Event> events) {
    MutexLock lock(mutex_);
    for (Event& event : events) {
      last_ = event.sequence;
      events_.push_back(std::make_shared<const SharedEvent>(SharedEvent{std::move(event), nullptr}));
    }
    while (events_.size() > kKept) events_.pop_front();
    WakeAll();
  }

  void Finish() {
    MutexLock lock(mutex_);
    finished_ = true;
    WakeAll();
  }

  // Wakes happen under the mutex: that is what makes the end of a subscription final.
  void Add(Subscription* subscription) {
    MutexLock lock(mutex_);
    Arm(subscription);
    if (!Due(*subscription)) return;
    Disarm(subscription);
    WakeOne(subscription);
  }
  void Remove(Subscription* subscription) {
    MutexLock lock(mutex_);
    Disarm(subscription);
  }

  std::vector<std::shared_ptr<const SharedEvent>> Read(Subscription* subscription, int limit);

  bool Finished(int64_t position) {
    MutexLock lock(mutex_);
    return finished_ && position >= last_;
  }

 private:
  bool Due(const Subscription& subscription) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Arm(Subscription* subscription) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Disarm(Subscription* subscription) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeOne(Subscription* subscription);
  // All who are armed and due.
  void WakeAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string uid_;
  Store* const store_;
  Mutex mutex_;
  std::deque<std::shared_ptr<const SharedEvent>> events_ ABSL_GUARDED_BY(mutex_);
  int64_t last_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_);
  // In no order; a subscription knows its place, so that 1,000 of them come and go at no cost.
  std::vector<Subscription*> armed_ ABSL_GUARDED_BY(mutex_);
};

class EventLogs::Subscription final : public EventSubscription {
 public:
  Subscription(std::shared_ptr<Log> log, int64_t after, std::function<void()> wake)
      : log_(std::move(log)), position_(after), wake_(std::move(wake)) {
    log_->Add(this);
  }
  ~Subscription() override { log_->Remove(this); }

  std::vector<std::shared_ptr<const SharedEvent>> Read(int limit) override { return log_->Read(this, limit); }
  bool finished() override { return log_->Finished(position_); }

 private:
  friend class Log;
  const std::shared_ptr<Log> log_;
  int64_t position_;  // Guarded by the log's mutex while armed.
  int place_ = -1;    // In armed_, -1 when it is not there. Guarded by the log's mutex.
  const std::function<void()> wake_;
};

bool EventLogs::Log::Due(const Subscription& subscription) const {
  return subscription.position_ < last_ || finished_;
}

void EventLogs::Log::Arm(Subscription* subscription) {
  if (subscription->place_ >= 0) return;
  subscription->place_ = static_cast<int>(armed_.size());
  armed_.push_back(subscription);
}

void EventLogs::Log::Disarm(Subscription* subscription) {
  if (subscription->place_ < 0) return;
  armed_.back()->place_ = subscription->place_;
  armed_[subscription->place_] = armed_.back();
  armed_.pop_back();
  subscription->place_ = -1;
}

void EventLogs::Log::WakeOne(Subscription* subscription) {
  subscription->wake_();
}

void EventLogs::Log::WakeAll() {
  std::vector<Subscription*> armed;
  armed.swap(armed_);
  for (Subscription* subscription : armed) subscription->place_ = -1;
  for (Subscription* subscription : armed) {
    if (Due(*subscription)) {
      WakeOne(subscription);
    } else {
      Arm(subscription);
    }
  }
}

std::vector<std::shared_ptr<const SharedEvent>> EventLogs::Log::Read(Subscription* subscription, int limit) {
  std::vector<std::shared_ptr<const SharedEvent>> out;
  const auto take = [&](std::shared_ptr<const SharedEvent> event) {
    subscription->position_ = event->event.sequence;
    out.push_back(std::move(event));
  };
  // Older events first, from the store and without the lock: what is durable there never changes.
  while (true) {
    int64_t first;
    {
      MutexLock lock(mutex_);
      first = events_.empty() ? last_ + 1 : events_.front()->event.sequence;
    }
    const int64_t missing =
        std::min<int64_t>(first - 1 - subscription->position_, limit - static_cast<int>(out.size()));
    if (missing <= 0) break;
    absl::StatusOr<std::vector<Event>> stored = store_->ReadEvents(uid_, subscription->position_, missing);
    if (!stored.ok() || stored->empty()) break;
    for (Event& event : *stored) take(std::make_shared<const SharedEvent>(SharedEvent{std::move(event), nullptr}));
  }
  MutexLock lock(mutex_);
  const int64_t first = events_.empty() ? last_ + 1 : events_.front()->event.sequence;
  for (int64_t at = subscription->position_ + 1 - first;
       at >= 0 && at < static_cast<int64_t>(events_.size()) && static_cast<int>(out.size()) < limit; ++at) {
    take(events_[at]);
  }
  if (static_cast<int>(out.size()) < limit) Arm(subscription);
  return out;
}

std::shared_ptr<EventLogs::Log> EventLogs::Find(const std::string& uid) {
  MutexLock lock(mutex_);
  const auto it = logs_.find(uid);
  return it == logs_.end() ? nullptr : it->second;
}

absl::StatusOr<std::unique_ptr<EventSubscription>> EventLogs::Subscribe(const std::string& uid, int64_t after,
                                                                        std::function<void()> wake) {
  std::shared_ptr<Log> log = Find(uid);
  if (log == nullptr) {
    const absl::StatusOr<EnvironmentRecord> record = store_->GetByUid(uid);
    if (!record.ok()) return record.status();
    // Not live: everything that will ever be is stored. The number of the last one is found by reading on.
    int64_t last = std::max<int64_t>(after, 0);
    while (true) {
      const absl::StatusOr<std::vector<Event>> events = store_->ReadEvents(uid, last, 1000);
      if (!events.ok()) return events.status();
      if (events->empty()) break;
      last = events->back().sequence;
    }
    log = std::make_shared<Log>(uid, store_, last, true);
  }
  return std::make_unique<Subscription>(std::move(log), std::max<int64_t>(after, 0), std::move(wake));
}

void EventLogs::Open(const std::string& uid, int64_t last_sequence) {
  MutexLock lock(mutex_);
  logs_[uid] = std::make_shared<Log>(uid, store_, last_sequence, false);
}

void EventLogs::Append(const std::string& uid, std::vector<Event> events) {
  if (const std::shared_ptr<Log> log = Find(uid); log != nullptr) log->Append(std::move(events));
}

void EventLogs::Finish(const std::string& uid) {
  std::shared_ptr<Log> log;
  {
    MutexLock lock(mutex_);
    const auto it = logs_.find(uid);
    if (it == logs_.end()) return;
    log = std::move(it->second);
    logs_.erase(it);
  }
  log->Finish();
}

}  // namespace mayfly
