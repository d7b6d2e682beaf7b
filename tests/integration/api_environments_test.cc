// Create, get, list, update and delete over a real socket.
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "mayfly/base/ids.h"
#include "server/api/convert.h"
#include "server/api/grpc_status.h"
#include "server/api/report_content.h"
#include "tests/support/api_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class EnvironmentsTest : public ApiTest {
 protected:
  void SetUp() override {
    StartServer();
    stub_ = NewStub();
  }
  std::vector<std::string> List(const v1::ListEnvironmentsRequest& request) {
    Call call;
    v1::ListEnvironmentsResponse response;
    status_ = stub_->ListEnvironments(&call, request, &response);
    next_page_token_ = response.next_page_token();
    std::vector<std::string> names;
    for (const v1::Environment& environment : response.environments()) names.push_back(environment.name());
    return names;
  }
  std::unique_ptr<Stub> stub_;
  grpc::Status status_;
  std::string next_page_token_;
};

TEST_F(EnvironmentsTest, CreateAnswersAtOnceInStateCreatingWithTheCallerAsOwner) {
  const v1::Environment environment = Create(*stub_, "pr-7");
  EXPECT_EQ(environment.name(), "pr-7");
  EXPECT_EQ(environment.state(), v1::Environment::CREATING);
  EXPECT_EQ(environment.owner(), "tester");
  EXPECT_FALSE(environment.uid().empty());
  EXPECT_GT(environment.expire_time().seconds(), environment.create_time().seconds());
}

TEST_F(EnvironmentsTest, ARepeatedRequestIdIsTheSameEnvironment) {
  const v1::CreateEnvironmentRequest request = CreateRequest("pr-7");
  v1::Environment first, second;
  Call one, two;
  EXPECT_TRUE(stub_->CreateEnvironment(&one, request, &first).ok());
  EXPECT_TRUE(stub_->CreateEnvironment(&two, request, &second).ok());
  EXPECT_EQ(first.uid(), second.uid());
  EXPECT_EQ(provisioner_.stored(), 1);
}

