// One thread for work that may block, in order.
#ifndef MAYFLY_SERVER_RUN_WORKER_H_
#define MAYFLY_SERVER_RUN_WORKER_H_

#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "mayfly/base/mutex.h"

namespace mayfly {

// Thread-safe. The thread starts with the first work.
class Worker {
 public:
  ~Worker() { Stop(); }

  // After Stop, `fn` is destroyed without being run.
  void Run(std::function<void()> fn) {
    MutexLock lock(mutex_);
    if (stopping_) return;
    queue_.push_back(std::move(fn));
    if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
    wake_.NotifyOne();
  }

  // Waits for what runs; the rest is destroyed unrun. Idempotent, from one thread.
  void Stop() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      wake_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
    std::deque<std::function<void()>> unrun;
    MutexLock lock(mutex_);
    unrun.swap(queue_);
  }

 private:
  void Loop() {
    while (true) {
      std::function<void()> fn;
      {
        MutexLock lock(mutex_);
        while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
        if (stopping_) return;
        fn = std::move(queue_.front());
        queue_.pop_front();
      }
      fn();
    }
  }

  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_WORKER_H_
