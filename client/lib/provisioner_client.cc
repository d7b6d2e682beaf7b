#include "client/lib/provisioner_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "mayfly/v1/environment_service.grpc.pb.h"

namespace mayfly {
namespace {

using Stub = pb::EnvironmentService::Stub;
constexpr char kDiagnosticsTrailer[] = "mayfly.v1.diagnostics-bin";
constexpr int kMaxMessageBytes = 96 << 20;  // A report comes with up to 64 MiB of files.

absl::Status FromGrpc(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto it = trailers.find(kDiagnosticsTrailer); it != trailers.end()) {
    out.SetPayload(kDiagnosticsPayload, absl::Cord(absl::string_view(it->second.data(), it->second.size())));
  }
  return out;
}

// A server that dies in mid-call shows up as UNAVAILABLE or, seldom, as an INTERNAL or UNKNOWN error of the transport.
bool IsBreak(const absl::Status& status) {
  if (absl::IsUnavailable(status)) return true;
  return (absl::IsInternal(status) || absl::IsUnknown(status)) &&
         (absl::StrContains(status.message(), "RST_STREAM") || absl::StrContains(status.message(), "Stream removed") ||
          absl::StrContains(status.message(), "GOAWAY"));
}

// What the transport says when the other side hangs up is true and of no use; most often one side speaks TLS.
std::string TransportHint(const ProvisionerClient::Options& options, absl::string_view message) {
  if (options.revive) return "";  // A server of one's own has no TLS.
  const bool hung_up = absl::StrContains(message, "Socket closed") || absl::StrContains(message, "reset by peer") ||
                       absl::StrContains(message, "andshake");
  if (!hung_up) return "";
  if (!options.tls) return "; if the server speaks TLS, name its authority with --tls-ca";
  if (options.client_certificate.empty()) {
    return "; a server that wants a client certificate ends the connection without one: give --tls-cert and --tls-key";
  }
  return "; check that the server speaks TLS, that --tls-ca signed its certificate, and its authority yours";
}

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ProvisionerClient::Options& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = options.ca_certificates;
  ssl.pem_cert_chain = options.client_certificate;
  ssl.pem_private_key = options.client_key;
  return grpc::SslCredentials(ssl);
}

std::chrono::system_clock::time_point In(absl::Duration duration) {
  return std::chrono::system_clock::now() + absl::ToChronoMilliseconds(duration);
}

template <class Request, class Response, class Stream, class Base>
class BidiStream : public Base {
 public:
  BidiStream(std::unique_ptr<grpc::ClientContext> context, std::shared_ptr<Stub> stub, std::unique_ptr<Stream> stream)
      : stub_(std::move(stub)), context_(std::move(context)), stream_(std::move(stream)) {}
  bool Read(Response* response) override { return stream_->Read(response); }
  bool Write(const Request& request) override { return stream_->Write(request); }
  void WritesDone() override { stream_->WritesDone(); }
  absl::Status Finish() override { return FromGrpc(stream_->Finish(), *context_); }
  void Cancel() override { context_->TryCancel(); }

