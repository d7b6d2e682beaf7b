// The mayfly program as users and CI see it: outputs, exit codes, interrupts, terminals. The server is a fake.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/cli_events.h"
#include "tests/support/fake_environment_service.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Mayfly() {
  const char* bin = getenv("MAYFLY_BIN_DIR");
  return std::filesystem::absolute(bin == nullptr ? "build/dev/bin" : bin).string() + "/mayfly";
}

class CliProgramTest : public testing::Test {
 protected:
  CliProgramTest() {
    std::ofstream(dir_ / "envspec.yml") << "name: shop\nservices: []\n";
    service_.environment.set_state(v1::Environment::ACTIVE);
    v1::Node* gateway = service_.environment.add_nodes();
    gateway->set_name("gateway");
    gateway->set_state(v1::Node::READY);
    v1::Endpoint* endpoint = gateway->add_endpoints();
    endpoint->set_port(8080);
    endpoint->set_url("http://127.0.0.1:20480");
    service_.reports[v1::GetReportRequest::TEXT] = "PASSED shop\nline with \x1b[31mescape\n";
    service_.reports[v1::GetReportRequest::FORMAT_UNSPECIFIED] = "{\"verdict\": \"PASSED\"}\n";
    service_.reports[v1::GetReportRequest::JSON] = "{\"verdict\": \"PASSED\"}\n";
    service_.reports[v1::GetReportRequest::JUNIT] = "<testsuites/>\n";
    service_.reports[v1::GetReportRequest::MARKDOWN] = "# PASSED\n";
  }

