#include "tests/support/fake_environment_service.h"

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace mayfly {

void FakeEnvironmentService::AppendLocked(std::vector<v1::Event> events) {
  for (v1::Event& event : events) {
    event.set_sequence(static_cast<int64_t>(events_.size()) + 1);
    events_.push_back(event);
  }
  changed_.NotifyAll();
}

void FakeEnvironmentService::SetScript(std::vector<v1::Event> events) {
  MutexLock lock(mutex_);
  events_.clear();
  AppendLocked(std::move(events));
}

void FakeEnvironmentService::Append(std::vector<v1::Event> events) {
  MutexLock lock(mutex_);
  AppendLocked(std::move(events));
}

std::vector<v1::CreateEnvironmentRequest> FakeEnvironmentService::creates() const {
  MutexLock lock(mutex_);
  return creates_;
}
std::vector<v1::WatchEnvironmentRequest> FakeEnvironmentService::watches() const {
  MutexLock lock(mutex_);
  return watches_;
}
std::vector<v1::DeleteEnvironmentRequest> FakeEnvironmentService::deletes() const {
  MutexLock lock(mutex_);
  return deletes_;
}

bool FakeEnvironmentService::WaitForWatcher() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  MutexLock lock(mutex_);
  while (caught_up_ == 0) {
    if (!changed_.WaitUntil(mutex_, deadline)) return false;
  }
  return true;
}

v1::Environment FakeEnvironmentService::Now(const std::string& name) const {
  v1::Environment now = environment;
  now.set_name(name);
  now.set_uid("uid-1");
  if (now.state() == v1::Environment::STATE_UNSPECIFIED) now.set_state(v1::Environment::CREATING);
  now.set_last_sequence(static_cast<int64_t>(events_.size()));
  return now;
}

grpc::Status FakeEnvironmentService::CreateEnvironment(Context* context, const v1::CreateEnvironmentRequest* request,
                                                       v1::Environment* response) {
  MutexLock lock(mutex_);
  creates_.push_back(*request);
  if (refuse_creates-- > 0) return {grpc::StatusCode::UNAVAILABLE, "going away"};
  if (!create_error.ok()) {
    if (!create_trailer.empty()) context->AddTrailingMetadata("mayfly.v1.diagnostics-bin", create_trailer);
    return create_error;
  }
  name_ = request->environment_id().empty() ? "shop" : request->environment_id();
  *response = Now(name_);
  response->set_state(existed ? v1::Environment::UPDATING : v1::Environment::CREATING);
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::GetEnvironment(Context*, const v1::GetEnvironmentRequest* request,
                                                    v1::Environment* response) {
  MutexLock lock(mutex_);
  if (request->name() == "nobody") return {grpc::StatusCode::NOT_FOUND, "there is no environment 'nobody'"};
  *response = Now(request->name());
  response->set_source(source);
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::ListEnvironments(Context*, const v1::ListEnvironmentsRequest*,
                                                      v1::ListEnvironmentsResponse* response) {
  MutexLock lock(mutex_);
  if (!name_.empty()) *response->add_environments() = Now(name_);
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::DeleteEnvironment(Context*, const v1::DeleteEnvironmentRequest* request,
                                                       v1::Environment* response) {
  MutexLock lock(mutex_);
  deletes_.push_back(*request);
  *response = Now(request->name());
  v1::Event deleting, receipt, deleted;
  deleting.set_kind(v1::Event::STATE);
  deleting.set_environment_state(v1::Environment::DELETING);
  receipt.set_kind(v1::Event::RECEIPT);
  receipt.mutable_receipt()->set_processes(3);
  deleted.set_kind(v1::Event::STATE);
  deleted.set_environment_state(v1::Environment::DELETED);
  AppendLocked({deleting, receipt, deleted});
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::WatchEnvironment(Context* context, const v1::WatchEnvironmentRequest* request,
                                                      grpc::ServerWriter<v1::WatchEnvironmentResponse>* writer) {
  size_t next = static_cast<size_t>(request->from_sequence());
  MutexLock lock(mutex_);
  const bool breaks = watches_.empty() && break_watch_after >= 0;
  watches_.push_back(*request);
  v1::WatchEnvironmentResponse first;
  *first.mutable_environment() = Now(request->name());
  writer->Write(first);
  while (!context->IsCancelled()) {
    if (breaks && next >= static_cast<size_t>(break_watch_after)) return {grpc::StatusCode::UNAVAILABLE, "going away"};
    if (next < events_.size()) {
      v1::WatchEnvironmentResponse response;
      *response.add_events() = events_[next++];
      writer->Write(response);
      continue;
    }
    if (!events_.empty() && events_.back().environment_state() == v1::Environment::DELETED) return grpc::Status::OK;
    ++caught_up_;
    changed_.NotifyAll();
    // The synchronous API tells nobody of a cancellation.
    changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
    --caught_up_;
  }
  return grpc::Status::CANCELLED;
}

grpc::Status FakeEnvironmentService::StreamLogs(Context*, const v1::StreamLogsRequest*,
                                                grpc::ServerWriter<v1::StreamLogsResponse>* writer) {
  v1::StreamLogsResponse response;
  for (const v1::LogLine& line : log_lines) *response.add_lines() = line;
  writer->Write(response);
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::GetReport(Context*, const v1::GetReportRequest* request,
                                               v1::GetReportResponse* response) {
  response->set_content(reports[request->format()]);
  if (request->with_files()) {
    for (const auto& file : files) *response->add_files() = file;
  }
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::GetServerInfo(Context*, const v1::GetServerInfoRequest*,
                                                   v1::ServerInfo* response) {
  *response = info;
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::Exec(Context*,
                                          grpc::ServerReaderWriter<v1::ExecResponse, v1::ExecRequest>* stream) {
  v1::ExecRequest request;
  while (stream->Read(&request)) {
    v1::ExecResponse response;
    if (request.has_start()) response.set_stdout(request.start().terminal() ? "terminal\r\n" : "pipes\n");
    if (request.has_stdin()) response.set_stdout(request.stdin());
    stream->Write(response);
    absl::string_view input = request.stdin();
    int code = 0;
    if (absl::ConsumePrefix(&input, "exit ") && absl::SimpleAtoi(absl::StripAsciiWhitespace(input), &code)) {
      response.set_exit_code(code);
      stream->Write(response);
      return grpc::Status::OK;
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeEnvironmentService::PortForward(
    Context*, grpc::ServerReaderWriter<v1::PortForwardResponse, v1::PortForwardRequest>* stream) {
  v1::PortForwardRequest request;
  while (stream->Read(&request) && !request.has_closed()) {
    v1::PortForwardResponse response;
    response.set_data(request.data());
    if (!request.has_start()) stream->Write(response);
  }
  return grpc::Status::OK;
}

FakeServer::FakeServer(const std::string& socket, FakeEnvironmentService* service) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(service);
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace mayfly
