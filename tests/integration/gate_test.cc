// The gate itself, as process 1 of a process namespace of its own, on the loopback of this machine: what a server is
// told and what becomes of the service's processes. No cluster is needed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/kubernetes/gate_hub.h"
#include "server/engine/kubernetes/gate_program.h"
#include "server/engine/kubernetes/gate_pump.h"
#include "server/engine/parts/file_stream.h"
#include "server/engine/parts/proxy.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kubernetes {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr absl::Duration kPatience = absl::Seconds(20);

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// As fork, in a new process namespace; an ordinary user needs a user namespace for it.
pid_t ForkAsFirst() {
  const int flags = CLONE_NEWPID | (geteuid() == 0 ? 0 : CLONE_NEWUSER) | SIGCHLD;
  return static_cast<pid_t>(syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
}

class GateTest : public testing::Test {
 protected:
  GateTest() : program_(folder_ / "gate") {
    std::ofstream(program_, std::ios::binary) << GateProgram();
    chmod(program_.c_str(), 0755);
    chmod(folder_.path().c_str(), 0777);
    StartHub("127.0.0.1:0");
    address_ = hub_->address();
  }
  ~GateTest() override {
    link_.reset();
    if (gate_ > 0) {
      kill(gate_, SIGKILL);
      waitpid(gate_, nullptr, 0);
    }
  }

  void SetUp() override {
    const pid_t child = ForkAsFirst();
    if (child == 0) _exit(0);
    if (child < 0) GTEST_SKIP() << "no process namespaces here: " << strerror(errno);
    waitpid(child, nullptr, 0);
  }

  void StartHub(const std::string& address) {
    auto hub = GateHub::Create(
        reactor_, address, "secret",
        [this](const GateHello& hello, std::unique_ptr<GateLink> link) { OnGate(hello, std::move(link)); });
    ASSERT_OK(hub);
    hub_ = *std::move(hub);
  }

  void OnGate(const GateHello& hello, std::unique_ptr<GateLink> link) {
    hellos_.push_back(hello);
    link_ = std::move(link);
    GateLink::Callbacks callbacks;
    callbacks.on_frame = [this](const gate_frame& frame, absl::string_view payload) { OnFrame(frame, payload); };
    link_->SetCallbacks(std::move(callbacks));
    link_->SendNumber(GATE_WELCOME, output_.size());
  }

  void OnFrame(const gate_frame& frame, absl::string_view payload) {
    if (frame.type != GATE_OUTPUT) {
      says_.push_back(frame.type);
      told_[frame.type] = std::string(payload);
      return;
    }
    uint64_t offset = 0;
    memcpy(&offset, payload.data(), sizeof offset);
    payload.remove_prefix(sizeof offset);
    // Repeated after a break is what came before; a gap would be lost output.
    ASSERT_LE(offset, output_.size());
    if (offset + payload.size() > output_.size()) absl::StrAppend(&output_, payload.substr(output_.size() - offset));
  }

  // The gate, with the service `argv`, in folder_.
  void Start(const std::vector<std::string>& argv, const std::vector<std::string>& more = {}) {
    std::vector<std::string> variables = {
        absl::StrCat("MAYFLY_GATE=", address_, " env/web-1 ", GateToken("secret", "env", "web-1")),
        "MAYFLY_GATE_STOP=10", "PATH=/usr/bin:/bin"};
    variables.insert(variables.end(), more.begin(), more.end());
    std::vector<char*> args = {program_.data()}, env;
    for (const std::string& word : argv) args.push_back(const_cast<char*>(word.c_str()));
    for (std::string& variable : variables) env.push_back(variable.data());
    args.push_back(nullptr);
    env.push_back(nullptr);
    gate_ = ForkAsFirst();
    if (gate_ == 0) {
      const int out = open((folder_ / "container-output").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      dup2(out, 1);
      dup2(out, 2);
      if (chdir(folder_.path().c_str()) == 0) execve(program_.c_str(), args.data(), env.data());
      _exit(99);
    }
    ASSERT_GT(gate_, 0);
    ASSERT_TRUE(Until([this] { return link_ != nullptr; }));
  }

  void Go(bool one_shot = false) {
    link_->Send(GATE_GO, one_shot ? 1 : 0, 0, "");
    ASSERT_TRUE(Until([this] { return told_.count(GATE_STARTED) + told_.count(GATE_FAILED) > 0; }));
  }

  bool Until(const std::function<bool()>& condition) {
    const absl::Duration end = reactor_.Now() + kPatience;
    while (!condition()) {
      if (reactor_.Now() > end) return false;
      reactor_.RunOnce(absl::Milliseconds(50));
    }
    return true;
  }
  bool Hear(int type) {
    return Until([this, type] { return told_.count(type) > 0; });
  }
  bool See(const std::string& text) {
    return Until([this, &text] { return absl::StrContains(output_, text); });
  }

  // The wait status that EXITED told.
  int Ended() {
    EXPECT_TRUE(Hear(GATE_EXITED));
    return std::atoi(told_[GATE_EXITED].c_str());
  }
  // How the gate itself ended: its exit code, or 128 + the signal.
  int GateEnd() {
    int status = 0;
    EXPECT_TRUE(Until([&] { return waitpid(gate_, &status, WNOHANG) == gate_; }));
    gate_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // How many processes, but the gate, live in its namespace.
  int Processes() {
    struct stat own{};
    stat(absl::StrCat("/proc/", gate_, "/ns/pid").c_str(), &own);
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      struct stat other{};
      const std::string pid = entry.path().filename();
      if (pid.find_first_not_of("0123456789") != std::string::npos || pid == std::to_string(gate_)) continue;
      if (stat((entry.path() / "ns/pid").c_str(), &other) == 0 && other.st_ino == own.st_ino) ++count;
    }
    return count;
  }

  // What a command inside says, and its end as "ERRNO CODE".
  std::pair<std::string, std::string> Run(int type, const std::string& payload) {
    std::string said, ended;
    StreamEvents events;
    uint16_t id = 0;
    events.on_data = [&](absl::string_view bytes) {
      said.append(bytes.data(), bytes.size());
      link_->Taken(id, static_cast<uint32_t>(bytes.size()));
    };
    events.on_end = [&](int error, int code) { ended = absl::StrCat(error, " ", code); };
    id = link_->OpenStream(type, payload, std::move(events));
    EXPECT_TRUE(Until([&] { return !ended.empty(); }));
    return {said, ended};
  }

  TempDir folder_;
  std::string program_, address_;
  Reactor reactor_;
  std::unique_ptr<GateHub> hub_;
  std::unique_ptr<GateLink> link_;
  std::vector<GateHello> hellos_;
  std::vector<int> says_;
  std::map<int, std::string> told_;
  std::string output_;
  pid_t gate_ = -1;
};

using State = GateHello::State;

TEST_F(GateTest, WhatConnectsToAWayOutIsHandedToTheServer) {
  absl::StatusOr<UniqueFd> outside = absl::UnavailableError("nobody has connected");
  Start({"bash", "-c", "exec 3<>/dev/tcp/127.77.0.2/18431; echo ping >&3; read -r answer <&3; echo \"heard $answer\""},
        {"MAYFLY_GATE_OUT=127.77.0.1:18430 127.77.0.2:18431"});
  uint16_t way = 99;
  GateLink::Callbacks callbacks;
  callbacks.on_frame = [&](const gate_frame& frame, absl::string_view payload) {
    if (frame.type != GATE_OUT) return OnFrame(frame, payload);
    memcpy(&way, payload.data(), sizeof way);
    outside = AcceptFromGate(reactor_, *link_, frame.id);
  };
  link_->SetCallbacks(std::move(callbacks));
  Go(/*one_shot=*/true);
  ASSERT_TRUE(Until([&] { return outside.ok(); }));
  EXPECT_EQ(way, 1);
  char said[16] = "";
  ASSERT_TRUE(Until([&] { return recv(outside->get(), said, sizeof said - 1, MSG_DONTWAIT) > 0; }));
  EXPECT_STREQ(said, "ping\n");
  ASSERT_EQ(send(outside->get(), "pong\n", 5, 0), 5);
  EXPECT_TRUE(See("heard pong"));
  EXPECT_EQ(Ended(), 0);
}

TEST_F(GateTest, NothingRunsBeforeItIsToldTo) {
  Start({"sh", "-c", "touch ran; echo hello; exit 3"});
  ASSERT_EQ(hellos_.size(), 1u);
  EXPECT_EQ(hellos_[0].state, State::kWaiting);
  EXPECT_EQ(hellos_[0].pod, "web-1");
  EXPECT_EQ(Processes(), 0);
  EXPECT_NE(access((folder_ / "ran").c_str(), F_OK), 0);
  Go();
  EXPECT_EQ(Ended(), 3 << 8);
  EXPECT_EQ(output_, "hello\n");
  EXPECT_THAT(says_, ElementsAre(GATE_STARTED, GATE_EXITED));
  // It stays, should its files be wanted, until it is released; then it ends as the service did.
  link_->Send(GATE_RELEASE, 0, 0, "");
  EXPECT_EQ(GateEnd(), 3);
  EXPECT_EQ(Slurp(folder_ / "container-output"), "hello\n");
}

TEST_F(GateTest, TheServiceSeesNothingOfTheGate) {
  Start({"env"}, {"OWN=1"});
  Go();
  Ended();
  EXPECT_THAT(output_, HasSubstr("OWN=1\n"));
  EXPECT_THAT(output_, Not(HasSubstr("MAYFLY_GATE")));
}

TEST_F(GateTest, OutputIsToldOnceOverALostConnection) {
  Start(
      {"sh", "-c",
       "for i in $(seq 1 200); do echo line $i; done; read x < fifo; for i in $(seq 201 400); do echo line $i; done"});
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0666), 0);
  chmod((folder_ / "fifo").c_str(), 0666);
  Go();
  ASSERT_TRUE(See("line 200\n"));
  hub_.reset();
  link_.reset();
  {
    std::ofstream(folder_ / "fifo") << "on\n";
  }
  ASSERT_TRUE(Until([this] { return absl::StrContains(Slurp(folder_ / "container-output"), "line 400\n"); }));
  StartHub(address_);
  EXPECT_EQ(Ended(), 0);
  std::string expected;
  for (int i = 1; i <= 400; ++i) absl::StrAppend(&expected, "line ", i, "\n");
  EXPECT_EQ(output_, expected);
  EXPECT_EQ(hellos_.size(), 2u);
}

