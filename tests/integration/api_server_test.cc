// The listening half: who may come in, what happens when descriptors run out, health, reflection.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "mayfly/base/ids.h"
#include "server/api/wire.h"
#include "tests/support/api_fixture.h"
#include "tests/support/program.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr char kToken[] = "0123456789abcdef0123";

int Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

class ServerTest : public ApiTest {
 protected:
  grpc::Status Info(Stub& stub, Call& call) {
    v1::ServerInfo info;
    return stub.GetServerInfo(&call, v1::GetServerInfoRequest(), &info);
  }
  bool Answers() {
    Call call;
    return Info(*NewStub(), call).ok();
  }
  std::shared_ptr<grpc::Channel> TcpChannel(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->tcp_port()), credentials, arguments);
  }
  void ListenOnLoopbackWithToken() {
    options_.listen = api::TcpAddress{"127.0.0.1", 0, true};
    options_.has_tokens = true;
    token_digests_[Sha256Hex(kToken)] = "ci";
  }
};

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

// alice, bob and the administrator root-cause come over TCP with tokens.
class OwnersTest : public ServerTest {
 protected:
  void SetUp() override {
    ListenOnLoopbackWithToken();
    for (const char* name : {"alice", "bob", "carol"}) token_digests_[Sha256Hex(TokenOf(name))] = name;
    admins_ = {"carol"};
    StartServer();
    stub_ = v1::EnvironmentService::NewStub(TcpChannel(grpc::InsecureChannelCredentials()));
    As alice("alice");
    v1::Environment environment;
    ASSERT_TRUE(stub_->CreateEnvironment(&alice, CreateRequest("pr-7"), &environment).ok());
    NodeView node;
    node.planned.name = "web";
    node.state = NodeState::kReady;
    provisioner_.SetNodes("pr-7", {node});
    provisioner_.SetState("pr-7", EnvironmentState::kActive);
  }
  static std::string TokenOf(const std::string& name) { return name + "-0123456789abcdef"; }
  struct As : Call {
    explicit As(const std::string& name) { AddMetadata("authorization", "Bearer " + TokenOf(name)); }
  };
  // What `name` is answered by everything that changes an environment or reaches into it.
  std::map<std::string, grpc::Status> Try(const std::string& name) {
    std::map<std::string, grpc::Status> out;
    v1::Environment ignored;
    v1::UpdateEnvironmentRequest update;
    update.mutable_environment()->set_name("pr-7");
    update.mutable_environment()->mutable_ttl()->set_seconds(60);
    update.mutable_update_mask()->add_paths("ttl");
    As one(name), two(name), three(name), four(name), five(name), six(name);
    out["UpdateEnvironment"] = stub_->UpdateEnvironment(&one, update, &ignored);
    v1::RunTestsRequest tests;
    tests.set_name("pr-7");
    out["RunTests"] = stub_->RunTests(&two, tests, &ignored);
    v1::RestartServicesRequest restart;
    restart.set_name("pr-7");
    restart.add_services("web");
    out["RestartServices"] = stub_->RestartServices(&three, restart, &ignored);
    const auto exec = stub_->Exec(&four);
    v1::ExecRequest command;
    command.mutable_start()->set_name("pr-7");
    command.mutable_start()->set_service("web");
    command.mutable_start()->add_command("cat");
    exec->Write(command);
    exec->WritesDone();
    for (v1::ExecResponse response; exec->Read(&response);) {
    }
    out["Exec"] = exec->Finish();
    const auto forward = stub_->PortForward(&five);
    v1::PortForwardRequest port;
    port.mutable_start()->set_name("pr-7");
    port.mutable_start()->set_service("web");
    port.mutable_start()->set_port(80);
    forward->Write(port);
    forward->WritesDone();
    for (v1::PortForwardResponse response; forward->Read(&response);) {
    }
    out["PortForward"] = forward->Finish();
    v1::DeleteEnvironmentRequest removal;
    removal.set_name("pr-7");
    out["DeleteEnvironment"] = stub_->DeleteEnvironment(&six, removal, &ignored);
    return out;
  }
  std::unique_ptr<Stub> stub_;
};

