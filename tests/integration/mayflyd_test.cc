// The server program: how it starts, is found, refuses, stops and comes back.
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/version.h"
#include "nlohmann/json.hpp"
#include "server/base/unique_fd.h"
#include "tests/support/api_fixture.h"
#include "tests/support/child.h"

namespace mayfly {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class MayflydTest : public testing::Test {
 protected:
  // Its standard output says "ready" once it serves, by --ready-fd.
  std::unique_ptr<Child> Launch(std::vector<std::string> flags = {}) {
    std::vector<std::string> argv = {MAYFLYD, absl::StrCat("--state-dir=", state_), "--ready-fd=1",
                                     absl::StrCat("--log-file=", dir_ / "log")};
    argv.insert(argv.end(), flags.begin(), flags.end());
    return std::make_unique<Child>(argv);
  }
  // Runs it with standard error as output; the first line and the exit code.
  std::pair<std::string, int> Refused(const std::string& flags) {
    Child child({"/bin/sh", "-c", absl::StrCat("exec 2>&1 ", MAYFLYD, " --state-dir=", state_, " ", flags)});
    const std::string line = child.ReadLine();
    return {line, child.Wait()};
  }
  nlohmann::json ServerFile() {
    std::stringstream text;
    text << std::ifstream(ServerFilePath(state_)).rdbuf();
    return nlohmann::json::parse(text.str(), nullptr, false);
  }
  grpc::Status Info(v1::ServerInfo* info) {
    const auto channel = grpc::CreateChannel(absl::StrCat("unix:", ServerFile()["socket"].get<std::string>()),
                                             grpc::InsecureChannelCredentials());
    Call call;
    return v1::EnvironmentService::NewStub(channel)->GetServerInfo(&call, v1::GetServerInfoRequest(), info);
  }
  TempDir dir_;
  std::string state_ = dir_ / "state";
};

TEST_F(MayflydTest, IsFoundByItsServerFileAndStopsOnSigterm) {
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  EXPECT_EQ(ServerFile()["pid"], server->pid());
  EXPECT_EQ(ServerFile()["version"], std::string(Version()));
  v1::ServerInfo info;
  ASSERT_TRUE(Info(&info).ok());
  EXPECT_EQ(info.pid(), server->pid());
  EXPECT_EQ(info.engine(), "local");
  struct stat folder;
  ASSERT_EQ(stat(state_.c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode & 0777, 0700u);
  server->Kill(SIGTERM);
  EXPECT_EQ(server->Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(ServerFilePath(state_)));
  EXPECT_FALSE(std::filesystem::exists(SocketPath(state_)));
}

TEST_F(MayflydTest, ASecondServerIsRefusedAndNamesTheHolder) {
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  const auto [line, code] = Refused("");
  EXPECT_EQ(code, 9);
  EXPECT_THAT(line, HasSubstr(absl::StrCat("pid ", server->pid())));
  v1::ServerInfo info;
  EXPECT_TRUE(Info(&info).ok()) << "the first one still serves";
}

TEST_F(MayflydTest, ComesBackAfterBeingKilledDespiteWhatItLeft) {
  auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  server->Kill(SIGKILL);
  server->Wait();
  EXPECT_TRUE(std::filesystem::exists(SocketPath(state_)));
  server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  v1::ServerInfo info;
  EXPECT_TRUE(Info(&info).ok());
  EXPECT_EQ(info.pid(), server->pid());
}

TEST_F(MayflydTest, ALongStateFolderHasItsSocketElsewhere) {
  const std::string runtime = dir_ / "run";
  std::filesystem::create_directory(runtime);
  std::filesystem::permissions(runtime, std::filesystem::perms::owner_all);
  setenv("XDG_RUNTIME_DIR", runtime.c_str(), 1);
  state_ = dir_ / std::string(90, 'x');
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  EXPECT_THAT(ServerFile()["socket"].get<std::string>(), StartsWith(absl::StrCat(runtime, "/mayfly-")));
  v1::ServerInfo info;
  EXPECT_TRUE(Info(&info).ok());
  unsetenv("XDG_RUNTIME_DIR");
}

TEST_F(MayflydTest, With64DescriptorsAnd300ConnectionsItServesAfterwards) {
  const std::string words =
      absl::StrCat("ulimit -n 64; exec ", MAYFLYD, " --ready-fd=1 --state-dir=", state_, " --log-file=", dir_ / "log");
  Child server({"/bin/sh", "-c", words});
  ASSERT_EQ(server.ReadLine(), "ready");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  SocketPath(state_).copy(address.sun_path, sizeof(address.sun_path) - 1);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 300; ++i) {
    clients.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(clients.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << i;
  }
  clients.clear();
  v1::ServerInfo info;
  const grpc::Status status = Info(&info);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(MayflydTest, EndsByItselfWhenIdleButNotWhileSomebodyIsConnected) {
  const auto server = Launch({"--exit-when-idle=300ms"});
  ASSERT_EQ(server->ReadLine(), "ready");
  const auto channel = grpc::CreateChannel(absl::StrCat("unix:", ServerFile()["socket"].get<std::string>()),
                                           grpc::InsecureChannelCredentials());
  auto stub = v1::EnvironmentService::NewStub(channel);
  const absl::Time start = absl::Now();
  while (absl::Now() - start < absl::Seconds(1)) {
    Call call;
    v1::ServerInfo info;
    ASSERT_TRUE(stub->GetServerInfo(&call, v1::GetServerInfoRequest(), &info).ok());
  }
  server->CloseStdin();
  EXPECT_EQ(kill(server->pid(), 0), 0);
}

TEST_F(MayflydTest, EndsByItselfWhenIdle) {
  const auto server = Launch({"--exit-when-idle=100ms"});
  EXPECT_EQ(server->Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(SocketPath(state_)));
}

TEST_F(MayflydTest, StopsWhenAClientAsks) {
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  const auto channel =
      grpc::CreateChannel(absl::StrCat("unix:", SocketPath(state_)), grpc::InsecureChannelCredentials());
  Call call;
  v1::StopServerResponse ignored;
  const auto stub = v1::EnvironmentService::NewStub(channel);
  EXPECT_TRUE(stub->StopServer(&call, v1::StopServerRequest(), &ignored).ok());
  EXPECT_EQ(server->Wait(), 0);
}

TEST_F(MayflydTest, EndsWhenItsFolderIsDeletedAndLeavesTheNextServerAlone) {
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  server->Kill(SIGSTOP);
  std::filesystem::remove_all(state_);
  const auto next = Launch();
  ASSERT_EQ(next->ReadLine(), "ready");
  server->Kill(SIGCONT);
  EXPECT_EQ(server->Wait(), 0);
  std::stringstream log;
  log << std::ifstream(dir_ / "log").rdbuf();
  EXPECT_THAT(log.str(), HasSubstr("the state folder was deleted or moved away"));
  EXPECT_THAT(log.str(), HasSubstr(absl::StrCat("state_dir=", std::filesystem::canonical(state_).string())));
  EXPECT_EQ(ServerFile()["pid"], next->pid());
  v1::ServerInfo info;
  EXPECT_TRUE(Info(&info).ok());
  EXPECT_EQ(info.pid(), next->pid());
}

TEST_F(MayflydTest, EndsWhenItsFolderIsMovedAway) {
  const auto server = Launch();
  ASSERT_EQ(server->ReadLine(), "ready");
  std::filesystem::rename(state_, dir_ / "elsewhere");
  EXPECT_EQ(server->Wait(), 0);
}

TEST_F(MayflydTest, SaysWhatIsWrongAndChangesNothing) {
  const std::pair<const char*, const char*> cases[] = {
      {"--listen=0.0.0.0:0", "--tls-client-ca"},
      {"--listen=127.0.0.1:0", "--token-file"},
      {"--listen=127.0.0.1:0 --token-file=/nonexistent", "/nonexistent"},
      {"--listen=nonsense", "ADDRESS:PORT"},
      {"--sources=src", "--sources src: give the absolute path of a folder"},
      {"--sources=/ --sources=/nonexistent", "--sources /nonexistent: No such file or directory"},
      {"--sources=/etc/passwd", "--sources /etc/passwd: is not a folder"},
  };
  for (const auto& [flags, words] : cases) {
    const auto [line, code] = Refused(flags);
    EXPECT_EQ(code, 1) << flags;
    EXPECT_THAT(line, StartsWith("mayflyd: "));
    EXPECT_THAT(line, HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(ServerFilePath(state_)));
  }
  const auto [usage, code] = Refused("--lisen=x");
  EXPECT_EQ(code, 2);
  EXPECT_THAT(usage, HasSubstr("did you mean --listen?"));
}

TEST_F(MayflydTest, AStateFolderThatIsNotOursIsRefused) {
  std::filesystem::create_directory(state_);
  std::filesystem::permissions(state_, std::filesystem::perms::all);
  const auto [line, code] = Refused("");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(line, HasSubstr("can be written by others"));
}

// With what really reads, as the stub of the other tests does not.
TEST_F(MayflydTest, OnTheNetworkOnlySourcesBelowAnAllowedFolderAreRead) {
  const auto write = [](const std::string& path, const std::string& text, mode_t mode) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    chmod(path.c_str(), mode);
  };
  const std::string token = "0123456789abcdef";
  write(dir_ / "token", token, 0600);
  const std::string spec = "name: shop\nservices:\n  web: {type: http, port: 80, run: ./web}\n";
  write(dir_ / "allowed/shop/envspec.yml", spec, 0644);
  write(dir_ / "private/envspec.yml", "secret words", 0600);
  for (const auto& [link, target] : {std::pair<std::string, std::string>("there", dir_ / "private"),
                                     {"up", "../private"},
                                     {"missing", dir_ / "nothing"},
                                     {"file.yml", "../private/envspec.yml"},
                                     {"again", "shop"}}) {
    std::filesystem::create_symlink(target, dir_ / ("allowed/" + link));
  }
  const auto server = Launch({"--listen=127.0.0.1:0", absl::StrCat("--token-file=", dir_ / "token"),
                              absl::StrCat("--sources=", dir_ / "allowed")});
  ASSERT_EQ(server->ReadLine(), "ready");
  std::stringstream log;
  log << std::ifstream(dir_ / "log").rdbuf();
  const std::string port = log.str().substr(log.str().find("tcp_port=") + 9);
  const auto stub = v1::EnvironmentService::NewStub(grpc::CreateChannel(
      absl::StrCat("127.0.0.1:", port.substr(0, port.find(' '))), grpc::InsecureChannelCredentials()));
  const auto plan = [&](const std::string& source) {
    Call call;
    call.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    v1::PlanEnvironmentRequest request;
    request.mutable_request()->set_source(source);
    v1::PlanEnvironmentResponse response;
    return stub->PlanEnvironment(&call, request, &response);
  };
  for (const char* name : {"shop", "shop/envspec.yml", "again"}) {
    const grpc::Status status = plan(dir_ / (std::string("allowed/") + name));
    EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
  }
  for (const char* name : {"there", "up", "missing", "file.yml", "there/envspec.yml", "there/nothing"}) {
    const grpc::Status status = plan(dir_ / (std::string("allowed/") + name));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << name;
    EXPECT_THAT(status.error_message(), HasSubstr("by a symbolic link; name a folder whose files are below /"));
  }
  EXPECT_EQ(plan(dir_ / "private").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(plan(dir_ / "allowed/nothing").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(MayflydTest, PrintsTheTableOfCauses) {
  Child child({MAYFLYD, "--print-causes"});
  EXPECT_EQ(child.ReadLine(), "# Causes");
  std::string all;
  for (std::string line = "x"; !line.empty() || all.size() < 1000;) {
    line = child.ReadLine();
    all += line;
    if (line.empty() && all.size() > 1000) break;
  }
  EXPECT_THAT(all, HasSubstr("| `OUT_OF_MEMORY` | 301 |"));
}

}  // namespace
}  // namespace mayfly
