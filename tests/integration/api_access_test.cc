// Whose environments a caller may touch, and who comes in over TLS.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/security/credentials.h"
#include "tests/support/program.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

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

// What somebody with a token is answered when they name a folder of the server's machine.
class SourcesTest : public ServerTest {
 protected:
  void Serve(std::vector<std::string> sources) {
    ListenOnLoopbackWithToken();
    sources_ = std::move(sources);
    StartServer();
    stub_ = v1::EnvironmentService::NewStub(TcpChannel(grpc::InsecureChannelCredentials()));
  }
  void SetUp() override {
    for (const char* folder : {"allowed/shop", "allowed-not/shop", "private/shop"})
      std::filesystem::create_directories(dir_ / folder);
  }
  static v1::CreateEnvironmentRequest Of(const std::string& source) {
    v1::CreateEnvironmentRequest request = CreateRequest("pr-7");
    request.set_source(source);
    return request;
  }
  grpc::Status Try(const v1::CreateEnvironmentRequest& request) {
    Call call;
    call.AddMetadata("authorization", absl::StrCat("Bearer ", kToken));
    v1::Environment environment;
    return stub_->CreateEnvironment(&call, request, &environment);
  }
  grpc::Status Plan(const std::string& source) {
    Call call;
    call.AddMetadata("authorization", absl::StrCat("Bearer ", kToken));
    v1::PlanEnvironmentRequest request;
    *request.mutable_request() = Of(source);
    v1::PlanEnvironmentResponse response;
    return stub_->PlanEnvironment(&call, request, &response);
  }
  // Every way in which a source can be named.
  std::vector<grpc::Status> TryAll(const std::string& source) {
    v1::CreateEnvironmentRequest validate = Of(source), update = Of(source);
    validate.set_validate_only(true);
    update.set_allow_update(true);
    return {Try(validate), Try(update), Plan(source), Try(Of(source))};
  }
  EnvironmentRequest Taken() {
    const auto view = provisioner_.Get("pr-7");
    return view.ok() ? (*view)->record.request : EnvironmentRequest();
  }
  std::unique_ptr<Stub> stub_;
};

TEST_F(SourcesTest, WithoutTheFlagNobodyOnTheNetworkNamesAny) {
  Serve({});
  for (const std::string& source : {dir_ / "allowed/shop", dir_ / "missing", std::string("/etc/shadow")}) {
    for (const grpc::Status& status : TryAll(source)) {
      EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << source;
      EXPECT_THAT(status.error_message(), HasSubstr("mayflyd --sources DIR"));
    }
  }
  EXPECT_EQ(provisioner_.stored(), 0);
  Call call;
  v1::Environment environment;
  EXPECT_TRUE(NewStub()->CreateEnvironment(&call, Of(dir_ / "allowed/shop"), &environment).ok())
      << "the server's own user names what they like";
  EXPECT_EQ(Taken().source_below, "");
}

TEST_F(SourcesTest, WhatLiesOutsideIsRefusedWithTheFoldersThatAreAllowed) {
  Serve({dir_ / "allowed"});
  for (const char* name : {"private/shop", "private/missing", "allowed-not/shop", "allowed/../private/shop",
                           "allowed/shop/../../private", "", "allowed/.."}) {
    for (const grpc::Status& status : TryAll(dir_ / name)) {
      EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << name;
      EXPECT_THAT(status.error_message(), HasSubstr("network: " + (dir_ / "allowed").substr(0, 5)));
      EXPECT_THAT(status.error_message(), HasSubstr("/allowed; "));
    }
  }
  EXPECT_EQ(provisioner_.stored(), 0);
}

TEST_F(SourcesTest, WhatLiesInsideIsReadAndNothingElse) {
  Serve({dir_ / "private", dir_ / "allowed"});
  EXPECT_TRUE(Plan(dir_ / "allowed").ok());
  EXPECT_TRUE(Try(Of(dir_ / "allowed//x/.././shop")).ok());
  const std::string real = std::filesystem::canonical(dir_ / "allowed").string();
  EXPECT_EQ(Taken().source_below, real);
  EXPECT_EQ(Taken().source, real + "/shop");
}

TEST_F(SourcesTest, AnAllowedFolderThatIsReachedByALinkIsNamedByItsOwnName) {
  std::filesystem::create_symlink("allowed", dir_ / "link");
  EXPECT_THAT(api::SourceGate::Open({dir_ / "link"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is reached by a symbolic link; give /")));
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
}  // namespace
}  // namespace mayfly