TEST_F(GateTest, AServerThatComesBackHearsWhetherItWasReady) {
  Start({"sleep", "1000"});
  Go();
  link_->Send(GATE_MARK_READY, 0, 0, "");
  hub_.reset();
  link_.reset();
  StartHub(address_);
  ASSERT_TRUE(Until([this] { return link_ != nullptr; }));
  EXPECT_EQ(hellos_.back().state, State::kReady);
}

TEST_F(GateTest, KillEndsAlsoWhatHidesInSessionsOfItsOwn) {
  Start({"sh", "-c", "trap '' TERM INT; setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000 & echo up; wait; wait"});
  Go();
  ASSERT_TRUE(See("up"));
  ASSERT_TRUE(Until([this] { return Processes() >= 4; }));
  link_->Send(GATE_KILL, 0, 0, "");
  EXPECT_EQ(Ended(), SIGKILL);
  EXPECT_EQ(Processes(), 0);
}

TEST_F(GateTest, WhatTheServiceLeavesBehindEndsWithIt) {
  Start({"sh", "-c", "setsid sleep 1000 & exit 0"});
  Go();
  EXPECT_EQ(Ended(), 0);
  EXPECT_EQ(Processes(), 0);
}

TEST_F(GateTest, SignalsGoToTheService) {
  Start({"sh", "-c", "trap 'echo got usr1; exit 7' USR1; echo up; while :; do sleep 0.05; done"});
  Go();
  ASSERT_TRUE(See("up"));
  link_->Send(GATE_SIGNAL, 0, SIGUSR1, "");
  EXPECT_EQ(Ended(), 7 << 8);
  EXPECT_THAT(output_, HasSubstr("got usr1"));
}

