// One WatchEnvironment call: pulls from the event hub at the pace of its client.
//
// At most one write is under way, of at most kBatch events whose bytes are shared with all other watchers; a client
// that does not read keeps that one write waiting and nothing else.
#ifndef MAYFLY_SERVER_API_WATCH_STREAM_H_
#define MAYFLY_SERVER_API_WATCH_STREAM_H_

#include <memory>

#include "grpcpp/server_context.h"
#include "grpcpp/support/async_stream.h"
#include "grpcpp/support/byte_buffer.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/api/call_count.h"
#include "server/api/watch_queue.h"
#include "server/run/event_hub.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

// Belongs to the thread of its WatchQueue, which also keeps it until gRPC is done with it.
class WatchStream final : public std::enable_shared_from_this<WatchStream> {
 public:
  explicit WatchStream(WatchQueue* queue) : queue_(queue), writer_(&context_) {}

  // Becomes the next call that comes.
  void Expect();
  // Does what can be done now without waiting for the client.
  void Turn();

 private:
  static constexpr int kBatch = 32;

  // A step of the call that completes by the queue.
  class Step final : public QueueTag {
   public:
    Step(WatchStream* stream, void (WatchStream::*then)(bool)) : stream_(stream), then_(then) {}
    void OnDone(bool ok) override { (stream_->*then_)(ok); }

   private:
    WatchStream* const stream_;
    void (WatchStream::* const then_)(bool);
  };
  void OnCalled(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnGone(bool ok);

  absl::Status Subscribe();
  void WriteNext();
  void Write(const grpc::ByteBuffer& message);
  // Whether this event settles the environment for until_settled.
  bool Settles(const Event& event) const;
  void End(const grpc::Status& status);
  void RemoveIfDone();

  WatchQueue* const queue_;
  grpc::ServerContext context_;
  grpc::ServerAsyncWriter<grpc::ByteBuffer> writer_;
  Step called_{this, &WatchStream::OnCalled};
  Step written_{this, &WatchStream::OnWritten};
  Step finished_step_{this, &WatchStream::OnFinished};
  Step gone_step_{this, &WatchStream::OnGone};
  grpc::ByteBuffer raw_;
  CallToken token_;

  v1::WatchEnvironmentRequest request_;
  EnvironmentViewRef start_;
  std::unique_ptr<EventSubscription> events_;
  bool called_yet_ = false;
  bool deleted_ = false;   // It is DELETED, and that has been written or was so from the start.
  bool settled_ = false;   // The event that settles it has been written.
  bool writing_ = false;   // gRPC takes one write at a time, and no end beside it.
  bool again_ = false;     // There is something to do as soon as the write is done.
  bool broken_ = false;    // Cancelled, or a write failed.
  bool ended_ = false;     // Finish was called.
  bool finished_ = false;  // And is done.
  bool gone_ = false;      // gRPC is done with the call.
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_WATCH_STREAM_H_
