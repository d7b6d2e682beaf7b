// mayfly.v1 in memory for tests of the client: environments are lists of events that the test writes.
//
// What it does not imitate: paging, filters, etags, tokens, limits, plans, and time.
#ifndef MAYFLY_TESTS_SUPPORT_FAKE_ENVIRONMENT_SERVICE_H_
#define MAYFLY_TESTS_SUPPORT_FAKE_ENVIRONMENT_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "mayfly/v1/environment_service.grpc.pb.h"

namespace mayfly {

class FakeEnvironmentService final : public v1::EnvironmentService::Service {
 public:
  // What an environment that is created from now on has already gone through; and the ones that Delete adds.
  void SetScript(std::vector<v1::Event> events);
  // Adds to the log of the (one) environment and tells its watchers.
  void Append(std::vector<v1::Event> events);

  int refuse_creates = 0;              // So many CreateEnvironment calls answer UNAVAILABLE after having been noted.
  int break_watch_after = -1;          // The first watch ends with UNAVAILABLE after so many events.
  grpc::Status create_error;           // Answered instead of creating.
  std::string create_trailer;          // With create_error: mayfly.v1.diagnostics-bin.
  std::string source;                  // Where every environment was made from, when not empty.
  bool existed = false;                // Create answers UPDATING, as for an environment that was there.
  v1::Environment environment;         // What Get answers, beside name and uid.
  std::map<int, std::string> reports;  // By GetReportRequest.Format.
  std::vector<v1::GetReportResponse::File> files;
  std::vector<v1::LogLine> log_lines;
  v1::ServerInfo info;

  // What came, in order. Thread-safe copies.
  std::vector<v1::CreateEnvironmentRequest> creates() const;
  std::vector<v1::WatchEnvironmentRequest> watches() const;
  std::vector<v1::DeleteEnvironmentRequest> deletes() const;
  // Blocks until somebody watches beyond everything there is so far (30 s at most; false then).
  bool WaitForWatcher();

  using Context = grpc::ServerContext;
  grpc::Status CreateEnvironment(Context*, const v1::CreateEnvironmentRequest*, v1::Environment*) override;
  grpc::Status GetEnvironment(Context*, const v1::GetEnvironmentRequest*, v1::Environment*) override;
  grpc::Status ListEnvironments(Context*, const v1::ListEnvironmentsRequest*, v1::ListEnvironmentsResponse*) override;
  grpc::Status DeleteEnvironment(Context*, const v1::DeleteEnvironmentRequest*, v1::Environment*) override;
  grpc::Status WatchEnvironment(Context*, const v1::WatchEnvironmentRequest*,
                                grpc::ServerWriter<v1::WatchEnvironmentResponse>*) override;
  grpc::Status StreamLogs(Context*, const v1::StreamLogsRequest*, grpc::ServerWriter<v1::StreamLogsResponse>*) override;
  grpc::Status GetReport(Context*, const v1::GetReportRequest*, v1::GetReportResponse*) override;
  grpc::Status GetServerInfo(Context*, const v1::GetServerInfoRequest*, v1::ServerInfo*) override;
  // Echoes what it is sent to standard output; "exit N" as first line of input ends it with N.
  grpc::Status Exec(Context*, grpc::ServerReaderWriter<v1::ExecResponse, v1::ExecRequest>*) override;
  // Echoes.
  grpc::Status PortForward(Context*,
                           grpc::ServerReaderWriter<v1::PortForwardResponse, v1::PortForwardRequest>*) override;

 private:
  v1::Environment Now(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendLocked(std::vector<v1::Event> events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  CondVar changed_;
  std::string name_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Event> events_ ABSL_GUARDED_BY(mutex_);
  int caught_up_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::CreateEnvironmentRequest> creates_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::WatchEnvironmentRequest> watches_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::DeleteEnvironmentRequest> deletes_ ABSL_GUARDED_BY(mutex_);
};

// Serves one FakeEnvironmentService on a Unix socket.
class FakeServer {
 public:
  explicit FakeServer(const std::string& socket, FakeEnvironmentService* service);
  ~FakeServer();

 private:
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAKE_ENVIRONMENT_SERVICE_H_
