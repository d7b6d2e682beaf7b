#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/fd_stream.h"
#include "server/engine/parts/terminal.h"
#include "tests/support/reactor_server.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::HasSubstr;
using Kind = FdStreamOptions::Kind;

class ExecRelayTest : public testing::Test {
 protected:
  void Start(FdStreamOptions options) {
    options.reactor = &reactor_;
    options.post = [this](std::function<void()> fn) { reactor_.AddTimer(absl::ZeroDuration(), std::move(fn)); };
    options.on_abandoned = [this] { abandoned_ = true; };
    Stream::Callbacks callbacks;
    callbacks.window = window_;
    callbacks.on_written = [this](size_t bytes) { written_ += bytes; };
    callbacks.on_data = [this](std::string bytes, bool is_stderr) { (is_stderr ? err_ : out_) += bytes; };
    callbacks.on_close = [this](absl::Status status, int code) {
      ++closes_;
      status_ = status;
      code_ = code;
    };
    started_ = StartFdStream(std::move(options), std::move(callbacks));
  }
  // A command with pipes; its outer ends are streamed.
  void RunWithPipes(const char* script) {
    int in[2], out[2], err[2];
    ASSERT_EQ(pipe2(in, O_CLOEXEC) + pipe2(out, O_CLOEXEC) + pipe2(err, O_CLOEXEC), 0);
    Spawn(script, in[0], out[1], err[1], false);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    Start({.kind = Kind::kPipes, .input = in[1], .output = out[0], .error = err[0]});
  }
  void RunOnTerminal(const char* script, int columns = 80, int rows = 24) {
    const auto terminal = OpenTerminal(columns, rows);
    ASSERT_OK(terminal);
    Spawn(script, terminal->inner, terminal->inner, terminal->inner, true);
    close(terminal->inner);
    Start({.kind = Kind::kTerminal, .output = terminal->outer});
  }
  void Spawn(const char* script, int in, int out, int err, bool terminal) {
    child_ = fork();
    if (child_ != 0) return;
    if (terminal && TakeTerminal(in) != 0) _exit(99);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execl("/bin/sh", "sh", "-c", script, nullptr);
    _exit(98);
  }
  // Reaps the command while the reactor runs, and tells the stream.
  void Reap() {
    int status = 0;
    EXPECT_TRUE(RunUntil(reactor_, [&] { return waitpid(child_, &status, WNOHANG) == child_; }));
    child_ = -1;
    started_.finish(absl::OkStatus(), WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  bool Hears(const std::string& text) {
    return RunUntil(reactor_, [&] { return absl::StrContains(out_, text); });
  }
  // As the server and the init do.
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }
  void TearDown() override {
    started_ = {};
    reactor_.RunOnce(absl::Milliseconds(1));
    if (child_ > 0) kill(child_, SIGKILL);
    if (child_ > 0) waitpid(child_, nullptr, 0);
  }

  Reactor reactor_;
  StartedStream started_;
  pid_t child_ = -1;
  std::string out_, err_;
  size_t window_ = 0, written_ = 0;
  absl::Status status_;
  int code_ = -1, closes_ = 0;
  bool abandoned_ = false;
};

TEST_F(ExecRelayTest, PipesCarryAllThreeStreamsAndTheExitCode) {
  RunWithPipes("cat; echo bad >&2; exit 3");
  started_.stream->Write("hello ");
  started_.stream->Write("there");
  started_.stream->CloseWrite();
  Reap();
  EXPECT_EQ(out_, "hello there");
  EXPECT_EQ(err_, "bad\n");
  EXPECT_OK(status_);
  EXPECT_EQ(code_, 3);
  EXPECT_EQ(closes_, 1);
  started_.finish(absl::OkStatus(), 4);
  started_.stream.reset();
  reactor_.RunOnce(absl::ZeroDuration());
  EXPECT_EQ(closes_, 1);
  EXPECT_FALSE(abandoned_);
}

TEST_F(ExecRelayTest, MuchIsCarriedWithoutLoss) {
  RunWithPipes("cat");
  const std::string much(3 << 20, 'm');
  started_.stream->Write(much);
  started_.stream->CloseWrite();
  EXPECT_TRUE(RunUntil(reactor_, [&] { return out_.size() == much.size(); }));
  Reap();
  EXPECT_EQ(code_, 0);
}

TEST_F(ExecRelayTest, WhatIsNotTakenHoldsTheCommandUp) {
  window_ = 100000;
  RunWithPipes("yes");
  EXPECT_TRUE(RunUntil(reactor_, [&] { return out_.size() >= window_; }));
  for (int i = 0; i < 100; ++i) reactor_.RunOnce(absl::Milliseconds(1));
  const size_t held = out_.size();
  EXPECT_LT(held, window_ + (32 << 10));
  started_.stream->Taken(held);
  EXPECT_TRUE(RunUntil(reactor_, [&] { return out_.size() >= held + window_; }));
}

TEST_F(ExecRelayTest, WhatIsWrittenIsToldAsItIsRead) {
  RunWithPipes("head -c 1000000 >/dev/null; exec 0<&-; echo closed; exec sleep 60");
  started_.stream->Write(std::string(1000000, 'x'));
  EXPECT_TRUE(RunUntil(reactor_, [&] { return written_ == 1000000; }));
  EXPECT_TRUE(Hears("closed"));
  // Nobody reads this any more, and whoever writes it must not wait for ever.
  started_.stream->Write(std::string(1000000, 'x'));
  EXPECT_TRUE(RunUntil(reactor_, [&] { return written_ == 2000000; }));
}

TEST_F(ExecRelayTest, ABackgroundProcessThatKeepsThePipeDoesNotHoldTheEnd) {
  RunWithPipes("sleep 60 & echo $!; exit 0");
  Reap();
  EXPECT_EQ(closes_, 1);
  kill(atoi(out_.c_str()), SIGKILL);
}

TEST_F(ExecRelayTest, InputThatNobodyReadsEndsIt) {
  RunWithPipes("sleep 60");
  for (int i = 0; i < 9; ++i) started_.stream->Write(std::string(1 << 20, 'x'));
  EXPECT_TRUE(RunUntil(reactor_, [this] { return closes_ == 1; }));
  EXPECT_EQ(status_.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ExecRelayTest, ATerminalIsOneAndHasASize) {
  RunOnTerminal("test -t 0 && test -t 1 && stty size; read line; stty size; exit 7", 101, 37);
  EXPECT_TRUE(Hears("37 101"));
  started_.stream->Resize(120, 50);
  started_.stream->Write("go on\n");
  EXPECT_TRUE(Hears("50 120"));
  Reap();
  EXPECT_EQ(code_, 7);
}

TEST_F(ExecRelayTest, CtrlCInterruptsWhatRunsOnTheTerminal) {
  RunOnTerminal("echo ready; exec cat");
  EXPECT_TRUE(Hears("ready"));
  started_.stream->Write("\x03");
  Reap();
  EXPECT_EQ(code_, 128 + SIGINT);
}

TEST_F(ExecRelayTest, TheEndOfInputOnATerminalIsCtrlD) {
  RunOnTerminal("cat; echo done");
  started_.stream->Write("line\n");
  EXPECT_TRUE(Hears("line"));
  started_.stream->CloseWrite();
  EXPECT_TRUE(Hears("done"));
  Reap();
}

TEST_F(ExecRelayTest, AnAbandonedTerminalHangsUp) {
  RunOnTerminal("echo ready; sleep 60");
  EXPECT_TRUE(Hears("ready"));
  started_.stream.reset();
  EXPECT_TRUE(RunUntil(reactor_, [this] { return abandoned_; }));
  int status = 0;
  EXPECT_EQ(waitpid(std::exchange(child_, -1), &status, 0) > 0, true);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGHUP);
  EXPECT_EQ(closes_, 0);
}

TEST_F(ExecRelayTest, AConnectionEndsByItself) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  Start({.kind = Kind::kSocket, .output = pair[0]});
  started_.stream->Write("question");
  started_.stream->CloseWrite();
  char buffer[32];
  EXPECT_TRUE(RunUntil(reactor_, [&] { return recv(pair[1], buffer, sizeof buffer, MSG_DONTWAIT | MSG_PEEK) == 8; }));
  EXPECT_EQ(recv(pair[1], buffer, sizeof buffer, 0), 8);
  EXPECT_EQ(recv(pair[1], buffer, sizeof buffer, 0), 0);
  ASSERT_EQ(send(pair[1], "answer", 6, 0), 6);
  close(pair[1]);
  EXPECT_TRUE(RunUntil(reactor_, [this] { return closes_ == 1; }));
  EXPECT_EQ(out_, "answer");
  EXPECT_OK(status_);
  EXPECT_EQ(code_, 0);
}

TEST_F(ExecRelayTest, SizesAreBoundedAndOtherFilesAreNoTerminals) {
  const auto terminal = OpenTerminal(-5, 1 << 20);
  ASSERT_OK(terminal);
  winsize size = {};
  EXPECT_EQ(ioctl(terminal->inner, TIOCGWINSZ, &size), 0);
  EXPECT_EQ(size.ws_col, 1);
  EXPECT_EQ(size.ws_row, 1000);
  close(terminal->inner);
  close(terminal->outer);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_FALSE(ResizeTerminal(null, 80, 24).ok());
  close(null);
  EXPECT_THAT(OpenTerminal(80, 24, "/nowhere").status().ToString(), HasSubstr("opening a terminal"));
}

}  // namespace
}  // namespace mayfly::local
