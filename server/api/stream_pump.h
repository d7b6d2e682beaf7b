// The thread that feeds the server's streams. Whoever has news for a stream wakes it; its turn runs on the pump, so
// that a stream's own state needs no lock and neither the run loop nor gRPC's few callback threads ever wait for a
// client.
#ifndef MAYFLY_SERVER_API_STREAM_PUMP_H_
#define MAYFLY_SERVER_API_STREAM_PUMP_H_

#include <memory>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "mayfly/base/mutex.h"

namespace mayfly::api {

class PumpedStream {
 public:
  virtual ~PumpedStream() = default;
  // On the pump. Does what can be done now without waiting for the client. `stopping`: finish, the server ends.
  virtual void Turn(bool stopping) = 0;
};

// Thread-safe.
class StreamPump {
 public:
  StreamPump();
  ~StreamPump();  // After Stop and after every stream has ended.
  StreamPump(const StreamPump&) = delete;
  StreamPump& operator=(const StreamPump&) = delete;

  // Keeps `stream` until Remove and gives it its first turn.
  void Add(std::shared_ptr<PumpedStream> stream);
  // A turn for `stream` soon; several wakes before it are one. Nothing for a stream that is gone.
  void Wake(std::weak_ptr<PumpedStream> stream);
  // Lets go of it, on the pump, after the wakes before.
  void Remove(std::shared_ptr<PumpedStream> stream);
  // Gives every stream, and each one that is added later, a turn with `stopping`.
  void Stop();

 private:
  struct Work {
    std::weak_ptr<PumpedStream> wake;
    std::shared_ptr<PumpedStream> add;
    std::shared_ptr<PumpedStream> remove;
  };
  void Push(Work work);
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::vector<Work> work_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_STREAM_PUMP_H_