  std::unique_ptr<Program> Start(std::vector<std::string> words, Program::On on = Program::On::kPipes,
                                 const std::map<std::string, std::string>& variables = {}) {
    if (server_ == nullptr) server_ = std::make_unique<FakeServer>(dir_ / "s", &service_);
    words.insert(words.begin(), Mayfly());
    const size_t dashes = static_cast<size_t>(std::find(words.begin(), words.end(), "--") - words.begin());
    words.insert(words.begin() + static_cast<long>(dashes), {"--server", "unix:" + (dir_ / "s")});
    return std::make_unique<Program>(words, dir_.path(), on, variables);
  }
  std::string Content(const std::string& name) {
    std::ifstream file(dir_ / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  TempDir dir_;
  FakeEnvironmentService service_;
  std::unique_ptr<FakeServer> server_;
};

TEST_F(CliProgramTest, TheVerdictOfAReportIsColouredWhereThatIsWanted) {
  const auto report = [this](Program::On on, const std::vector<std::string>& flags,
                             const std::map<std::string, std::string>& variables) {
    std::vector<std::string> words = {"report", "shop"};
    words.insert(words.end(), flags.begin(), flags.end());
    const auto program = Start(words, on, variables);
    EXPECT_EQ(program->Wait(), 0);
    return program->out();
  };
  EXPECT_THAT(report(Program::On::kTerminal, {}, {{"TERM", "xterm"}}), StartsWith("\x1b["));
  EXPECT_THAT(report(Program::On::kPipes, {"--color=always"}, {}), StartsWith("\x1b["));
  EXPECT_THAT(report(Program::On::kTerminal, {}, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}), StartsWith("PASSED shop"));
  EXPECT_THAT(report(Program::On::kTerminal, {"--color=never"}, {{"TERM", "xterm"}}), StartsWith("PASSED shop"));
  EXPECT_THAT(report(Program::On::kPipes, {}, {}), StartsWith("PASSED shop"));
}

TEST_F(CliProgramTest, UpPrintsUrlsAndNothingElseOnStandardOutput) {
  CannedEvents log = CannedEvents::Passed();
  log.events.resize(15);  // Up to ACTIVE.
  ASSERT_EQ(log.events.back().environment_state(), v1::Environment::ACTIVE);
  service_.SetScript(log.events);
  auto up = Start({"up", "cart"});
  EXPECT_EQ(up->Wait(), 0) << up->err();
  EXPECT_EQ(up->out(), "SERVICE  PORT  URL\ngateway  8080  http://127.0.0.1:20480\n");
  EXPECT_THAT(up->err(),
              AllOf(HasSubstr("shop is up: 3 services ready"), HasSubstr("postgres"), Not(HasSubstr("\x1b"))));
  ASSERT_EQ(service_.creates().size(), 1u);
  EXPECT_THAT(service_.creates()[0].source(), testing::EndsWith("/envspec.yml"));
  EXPECT_EQ(service_.creates()[0].services(0), "cart");
  EXPECT_TRUE(service_.creates()[0].allow_update());
}

TEST_F(CliProgramTest, UpOfABrokenEnvironmentIs4WithTheCauseAndHowToGoOn) {
  service_.SetScript(CannedEvents::Broken(/*kept=*/true).events);
  auto up = Start({"up", "-q"});
  EXPECT_EQ(up->Wait(), 4);
  EXPECT_THAT(up->err(), StartsWith("error: cart: OUT_OF_MEMORY: used 128 MiB of 128 MiB\n"));
  EXPECT_THAT(up->err(), AllOf(HasSubstr("mayfly logs cart --name shop"), HasSubstr("mayfly down shop")));
  EXPECT_EQ(up->out(), "");
}

TEST_F(CliProgramTest, RunGoesToItsEndAndPrintsTheReport) {
  service_.SetScript(CannedEvents::Passed().events);
  auto run = Start({"run", "--junit", "out/junit.xml", "--report-dir", "out/reports"});
  EXPECT_EQ(run->Wait(), 0) << run->err();
  EXPECT_EQ(run->out(), "PASSED shop\nline with \\x1b[31mescape\n");
  EXPECT_EQ(Content("out/junit.xml"), "<testsuites/>\n");
  EXPECT_EQ(Content("out/reports/report.md"), "# PASSED\n");
  ASSERT_EQ(service_.creates().size(), 1u);
  EXPECT_THAT(service_.creates()[0].environment_id(), testing::MatchesRegex("shop-[0-9a-f]{6}"));
  EXPECT_EQ(service_.creates()[0].keep(), v1::CreateEnvironmentRequest::NEVER);
  EXPECT_TRUE(service_.creates()[0].all_tests());
}

TEST_F(CliProgramTest, RunAsJsonIsExactlyTheServersReport) {
  service_.SetScript(CannedEvents::Passed().events);
  auto run = Start({"run", "-o", "json"});
  EXPECT_EQ(run->Wait(), 0);
  EXPECT_EQ(run->out(), "{\"verdict\": \"PASSED\"}\n");
}

TEST_F(CliProgramTest, FailedTestsAre5) {
  CannedEvents log = CannedEvents::HalfWay();
  v1::Event& verdict = log.Verdict(2000, v1::VERDICT_FAILED);
  verdict.mutable_cause()->set_code("TESTS_FAILED");
  verdict.mutable_cause()->set_node("order-e2e");
  log.State(2001, v1::Environment::DELETED);
  service_.SetScript(log.events);
  auto run = Start({"run"});
  EXPECT_EQ(run->Wait(), 5);
  EXPECT_THAT(run->err(), HasSubstr("error: order-e2e: TESTS_FAILED"));
}

TEST_F(CliProgramTest, ASupersededRunIs9AndPrintsNobodyElsesReport) {
  CannedEvents log = CannedEvents::HalfWay();
  log.Verdict(2000, v1::VERDICT_CANCELLED).mutable_cause()->set_code("SUPERSEDED");
  log.State(2001, v1::Environment::DELETED);
  service_.SetScript(log.events);
  auto run = Start({"run", "--name", "pr-7"});
  EXPECT_EQ(run->Wait(), 9);
  EXPECT_EQ(run->out(), "");
  EXPECT_TRUE(service_.creates()[0].allow_update());
}

TEST_F(CliProgramTest, AKeptFileCannotLeaveItsFolder) {
  service_.SetScript(CannedEvents::Passed().events);
  auto& file = service_.files.emplace_back();
  file.set_path("a/../../../escaped");
  auto report = Start({"report", "shop", "--report-dir", "out/reports"});
  EXPECT_EQ(report->Wait(), 1);
  EXPECT_EQ(Content("escaped"), "");
}

TEST_F(CliProgramTest, OffATerminalAnInterruptTakesTheEnvironmentDown) {
  for (const int number : {SIGINT, SIGTERM}) {
    service_.SetScript(CannedEvents::HalfWay().events);
    auto run = Start({"run", "--name", "shop"});
    ASSERT_TRUE(run->WaitFor("cart          STARTING")) << run->err();
    run->Kill(number);
    EXPECT_EQ(run->Wait(), 130);
    EXPECT_THAT(run->err(), AllOf(HasSubstr("interrupted: taking shop down"), HasSubstr("shop is gone")));
  }
  ASSERT_EQ(service_.deletes().size(), 2u);
  EXPECT_EQ(service_.deletes()[0].uid(), "uid-1");
}

TEST_F(CliProgramTest, OnInterruptKeepLeavesItToTheServer) {
  service_.SetScript(CannedEvents::HalfWay().events);
  auto run = Start({"run", "--name", "shop", "--on-interrupt", "keep"});
  ASSERT_TRUE(run->WaitFor("cart          STARTING"));
  run->Kill(SIGINT);
  EXPECT_EQ(run->Wait(), 130);
  EXPECT_TRUE(service_.deletes().empty());
}

TEST_F(CliProgramTest, UpFromAnotherFolderDoesNotReplaceWhatHasTheName) {
  service_.source = "/elsewhere/shop/envspec.yml";
  auto up = Start({"up"});
  EXPECT_EQ(up->Wait(), 9);
  EXPECT_THAT(up->err(), AllOf(HasSubstr("'shop' is up from another folder, /elsewhere/shop"), HasSubstr("--name")));
  EXPECT_TRUE(service_.creates().empty());
}

TEST_F(CliProgramTest, InterruptingAnUpdateKeepsWhatWasThere) {
  service_.existed = true;
  service_.SetScript(CannedEvents::HalfWay().events);
  auto up = Start({"up"});
  ASSERT_TRUE(service_.WaitForWatcher());
  up->Kill(SIGTERM);
  EXPECT_EQ(up->Wait(), 130);
  EXPECT_TRUE(service_.deletes().empty());
}

TEST_F(CliProgramTest, OnATerminalTheFirstCtrlCDetachesAndSaysHowToGoOn) {
  service_.SetScript(CannedEvents::HalfWay().events);
  auto up = Start({"up"}, Program::On::kTerminal);
  ASSERT_TRUE(up->WaitFor("STARTING")) << up->out();
  up->Type("\x03");
  EXPECT_EQ(up->Wait(), 130);
  EXPECT_THAT(up->out(), AllOf(HasSubstr("mayfly watch shop"), HasSubstr("mayfly down shop")));
  EXPECT_TRUE(service_.deletes().empty());
  EXPECT_TRUE(up->TerminalIsSane());
}

TEST_F(CliProgramTest, OnATerminalTheSecondCtrlCAborts) {
  service_.SetScript(CannedEvents::HalfWay().events);
  auto up = Start({"up"}, Program::On::kTerminal);
  ASSERT_TRUE(up->WaitFor("STARTING")) << up->out();
  up->Type("\x03");
  ASSERT_TRUE(up->WaitFor("Ctrl-C again")) << up->out();
  up->Type("\x03");
  EXPECT_EQ(up->Wait(), 130);
  EXPECT_EQ(service_.deletes().size(), 1u);
}

TEST_F(CliProgramTest, ATerminalIsRedrawnAndCiIsNot) {
  service_.SetScript(CannedEvents::Passed().events);
  auto drawn = Start({"run"}, Program::On::kTerminal);
  EXPECT_EQ(drawn->Wait(), 0);
  EXPECT_THAT(drawn->out(), HasSubstr("\x1b[J"));
  auto plain = Start({"run"}, Program::On::kTerminal, {{"CI", "true"}, {"NO_COLOR", "1"}});
  EXPECT_EQ(plain->Wait(), 0);
  EXPECT_THAT(plain->out(), AllOf(Not(HasSubstr("\x1b")), HasSubstr("READY      after 820 ms")));
}

TEST_F(CliProgramTest, ATimeoutOfARunIs124AndCleansUp) {
  service_.SetScript(CannedEvents::HalfWay().events);
  auto run = Start({"run", "--timeout", "100ms"});
  EXPECT_EQ(run->Wait(), 124);
  EXPECT_EQ(service_.deletes().size(), 1u);
  EXPECT_THAT(run->err(), HasSubstr("--timeout 100ms passed"));
}

TEST_F(CliProgramTest, EachKindOfRefusalHasItsExitCode) {
  const std::pair<grpc::StatusCode, int> kinds[] = {{grpc::StatusCode::UNAUTHENTICATED, 7},
                                                    {grpc::StatusCode::RESOURCE_EXHAUSTED, 9},
                                                    {grpc::StatusCode::FAILED_PRECONDITION, 10},
                                                    {grpc::StatusCode::INTERNAL, 1}};
  for (const auto& [code, exit] : kinds) {
    service_.create_error = {code, "first line \x1b[31m"};
    auto run = Start({"run"});
    EXPECT_EQ(run->Wait(), exit);
    EXPECT_EQ(run->err(), "error: first line \\x1b[31m\n");
  }
  EXPECT_EQ(Start({"get", "nobody"})->Wait(), 6);
  EXPECT_EQ(Start({"get", "--nonsense"})->Wait(), 2);
}

TEST_F(CliProgramTest, ABrokenSpecIs3WithItsDiagnosticsFirst) {
  v1::Diagnostics diagnostics;
  diagnostics.add_diagnostics()->set_message("unknown key 'prot'");
  diagnostics.mutable_diagnostics(0)->set_file("service.yml");
  service_.create_error = {grpc::StatusCode::INVALID_ARGUMENT, "the spec has errors"};
  service_.create_trailer = diagnostics.SerializeAsString();
  auto run = Start({"run"});
  EXPECT_EQ(run->Wait(), 3);
  EXPECT_THAT(run->err(), StartsWith("service.yml: error: unknown key 'prot'"));
}

TEST_F(CliProgramTest, AServerOfAnotherVersionIsNotUsedAndTheWayOutIsTold) {
  server_ = std::make_unique<FakeServer>(dir_ / "s", &service_);
  std::ofstream(dir_ / "server.json") << R"({"pid": 1, "version": "0.0.1", "socket": ")" << (dir_ / "s") << "\"}";
  Program list({Mayfly(), "list", "--state-dir", dir_.path()}, dir_.path(), Program::On::kPipes);
  EXPECT_EQ(list.Wait(), 9);
  EXPECT_THAT(list.err(), AllOf(HasSubstr("mayflyd 0.0.1 serves"), HasSubstr("mayfly server stop")));
  service_.info.set_version("0.0.1");
  Program status({Mayfly(), "server", "status", "--state-dir", dir_.path()}, dir_.path(), Program::On::kPipes);
  EXPECT_EQ(status.Wait(), 0) << status.err();
  EXPECT_THAT(status.out(), StartsWith("mayflyd 0.0.1"));
}

