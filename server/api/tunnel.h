// Exec and PortForward: bytes both ways between a client and something inside an environment.
#ifndef MAYFLY_SERVER_API_TUNNEL_H_
#define MAYFLY_SERVER_API_TUNNEL_H_

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "grpcpp/support/server_callback.h"
#include "mayfly/base/mutex.h"
#include "mayfly/engine/interactive.h"
#include "mayfly/v1/environment_service.pb.h"
#include "server/api/access.h"
#include "server/api/call_count.h"
#include "server/api/stream_pump.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

// What tunnels work with; none is owned. Execer and Connector may be nullptr.
struct TunnelContext {
  Provisioner* provisioner = nullptr;
  Execer* execer = nullptr;
  Connector* connector = nullptr;
  StreamPump* pump = nullptr;
  Caller caller;
  CallToken token;
};

// How the two RPCs differ. Open is given the first message, Apply the later ones.
struct ExecTraits {
  using Request = v1::ExecRequest;
  using Response = v1::ExecResponse;
  static absl::StatusOr<std::unique_ptr<Stream>> Open(const TunnelContext& context, const Request& first,
                                                      Stream::Callbacks callbacks);
  static void Apply(Stream& stream, Request request);
  static Response Data(std::string bytes, bool stderr_stream);
  static size_t DataSize(const Request& request) { return request.stdin().size(); }
  static size_t DataSize(const Response& response) { return response.stdout().size() + response.stderr().size(); }
  static std::optional<Response> Last(int exit_code);
};
struct PortForwardTraits {
  using Request = v1::PortForwardRequest;
  using Response = v1::PortForwardResponse;
  static absl::StatusOr<std::unique_ptr<Stream>> Open(const TunnelContext& context, const Request& first,
                                                      Stream::Callbacks callbacks);
  static void Apply(Stream& stream, Request request);
  static Response Data(std::string bytes, bool stderr_stream);
  static size_t DataSize(const Request& request) { return request.data().size(); }
  static size_t DataSize(const Response& response) { return response.data().size(); }
  static std::optional<Response> Last(int exit_code);
};

template <typename Traits>
class Tunnel final : public grpc::ServerBidiReactor<typename Traits::Request, typename Traits::Response>,
                     public PumpedStream,
                     public std::enable_shared_from_this<Tunnel<Traits>> {
 public:
  using Request = typename Traits::Request;
  using Response = typename Traits::Response;

  // Lives until gRPC is done with it.
  static grpc::ServerBidiReactor<Request, Response>* Start(TunnelContext context) {
    auto tunnel = std::make_shared<Tunnel>(context);
    Tunnel* const reactor = tunnel.get();
    context.pump->Add(tunnel);
    reactor->StartRead(&reactor->request_);
    return reactor;
  }

  explicit Tunnel(TunnelContext context) : context_(context) {}

  void Turn(bool stopping) override;

  void OnReadDone(bool ok) override { Signal(ok ? read_done_ : read_ended_); }
  void OnWriteDone(bool ok) override { Signal(ok ? write_done_ : broken_); }
  void OnCancel() override { Signal(broken_); }
  void OnDone() override { context_.pump->Remove(this->shared_from_this()); }

 private:
  // What may wait for a client that reads slowly; then what prints waits.
  static constexpr size_t kWindow = 256 << 10;
  // What may wait for a command that reads slowly, beside the one message that is over it; then the client waits.
  static constexpr size_t kMaxUnwritten = 256 << 10;

  void Signal(std::atomic<bool>& flag) {
    flag = true;
    context_.pump->Wake(this->weak_from_this());
  }
  absl::Status TakeRequest();
  Stream::Callbacks MakeCallbacks();
  // Asks for the client's next message unless what it sent before is still on its way.
  void ReadOn();
  void Write(Response response) {
    writing_ = true;
    untaken_ = Traits::DataSize(response);
    this->StartWrite(&(response_ = std::move(response)));
  }
  void End(const absl::Status& status);

  const TunnelContext context_;
  std::atomic<bool> read_done_{false};
  std::atomic<bool> read_ended_{false};
  std::atomic<bool> write_done_{false};
  std::atomic<bool> broken_{false};

  // From the engine's threads.
  Mutex mutex_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mutex_);
  size_t unwritten_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mutex_);

  // Of the pump.
  std::unique_ptr<Stream> stream_;
  Request request_;
  Response response_;
  size_t untaken_ = 0;   // Bytes of response_.
  bool reading_ = true;  // A message of the client is awaited.
  bool half_closed_ = false;
  bool writing_ = false;
  bool ended_ = false;
};

extern template class Tunnel<ExecTraits>;
extern template class Tunnel<PortForwardTraits>;

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_TUNNEL_H_
