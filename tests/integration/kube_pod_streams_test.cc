// Exec and port-forward against a real pod; run by kube_pod_streams.py inside the test cluster.
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/credentials.h"
#include "server/engine/kubernetes/client/exec.h"
#include "server/engine/kubernetes/client/kubeconfig.h"
#include "server/engine/kubernetes/client/port_forward.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kube {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr std::chrono::seconds kLimit(60);

// What a stream told, to be waited for.
class Seen {
 public:
  Stream::Callbacks Callbacks(size_t window = 0) {
    Stream::Callbacks callbacks;
    callbacks.window = window;
    callbacks.on_data = [this](std::string bytes, bool stderr_stream) {
      Change([&] { (stderr_stream ? err : out) += bytes; });
    };
    callbacks.on_written = [this](size_t bytes) { Change([&] { written += bytes; }); };
    callbacks.on_close = [this](const absl::Status& status, int code) {
      Change([&] {
        closed = status;
        exit_code = code;
      });
    };
    return callbacks;
  }
  // False after a minute without `done`, and when the stream ended without it.
  bool Await(const std::function<bool()>& done) {
    std::unique_lock lock(mutex_);
    bool done_now = false;
    changed_.wait_for(lock, kLimit, [&] { return (done_now = done()) || closed.has_value(); });
    if (!done_now && closed) ADD_FAILURE() << "the stream ended: " << *closed;
    return done_now;
  }
  bool AwaitClose() {
    return Await([this] { return closed.has_value(); });
  }
  // True when `done` stays false for as long.
  bool StaysFalse(const std::function<bool()>& done, std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, done);
  }

  std::string out;
  std::string err;
  size_t written = 0;
  std::optional<absl::Status> closed;
  int exit_code = -1;

 private:
  void Change(const std::function<void()>& fn) {
    const std::lock_guard lock(mutex_);
    fn();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
};

class KubeStreamsTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* name_space = getenv("MAYFLY_TEST_NAMESPACE");
    if (name_space == nullptr) GTEST_SKIP() << "run by tests/integration/kube_pod_streams.py";
    name_space_ = name_space;
    const auto context = LoadKubeconfig(KubeconfigOptions::FromEnvironment());
    ASSERT_OK(context);
    const auto endpoint = MakeEndpoint(*context);
    ASSERT_OK(endpoint);
    endpoint_ = *endpoint;
  }
  std::unique_ptr<Stream> Exec(std::vector<std::string> argv, size_t window = 0, bool terminal = false) {
    return StartExec(endpoint_, sockets_, {name_space_, "peer", "main", std::move(argv), terminal},
                     seen_.Callbacks(window));
  }
  std::unique_ptr<Stream> Forward(uint16_t port, size_t window = 0) {
    return StartPortForward(endpoint_, sockets_, {name_space_, "peer", port}, seen_.Callbacks(window));
  }

  std::string name_space_;
  Endpoint endpoint_;
  Seen seen_;
  http::WebSocketClient sockets_;
};

TEST_F(KubeStreamsTest, OutputAndErrorsComeApart) {
  const auto stream = Exec({"/peer", "both"});
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  EXPECT_EQ(0, seen_.exit_code);
  EXPECT_EQ("out\n", seen_.out);
  EXPECT_EQ("err\n", seen_.err);
}

TEST_F(KubeStreamsTest, ExitCodeIsTheCommands) {
  const auto stream = Exec({"/peer", "exit", "37"});
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  EXPECT_EQ(37, seen_.exit_code);
}

TEST_F(KubeStreamsTest, WhatIsWrittenBeforeItStandsArrivesAndEndsWithCloseWrite) {
  const auto stream = Exec({"/peer", "cat"});
  stream->Write("one ");
  stream->Write("two");
  stream->CloseWrite();
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  EXPECT_EQ("one two", seen_.out);
  EXPECT_EQ(7u, seen_.written);
}

TEST_F(KubeStreamsTest, MegabytesOfInputArriveWhole) {
  const auto stream = Exec({"/peer", "count"});
  size_t sent = 0;
  for (; sent < (24u << 20); sent += 1 << 20) {
    stream->Write(std::string(1 << 20, 'x'));
    // As the contract asks: no more than a few MiB ahead of what was handed on.
    ASSERT_TRUE(seen_.Await([&] { return seen_.written + (4u << 20) > sent; }));
  }
  stream->CloseWrite();
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_EQ(std::to_string(sent) + "\n", seen_.out);
  EXPECT_EQ(sent, seen_.written);
}

