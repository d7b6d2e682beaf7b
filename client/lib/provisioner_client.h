// The client's side of mayfly.v1: what has to be repeated is repeated here, so that callers see an answer or a reason.
//
// Every call that is safe to repeat is repeated while the server cannot be reached: at first for `first_contact` only,
// after the first answer for `give_up_after`. A broken watch goes on after the last event seen. Thread-safe.
//
// Errors keep the server's code. UNAVAILABLE: not reached in time. INVALID_ARGUMENT with a spec at fault carries the
// serialised mayfly.v1.Diagnostics as payload under kDiagnosticsPayload.
#ifndef MAYFLY_CLIENT_LIB_PROVISIONER_CLIENT_H_
#define MAYFLY_CLIENT_LIB_PROVISIONER_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/lib/cancellation.h"
#include "mayfly/v1/environment_service.pb.h"

namespace mayfly {

namespace pb = ::mayfly::v1;

inline constexpr char kDiagnosticsPayload[] = "mayfly.v1.diagnostics";

// Both directions of one `exec`. Read and Write may run on two threads.
class ExecStream {
 public:
  virtual ~ExecStream() = default;
  virtual bool Read(pb::ExecResponse* response) = 0;  // False at the end; then Finish.
  virtual bool Write(const pb::ExecRequest& request) = 0;
  virtual void WritesDone() = 0;
  virtual absl::Status Finish() = 0;
  virtual void Cancel() = 0;
};

// Both directions of one forwarded connection; as ExecStream.
class PortForwardStream {
 public:
  virtual ~PortForwardStream() = default;
  virtual bool Read(pb::PortForwardResponse* response) = 0;
  virtual bool Write(const pb::PortForwardRequest& request) = 0;
  virtual void WritesDone() = 0;
  virtual absl::Status Finish() = 0;
  virtual void Cancel() = 0;
};

class ProvisionerClient {
 public:
  struct Options {
    std::string target;  // "unix:/path/server.sock" or "host:port".
    bool tls = false;
    std::string ca_certificates;     // PEM; empty: the system's.
    std::string client_certificate;  // PEM, with client_key; empty: none.
    std::string client_key;
    std::string token;  // Sent as bearer token; empty: none.
    absl::Duration call_timeout = absl::Seconds(60);
    absl::Duration first_contact = absl::Seconds(3);
    absl::Duration give_up_after = absl::Seconds(30);
    // Called before a repetition: brings a per-user server back to life. An error ends the repetition. May be empty.
    std::function<absl::Status()> revive;
  };

  explicit ProvisionerClient(Options options);
  ~ProvisionerClient();

  // Fills in a request_id when there is none, so that a repetition cannot create a second environment.
  absl::StatusOr<pb::Environment> CreateEnvironment(pb::CreateEnvironmentRequest request);
  absl::StatusOr<pb::Environment> GetEnvironment(const pb::GetEnvironmentRequest& request);
  // All pages.
  absl::StatusOr<pb::ListEnvironmentsResponse> ListEnvironments(pb::ListEnvironmentsRequest request);
  absl::StatusOr<pb::Environment> UpdateEnvironment(const pb::UpdateEnvironmentRequest& request);
  absl::StatusOr<pb::Environment> DeleteEnvironment(const pb::DeleteEnvironmentRequest& request);
  absl::StatusOr<pb::PlanEnvironmentResponse> PlanEnvironment(const pb::PlanEnvironmentRequest& request);
  absl::StatusOr<pb::Environment> RunTests(pb::RunTestsRequest request);  // request_id as CreateEnvironment.
  absl::StatusOr<pb::Environment> RestartServices(const pb::RestartServicesRequest& request);  // Never repeated.
  absl::StatusOr<pb::GetReportResponse> GetReport(const pb::GetReportRequest& request);
  absl::StatusOr<pb::ServerInfo> GetServerInfo(const pb::GetServerInfoRequest& request);
  absl::Status StopServer(const pb::StopServerRequest& request);  // Never repeated.

  // Calls `on_batch` on this thread for every message until the server ends the stream (OK), `on_batch` returns false
  // (OK), `cancel` is cancelled (CANCELLED), or the server stays away. No event is delivered twice or left out.
  absl::Status WatchEnvironment(pb::WatchEnvironmentRequest request,
                                const std::function<bool(const pb::WatchEnvironmentResponse&)>& on_batch,
                                Cancellation* cancel);
  // As WatchEnvironment, but a break ends it: log lines have no numbers to resume from.
  absl::Status StreamLogs(const pb::StreamLogsRequest& request,
                          const std::function<bool(const pb::StreamLogsResponse&)>& on_batch, Cancellation* cancel);

  // Not started on the wire until the first Write. The stream must not outlive the client.
  std::unique_ptr<ExecStream> Exec();
  std::unique_ptr<PortForwardStream> PortForward();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_PROVISIONER_CLIENT_H_
