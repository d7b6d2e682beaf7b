// The client library against a server that breaks off, refuses and lies down, and the start of a per-user server.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/lib/diagnostics.h"
#include "client/lib/files.h"
#include "client/lib/provisioner_client.h"
#include "client/lib/server_finder.h"
#include "client/lib/spawn_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/cli_events.h"
#include "tests/support/fake_environment_service.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ClientTest : public testing::Test {
 protected:
  ProvisionerClient::Options Options() {
    ProvisionerClient::Options options;
    options.target = "unix:" + socket_;
    return options;
  }
  void Serve() { server_ = std::make_unique<FakeServer>(socket_, &service_); }

  TempDir dir_;
  const std::string socket_ = dir_ / "s";
  FakeEnvironmentService service_;
  std::unique_ptr<FakeServer> server_;
};

TEST_F(ClientTest, ARepeatedCreateCarriesTheSameRequestId) {
  service_.refuse_creates = 2;
  Serve();
  ProvisionerClient client(Options());
  ASSERT_OK(client.CreateEnvironment({}));
  const auto creates = service_.creates();
  ASSERT_EQ(creates.size(), 3u);
  EXPECT_EQ(creates[0].request_id().size(), 36u);
  EXPECT_EQ(creates[1].request_id(), creates[0].request_id());
  EXPECT_EQ(creates[2].request_id(), creates[0].request_id());
}

TEST_F(ClientTest, ABrokenWatchGoesOnAfterTheLastEventAndRepeatsNone) {
  service_.SetScript(CannedEvents::Passed().events);
  service_.break_watch_after = 5;
  Serve();
  ProvisionerClient client(Options());
  std::vector<int64_t> seen;
  Cancellation never;
  v1::WatchEnvironmentRequest request;
  request.set_name("shop");
  ASSERT_OK(client.WatchEnvironment(
      request,
      [&](const v1::WatchEnvironmentResponse& batch) {
        for (const v1::Event& event : batch.events()) seen.push_back(event.sequence());
        return true;
      },
      &never));
  ASSERT_EQ(seen.size(), CannedEvents::Passed().events.size());
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i) + 1);
  ASSERT_EQ(service_.watches().size(), 2u);
  EXPECT_EQ(service_.watches()[1].from_sequence(), 5);
  EXPECT_EQ(service_.watches()[1].uid(), "uid-1") << "a later environment of the same name must not be followed";
}

TEST_F(ClientTest, AWatchOutlivesARestartOfTheServer) {
  service_.SetScript(CannedEvents::HalfWay().events);
  Serve();
  ProvisionerClient client(Options());
  Cancellation never;
  std::vector<v1::Event> seen;
  absl::Status status;
  v1::WatchEnvironmentRequest request;
  request.set_name("shop");
  std::thread watcher([&] {
    status = client.WatchEnvironment(
        request,
        [&](const v1::WatchEnvironmentResponse& batch) {
          seen.insert(seen.end(), batch.events().begin(), batch.events().end());
          return true;
        },
        &never);
  });
  ASSERT_TRUE(service_.WaitForWatcher());
  server_.reset();
  const CannedEvents all = CannedEvents::Passed();
  const size_t half = CannedEvents::HalfWay().events.size();
  service_.Append({all.events.begin() + static_cast<long>(half), all.events.end()});
  Serve();
  watcher.join();
  EXPECT_OK(status);
  EXPECT_EQ(seen.size(), all.events.size());
}