TEST_F(KubeStreamsTest, ASlowReaderHoldsTheCommandUpAndLosesNothing) {
  constexpr size_t kAll = 24 << 20;
  constexpr size_t kWindow = 256 << 10;
  const auto stream = Exec({"/peer", "big", std::to_string(kAll)}, kWindow);
  ASSERT_TRUE(seen_.Await([&] { return seen_.out.size() >= kWindow; }));
  EXPECT_TRUE(seen_.StaysFalse([&] { return seen_.out.size() > 2 * kWindow; }, std::chrono::milliseconds(500)));
  for (size_t taken = 0; taken < kAll;) {
    size_t now = 0;
    ASSERT_TRUE(seen_.Await([&] { return (now = seen_.out.size()) > taken; }));
    stream->Taken(now - taken);
    taken = now;
  }
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  ASSERT_EQ(kAll, seen_.out.size());
  for (size_t i = 0; i < kAll; ++i) ASSERT_EQ(static_cast<char>(i % 251), seen_.out[i]) << i;
}

TEST_F(KubeStreamsTest, ATerminalHasASizeThatCanChange) {
  const auto stream = Exec({"/peer", "await-size", "120x40"}, 0, true);
  ASSERT_TRUE(seen_.Await([&] { return absl::StrContains(seen_.out, "80x24"); })) << seen_.out;
  stream->Resize(120, 40);
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  EXPECT_THAT(seen_.out, HasSubstr("120x40"));
}

TEST_F(KubeStreamsTest, CloseWriteOnATerminalIsTheKeyForIt) {
  const auto stream = Exec({"/peer", "cat"}, 0, true);
  stream->Write("typed\n");
  ASSERT_TRUE(seen_.Await([&] { return absl::StrContains(seen_.out, "typed\r\ntyped\r\n"); })) << seen_.out;
  stream->CloseWrite();
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_EQ(0, seen_.exit_code);
}

TEST_F(KubeStreamsTest, ACommandThatIsNotThereIsNamed) {
  const auto stream = Exec({"/no/such/program"});
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_THAT(*seen_.closed, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("/no/such/program")));
}

TEST_F(KubeStreamsTest, APodThatIsNotThereIsNamed) {
  const auto stream = StartExec(endpoint_, sockets_, {name_space_, "nobody", "", {"/peer"}}, seen_.Callbacks());
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_THAT(*seen_.closed, StatusIs(absl::StatusCode::kNotFound, HasSubstr("pods \"nobody\" not found")));
}

TEST_F(KubeStreamsTest, AContainerThatIsNotThereIsNamed) {
  const auto stream = StartExec(endpoint_, sockets_, {name_space_, "peer", "third", {"/peer"}}, seen_.Callbacks());
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_THAT(*seen_.closed, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("third")));
}

TEST_F(KubeStreamsTest, WithoutCredentialsTheServerSaysNo) {
  Endpoint nobody = endpoint_;
  auto tls = *endpoint_.tls;
  tls.certificate.clear();
  tls.key.clear();
  nobody.tls = std::make_shared<const http::Tls>(tls);
  nobody.authorizer = std::make_shared<FixedAuthorizer>(http::Headers{{"authorization", "Bearer wrong"}});
  const auto stream = StartExec(nobody, sockets_, {name_space_, "peer", "", {"/peer"}}, seen_.Callbacks());
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_THAT(*seen_.closed, StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("Unauthorized")));
}

TEST_F(KubeStreamsTest, AForwardedPortEchoesBothWays) {
  const auto stream = Forward(7000);
  stream->Write("hello");
  ASSERT_TRUE(seen_.Await([&] { return seen_.out.size() >= 5; }));
  stream->Write(" again");
  ASSERT_TRUE(seen_.Await([&] { return seen_.out.size() >= 11; }));
  EXPECT_EQ("hello again", seen_.out);
}

TEST_F(KubeStreamsTest, MegabytesPassAForwardedPortUnchanged) {
  const auto stream = Forward(7000, 128 << 10);
  constexpr size_t kAll = 8 << 20;
  std::string all;
  for (size_t i = 0; i < kAll; ++i) all.push_back(static_cast<char>(i % 251));
  size_t sent = 0;
  size_t taken = 0;
  while (taken < kAll) {
    if (sent < kAll && sent < taken + (512 << 10)) {
      stream->Write(all.substr(sent, 64 << 10));
      sent += 64 << 10;
      continue;
    }
    size_t now = 0;
    ASSERT_TRUE(seen_.Await([&] { return (now = seen_.out.size()) > taken; }));
    stream->Taken(now - taken);
    taken = now;
  }
  EXPECT_TRUE(seen_.out == all);
}

TEST_F(KubeStreamsTest, AForwardedConnectionEndsWhenThePodEndsIt) {
  const auto stream = Forward(7001);
  stream->Write("last");
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_OK(*seen_.closed);
  EXPECT_EQ("last", seen_.out);
}

TEST_F(KubeStreamsTest, APortWhereNobodyListensSaysSo) {
  const auto stream = Forward(7999);
  ASSERT_TRUE(seen_.AwaitClose());
  EXPECT_THAT(*seen_.closed, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("7999")));
}

}  // namespace
}  // namespace mayfly::kube
