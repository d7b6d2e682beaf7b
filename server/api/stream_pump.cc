#include "server/api/stream_pump.h"

#include <utility>

namespace mayfly::api {

StreamPump::StreamPump() : thread_(&StreamPump::Run, this) {}

StreamPump::~StreamPump() {
  {
    MutexLock lock(mutex_);
    ended_ = true;
  }
  changed_.NotifyOne();
  thread_.join();
}

void StreamPump::Add(std::shared_ptr<PumpedStream> stream) {
  Push({.add = std::move(stream)});
}
void StreamPump::Wake(std::weak_ptr<PumpedStream> stream) {
  Push({.wake = std::move(stream)});
}
void StreamPump::Remove(std::shared_ptr<PumpedStream> stream) {
  Push({.remove = std::move(stream)});
}

void StreamPump::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyOne();
}

void StreamPump::Push(Work work) {
  bool first;
  {
    MutexLock lock(mutex_);
    first = work_.empty();
    work_.push_back(std::move(work));
  }
  if (first) changed_.NotifyOne();
}

void StreamPump::Run() {
  absl::flat_hash_set<std::shared_ptr<PumpedStream>> streams;
  bool stopped = false;
  while (true) {
    std::vector<Work> work;
    bool stopping;
    {
      MutexLock lock(mutex_);
      while (work_.empty() && stopping_ == stopped && !ended_) changed_.Wait(mutex_);
      if (work_.empty() && ended_) return;
      work.swap(work_);
      stopping = stopping_;
    }
    for (Work& item : work) {
      if (item.add) {
        streams.insert(item.add);
        item.add->Turn(stopping);
      } else if (item.remove) {
        streams.erase(item.remove);
      } else if (const auto stream = item.wake.lock()) {
        stream->Turn(stopping);
      }
    }
    if (stopping && !stopped) {
      stopped = true;
      for (const auto& stream : streams) stream->Turn(true);
    }
  }
}

}  // namespace mayfly::api
