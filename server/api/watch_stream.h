// One WatchEnvironment call: pulls from the event hub at the pace of its client.
//
// At most one write is under way, of at most kBatch events whose bytes are shared with all other watchers; a client
// that does not read keeps that one write waiting and nothing else.
#ifndef MAYFLY_SERVER_API_WATCH_STREAM_H_
#define MAYFLY_SERVER_API_WATCH_STREAM_H_

#include <atomic>
#include <memory>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/api/call_count.h"
#include "server/api/stream_pump.h"
#include "server/run/event_hub.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

class WatchStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                          public PumpedStream,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  // `request` has been validated. Neither pointer is owned. Lives until gRPC is done with it.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(v1::WatchEnvironmentRequest request,
                                                           Provisioner* provisioner, StreamPump* pump, CallToken token);

  WatchStream(v1::WatchEnvironmentRequest request, Provisioner* provisioner, StreamPump* pump, CallToken token)
      : request_(std::move(request)), provisioner_(provisioner), pump_(pump), token_(std::move(token)) {}

  void Turn(bool stopping) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  static constexpr int kBatch = 32;

  absl::Status Subscribe();
  void WriteNext();
  // True when a write is under way; its end brings another turn then.
  bool WaitForWrite();
  // Whether this event settles the environment for until_settled.
  bool Settles(const Event& event) const;
  void End(const grpc::Status& status);

  const v1::WatchEnvironmentRequest request_;
  Provisioner* const provisioner_;
  StreamPump* const pump_;
  const CallToken token_;
  // Whether a write is under way, and if so, whether there is something to do as soon as it is done: most writes end
  // with nothing to do, and a turn for each of 1,000 watchers would cost as much as writing to them.
  enum class Write { kNone, kAlone, kThenTurn };
  std::atomic<Write> write_{Write::kNone};
  std::atomic<bool> broken_{false};  // Cancelled, or a write failed.

  // Of the pump.
  EnvironmentViewRef start_;
  std::unique_ptr<EventSubscription> events_;
  grpc::ByteBuffer buffer_;  // What is being written.
  bool settled_ = false;     // The event that settles it has been written.
  bool ended_ = false;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_WATCH_STREAM_H_
