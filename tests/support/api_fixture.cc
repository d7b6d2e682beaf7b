#include "tests/support/api_fixture.h"

#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "mayfly/base/ids.h"
#include "tests/support/status_matchers.h"

namespace mayfly {

Call::Call(absl::Duration limit) {
  set_deadline(absl::ToChronoTime(absl::Now() + limit));
}

bool Eventually(const std::function<bool()>& condition, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

ApiTest::ApiTest() {
  options_.socket_path = dir_ / "s.sock";
}

ApiTest::~ApiTest() {
  if (server_ != nullptr) server_->Stop();
}

void ApiTest::StartServer() {
  api::ServiceContext context;
  context.provisioner = &provisioner_;
  context.engine = &engine_;
  context.logs = &logs_;
  context.execer = &echo_;
  context.connector = &echo_;
  context.worker = &worker_;
  absl::StatusOr<api::SourceGate> sources = api::SourceGate::Open(sources_);
  ASSERT_OK(sources);
  context.sources = *std::move(sources);
  context.state_dir = dir_.path();
  context.installation = "test";
  context.start_time = absl::Now();
  context.stop = [this] { ++stops_; };
  api::AccessPolicy policy({.local_name = "tester", .token_digests = token_digests_, .admins = admins_});
  auto server = api::ApiServer::Start(options_, context, std::move(policy));
  ASSERT_OK(server);
  server_ = *std::move(server);
}

std::shared_ptr<grpc::Channel> ApiTest::NewChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(absl::StrCat("unix:", options_.socket_path), grpc::InsecureChannelCredentials(),
                                   arguments);
}

v1::Environment ApiTest::Create(Stub& stub, const std::string& name) {
  Call call;
  v1::Environment environment;
  const grpc::Status status = stub.CreateEnvironment(&call, CreateRequest(name), &environment);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return environment;
}

std::vector<v1::Event> ApiTest::ReadUntil(grpc::ClientReader<v1::WatchEnvironmentResponse>& reader,
                                          const std::function<bool(const v1::Event&)>& enough) {
  std::vector<v1::Event> events;
  v1::WatchEnvironmentResponse response;
  while (reader.Read(&response)) {
    bool last = false;
    for (const v1::Event& event : response.events()) {
      events.push_back(event);
      last = last || enough(event);
    }
    if (last) break;
  }
  return events;
}

v1::CreateEnvironmentRequest CreateRequest(const std::string& name) {
  v1::CreateEnvironmentRequest request;
  request.set_environment_id(name);
  request.set_request_id(NewUuid());
  request.set_source("/somewhere/shop");
  return request;
}

}  // namespace mayfly