 private:
  std::shared_ptr<Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace

class ProvisionerClient::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) { Connect(); }

  const Options& options() const { return options_; }

  std::shared_ptr<Stub> stub() {
    MutexLock lock(mutex_);
    return stub_;
  }

  std::unique_ptr<grpc::ClientContext> Context(absl::Duration timeout) {
    auto context = std::make_unique<grpc::ClientContext>();
    if (timeout < absl::InfiniteDuration()) context->set_deadline(In(timeout));
    if (!options_.token.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", options_.token));
    return context;
  }

  void Answered() {
    MutexLock lock(mutex_);
    answered_ = true;
    patience_ends_ = absl::InfiniteFuture();
  }

  // After a break: true when the call should be tried again. Waits for the connection, not for a time to pass.
  bool TryAgain(const absl::Status& status, absl::Status& give_up) {
    give_up = status;
    if (!IsBreak(status)) return false;
    absl::Time until;
    std::shared_ptr<grpc::Channel> channel;
    {
      MutexLock lock(mutex_);
      if (patience_ends_ == absl::InfiniteFuture()) {
        patience_ends_ = absl::Now() + (answered_ ? options_.give_up_after : options_.first_contact);
      }
      until = patience_ends_;
    }
    if (absl::Now() >= until) return false;
    if (options_.revive) {
      if (absl::Status revived = options_.revive(); !revived.ok()) {
        give_up = revived;
        return false;
      }
      // However long its predecessor took to end.
      until = std::max(until, absl::Now() + options_.first_contact);
      Connect();
    }
    {
      MutexLock lock(mutex_);
      channel = channel_;
    }
    if (channel->WaitForConnected(In(until - absl::Now()))) return true;
    give_up = absl::UnavailableError(absl::StrCat("no answer from ", options_.target, ": ", status.message(),
                                                  TransportHint(options_, status.message())));
    return false;
  }

  template <class Request, class Response>
  absl::StatusOr<Response> Once(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    const auto context = Context(options_.call_timeout);
    Response response;
    const absl::Status status = FromGrpc((stub().get()->*method)(context.get(), request, &response), *context);
    if (!IsBreak(status)) Answered();
    if (!status.ok()) return status;
    return response;
  }

  template <class Request, class Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    while (true) {
      absl::StatusOr<Response> response = Once(method, request);
      absl::Status give_up;
      if (response.ok()) return response;
      if (absl::IsDeadlineExceeded(response.status())) {
        return absl::UnavailableError(absl::StrCat(options_.target, " accepted the call but did not answer within ",
                                                   mayfly::FormatDuration(options_.call_timeout)));
      }
      if (!TryAgain(response.status(), give_up)) return give_up;
    }
  }

  // Reads one stream to its end. True in `stopped` when `on_batch` wanted no more.
  template <class Request, class Response, class Open>
  absl::Status ReadStream(const Open& open, const std::function<bool(const Response&)>& on_batch, Cancellation* cancel,
                          bool& stopped) {
    const auto context = Context(absl::InfiniteDuration());
    const std::shared_ptr<Stub> stub_ref = stub();
    const auto reader = open(stub_ref.get(), context.get());
    cancel->SetAbort([raw = context.get()] { raw->TryCancel(); });
    Response response;
    while (reader->Read(&response)) {
      Answered();
      if (!on_batch(response)) {
        stopped = true;
        context->TryCancel();
        break;
      }
    }
    const absl::Status status = FromGrpc(reader->Finish(), *context);
    cancel->SetAbort(nullptr);
    if (stopped) return absl::OkStatus();
    return status;
  }

 private:
  void Connect() {
    grpc::ChannelArguments args;
    args.SetMaxReceiveMessageSize(kMaxMessageBytes);
    args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    if (!absl::StartsWith(options_.target, "unix:")) args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
    // Two clients of one process must not share a connection that one of them wants to make anew.
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    MutexLock lock(mutex_);
    channel_ = grpc::CreateCustomChannel(options_.target, Credentials(options_), args);
    stub_ = pb::EnvironmentService::NewStub(channel_);
  }

  const Options options_;
  Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Stub> stub_ ABSL_GUARDED_BY(mutex_);
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time patience_ends_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

