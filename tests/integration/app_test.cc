// mayflyd's command line, what it announces, and when it ends.
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/app/announce.h"
#include "server/app/flags.h"
#include "server/app/lifetime.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::app {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(FlagsTest, ValuesComeAfterAnEqualsSignOrAsTheNextWord) {
  const auto flags = ParseFlags({"--state-dir", "/s", "--exit-when-idle=1m30s", "--no-reflection", "--sync-full"});
  ASSERT_OK(flags);
  EXPECT_EQ(flags->state_dir, "/s");
  EXPECT_EQ(flags->exit_when_idle, absl::Seconds(90));
  EXPECT_FALSE(flags->reflection);
  EXPECT_TRUE(flags->sync_full);
  EXPECT_TRUE(ParseFlags({})->reflection);
  EXPECT_FALSE(ParseFlags({"--reflection=false"})->reflection);
}

TEST(FlagsTest, MistakesNameTheFlagAndWhatItTakes) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--state-dri=/s"}, "unknown flag --state-dri; did you mean --state-dir?"},
      {{"--no-listen"}, "unknown flag --no-listen"},
      {{"serve"}, "unexpected argument 'serve'"},
      {{"--listen"}, "--listen needs a value: ADDRESS:PORT"},
      {{"--exit-when-idle=60"}, "--exit-when-idle: "},
      {{"--engine=docker"}, "--engine: 'docker' is not one of local|kubernetes"},
      {{"--ready-fd=x"}, "--ready-fd: 'x' is not a number"},
  };
  for (const auto& [args, message] : cases) {
    EXPECT_THAT(ParseFlags(args), StatusIs(absl::StatusCode::kInvalidArgument, StartsWith(message)));
  }
}

TEST(FlagsTest, SourcesMayBeRepeated) {
  EXPECT_THAT(ParseFlags({"--sources=/a", "--sources", "/b"})->sources, testing::ElementsAre("/a", "/b"));
}

TEST(FlagsTest, HelpNamesEveryFlag) {
  for (const char* flag :
       {"--sources=DIR", "--state-dir=PATH", "--exit-when-idle=DURATION", "--tls-client-ca=FILE", "--print-causes"}) {
    EXPECT_THAT(FlagsHelp(), HasSubstr(flag));
  }
}

TEST(AnnounceTest, TheServerFileTellsWhereAndWho) {
  TempDir dir;
  ASSERT_OK(WriteServerFile(dir.path(), "/run/\"odd\".sock", absl::FromUnixSeconds(0), "local"));
  std::stringstream text;
  text << std::ifstream(dir / "server.json").rdbuf();
  const nlohmann::json json = nlohmann::json::parse(text.str());
  EXPECT_EQ(json["socket"], "/run/\"odd\".sock");
  EXPECT_EQ(json["pid"], getpid());
  EXPECT_EQ(json["start_time"], "1970-01-01T00:00:00+00:00");
  struct stat info;
  ASSERT_EQ(stat((dir / "server.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  RemoveServerFile(dir.path());
  EXPECT_NE(stat((dir / "server.json").c_str(), &info), 0);
}

TEST(AnnounceTest, SystemdIsToldByOneDatagram) {
  TempDir dir;
  const std::string path = dir / "notify";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  NotifySystemd("READY=1");
  unsetenv("NOTIFY_SOCKET");
  NotifySystemd("READY=2");  // To nobody.
  char buffer[64];
  const ssize_t size = recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  EXPECT_EQ(std::string(buffer, size > 0 ? static_cast<size_t>(size) : 0), "READY=1");
  EXPECT_EQ(recv(fd.get(), buffer, sizeof(buffer), MSG_DONTWAIT), -1);
}

TEST(AnnounceTest, WhoeverStartedTheServerReadsALine) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  NotifyStarter(ends[1]);
  char buffer[64];
  EXPECT_EQ(read(ends[0], buffer, sizeof(buffer)), 6);
  EXPECT_EQ(read(ends[0], buffer, sizeof(buffer)), 0) << "the descriptor is closed";
  close(ends[0]);
  NotifyStarter(-1);
}

Lifetime::Idle Never() {
  return {absl::InfiniteDuration(), [] { return true; }, [] { return absl::ZeroDuration(); }};
}

TEST(LifetimeTest, ASignalOrARequestEndsIt) {
  Lifetime lifetime;
  raise(SIGTERM);
  EXPECT_THAT(lifetime.Wait(Never()), StartsWith("signal 15"));
  std::thread other([&lifetime] { lifetime.Stop(); });
  EXPECT_EQ(lifetime.Wait(Never()), "a client asked");
  other.join();
}

TEST(LifetimeTest, OnlyBeingIdleAllTheTimeEndsIt) {
  Lifetime lifetime;
  std::atomic<int> looks{0};
  Lifetime::Idle idle;
  idle.after = absl::Milliseconds(40);
  idle.now = [&looks] { return ++looks > 20; };  // Busy for its first looks.
  idle.last_activity = [] { return absl::ZeroDuration(); };
  EXPECT_EQ(lifetime.Wait(idle), "idle");
  EXPECT_GT(looks, 20);
}

}  // namespace
}  // namespace mayfly::app