TEST_F(CliProgramTest, NotesAreForThoseWhoAskForThem) {
  service_.SetScript(CannedEvents::Passed().events);
  auto quiet = Start({"run"});
  EXPECT_EQ(quiet->Wait(), 0);
  EXPECT_THAT(quiet->err(), Not(HasSubstr("connection refused")));
  auto verbose = Start({"run", "-v"});
  EXPECT_EQ(verbose->Wait(), 0);
  EXPECT_THAT(verbose->err(), HasSubstr("connection refused \\x1b]0;owned"));
}

TEST_F(CliProgramTest, ExecPassesBytesAndTheExitCode) {
  auto exec = Start({"exec", "cart", "--", "sh"}, Program::On::kTerminal);
  ASSERT_TRUE(exec->WaitFor("terminal\r\n")) << exec->out();
  exec->Type("exit 7\r");
  EXPECT_EQ(exec->Wait(), 7);
  EXPECT_TRUE(exec->TerminalIsSane());
}

TEST_F(CliProgramTest, AKilledExecLeavesASaneTerminal) {
  auto exec = Start({"exec", "cart", "--", "sh"}, Program::On::kTerminal);
  ASSERT_TRUE(exec->WaitFor("terminal\r\n"));
  exec->Kill(SIGTERM);
  EXPECT_EQ(exec->Wait(), 128 + SIGTERM);
  EXPECT_TRUE(exec->TerminalIsSane());
}