TEST_F(GateTest, TheKubeletsTermIsTheServicesOwnStopSignal) {
  Start({"sh", "-c", "trap 'echo got usr1; exit 9' USR1; echo up; while :; do sleep 0.05; done"});  // 10 is SIGUSR1.
  Go();
  ASSERT_TRUE(See("up"));
  kill(gate_, SIGTERM);
  EXPECT_EQ(GateEnd(), 9);
  ASSERT_TRUE(Hear(GATE_EXITED));
}

TEST_F(GateTest, WhatCannotBeStartedIsToldByItsReason) {
  Start({"./no-such-program"});
  Go();
  EXPECT_EQ(told_[GATE_FAILED], absl::StrCat("exec ", ENOENT));
  link_->Send(GATE_RELEASE, 0, 0, "");
  EXPECT_EQ(GateEnd(), 127);
}

TEST_F(GateTest, AScriptWithoutItsInterpreterIsNotAMissingProgram) {
  std::ofstream(folder_ / "script") << "#!/no/such/interpreter\n";
  chmod((folder_ / "script").c_str(), 0755);
  Start({"./script"});
  Go();
  EXPECT_EQ(told_[GATE_FAILED], absl::StrCat("script ", ENOENT));
}

TEST_F(GateTest, ItBeginsInTheFolderThatIsNamed) {
  std::filesystem::create_directory(folder_ / "inner");
  Start({"pwd"}, {"MAYFLY_GATE_DIR=inner"});
  Go();
  Ended();
  EXPECT_THAT(output_, HasSubstr("/inner\n"));
}