TEST_F(OwnersTest, AnothersEnvironmentCanBeReadAndNotTouched) {
  const auto answers = Try("bob");
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName("mayfly.v1.EnvironmentService");
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string& method = service->method(i)->name();
    if (api::RuleFor(method) != api::Rule::kOwner) continue;
    ASSERT_EQ(answers.count(method), 1u) << method << " is not tried";
    EXPECT_EQ(answers.at(method).error_code(), StatusCode::PERMISSION_DENIED) << method;
    EXPECT_THAT(answers.at(method).error_message(), HasSubstr("belongs to alice and you are bob")) << method;
  }
  As bob("bob");
  v1::GetEnvironmentRequest get;
  get.set_name("pr-7");
  v1::Environment environment;
  EXPECT_TRUE(stub_->GetEnvironment(&bob, get, &environment).ok());
  EXPECT_EQ(environment.state(), v1::Environment::ACTIVE) << "nothing was done";
}

TEST_F(OwnersTest, TheOwnerAndAnAdministratorMayDoEverything) {
  for (const char* name : {"carol", "alice"}) {
    for (const auto& [method, status] : Try(name))
      EXPECT_TRUE(status.ok()) << name << " " << method << status.error_message();
  }
}

TEST_F(OwnersTest, TheServersOwnUserMayDoEverythingOnItsSocket) {
  Call call;
  v1::DeleteEnvironmentRequest removal;
  removal.set_name("pr-7");
  v1::Environment environment;
  EXPECT_TRUE(NewStub()->DeleteEnvironment(&call, removal, &environment).ok());
  EXPECT_EQ(environment.state(), v1::Environment::DELETING);
}

// Certificates of one authority, made by the openssl program.
class TlsTest : public ServerTest {
 protected:
  void MakeCertificates() {
    const std::string script =
        "cd " + dir_.path() +
        " && exec 2>/dev/null"
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj "
        "/CN=ca"
        " && for n in server alice; do"
        " openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n"
        " && printf 'subjectAltName=IP:127.0.0.1' >ext"
        " && openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext -out $n.pem"
        " || exit 1; done"
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mallory.key -out mallory.pem"
        " -subj /CN=alice";
    ASSERT_EQ(system(script.c_str()), 0);
  }
  void SetUp() override {
    MakeCertificates();
    options_.listen = api::TcpAddress{"127.0.0.1", 0, true};
    options_.tls_cert = dir_ / "server.pem";
    options_.tls_key = dir_ / "server.key";
    options_.tls_client_ca = dir_ / "ca.pem";
    StartServer();
  }
  std::string Read(const std::string& name) {
    std::stringstream text;
    text << std::ifstream(dir_ / name).rdbuf();
    return text.str();
  }
  bool TlsAnswers(const std::string& name) {
    Call call;
    return Info(*As(name), call).ok();
  }
  std::unique_ptr<Stub> As(const std::string& name) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = Read("ca.pem");
    if (!name.empty()) {
      tls.pem_cert_chain = Read(name + ".pem");
      tls.pem_private_key = Read(name + ".key");
    }
    return v1::EnvironmentService::NewStub(TcpChannel(grpc::SslCredentials(tls)));
  }
};

TEST_F(TlsTest, ACertificateOfTheAuthorityGivesItsName) {
  EXPECT_EQ(Create(*As("alice"), "pr-7").owner(), "alice");
}

TEST_F(TlsTest, WithoutOneOrWithAForeignOneNobodyComesIn) {
  for (const char* name : {"", "mallory"}) {
    Call call;
    EXPECT_EQ(Info(*As(name), call).error_code(), StatusCode::UNAVAILABLE) << name;
  }
  Call plain;
  const auto stub = v1::EnvironmentService::NewStub(TcpChannel(grpc::InsecureChannelCredentials()));
  EXPECT_EQ(Info(*stub, plain).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Answers()) << "the Unix socket is as it was";
}