TEST_F(CliProgramTest, PortForwardCarriesBytesBothWays) {
  auto forward = Start({"port-forward", "cart", "0:8080"});
  ASSERT_TRUE(forward->WaitFor("-> cart:8080\n")) << forward->err();
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(atoi(forward->out().c_str() + strlen("127.0.0.1:"))));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(write(fd, "ping", 4), 4);
  char buffer[4] = {};
  EXPECT_EQ(recv(fd, buffer, 4, MSG_WAITALL), 4);
  EXPECT_EQ(std::string(buffer, 4), "ping");
  shutdown(fd, SHUT_WR);
  EXPECT_EQ(recv(fd, buffer, 1, 0), 0);
  close(fd);
  forward->Kill(SIGTERM);
  EXPECT_EQ(forward->Wait(), 130);
}

TEST_F(CliProgramTest, LogsAreEscapedUnlessBytesAreAskedFor) {
  v1::LogLine& line = service_.log_lines.emplace_back();
  line.set_node("cart");
  line.set_text("\x1b[2Jwiped");
  auto logs = Start({"logs", "cart"});
  EXPECT_EQ(logs->Wait(), 0);
  EXPECT_EQ(logs->out(), "\\x1b[2Jwiped\n");
  auto raw = Start({"logs", "cart", "--raw"});
  EXPECT_EQ(raw->Wait(), 0);
  EXPECT_EQ(raw->out(), "\x1b[2Jwiped\n");
}