TEST_F(GateTest, AFolderThatIsNotThereIsToldAsSuch) {
  Start({"pwd"}, {"MAYFLY_GATE_DIR=missing"});
  Go();
  EXPECT_EQ(told_[GATE_FAILED], absl::StrCat("workdir ", ENOENT));
}

TEST_F(GateTest, APortIsToldWhenItIsListenedOn) {
  const auto probe = ListenOn("127.0.0.1", 0);
  ASSERT_OK(probe);
  const int port = PortOf(*probe);
  close(*probe);
  Start({"python3", "-c",
         absl::StrCat("import socket; s=socket.create_server(('127.0.0.1',", port,
                      ")); c,_=s.accept(); c.sendall(c.recv(100).upper()); c.close(); import time; time.sleep(1000)")});
  Go();
  link_->Send(GATE_AWAIT_PORT, 0, port, "");
  ASSERT_TRUE(Hear(GATE_LISTENING));
  // And a connection through the gate reaches it.
  std::string answer;
  bool read_ended = false;
  StreamEvents events;
  events.on_data = [&](absl::string_view bytes) { answer.append(bytes.data(), bytes.size()); };
  events.on_read_end = [&] { read_ended = true; };
  const uint16_t number = static_cast<uint16_t>(port);
  const uint16_t id =
      link_->OpenStream(GATE_DIAL, absl::string_view(reinterpret_cast<const char*>(&number), sizeof number), events);
  link_->WriteStream(id, "hello");
  EXPECT_TRUE(Until([&] { return read_ended; }));
  EXPECT_EQ(answer, "HELLO");
}

TEST_F(GateTest, ACommandBesideTheServiceSaysItsOutputAndItsCode) {
  Start({"sleep", "1000"});
  Go();
  EXPECT_THAT(Run(GATE_RUN, std::string("sh\0-c\0echo probe; exit 4\0", 24)), testing::Pair("probe\n", "0 4"));
  const auto [said, ended] = Run(GATE_RUN, std::string("no-such-thing\0", 14));
  EXPECT_THAT(said, HasSubstr("No such file"));
  EXPECT_EQ(ended, "0 127");
}

TEST_F(GateTest, FilesOfAnEndedJobAreCollectedAndNoLinkIsFollowed) {
  Start({"sh", "-c", "mkdir out; echo one > out/a; ln -s /etc/passwd out/link; ln -s /etc out/etc; echo two > b"});
  Go(/*one_shot=*/true);
  Ended();
  TempDir kept;
  FileReceiver receiver(kept.path(), 1 << 20);
  const uint64_t most = 1 << 20;
  const std::string paths("out\0b\0../gate\0/etc/hostname\0missing\0", 36);
  const auto [archive, ended] =
      Run(GATE_COLLECT, absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&most), sizeof most), paths));
  EXPECT_EQ(ended, "0 0");
  ASSERT_OK(receiver.Feed(archive));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kept.path())) {
    if (entry.is_regular_file()) names.push_back(std::filesystem::relative(entry.path(), kept.path()));
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("out/a", "b"));
  EXPECT_EQ(Slurp(kept / "out/a"), "one\n");
}

TEST_F(GateTest, AFloodOfOutputKeepsItsEndAndItsOrder) {
  Start({"sh", "-c", "seq 1 300000; echo done"});
  Go();
  EXPECT_EQ(Ended(), 0);
  EXPECT_TRUE(absl::EndsWith(output_, "299999\n300000\ndone\n"));
}

TEST_F(GateTest, AskedForElsewhereItRefuses) {
  // Not process 1: it would kill what is not its own.
  const pid_t child = fork();
  if (child == 0) {
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    execl(program_.c_str(), "gate", "true", nullptr);
    _exit(99);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 2);
}

}  // namespace
}  // namespace mayfly::kubernetes
