// The one thread that drives every WatchEnvironment call, on a completion queue of its own.
//
// With the callback API each finished write wakes one of gRPC's threads, which takes the core away from whoever is
// telling the other 999 watchers; here the same thread tells them all and only then looks at what became of it
// (docs/adr/2026-11-21-watches-on-a-queue-of-their-own.md).
#ifndef MAYFLY_SERVER_API_WATCH_QUEUE_H_
#define MAYFLY_SERVER_API_WATCH_QUEUE_H_

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_stream.h"
#include "grpcpp/support/byte_buffer.h"
#include "mayfly/base/mutex.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/api/call_count.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

class WatchStream;

// What a completion queue hands back.
class QueueTag {
 public:
  virtual ~QueueTag() = default;
  virtual void OnDone(bool ok) = 0;
};

class WatchQueue {
 public:
  struct Context {
    Provisioner* provisioner = nullptr;  // Not owned.
    CallCount* calls = nullptr;          // Not owned.
    // Access and validation. Must not block.
    std::function<absl::StatusOr<v1::WatchEnvironmentRequest>(const grpc::ServerContextBase&, const grpc::ByteBuffer&)>
        admit;
    // The service's RequestWatchEnvironment.
    std::function<void(grpc::ServerContext*, grpc::ByteBuffer*, grpc::ServerAsyncWriter<grpc::ByteBuffer>*,
                       grpc::ServerCompletionQueue*, void*)>
        request;
  };

  WatchQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue, Context context);
  ~WatchQueue();  // After the server's shutdown, if it ever ran.
  WatchQueue(const WatchQueue&) = delete;
  WatchQueue& operator=(const WatchQueue&) = delete;

  // Once the server runs.
  void Start();
  // Ends every watch with UNAVAILABLE. Thread-safe.
  void Stop();
  // A turn for `stream` soon; several wakes before it are one. Nothing for a stream that is gone. Thread-safe.
  void Wake(std::weak_ptr<WatchStream> stream);

  // For WatchStream, on the queue's thread.
  const Context& context() const { return context_; }
  grpc::ServerCompletionQueue* queue() { return queue_.get(); }
  bool stopping() const { return stopped_; }
  void Expect();  // The next call.
  void Remove(const std::shared_ptr<WatchStream>& stream) { streams_.erase(stream); }

 private:
  class Woken final : public QueueTag {
   public:
    explicit Woken(WatchQueue* owner) : owner_(owner) {}
    void OnDone(bool) override { owner_->OnWoken(); }

   private:
    WatchQueue* const owner_;
  };

  void Run();
  void OnWoken();
  void Ring() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Context context_;
  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  Woken woken_{this};

  Mutex mutex_;
  // Rings without delay: this is how something that is not gRPC's gets into a completion queue.
  grpc::Alarm alarm_ ABSL_GUARDED_BY(mutex_);
  bool rung_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<WatchStream>> wakes_ ABSL_GUARDED_BY(mutex_);

  // Of the queue's thread.
  absl::flat_hash_set<std::shared_ptr<WatchStream>> streams_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_WATCH_QUEUE_H_