TEST_F(TlsTest, TheProgramSpeaksTlsWithACertificate) {
  const char* bin = getenv("MAYFLY_BIN_DIR");
  const std::string mayfly = std::filesystem::absolute(bin == nullptr ? "build/dev/bin" : bin).string() + "/mayfly";
  const std::string address = absl::StrCat("127.0.0.1:", server_->tcp_port());
  const auto run = [&](std::vector<std::string> words, const std::string& who) {
    words.insert(words.begin(), mayfly);
    for (const auto& word : {"--server", address.c_str(), "--tls-ca", "ca.pem"}) words.push_back(word);
    if (!who.empty()) words.insert(words.end(), {"--tls-cert", who + ".pem", "--tls-key", who + ".key"});
    Program program(words, dir_.path(), Program::On::kPipes);
    const int code = program.Wait();
    return std::make_pair(code, program.out() + program.err());
  };
  Create(*As("alice"), "pr-7");
  const auto seen = run({"get", "pr-7", "-o", "json"}, "alice");
  EXPECT_EQ(seen.first, 0) << seen.second;
  EXPECT_THAT(seen.second, HasSubstr("\"owner\": \"alice\""));
  // As whom the CLI comes is known only by TLS: the server's own user would be allowed.
  Create(*NewStub(), "pr-8");
  const auto denied = run({"down", "pr-8"}, "alice");
  EXPECT_EQ(denied.first, 7);
  EXPECT_THAT(denied.second, HasSubstr("belongs to tester and you are alice"));
  const auto stranger = run({"get", "pr-7"}, "");
  EXPECT_EQ(stranger.first, 8) << "without a certificate nobody comes in";
  EXPECT_THAT(stranger.second, HasSubstr("give --tls-cert and --tls-key"));
  Program plain({mayfly, "get", "pr-7", "--server", address}, dir_.path(), Program::On::kPipes);
  EXPECT_EQ(plain.Wait(), 8);
  EXPECT_THAT(plain.err(), HasSubstr("name its authority with --tls-ca"));
}

TEST_F(TlsTest, RenewedFilesAreUsedByTheNextConnection) {
  const std::string old_ca = Read("ca.pem");
  ASSERT_TRUE(TlsAnswers("alice"));
  // A new authority: neither the old server certificate nor the old client ones count any more.
  MakeCertificates();
  EXPECT_TRUE(TlsAnswers("alice"));
  grpc::SslCredentialsOptions old;
  old.pem_root_certs = old_ca;
  Call call;
  const auto stub = v1::EnvironmentService::NewStub(TcpChannel(grpc::SslCredentials(old)));
  EXPECT_EQ(Info(*stub, call).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, BrokenFilesLeaveTheFormerOnesInForce) {
  const std::string good = Read("server.pem");
  std::ofstream(dir_ / "server.pem") << "not a certificate";
  EXPECT_TRUE(TlsAnswers("alice"));
  std::filesystem::remove(dir_ / "server.pem");
  EXPECT_TRUE(TlsAnswers("alice"));
  std::ofstream(dir_ / "server.pem") << good;
  EXPECT_TRUE(TlsAnswers("alice"));
}

TEST_F(ServerTest, ATlsFileThatIsNoneKeepsTheServerFromStarting) {
  options_.listen = api::TcpAddress{"127.0.0.1", 0, true};
  options_.has_tokens = true;
  for (const char* name : {"cert", "key"}) std::ofstream(dir_ / name) << "not a certificate";
  options_.tls_cert = dir_ / "cert";
  options_.tls_key = dir_ / "key";
  EXPECT_THAT(api::ApiServer::Start(options_, {}, api::AccessPolicy({"tester", {}, {}})).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--tls-cert")));
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
