// The listening half: who may come in, what happens when descriptors run out, health, reflection.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "mayfly/base/ids.h"
#include "server/api/wire.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

int Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

TEST_F(ServerTest, TheSocketIsForItsOwnerOnly) {
  StartServer();
  struct stat info;
  ASSERT_EQ(stat(options_.socket_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, AStaleSocketIsReplacedAndAnythingElseIsNot) {
  StartServer();
  server_->Stop();
  {
    std::ofstream(options_.socket_path) << "precious";
  }
  auto refused = api::ListenUnix(options_.socket_path);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not a socket")));
  unlink(options_.socket_path.c_str());
  ASSERT_OK(api::ListenUnix(options_.socket_path));  // Closed at once, and left on disk.
  StartServer();
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, ServesAgainAfterRunningOutOfDescriptors) {
  StartServer();
  ASSERT_TRUE(Answers());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int highest = dup(0);
  close(highest);
  const rlimit tight{static_cast<rlim_t>(highest) + 40, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  // The clients are of this process, too: what connects takes two of the descriptors, until accept4 gets none.
  std::vector<int> clients;
  for (int fd; (fd = Connect(options_.socket_path)) >= 0;) clients.push_back(fd);
  EXPECT_GE(clients.size(), 15u);
  EXPECT_EQ(dup(0), -1) << "descriptors are left, nothing was tested";
  for (const int fd : clients) close(fd);
  EXPECT_TRUE(Eventually([this] { return server_->acceptor().open_connections() <= 1; }));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, OverTheCapConnectionsWaitUntilOthersEnd) {
  options_.max_connections = 8;
  StartServer();
  std::vector<int> clients;
  for (int i = 0; i < 300; ++i) clients.push_back(Connect(options_.socket_path));
  EXPECT_TRUE(Eventually([this] { return server_->acceptor().open_connections() == 8; }));
  for (const int fd : clients) close(fd);
  EXPECT_TRUE(Answers());
}

TEST_F(ServerTest, EveryRpcOfTheServiceHasARule) {
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("mayfly.v1.EnvironmentService");
  ASSERT_NE(service, nullptr);
  for (int i = 0; i < service->method_count(); ++i) {
    EXPECT_NE(api::RuleFor(service->method(i)->name()), api::Rule::kDenied) << service->method(i)->name();
  }
  EXPECT_EQ(api::RuleFor("LaunchMissiles"), api::Rule::kDenied);
}

TEST_F(ServerTest, OnTcpEveryRpcIsRefusedWithoutAToken) {
  ListenOnLoopbackWithToken();
  StartServer();
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("mayfly.v1.EnvironmentService");
  grpc::GenericStub generic(TcpChannel(grpc::InsecureChannelCredentials()));
  for (int i = 0; i < service->method_count(); ++i) {
    Call call;
    grpc::CompletionQueue queue;
    const std::string path = absl::StrCat("/mayfly.v1.EnvironmentService/", service->method(i)->name());
    const auto rpc = generic.PrepareCall(&call, path, &queue);
    grpc::Status status;
    void* tag;
    bool ok;
    rpc->StartCall(nullptr);
    queue.Next(&tag, &ok);
    // A request that would be valid for some and is read by none.
    grpc::Slice empty("");
    rpc->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(), nullptr);
    queue.Next(&tag, &ok);
    rpc->Finish(&status, nullptr);
    queue.Next(&tag, &ok);
    EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED) << path << ": " << status.error_message();
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
  }
  EXPECT_EQ(provisioner_.stored(), 0);
  EXPECT_EQ(stops_, 0);
}

TEST_F(ServerTest, ATokenGivesItsNameAndNotTheRightToStopTheServer) {
  ListenOnLoopbackWithToken();
  StartServer();
  const auto stub = v1::EnvironmentService::NewStub(TcpChannel(grpc::InsecureChannelCredentials()));
  Call create, wrong, stop;
  create.AddMetadata("authorization", absl::StrCat("Bearer ", kToken));
  v1::Environment environment;
  ASSERT_TRUE(stub->CreateEnvironment(&create, CreateRequest("pr-7"), &environment).ok());
  EXPECT_EQ(environment.owner(), "ci");
  wrong.AddMetadata("authorization", absl::StrCat("Bearer ", kToken, "4"));
  EXPECT_EQ(Info(*stub, wrong).error_code(), StatusCode::UNAUTHENTICATED);
  stop.AddMetadata("authorization", absl::StrCat("Bearer ", kToken));
  v1::StopServerResponse ignored;
  EXPECT_EQ(stub->StopServer(&stop, v1::StopServerRequest(), &ignored).error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(stops_, 0);
}

TEST_F(ServerTest, StopWhileSomethingIsAliveNeedsForce) {
  StartServer();
  const auto stub = NewStub();
  Create(*stub, "pr-7");
  Call one, two;
  v1::StopServerRequest request;
  v1::StopServerResponse ignored;
  const grpc::Status refused = stub->StopServer(&one, request, &ignored);
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("1 environment is alive"));
  EXPECT_EQ(stops_, 0);
  request.set_force(true);
  EXPECT_TRUE(stub->StopServer(&two, request, &ignored).ok());
  EXPECT_EQ(stops_, 1);
}

TEST_F(ServerTest, WhatOthersCouldReachIsRefusedWithTheMissingFlag) {
  options_.listen = api::TcpAddress{"0.0.0.0", 0, false};
  options_.has_tokens = true;
  EXPECT_THAT(api::CheckListenSafety(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--tls-client-ca")));
  options_.tls_cert = "cert.pem";
  EXPECT_THAT(api::CheckListenSafety(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--tls-key")));
  options_.tls_key = "key.pem";
  EXPECT_THAT(api::CheckListenSafety(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--tls-client-ca")));
  options_.tls_client_ca = "ca.pem";
  EXPECT_OK(api::CheckListenSafety(options_));
  options_ = {};
  options_.listen = api::TcpAddress{"127.0.0.1", 0, true};
  EXPECT_THAT(api::CheckListenSafety(options_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--token-file")));
}

TEST_F(ServerTest, AddressesAreParsedAndLoopbackIsKnown) {
  EXPECT_TRUE(api::ParseTcpAddress("127.0.0.1:0")->loopback);
  EXPECT_TRUE(api::ParseTcpAddress("localhost:7070")->loopback);
  EXPECT_TRUE(api::ParseTcpAddress("[::1]:7070")->loopback);
  EXPECT_FALSE(api::ParseTcpAddress("10.0.0.1:7070")->loopback);
  EXPECT_FALSE(api::ParseTcpAddress(":7070")->loopback);
  for (const char* bad : {"", "7070", "host.example:1", "127.0.0.1:70000", "127.0.0.1:-1"}) {
    EXPECT_FALSE(api::ParseTcpAddress(bad).ok()) << bad;
  }
}

TEST_F(ServerTest, ATokenFileThatOthersCanReadIsRefused) {
  const std::string path = dir_ / "tokens";
  {
    std::ofstream(path) << "# for CI\nci " << kToken << "\n\n" << std::string(16, 'x') << "\n";
  }
  chmod(path.c_str(), 0640);
  EXPECT_THAT(api::ReadTokenFile(path), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("chmod 0600")));
  chmod(path.c_str(), 0600);
  const auto tokens = api::ReadTokenFile(path);
  ASSERT_OK(tokens);
  EXPECT_EQ(tokens->at(Sha256Hex(kToken)), "ci");
  EXPECT_EQ(tokens->at(Sha256Hex(std::string(16, 'x'))), "token");
  {
    std::ofstream(path) << "ci short\n";
  }
  EXPECT_THAT(api::ReadTokenFile(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens:1: ")));
}

// Sends an empty or given request to any method and returns the status.
grpc::Status RawUnary(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                      const std::string& bytes) {
  grpc::GenericStub generic(channel);
  Call call;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(bytes);
  const auto rpc = generic.PrepareUnaryCall(&call, path, grpc::ByteBuffer(&slice, 1), &queue);
  grpc::ByteBuffer response;
  grpc::Status status;
  void* tag;
  bool ok;
  rpc->StartCall();
  rpc->Finish(&response, &status, nullptr);
  queue.Next(&tag, &ok);
  return status;
}

TEST_F(ServerTest, HealthAnswersAndGarbageIsRefused) {
  StartServer();
  EXPECT_TRUE(RawUnary(NewChannel(), "/grpc.health.v1.Health/Check", "").ok());
  EXPECT_EQ(RawUnary(NewChannel(), "/mayfly.v1.EnvironmentService/GetEnvironment", "\xff\xff\xff").error_code(),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RawUnary(NewChannel(), "/mayfly.v1.EnvironmentService/LaunchMissiles", "").error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, ReflectionCanBeSwitchedOff) {
  const char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  options_.reflection = false;
  StartServer();
  EXPECT_EQ(RawUnary(NewChannel(), kReflection, "").error_code(), StatusCode::UNIMPLEMENTED);
  server_->Stop();
  options_.reflection = true;
  StartServer();
  EXPECT_NE(RawUnary(NewChannel(), kReflection, "").error_code(), StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace mayfly