TEST_F(ClientTest, ACancelledWatchEnds) {
  service_.SetScript(CannedEvents::HalfWay().events);
  Serve();
  ProvisionerClient client(Options());
  Cancellation cancel;
  absl::Status status;
  std::thread watcher(
      [&] { status = client.WatchEnvironment({}, [](const v1::WatchEnvironmentResponse&) { return true; }, &cancel); });
  ASSERT_TRUE(service_.WaitForWatcher());
  cancel.Cancel();
  watcher.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

TEST_F(ClientTest, AServerThatIsNotThereIsUnavailable) {
  ProvisionerClient::Options options = Options();
  options.first_contact = absl::Milliseconds(50);
  ProvisionerClient client(options);
  EXPECT_THAT(client.GetEnvironment({}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(socket_)));
}

TEST_F(ClientTest, AServerThatDiedIsBroughtBack) {
  ProvisionerClient::Options options = Options();
  options.revive = [this] {
    Serve();
    return absl::OkStatus();
  };
  ProvisionerClient client(options);
  EXPECT_OK(client.GetEnvironment({}));
}

TEST_F(ClientTest, DiagnosticsComeWithTheStatus) {
  v1::Diagnostics diagnostics;
  v1::Diagnostic* diagnostic = diagnostics.add_diagnostics();
  diagnostic->set_file("service.yml");
  diagnostic->set_line(3);
  diagnostic->set_column(1);
  diagnostic->set_message("unknown key 'prot'");
  diagnostics.set_omitted(2);
  service_.create_error = {grpc::StatusCode::INVALID_ARGUMENT, "the spec has errors"};
  service_.create_trailer = diagnostics.SerializeAsString();
  Serve();
  ProvisionerClient client(Options());
  const auto environment = client.CreateEnvironment({});
  EXPECT_THAT(environment, StatusIs(absl::StatusCode::kInvalidArgument, "the spec has errors"));
  EXPECT_THAT(FormatPayload(environment.status()), HasSubstr("service.yml:3:1: error: unknown key 'prot'"));
  EXPECT_THAT(FormatPayload(environment.status()), HasSubstr("and 2 more"));
}

// Stands in for mayflyd: the lock, server.json, the line on --ready-fd, and a socket that accepts. One that is told to
// end stops accepting at once, and holds the lock until somebody writes to the pipe "let-go".
constexpr char kServer[] = R"(#!/usr/bin/python3
import fcntl, json, os, signal, socket, sys
flags = dict(arg[2:].split("=", 1) for arg in sys.argv[1:])
state = flags["state-dir"]
lock = open(state + "/lock", "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(9)
lock.truncate(0)
print("mayflyd, pid %d (start %s), since now" % (os.getpid(), open("/proc/self/stat").read().split()[21]), file=lock, flush=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(state + "/s%d" % os.getpid())
listener.listen()
def end(*_):
    listener.close()
    open(state + "/let-go").read()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
with open(state + "/new", "w") as file:
    json.dump({"pid": os.getpid(), "version": "1.2.3", "socket": state + "/s%d" % os.getpid()}, file)
os.rename(state + "/new", state + "/server.json")
os.write(int(flags["ready-fd"]), b"ready\n")
os.close(int(flags["ready-fd"]))
with open(state + "/seen", "w") as file:
    print(flags["exit-when-idle"], os.getsid(0) == os.getpid(), os.getcwd(), file=file)
while True:
    listener.accept()[0].close()
)";

bool IsFree(const std::string& state_dir) {
  const OwnedFd fd(open((state_dir + "/lock").c_str(), O_RDONLY | O_CLOEXEC));
  return flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

class ServerFinderTest : public testing::Test {
 protected:
  ~ServerFinderTest() override {
    for (const int64_t pid : started_) {
      kill(static_cast<pid_t>(pid), SIGKILL);
      waitpid(static_cast<pid_t>(pid), nullptr, 0);
    }
  }
  StartOptions With(const std::string& script) {
    const std::string binary = dir_ / "server";
    std::ofstream(binary) << script;
    chmod(binary.c_str(), 0755);
    StartOptions options;
    options.state_dir = dir_ / "state";
    options.binary = binary;
    options.timeout = absl::Seconds(60);
    return options;
  }

  TempDir dir_;
  std::set<int64_t> started_;
};

TEST_F(ServerFinderTest, StartsOneAndFindsItAgain) {
  const StartOptions options = With(kServer);
  EXPECT_THAT(FindServer(options.state_dir), StatusIs(absl::StatusCode::kNotFound, HasSubstr(options.state_dir)));
  const auto first = FindOrStartServer(options);
  ASSERT_OK(first);
  started_.insert(first->pid);
  EXPECT_TRUE(first->started);
  EXPECT_EQ(first->version, "1.2.3");
  const auto second = FindOrStartServer(options);
  ASSERT_OK(second);
  EXPECT_FALSE(second->started);
  EXPECT_EQ(second->pid, first->pid);
}

TEST_F(ServerFinderTest, ManyAtTheSameTimeEndUpWithOne) {
  const StartOptions options = With(kServer);
  std::vector<absl::StatusOr<LocalServer>> found(8, absl::UnknownError("not asked"));
  std::vector<std::thread> threads;
  for (auto& server : found) threads.emplace_back([&] { server = FindOrStartServer(options); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& server : found) {
    ASSERT_OK(server);
    started_.insert(server->pid);
  }
  EXPECT_EQ(started_.size(), 1u);
}

TEST_F(ServerFinderTest, AServerThatDiedIsReplaced) {
  const StartOptions options = With(kServer);
  const auto first = FindOrStartServer(options);
  ASSERT_OK(first);
  kill(static_cast<pid_t>(first->pid), SIGKILL);
  waitpid(static_cast<pid_t>(first->pid), nullptr, 0);
  const auto second = FindOrStartServer(options);
  ASSERT_OK(second);
  started_.insert(second->pid);
  EXPECT_NE(second->pid, first->pid);
}

// A server that was told to end, and is at it until LetGo.
class EndingServerTest : public ServerFinderTest {
 protected:
  EndingServerTest() {
    mkdir(options_.state_dir.c_str(), 0700);
    mkfifo(pipe_.c_str(), 0600);
    const auto server = FindOrStartServer(options_);
    EXPECT_OK(server);
    if (!server.ok()) return;
    ending_ = *server;
    started_.insert(ending_.pid);
    kill(static_cast<pid_t>(ending_.pid), SIGTERM);
    // Opened by the server when it accepts no more.
    writer_ = open(pipe_.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_FALSE(FindServer(options_.state_dir).ok());
  }
  void LetGo() { close(writer_); }

  StartOptions options_ = With(kServer);
  const std::string pipe_ = options_.state_dir + "/let-go";
  LocalServer ending_;
  int writer_ = -1;
};

TEST_F(EndingServerTest, ItsEndIsWaitedForAndAnotherOneIsStarted) {
  std::thread client([this] {
    const auto next = FindOrStartServer(options_);
    EXPECT_OK(next);
    if (!next.ok()) return;
    started_.insert(next->pid);
    EXPECT_TRUE(next->started);
    EXPECT_NE(next->pid, ending_.pid);
  });
  LetGo();
  client.join();
}

TEST_F(EndingServerTest, SomebodyWhoWantsNoneSeesNoneOnceItHasEnded) {
  absl::StatusOr<LocalServer> found = absl::UnknownError("not asked");
  std::thread client([&] { found = FindSettledServer(options_); });
  LetGo();
  client.join();
  EXPECT_TRUE(absl::IsNotFound(found.status())) << found.status();
  EXPECT_TRUE(IsFree(options_.state_dir));
}

TEST_F(EndingServerTest, OneThatHangsIsNamedAndTheLimitIsKept) {
  options_.timeout = absl::Milliseconds(50);
  EXPECT_THAT(FindOrStartServer(options_),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(absl::StrCat("process ", ending_.pid)), HasSubstr(options_.state_dir))));
  LetGo();
}

TEST_F(ServerFinderTest, StoppingReturnsWhenTheFolderIsFree) {
  const StartOptions options = With(kServer);
  mkdir(options.state_dir.c_str(), 0700);
  mkfifo((options.state_dir + "/let-go").c_str(), 0600);
  const auto server = FindOrStartServer(options);
  ASSERT_OK(server);
  started_.insert(server->pid);
  std::thread helper;
  ASSERT_OK(EndServer(options, [&] {
    kill(static_cast<pid_t>(server->pid), SIGTERM);
    helper = std::thread([&] { close(open((options.state_dir + "/let-go").c_str(), O_WRONLY | O_CLOEXEC)); });
    return absl::OkStatus();
  }));
  helper.join();
  EXPECT_TRUE(IsFree(options.state_dir));
  EXPECT_THAT(EndServer(options, [] { return absl::FailedPreconditionError("busy"); }),
              StatusIs(absl::StatusCode::kFailedPrecondition, "busy"));
}

TEST_F(ServerFinderTest, AServerGetsNothingOfTheCommandsThatIsNotForIt) {
  setenv("MY_SECRET", "hunter2", 1);
  setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1);
  const auto server = FindOrStartServer(With(kServer));
  unsetenv("MY_SECRET");
  unsetenv("XDG_RUNTIME_DIR");
  ASSERT_OK(server);
  started_.insert(server->pid);
  const auto variables = ReadFile(absl::StrCat("/proc/", server->pid, "/environ"), 1 << 20);
  ASSERT_OK(variables);
  EXPECT_THAT(*variables, AllOf(Not(HasSubstr("MY_SECRET")), Not(HasSubstr("hunter2")), HasSubstr("PATH="),
                                HasSubstr("XDG_RUNTIME_DIR=")));
}

TEST_F(ServerFinderTest, OneThatFailsSaysItsLastWords) {
  const auto server = FindOrStartServer(With("#!/bin/sh\necho 'no space \033[31m' >&2\nexit 1\n"));
  EXPECT_THAT(server, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no space \\x1b[31m")));
}

TEST_F(ServerFinderTest, AStateFolderThatOthersMayWriteIsRefused) {
  const StartOptions options = With(kServer);
  mkdir(options.state_dir.c_str(), 0777);
  chmod(options.state_dir.c_str(), 0777);
  EXPECT_THAT(FindOrStartServer(options), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("chmod")));
}

TEST(SpawnServer, AServerForAClusterGetsWhatFindsItAndProvesWhoWeAre) {
  char kubeconfig[] = "KUBECONFIG=/a/config:b", aws[] = "AWS_PROFILE=p", proxy[] = "HTTPS_PROXY=h:1",
       home[] = "HOME=/h", other[] = "MAYFLY_NAME=x";
  char* const around[] = {kubeconfig, aws, proxy, home, other, nullptr};
  EXPECT_THAT(ServerVariables(around), testing::ElementsAre("HOME=/h"));
  const std::string b = std::filesystem::absolute("b").string();
  EXPECT_THAT(ServerVariables(around, "kubernetes"),
              testing::ElementsAre("KUBECONFIG=/a/config:" + b, "AWS_PROFILE=p", "HTTPS_PROXY=h:1", "HOME=/h"));
}

}  // namespace
}  // namespace mayfly
