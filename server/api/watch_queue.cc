#include "server/api/watch_queue.h"

#include <chrono>
#include <utility>

#include "server/api/watch_stream.h"

namespace mayfly::api {

WatchQueue::WatchQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue, Context context)
    : context_(std::move(context)), queue_(std::move(queue)) {}

WatchQueue::~WatchQueue() {
  {
    MutexLock lock(mutex_);
    closed_ = true;
  }
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();
  }
}

void WatchQueue::Start() {
  Expect();
  thread_ = std::thread(&WatchQueue::Run, this);
}

void WatchQueue::Stop() {
  MutexLock lock(mutex_);
  stop_ = true;
  Ring();
}

void WatchQueue::Wake(std::weak_ptr<WatchStream> stream) {
  MutexLock lock(mutex_);
  wakes_.push_back(std::move(stream));
  Ring();
}

void WatchQueue::Ring() {
  if (std::exchange(rung_, true) || closed_) return;
  alarm_.Set(queue_.get(), std::chrono::system_clock::time_point(), &woken_);
}

void WatchQueue::Expect() {
  auto stream = std::make_shared<WatchStream>(this);
  streams_.insert(stream);
  stream->Expect();
}

void WatchQueue::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<QueueTag*>(tag)->OnDone(ok);
}

void WatchQueue::OnWoken() {
  std::vector<std::weak_ptr<WatchStream>> wakes;
  bool stop;
  {
    MutexLock lock(mutex_);
    rung_ = false;
    wakes.swap(wakes_);
    stop = stop_;
  }
  for (const std::weak_ptr<WatchStream>& wake : wakes) {
    if (const auto stream = wake.lock()) stream->Turn();
  }
  if (!stop || std::exchange(stopped_, true)) return;
  // A turn may end a stream, and its end removes it only by a later tag.
  for (const auto& stream : streams_) stream->Turn();
}

}  // namespace mayfly::api