TEST_F(CliProgramTest, DoctorIs10WhereNothingCanRun) {
  v1::ServerInfo::Check* check = service_.info.add_checks();
  check->set_name("user namespaces");
  check->set_result(v1::ServerInfo::Check::MISSING);
  check->set_detail("not allowed");
  check->set_remedy("sysctl kernel.unprivileged_userns_clone=1");
  auto doctor = Start({"doctor"});
  EXPECT_EQ(doctor->Wait(), 10);
  EXPECT_THAT(doctor->out(), AllOf(HasSubstr("✗ user namespaces  not allowed"), HasSubstr("mend it: sysctl")));
}

TEST_F(CliProgramTest, InitNeverOverwrites) {
  std::ofstream(dir_ / "package.json") << R"({"scripts": {"start": "node ."}})";
  Program first({Mayfly(), "init"}, dir_.path(), Program::On::kPipes);
  EXPECT_EQ(first.Wait(), 0);
  const std::string written = Content("service.yml");
  EXPECT_THAT(written, AllOf(StartsWith("# yaml-language-server: $schema="), HasSubstr("run: npm start")));
  Program second({Mayfly(), "init"}, dir_.path(), Program::On::kPipes);
  EXPECT_EQ(second.Wait(), 9);
  EXPECT_EQ(Content("service.yml"), written);
}

}  // namespace
}  // namespace mayfly
