#include "server/engine/parts/io_thread.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace mayfly {

IoThread::IoThread() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  reactor_.Add(wake_.get(), EPOLLIN, [this](uint32_t) { Drain(); }).IgnoreError();
  thread_ = std::thread([this] { reactor_.Run(); });
}

IoThread::~IoThread() {
  Post([this] { reactor_.Stop(); });
  thread_.join();
  reactor_.Remove(wake_.get());
}

void IoThread::Post(std::function<void()> fn) {
  bool first;
  {
    MutexLock lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(fn));
  }
  const uint64_t one = 1;
  if (first && write(wake_.get(), &one, sizeof(one)) < 0) errno = 0;  // Full means that it is awake already.
}

void IoThread::Run(const std::function<void()>& fn) {
  Mutex mutex;
  CondVar done_cv;
  bool done = false;
  Post([&] {
    fn();
    MutexLock lock(mutex);
    done = true;
    done_cv.NotifyOne();
  });
  MutexLock lock(mutex);
  while (!done) done_cv.Wait(mutex);
}

void IoThread::Drain() {
  uint64_t count;
  if (read(wake_.get(), &count, sizeof(count)) < 0) errno = 0;
  std::vector<std::function<void()>> batch;
  {
    MutexLock lock(mutex_);
    batch.swap(posted_);
  }
  for (const std::function<void()>& fn : batch) fn();
}

}  // namespace mayfly
