// A Reactor on a thread of its own, for code that lives in a process with many threads.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_IO_THREAD_H_
#define MAYFLY_SERVER_ENGINE_PARTS_IO_THREAD_H_

#include <functional>
#include <thread>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/base/unique_fd.h"
#include "server/engine/parts/reactor.h"

namespace mayfly {

class IoThread {
 public:
  IoThread();
  ~IoThread();  // Runs what was posted, then joins.

  // Only to be touched by posted functions and what they start.
  Reactor* reactor() { return &reactor_; }
  // Runs `fn` on the thread, in order. Thread-safe.
  void Post(std::function<void()> fn);
  // As Post, and waits for its end. Not from the thread itself.
  void Run(const std::function<void()>& fn);

 private:
  void Drain();

  Reactor reactor_;
  UniqueFd wake_;
  Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_IO_THREAD_H_
