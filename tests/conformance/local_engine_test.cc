// What the local engine promises beyond the Engine contract: isolation from the host and between services, limits, and
// that nothing survives. Runs as whoever runs it; the build registers it as root and as an ordinary user.
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/log_reader.h"
#include "tests/support/local_world.h"

namespace mayfly {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Kind = EngineEvent::Kind;

class LocalEngineTest : public ::testing::Test {
 protected:
  explicit LocalEngineTest(bool egress_to_host = false) : world_(egress_to_host) {}

  // Runs `script` with sh as a one-shot node and returns what came of it; `output` is what it printed.
  struct Result {
    EngineEvent end;
    std::string output;
  };
  Result RunScript(const std::string& script, ProcessSpec process = {}) {
    const std::string node = absl::StrCat("n", ++nodes_);
    process.argv = {"sh", "-c", script};
    const EngineEvent end = world_.RunJob(node, process);
    return {end, world_.Output(node)};
  }
  std::string Workload() const { return world_.workload(); }

  LocalWorld world_;
  int nodes_ = 0;
};

TEST_F(LocalEngineTest, RunsAsAnUnprivilegedUserWithAPasswdEntry) {
  const Result result = RunScript(
      "id -u; id -un; grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status; "
      "echo home=$HOME; touch $HOME/x && echo written");
  EXPECT_EQ(result.end.exit_code, 0) << result.output << FormatCause(result.end.cause);
  EXPECT_THAT(result.output, HasSubstr("1000\napp\n"));
  EXPECT_THAT(result.output, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(result.output, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(result.output, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(result.output, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(result.output, HasSubstr("written"));
}

TEST_F(LocalEngineTest, AHostThatRunsItIsSaidToBeUsable) {
  const Capabilities capabilities = world_.engine().Describe();
  EXPECT_TRUE(capabilities.usable);
  for (const CapabilityCheck& check : capabilities.checks) {
    EXPECT_NE(check.result, CapabilityCheck::Result::kMissing) << check.name << ": " << check.detail;
    EXPECT_EQ(check.remedy.empty(), check.result == CapabilityCheck::Result::kOk) << check.name;
  }
}

TEST_F(LocalEngineTest, IsNotRootOutsideEither) {
  ProcessSpec process;
  process.argv = {"sleep", "1000"};
  const EngineEvent started = world_.StartService("s", process);
  std::ifstream status(absl::StrCat("/proc/", started.pid, "/status"));
  std::string line, uid;
  while (std::getline(status, line)) {
    if (absl::StartsWith(line, "Uid:")) uid = line;
  }
  ASSERT_FALSE(uid.empty());
  EXPECT_THAT(uid, Not(HasSubstr("\t0"))) << uid;
}

TEST_F(LocalEngineTest, SeesOnlyItsOwnProcesses) {
  const Result result = RunScript("ls -d /proc/[0-9]* | wc -l");
  EXPECT_LE(std::atoi(result.output.c_str()), 6) << result.output;
}

TEST_F(LocalEngineTest, CannotWriteToTheHostNorReadItsSecrets) {
  const Result result = RunScript(
      "touch /usr/x; echo usr=$?; cat /etc/shadow; echo shadow=$?; touch /etc/mine && echo etc; touch /var/lib/mine && "
      "echo var; touch "
      "/tmp/mine && echo tmp; ls -A /root /home/app /sys; ls /home");
  EXPECT_THAT(result.output, Not(HasSubstr("usr=0")));
  EXPECT_THAT(result.output, Not(HasSubstr("shadow=0")));
  EXPECT_THAT(result.output, HasSubstr("etc\nvar\ntmp\n"));
  EXPECT_NE(access("/tmp/mine", F_OK), 0);
  EXPECT_NE(access("/etc/mine", F_OK), 0);
}

TEST_F(LocalEngineTest, ReachesNoSocketOfTheHost) {
  // A path socket that everybody may connect to, in a place that services see; an abstract one; one on loopback.
  const std::string path = absl::StrCat(world_.source(), "/host.sock");
  const int unix_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(unix_socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(unix_socket, 1), 0);
  const int port = world_.ListenOnHost();
  ProcessSpec process;
  process.argv = {Workload(),
                  "try",
                  "connect-unix",
                  path,
                  "try",
                  "connect",
                  absl::StrCat("127.0.0.1:", port),
                  "try",
                  "connect-unix",
                  absl::StrCat("@mayfly-test-", getpid()),
                  "exit",
                  "0"};
  const EngineEvent end = world_.RunJob("n", process);
  EXPECT_EQ(end.exit_code, 0) << FormatCause(end.cause);
  EXPECT_THAT(world_.Output("n"), Not(HasSubstr("connected"))) << world_.Output("n");
  close(unix_socket);
}

TEST_F(LocalEngineTest, RefusesNamespacesMountsAndTracing) {
  const Result result = RunScript(
      "unshare -U true; echo unshare=$?; unshare -n true; echo net=$?; mount -t tmpfs t /mnt; echo mount=$?; "
      "kill -9 1; sleep 0; cat /proc/1/environ; echo environ=$?; hostname x; echo host=$?");
  EXPECT_EQ(result.end.exit_code, 0);
  for (const char* allowed : {"unshare=0", "net=0", "mount=0", "environ=0", "host=0"}) {
    EXPECT_THAT(result.output, Not(HasSubstr(allowed)));
  }
}

TEST_F(LocalEngineTest, NamesResolveToServices) {
  ProcessSpec server;
  server.argv = {Workload(), "tcp", "5432"};
  server.probe.kind = Probe::Kind::kTcp;
  server.probe.port = 5432;
  world_.StartService("postgres", server);
  world_.Await("postgres", Kind::kReady);
  ProcessSpec client;
  client.argv = {"bash", "-c",
                 "getent hosts postgres postgres.test; getent hosts example.com; echo unknown=$?; exec "
                 "3<>/dev/tcp/postgres/5432 && echo connected"};
  world_.RunJob("client", client);
  EXPECT_THAT(world_.Output("client"), AllOf(HasSubstr("10.77.1.1"), HasSubstr("connected"), HasSubstr("unknown=2")));
}

TEST_F(LocalEngineTest, SourceFolderIsWritableAndStaysAsItWas) {
  world_.WriteSource("a.txt", "host\n");
  world_.WriteSource("sub/b.txt", "host\n");
  ProcessSpec process;
  process.source_root = world_.source();
  process.workdir = world_.source() + "/sub";
  const Result result = RunScript(
      "pwd; cat ../a.txt; echo mine > ../a.txt && echo mine > b.txt && echo new > c.txt && cat ../a.txt b.txt c.txt",
      process);
  EXPECT_EQ(result.output, absl::StrCat(world_.source(), "/sub\nhost\nmine\nmine\nnew\n"));
  EXPECT_EQ(world_.ReadSource("a.txt"), "host\n");
  EXPECT_EQ(world_.ReadSource("sub/b.txt"), "host\n");
  EXPECT_NE(access((world_.source() + "/sub/c.txt").c_str(), F_OK), 0);
}

TEST_F(LocalEngineTest, WhatTheNodeStartedEndsWithIt) {
  ProcessSpec process;
  process.argv = {Workload(), "hide", "hide", "sleep", "20", "exit", "3"};
  const EngineEvent end = world_.RunJob("n", process);
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_EQ(end.cause.code, CauseCode::kJobFailed);
  const Result after = RunScript("true");
  EXPECT_EQ(world_.Processes(), 0);
}

TEST_F(LocalEngineTest, IgnoringTheStopSignalLastsForTheGrace) {
  ProcessSpec process;
  process.argv = {Workload(), "ignore-term", "tcp", "8080"};
  process.probe.kind = Probe::Kind::kTcp;
  process.probe.port = 8080;
  process.stop.grace = absl::Milliseconds(100);
  world_.StartService("s", process);
  world_.Await("s", Kind::kReady);
  ASSERT_TRUE(world_.engine().Stop({world_.scope(), "s", 1}).ok());
  const EngineEvent end = world_.Await("s", Kind::kExited);
  EXPECT_TRUE(end.stopped);
  EXPECT_EQ(end.signal, SIGKILL);
  EXPECT_TRUE(end.cause.empty());
}

TEST_F(LocalEngineTest, MemoryLimitIsTheCauseWhenReached) {
  ProcessSpec process;
  process.argv = {Workload(), "eat", "400"};
  process.resources.memory_bytes = 64 << 20;
  const EngineEvent end = world_.RunJob("n", process);
  EXPECT_EQ(end.cause.code, CauseCode::kOutOfMemory) << FormatCause(end.cause);
  EXPECT_EQ(end.cause.inferred, !world_.engine().Describe().memory_limits);
}

TEST_F(LocalEngineTest, DiskLimitIsTheCauseWhenReached) {
  ProcessSpec process;
  process.argv = {Workload(), "fill", "64"};
  process.workdir = "/tmp";
  process.resources.disk_bytes = 8 << 20;
  EXPECT_EQ(world_.RunJob("n", process).cause.code, CauseCode::kDiskFull);
}

TEST_F(LocalEngineTest, ProcessLimitHoldsAndIsNamed) {
  ProcessSpec process;
  process.argv = {Workload(), "forkbomb", "500", "exit", "1"};
  process.resources.processes = 20;
  const EngineEvent end = world_.RunJob("n", process);
  if (world_.engine().Describe().process_limits) {
    EXPECT_EQ(end.cause.code, CauseCode::kTooManyProcesses) << FormatCause(end.cause);
  }
  EXPECT_EQ(world_.Processes(), 0);
}

TEST_F(LocalEngineTest, LimitsHoldForNodesBeyondTheExpectedOnes) {
  for (int i = 0; i < 8; ++i) {
    ProcessSpec waiting;
    waiting.argv = {Workload(), "sleep", "60000"};
    world_.StartService(absl::StrCat("n", i), waiting);
  }
  ProcessSpec process;
  process.argv = {Workload(), "eat", "400"};
  process.resources.memory_bytes = 64 << 20;
  const EngineEvent end = world_.RunJob("ninth", process);
  EXPECT_EQ(end.cause.code, CauseCode::kOutOfMemory) << FormatCause(end.cause);
}

TEST_F(LocalEngineTest, FailuresOfStartNameTheirCause) {
  ProcessSpec process;
  process.argv = {"no-such-program"};
  EXPECT_EQ(world_.RunJob("a", process).cause.code, CauseCode::kCommandNotFound);
  process.argv = {"/etc/hostname"};
  EXPECT_EQ(world_.RunJob("b", process).cause.code, CauseCode::kNotExecutable);
  process.argv = {"true"};
  process.workdir = "/no/such/folder";
  const EngineEvent end = world_.RunJob("c", process);
  EXPECT_EQ(end.cause.code, CauseCode::kStartFailed);
  EXPECT_THAT(end.cause.message, HasSubstr("/no/such/folder"));
  process.workdir = world_.WriteSource("bad.sh", "#!/no/such/interpreter\n", 0755);
  process.source_root = world_.source();
  process.argv = {"./bad.sh"};
  const EngineEvent bad = world_.RunJob("d", process);
  EXPECT_EQ(bad.cause.code, CauseCode::kNotExecutable) << FormatCause(bad.cause);
  EXPECT_THAT(bad.cause.message, HasSubstr("/no/such/interpreter"));
}

class ToHostTest : public LocalEngineTest {
 protected:
  ToHostTest() : LocalEngineTest(/*egress_to_host=*/true) {}
};

TEST_F(ToHostTest, EgressReachesWhatIsAllowedAndOnlyThat) {
  char host[256];
  ASSERT_EQ(gethostname(host, sizeof(host)), 0);
  const hostent* found = gethostbyname(host);
  if (found == nullptr || found->h_addr_list[0][0] != 127) GTEST_SKIP() << "this host's name is not on its loopback";
  const int port = world_.ListenOnHost();
  const std::string target = absl::StrCat(host, ":", port);
  const std::string script = absl::StrCat("exec 3<>/dev/tcp/", host, "/", port, " && echo connected");
  ProcessSpec process;
  process.egress = {target};
  process.argv = {"bash", "-c", script + "; read -t 5 -u 3 line; exit 0"};
  world_.RunJob("allowed", process);
  EXPECT_THAT(world_.Output("allowed"), HasSubstr("connected"));
  EXPECT_TRUE(world_.AcceptedOnHost());
  // Another node finds the name and the address, and is turned away.
  process.egress.clear();
  world_.RunJob("other", process);
  EXPECT_FALSE(world_.AcceptedOnHost());
}

TEST_F(LocalEngineTest, EgressDoesNotLeadToTheHostsOwnLoopback) {
  const int port = world_.ListenOnHost();
  ProcessSpec process;
  process.argv = {"bash", "-c", absl::StrCat("exec 3<>/dev/tcp/loops.example/", port, "; read -t 5 -u 3 line; exit 0")};
  for (const char* own : {"127.0.0.1", "localhost", "0.0.0.0", "169.254.169.254"}) {
    process.egress = {absl::StrCat(own, ":", port)};
    const EngineEvent end = world_.RunJob(absl::StrCat("to-", absl::StrReplaceAll(own, {{".", "-"}})), process);
    EXPECT_EQ(end.kind, EngineEvent::Kind::kStartFailed) << own;
    EXPECT_THAT(end.cause.message, AllOf(HasSubstr("egress to"), HasSubstr("--egress-to-host"))) << own;
  }
  // A name leads there only when it is looked up.
  char host[256];
  ASSERT_EQ(gethostname(host, sizeof(host)), 0);
  process.egress = {absl::StrCat(host, ":", port)};
  process.argv[2] = absl::StrCat("exec 3<>/dev/tcp/", host, "/", port, "; read -t 5 -u 3 line; exit 0");
  world_.RunJob("by-name", process);
  EXPECT_FALSE(world_.AcceptedOnHost());
}

// AF_VSOCK, for one, has the same ports for the whole machine.
TEST_F(LocalEngineTest, OnlySocketsThatANetworkOfItsOwnKeepsApart) {
  const Result result = RunScript(
      "python3 - <<'E'\nimport socket\nfor family in range(0, 46):\n"
      "  try: socket.socket(family, socket.SOCK_DGRAM if family != 16 else socket.SOCK_RAW); print('made', family)\n"
      "  except OSError as e: print('refused', family, e.errno)\nE\n");
  std::vector<std::string> made;
  for (const absl::string_view line : absl::StrSplit(result.output, '\n')) {
    if (absl::StartsWith(line, "made")) made.emplace_back(line);
  }
  EXPECT_THAT(made, ElementsAre("made 1", "made 2", "made 10", "made 16")) << result.output;
}

TEST_F(LocalEngineTest, MoreNodesThanWereExpectedFindAPlace) {
  for (int i = 0; i < 8; ++i) {  // The scope said 6; its networks are made for 8.
    const Result result = RunScript("cat /proc/1/comm && echo there > /dev/shm/mine && cat /dev/shm/mine");
    EXPECT_EQ(result.end.exit_code, 0) << FormatCause(result.end.cause);
    EXPECT_EQ(result.output, "mayfly-shim\nthere\n");
  }
}

TEST_F(LocalEngineTest, DevicesWorkAndCannotBeChanged) {
  const Result result = RunScript(
      "head -c 4 /dev/urandom | wc -c; echo x > /dev/null && echo null; touch /dev/mine; echo mine=$?; "
      "rm -f /dev/zero; echo zero=$?; script -qc 'tty' /dev/null; touch /dev/shm/a && ls /dev/shm");
  EXPECT_THAT(result.output, AllOf(HasSubstr("4\nnull\n"), HasSubstr("/dev/pts/0"), HasSubstr("a\n")));
  EXPECT_THAT(result.output, AllOf(Not(HasSubstr("mine=0")), Not(HasSubstr("zero=0"))));
  // Shared memory is nobody else's.
  EXPECT_EQ(RunScript("ls /dev/shm").output, "");
}

// Its control groups may be those of the environment before.
TEST_F(LocalEngineTest, TheNextEnvironmentDoesNotPayForTheOneBefore) {
  constexpr int kBytes = 24 << 20;
  world_.WriteSource("big", std::string(kBytes, 'x'));
  const int big = open((world_.source() + "/big").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(fsync(big), 0);
  ASSERT_EQ(posix_fadvise(big, 0, 0, POSIX_FADV_DONTNEED), 0);
  close(big);
  ProcessSpec process;
  process.workdir = world_.source();
  process.argv = {"sh", "-c", "cat big | wc -c"};
  EXPECT_EQ(world_.RunJob("n", process).exit_code, 0);

  ProcessSpec small;
  small.argv = {"false"};
  const ScopeSpec next = {world_.scope(), "test", "tester", world_.folder() + "/logs", world_.source(), 6};
  for (int i = 0; i < 3; ++i) {  // One of them has the place of the first.
    ASSERT_TRUE(world_.engine().Destroy(world_.scope()).ok());
    world_.Await("", Kind::kScopeReleased);
    ASSERT_TRUE(world_.engine().CreateScope(next).ok());
    world_.Await("", Kind::kScopeReady);
    const EngineEvent end = world_.RunJob("n", small);
    EXPECT_EQ(end.cause.code, CauseCode::kJobFailed) << FormatCause(end.cause);
    EXPECT_LT(end.usage.peak_memory_bytes, kBytes / 2);
  }
}

TEST_F(LocalEngineTest, NothingIsLeftAfterDestroy) {
  ProcessSpec process;
  process.argv = {Workload(), "hide", "ignore-term", "tcp", "8080"};
  process.probe.kind = Probe::Kind::kTcp;
  process.probe.port = 8080;
  world_.StartService("s", process);
  world_.Await("s", Kind::kReady);
  ASSERT_TRUE(world_.engine().Destroy(world_.scope()).ok());
  const EngineEvent released = world_.Await("", Kind::kScopeReleased);
  EXPECT_THAT(released.receipt.blockers, IsEmpty());
  EXPECT_EQ(released.receipt.processes, 1);
  EXPECT_EQ(world_.Processes(), 0);
  EXPECT_NE(access(absl::StrCat(world_.folder(), "/state/scopes/", world_.scope()).c_str(), F_OK), 0);
}

TEST_F(LocalEngineTest, AProbeCommandThatHangsIsEndedAndRunAgain) {
  ProcessSpec process;
  process.argv = {Workload(), "sleep", "60"};
  process.probe.kind = Probe::Kind::kCommand;
  process.probe.command = {"sh", "-c", "test -e /tmp/hung && exit 0; touch /tmp/hung; sleep 600"};
  world_.StartService("a", process);
  world_.Await("a", Kind::kReady);
}

}  // namespace
}  // namespace mayfly