ProvisionerClient::ProvisionerClient(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
ProvisionerClient::~ProvisionerClient() = default;

absl::StatusOr<pb::Environment> ProvisionerClient::CreateEnvironment(pb::CreateEnvironmentRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewUuid());
  return impl_->Call(&Stub::CreateEnvironment, request);
}
absl::StatusOr<pb::Environment> ProvisionerClient::GetEnvironment(const pb::GetEnvironmentRequest& request) {
  return impl_->Call(&Stub::GetEnvironment, request);
}
absl::StatusOr<pb::ListEnvironmentsResponse> ProvisionerClient::ListEnvironments(pb::ListEnvironmentsRequest request) {
  pb::ListEnvironmentsResponse all;
  do {
    MAYFLY_ASSIGN_OR_RETURN(pb::ListEnvironmentsResponse page, impl_->Call(&Stub::ListEnvironments, request));
    request.set_page_token(page.next_page_token());
    all.mutable_environments()->MergeFrom(page.environments());
  } while (!request.page_token().empty());
  return all;
}
absl::StatusOr<pb::Environment> ProvisionerClient::UpdateEnvironment(const pb::UpdateEnvironmentRequest& request) {
  return impl_->Call(&Stub::UpdateEnvironment, request);
}
absl::StatusOr<pb::Environment> ProvisionerClient::DeleteEnvironment(const pb::DeleteEnvironmentRequest& request) {
  return impl_->Call(&Stub::DeleteEnvironment, request);
}
absl::StatusOr<pb::PlanEnvironmentResponse> ProvisionerClient::PlanEnvironment(
    const pb::PlanEnvironmentRequest& request) {
  return impl_->Call(&Stub::PlanEnvironment, request);
}
absl::StatusOr<pb::Environment> ProvisionerClient::RunTests(pb::RunTestsRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewUuid());
  return impl_->Call(&Stub::RunTests, request);
}
absl::StatusOr<pb::Environment> ProvisionerClient::RestartServices(const pb::RestartServicesRequest& request) {
  return impl_->Once(&Stub::RestartServices, request);
}
absl::StatusOr<pb::GetReportResponse> ProvisionerClient::GetReport(const pb::GetReportRequest& request) {
  return impl_->Call(&Stub::GetReport, request);
}
absl::StatusOr<pb::ServerInfo> ProvisionerClient::GetServerInfo(const pb::GetServerInfoRequest& request) {
  return impl_->Call(&Stub::GetServerInfo, request);
}
absl::Status ProvisionerClient::StopServer(const pb::StopServerRequest& request) {
  return impl_->Once(&Stub::StopServer, request).status();
}

absl::Status ProvisionerClient::WatchEnvironment(
    pb::WatchEnvironmentRequest request, const std::function<bool(const pb::WatchEnvironmentResponse&)>& on_batch,
    Cancellation* cancel) {
  using Response = pb::WatchEnvironmentResponse;
  const std::function<bool(const Response&)> remember = [&](const Response& response) {
    if (!response.events().empty()) request.set_from_sequence(response.events().rbegin()->sequence());
    // A later environment of the same name must not continue this one's story.
    if (request.uid().empty() && response.has_environment()) request.set_uid(response.environment().uid());
    return on_batch(response);
  };
  while (true) {
    bool stopped = false;
    absl::Status status = impl_->ReadStream<pb::WatchEnvironmentRequest, Response>(
        [&](Stub* stub, grpc::ClientContext* context) { return stub->WatchEnvironment(context, request); }, remember,
        cancel, stopped);
    if (status.ok()) return status;
    if (cancel->cancelled()) return absl::CancelledError("no longer watched");
    // We did not cancel, so it was a server that is going away.
    if (absl::IsCancelled(status)) status = absl::UnavailableError(status.message());
    absl::Status give_up;
    if (!impl_->TryAgain(status, give_up)) return give_up;
  }
}

absl::Status ProvisionerClient::StreamLogs(const pb::StreamLogsRequest& request,
                                           const std::function<bool(const pb::StreamLogsResponse&)>& on_batch,
                                           Cancellation* cancel) {
  bool stopped = false;
  const absl::Status status = impl_->ReadStream<pb::StreamLogsRequest, pb::StreamLogsResponse>(
      [&](Stub* stub, grpc::ClientContext* context) { return stub->StreamLogs(context, request); }, on_batch, cancel,
      stopped);
  if (cancel->cancelled()) return absl::CancelledError("no longer followed");
  return status;
}

std::unique_ptr<ExecStream> ProvisionerClient::Exec() {
  auto context = impl_->Context(absl::InfiniteDuration());
  auto stub = impl_->stub();
  auto stream = stub->Exec(context.get());
  using Stream = grpc::ClientReaderWriter<pb::ExecRequest, pb::ExecResponse>;
  return std::make_unique<BidiStream<pb::ExecRequest, pb::ExecResponse, Stream, ExecStream>>(
      std::move(context), std::move(stub), std::move(stream));
}

std::unique_ptr<PortForwardStream> ProvisionerClient::PortForward() {
  auto context = impl_->Context(absl::InfiniteDuration());
  auto stub = impl_->stub();
  auto stream = stub->PortForward(context.get());
  using Stream = grpc::ClientReaderWriter<pb::PortForwardRequest, pb::PortForwardResponse>;
  return std::make_unique<BidiStream<pb::PortForwardRequest, pb::PortForwardResponse, Stream, PortForwardStream>>(
      std::move(context), std::move(stub), std::move(stream));
}

}  // namespace mayfly