TEST_F(EnvironmentsTest, ATakenNameIsAlreadyExists) {
  Create(*stub_, "pr-7");
  Call call;
  v1::Environment ignored;
  EXPECT_EQ(stub_->CreateEnvironment(&call, CreateRequest("pr-7"), &ignored).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(EnvironmentsTest, ValidateOnlyStoresNothing) {
  v1::CreateEnvironmentRequest request = CreateRequest("pr-7");
  request.set_validate_only(true);
  Call call;
  v1::Environment ignored;
  EXPECT_TRUE(stub_->CreateEnvironment(&call, request, &ignored).ok());
  EXPECT_EQ(provisioner_.stored(), 0);
}

TEST_F(EnvironmentsTest, EveryFieldThatIsWrongIsNamedAtOnce) {
  v1::CreateEnvironmentRequest request;
  request.set_environment_id("No Name");
  request.set_request_id("once");
  request.set_source("shop");
  request.mutable_ttl()->set_seconds(-1);
  request.add_services("");
  (*request.mutable_variables())["A=B"] = "1";
  (*request.mutable_labels())["a/b"] = "1";
  (*request.mutable_labels())["-a"] = "1";
  (*request.mutable_labels())[std::string(58, 'k')] = "1";
  (*request.mutable_labels())["line"] = "1\n2";
  (*request.mutable_labels())["long"] = std::string(257, 'v');
  Call call;
  v1::Environment ignored;
  const grpc::Status status = stub_->CreateEnvironment(&call, request, &ignored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  for (const char* field :
       {"environment_id: ", "request_id: ", "source: ", "ttl: ", "services[0]: ", "variables[A=B]: ", "labels[a/b]: ",
        "labels[-a]: ", "labels[kkk", "labels[line]: ", "labels[long]: "}) {
    EXPECT_THAT(status.error_message(), HasSubstr(field));
  }
  EXPECT_EQ(provisioner_.stored(), 0);
}

TEST_F(EnvironmentsTest, DiagnosticsTravelInTheTrailingMetadata) {
  provisioner_.FailSpecs(
      absl::InvalidArgumentError("2 errors in 1 file"),
      {{Severity::kError, {"service.yml", 3, 5}, "unknown key 'prot'", "did you mean 'port'?", "prot: 1"},
       {Severity::kWarning, {"service.yml", 4, 1}, "unused", "", ""}});
  Call call;
  v1::Environment ignored;
  const grpc::Status status = stub_->CreateEnvironment(&call, CreateRequest("pr-7"), &ignored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto& metadata = call.GetServerTrailingMetadata();
  ASSERT_EQ(metadata.count(api::kDiagnosticsKey), 1u);
  const grpc::string_ref bytes = metadata.find(api::kDiagnosticsKey)->second;
  v1::Diagnostics diagnostics;
  ASSERT_TRUE(diagnostics.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  ASSERT_EQ(diagnostics.diagnostics_size(), 2);
  EXPECT_EQ(diagnostics.diagnostics(0).file(), "service.yml");
  EXPECT_EQ(diagnostics.diagnostics(0).line(), 3);
  EXPECT_EQ(diagnostics.diagnostics(0).hint(), "did you mean 'port'?");
  EXPECT_EQ(diagnostics.diagnostics(1).severity(), v1::Diagnostic::WARNING);
}

TEST_F(EnvironmentsTest, ManyLongDiagnosticsAreShortenedToWhatMetadataMayHold) {
  Diagnostics many;
  for (int i = 1; i <= 500; ++i) {
    many.push_back({Severity::kError, {"service.yml", i, 1}, std::string(2000, 'x'), "", std::string(5000, '\xff')});
  }
  provisioner_.FailSpecs(absl::InvalidArgumentError(std::string(20000, '\xc3')), many);
  Call call;
  v1::Environment ignored;
  const grpc::Status status = stub_->CreateEnvironment(&call, CreateRequest("pr-7"), &ignored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  const auto& metadata = call.GetServerTrailingMetadata();
  ASSERT_EQ(metadata.count(api::kDiagnosticsKey), 1u);
  const grpc::string_ref bytes = metadata.find(api::kDiagnosticsKey)->second;
  v1::Diagnostics diagnostics;
  ASSERT_TRUE(diagnostics.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  EXPECT_GT(diagnostics.diagnostics_size(), 1);
  EXPECT_EQ(diagnostics.diagnostics_size() + diagnostics.omitted(), 500);
}

TEST_F(EnvironmentsTest, GetFollowsWhatHappensAndShowsNodes) {
  Create(*stub_, "pr-7");
  NodeView node;
  node.planned.name = "web";
  node.state = NodeState::kReady;
  node.endpoints[8080] = {"127.0.0.1:20480", "http://127.0.0.1:20480"};
  node.message = "said \xff";
  provisioner_.SetNodes("pr-7", {node});
  provisioner_.SetState("pr-7", EnvironmentState::kActive);
  v1::GetEnvironmentRequest request;
  request.set_name("pr-7");
  for (int i = 0; i < 2; ++i) {  // The second answer comes from the cache.
    Call call;
    v1::Environment environment;
    ASSERT_TRUE(stub_->GetEnvironment(&call, request, &environment).ok());
    EXPECT_EQ(environment.state(), v1::Environment::ACTIVE);
    ASSERT_EQ(environment.nodes_size(), 1);
    EXPECT_EQ(environment.nodes(0).state(), v1::Node::READY);
    EXPECT_EQ(environment.nodes(0).endpoints(0).address(), "127.0.0.1:20480");
    EXPECT_EQ(environment.last_sequence(), 3);
  }
  provisioner_.SetState("pr-7", EnvironmentState::kDeleting);
  Call call;
  v1::Environment environment;
  ASSERT_TRUE(stub_->GetEnvironment(&call, request, &environment).ok());
  EXPECT_EQ(environment.state(), v1::Environment::DELETING);
}

TEST_F(EnvironmentsTest, WhatDoesNotExistIsNotFound) {
  v1::GetEnvironmentRequest get;
  get.set_name("nobody");
  v1::DeleteEnvironmentRequest remove;
  remove.set_name("nobody");
  v1::Environment ignored;
  Call one, two;
  const grpc::Status status = stub_->GetEnvironment(&one, get, &ignored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("nobody"));
  EXPECT_EQ(stub_->DeleteEnvironment(&two, remove, &ignored).error_code(), grpc::StatusCode::NOT_FOUND);
  Call three;
  get.set_name("");
  EXPECT_THAT(stub_->GetEnvironment(&three, get, &ignored).error_message(), HasSubstr("name: is required"));
}

TEST_F(EnvironmentsTest, ListPagesAndFilters) {
  for (const char* name : {"shop-1", "shop-2", "shop-3", "tool"}) Create(*stub_, name);
  provisioner_.SetState("shop-2", EnvironmentState::kActive);
  provisioner_.SetState("tool", EnvironmentState::kDeleted);
  v1::ListEnvironmentsRequest request;
  EXPECT_THAT(List(request), ElementsAre("shop-1", "shop-2", "shop-3"));
  request.set_page_size(2);
  EXPECT_THAT(List(request), ElementsAre("shop-1", "shop-2"));
  request.set_page_token(next_page_token_);
  EXPECT_THAT(List(request), ElementsAre("shop-3"));
  EXPECT_EQ(next_page_token_, "");
  request.Clear();
  request.set_filter("state=ACTIVE AND name=shop*");
  EXPECT_THAT(List(request), ElementsAre("shop-2"));
  request.set_filter("state=DELETED");
  EXPECT_THAT(List(request), ElementsAre("tool"));
  request.set_filter("name=shop-1");
  EXPECT_THAT(List(request), ElementsAre("shop-1"));
  request.set_filter("owner=nobody");
  EXPECT_THAT(List(request), ElementsAre());
  request.set_filter("colour=blue");
  List(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status_.error_message(), HasSubstr("colour"));
}

TEST_F(EnvironmentsTest, LabelsAreShownAndSelectWhatIsListed) {
  const auto make = [&](const char* name, const std::map<std::string, std::string>& labels) {
    v1::CreateEnvironmentRequest request = CreateRequest(name);
    request.mutable_labels()->insert(labels.begin(), labels.end());
    Call call;
    v1::Environment made;
    EXPECT_TRUE(stub_->CreateEnvironment(&call, request, &made).ok());
    EXPECT_EQ((std::map<std::string, std::string>(made.labels().begin(), made.labels().end())), labels);
  };
  make("a", {{"pr", "7"}, {"branch", "x/é"}});
  make("b", {{"pr", "7"}});
  make("c", {{"pr", "77"}});
  v1::ListEnvironmentsRequest request;
  (*request.mutable_labels())["pr"] = "7";
  EXPECT_THAT(List(request), ElementsAre("a", "b"));
  (*request.mutable_labels())["branch"] = "x/é";
  EXPECT_THAT(List(request), ElementsAre("a"));
}

TEST_F(EnvironmentsTest, UpdateChangesTheExpiryAndOnlyThat) {
  const v1::Environment made = Create(*stub_, "pr-7");
  v1::UpdateEnvironmentRequest request;
  request.mutable_environment()->set_name("pr-7");
  request.mutable_environment()->set_etag(made.etag());
  request.mutable_environment()->mutable_ttl()->set_seconds(90 * 3600);
  request.mutable_update_mask()->add_paths("ttl");
  v1::Environment updated;
  Call one;
  ASSERT_TRUE(stub_->UpdateEnvironment(&one, request, &updated).ok());
  EXPECT_GT(updated.expire_time().seconds(), made.expire_time().seconds());
  Call two;  // The etag is an old one by now.
  EXPECT_EQ(stub_->UpdateEnvironment(&two, request, &updated).error_code(), grpc::StatusCode::ABORTED);
  request.mutable_update_mask()->add_paths("owner");
  Call three;
  const grpc::Status status = stub_->UpdateEnvironment(&three, request, &updated);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("'owner' cannot be changed"));
}

TEST_F(EnvironmentsTest, DeleteAnswersAtOnceInStateDeleting) {
  Create(*stub_, "pr-7");
  v1::DeleteEnvironmentRequest request;
  request.set_name("pr-7");
  Call call;
  v1::Environment environment;
  ASSERT_TRUE(stub_->DeleteEnvironment(&call, request, &environment).ok());
  EXPECT_EQ(environment.state(), v1::Environment::DELETING);
}

TEST_F(EnvironmentsTest, PlanShowsNodesInOrderWithTheirReasons) {
  v1::PlanEnvironmentRequest request;
  *request.mutable_request() = CreateRequest("");
  Call call;
  v1::PlanEnvironmentResponse plan;
  ASSERT_TRUE(stub_->PlanEnvironment(&call, request, &plan).ok());
  ASSERT_EQ(plan.nodes_size(), 2);
  EXPECT_EQ(plan.nodes(1).name(), "web");
  EXPECT_THAT(plan.nodes(1).needs(), ElementsAre("db"));
  EXPECT_THAT(plan.nodes(1).why(), ElementsAre("asked for"));
  EXPECT_EQ(plan.critical_path().nanos(), 200'000'000);
}

TEST_F(EnvironmentsTest, ServerInfoTellsVersionEngineAndChecks) {
  Create(*stub_, "pr-7");
  v1::GetServerInfoRequest request;
  request.set_check_host(true);
  Call call;
  v1::ServerInfo info;
  ASSERT_TRUE(stub_->GetServerInfo(&call, request, &info).ok());
  EXPECT_EQ(info.engine(), "stub");
  EXPECT_EQ(info.pid(), getpid());
  EXPECT_EQ(info.environments(), 1);
  ASSERT_EQ(info.checks_size(), 2);
  EXPECT_EQ(info.checks(1).result(), v1::ServerInfo::Check::DEGRADED);
  EXPECT_EQ(info.checks(1).remedy(), "mount version 2");
}

TEST_F(EnvironmentsTest, TheReportComesInEveryFormatWithTheFilesOfItsTests) {
  Create(*stub_, "pr-7");
  Report report;
  report.environment = "pr-7";
  report.verdict = Verdict::kFailed;
  report.cause = {CauseCode::kTestsFailed, "e2e", "1 of 3 tests failed"};
  provisioner_.SetReport(report);
  const std::filesystem::path kept = dir_ / "kept";
  std::filesystem::create_directories(kept / "e2e");
  std::ofstream(kept / "e2e" / "report.xml") << "<testsuite/>";
  std::filesystem::create_symlink("/etc/passwd", kept / "e2e" / "stolen");
  provisioner_.SetDirs(dir_.path(), kept.string());
  v1::GetReportRequest request;
  request.set_name("pr-7");
  request.set_with_files(true);
  for (const auto format : {v1::GetReportRequest::JSON, v1::GetReportRequest::TEXT, v1::GetReportRequest::JUNIT,
                            v1::GetReportRequest::MARKDOWN, v1::GetReportRequest::FORMAT_UNSPECIFIED}) {
    request.set_format(format);
    Call call;
    v1::GetReportResponse response;
    ASSERT_TRUE(stub_->GetReport(&call, request, &response).ok());
    EXPECT_THAT(response.content(), HasSubstr("TESTS_FAILED"));
    ASSERT_EQ(response.files_size(), 1);
    EXPECT_EQ(response.files(0).path(), "e2e/report.xml");
    EXPECT_EQ(response.files(0).content(), "<testsuite/>");
  }
}

TEST_F(EnvironmentsTest, AReportOfAnEarlierEnvironmentIsFoundByItsUid) {
  const std::string earlier = Create(*stub_, "pr-7").uid();
  provisioner_.SetState("pr-7", EnvironmentState::kDeleted);
  const std::string later = Create(*stub_, "pr-7").uid();
  const auto ask = [&](const std::string& name, const std::string& uid) {
    v1::GetReportRequest request;
    request.set_name(name);
    request.set_uid(uid);
    Call call;
    v1::GetReportResponse response;
    return stub_->GetReport(&call, request, &response).error_code();
  };
  EXPECT_EQ(ask("pr-7", ""), grpc::StatusCode::OK);
  EXPECT_EQ(provisioner_.reported_uid(), later);
  EXPECT_EQ(ask("pr-7", earlier), grpc::StatusCode::OK);
  EXPECT_EQ(provisioner_.reported_uid(), earlier);
  EXPECT_EQ(ask("pr-8", earlier), grpc::StatusCode::NOT_FOUND);
}

TEST(ReportContentTest, FilesOverTheLimitAreCounted) {
  TempDir dir;
  for (const char* name : {"a", "b", "c"}) std::ofstream(dir / name) << std::string(100, name[0]);
  v1::GetReportResponse response;
  api::AddKeptFiles(dir.path(), 200, response);
  EXPECT_EQ(response.files_size(), 2);
  EXPECT_EQ(response.omitted_files(), 1);
  v1::GetReportResponse none;
  api::AddKeptFiles(dir / "missing", 200, none);
  EXPECT_EQ(none.files_size(), 0);
}

}  // namespace
}  // namespace mayfly
