// WatchEnvironment, StreamLogs, Exec and PortForward over a real socket.
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/api_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StreamsTest : public ApiTest {
 protected:
  void SetUp() override {
    StartServer();
    stub_ = NewStub();
    Create(*stub_, "pr-7");
  }
  static v1::WatchEnvironmentRequest From(int64_t sequence) {
    v1::WatchEnvironmentRequest request;
    request.set_name("pr-7");
    request.set_from_sequence(sequence);
    return request;
  }
  // Sequence numbers until `last` has come or the stream ended.
  static std::vector<int64_t> Sequences(grpc::ClientReader<v1::WatchEnvironmentResponse>& reader, int64_t last) {
    std::vector<int64_t> out;
    for (const v1::Event& event : ReadUntil(reader, [last](const v1::Event& e) { return e.sequence() >= last; })) {
      out.push_back(event.sequence());
    }
    return out;
  }
  void AddNode(const std::string& name, NodeState state = NodeState::kReady) {
    NodeView node;
    node.planned.name = name;
    node.state = state;
    nodes_.push_back(node);
    provisioner_.SetNodes("pr-7", nodes_);
  }
  std::vector<NodeView> nodes_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(StreamsTest, TheFirstMessageTellsTheEnvironmentAsItIs) {
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, From(1));
  v1::WatchEnvironmentResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.environment().name(), "pr-7");
  EXPECT_EQ(response.environment().last_sequence(), 1);
  EXPECT_EQ(response.environment().nodes_size(), 0);
}

TEST_F(StreamsTest, WatchShowsThePastThenWhatHappensAndEndsWithTheEnvironment) {
  provisioner_.Note("pr-7", "before");
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, From(0));
  EXPECT_THAT(Sequences(*reader, 2), ElementsAre(1, 2));
  provisioner_.Note("pr-7", "after");
  EXPECT_THAT(Sequences(*reader, 3), ElementsAre(3));
  provisioner_.SetState("pr-7", EnvironmentState::kDeleted);
  EXPECT_THAT(Sequences(*reader, 100), ElementsAre(4));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_TRUE(Eventually([this] { return provisioner_.hub().subscriptions() == 0; }));
}

TEST_F(StreamsTest, AResumedWatchHasNeitherGapNorDuplicate) {
  std::thread writer([this] {
    for (int i = 0; i < 2000; ++i) provisioner_.Note("pr-7", absl::StrCat("note ", i));
  });
  std::vector<int64_t> seen;
  // Each connection is dropped in mid-stream, by a client that just goes away.
  while (seen.empty() || seen.back() < 2001) {
    Call call;
    const auto stub = NewStub();
    const auto reader = stub->WatchEnvironment(&call, From(seen.empty() ? 0 : seen.back()));
    const int64_t until = (seen.empty() ? 0 : seen.back()) + 150;
    for (const int64_t sequence : Sequences(*reader, std::min<int64_t>(until, 2001))) seen.push_back(sequence);
    call.TryCancel();
    reader->Finish();
  }
  writer.join();
  ASSERT_EQ(seen.size(), 2001u);
  for (size_t i = 0; i < seen.size(); ++i) ASSERT_EQ(seen[i], static_cast<int64_t>(i) + 1);
}

TEST_F(StreamsTest, UntilSettledEndsOnceTheEnvironmentIsActive) {
  v1::WatchEnvironmentRequest request = From(0);
  request.set_until_settled(true);
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, request);
  provisioner_.Note("pr-7", "starting");
  provisioner_.SetState("pr-7", EnvironmentState::kActive);
  EXPECT_THAT(Sequences(*reader, 100), ElementsAre(1, 2, 3));
  EXPECT_TRUE(reader->Finish().ok());
  // It is settled already: the past is told, and that is all.
  Call again;
  const auto second = stub_->WatchEnvironment(&again, request);
  EXPECT_THAT(Sequences(*second, 100), ElementsAre(1, 2, 3));
  Call resumed;
  request.set_from_sequence(3);
  const auto third = stub_->WatchEnvironment(&resumed, request);
  EXPECT_THAT(Sequences(*third, 100), ElementsAre());
  EXPECT_TRUE(third->Finish().ok());
}

TEST_F(StreamsTest, UntilSettledIsNotFooledByWhatWasSettledBefore) {
  provisioner_.SetState("pr-7", EnvironmentState::kActive);
  provisioner_.SetState("pr-7", EnvironmentState::kTesting);
  v1::WatchEnvironmentRequest request = From(0);
  request.set_until_settled(true);
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, request);
  EXPECT_THAT(Sequences(*reader, 3), ElementsAre(1, 2, 3));
  provisioner_.SetVerdict("pr-7", Verdict::kPassed);
  EXPECT_THAT(Sequences(*reader, 100), ElementsAre(4));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(StreamsTest, WatchOfAnotherGenerationIsNotFound) {
  v1::WatchEnvironmentRequest request = From(0);
  request.set_uid("another");
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, request);
  EXPECT_THAT(Sequences(*reader, 1), ElementsAre());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(StreamsTest, AWatcherThatIsKilledLeavesNothingBehind) {
  {
    Call call;
    const auto stub = NewStub();
    const auto reader = stub->WatchEnvironment(&call, From(0));
    Sequences(*reader, 1);
    EXPECT_EQ(provisioner_.hub().subscriptions(), 1);
    call.TryCancel();
    reader->Finish();
  }
  EXPECT_TRUE(Eventually([this] { return provisioner_.hub().subscriptions() == 0; }));
  EXPECT_TRUE(Eventually([this] { return server_->acceptor().open_connections() == 1; }));
}

TEST_F(StreamsTest, AWatcherThatDoesNotReadDelaysNobody) {
  Call stalled_call;
  const auto stalled_stub = NewStub();
  const auto stalled = stalled_stub->WatchEnvironment(&stalled_call, From(0));
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, From(0));
  Sequences(*reader, 1);
  // Far more than a connection buffers.
  for (int i = 0; i < 3000; ++i) provisioner_.Note("pr-7", std::string(4000, 'x'));
  EXPECT_EQ(Sequences(*reader, 3001).size(), 3000u);
  stalled_call.TryCancel();
  stalled->Finish();
}

TEST_F(StreamsTest, StoppingEndsWatchesWithUnavailableAndLetsCallsFinish) {
  Call call;
  const auto reader = stub_->WatchEnvironment(&call, From(0));
  Sequences(*reader, 1);
  provisioner_.HoldCreates(true);
  grpc::Status created;
  v1::Environment environment;
  std::thread caller([&] {
    Call create;
    created = stub_->CreateEnvironment(&create, CreateRequest("pr-8"), &environment);
  });
  ASSERT_TRUE(Eventually([this] { return provisioner_.stored() == 2; }));
  std::thread stopper([this] { server_->Stop(); });
  EXPECT_THAT(Sequences(*reader, 100), ElementsAre());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "server is stopping");
  provisioner_.HoldCreates(false);
  stopper.join();
  caller.join();
  EXPECT_TRUE(created.ok()) << created.error_message();
  EXPECT_EQ(environment.name(), "pr-8");
  EXPECT_FALSE(std::filesystem::exists(options_.socket_path));
}

TEST_F(StreamsTest, AWatcherThatDoesNotReadDoesNotKeepTheServerFromStopping) {
  server_->Stop();
  options_.stop_grace = absl::Milliseconds(100);
  StartServer();
  Call stalled_call(absl::Hours(1)), call;
  const auto stalled_stub = NewStub();
  const auto stalled = stalled_stub->WatchEnvironment(&stalled_call, From(0));
  const auto reader = NewStub()->WatchEnvironment(&call, From(0));
  Sequences(*reader, 1);
  ASSERT_TRUE(Eventually([this] { return provisioner_.hub().subscriptions() == 2; }));
  for (int i = 0; i < 500; ++i) provisioner_.Note("pr-7", std::string(4000, 'x'));
  Sequences(*reader, 501);
  server_->Stop();
  EXPECT_THAT(Sequences(*reader, 1000), ElementsAre());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(provisioner_.hub().subscriptions(), 0);
  stalled_call.TryCancel();
  stalled->Finish();
}

class LogsTest : public StreamsTest {
 protected:
  void SetUp() override {
    StreamsTest::SetUp();
    provisioner_.SetDirs(dir_.path(), dir_.path());
  }
  void Log(const std::string& node, int64_t second, const std::string& text) {
    logs_.Append(dir_.path(), node, {absl::FromUnixSeconds(second), text, false});
  }
  static std::vector<std::string> Read(grpc::ClientReader<v1::StreamLogsResponse>& reader, size_t count) {
    std::vector<std::string> out;
    v1::StreamLogsResponse response;
    while (out.size() < count && reader.Read(&response)) {
      for (const v1::LogLine& line : response.lines()) out.push_back(absl::StrCat(line.node(), ":", line.text()));
    }
    return out;
  }
};

TEST_F(LogsTest, LinesOfAllServicesComeInOrderOfTime) {
  AddNode("db");
  AddNode("web");
  AddNode("silent");
  Log("db", 1, "a");
  Log("web", 2, "b");
  Log("db", 3, "c\xff");
  v1::StreamLogsRequest request;
  request.set_name("pr-7");
  Call call;
  const auto reader = stub_->StreamLogs(&call, request);
  EXPECT_THAT(Read(*reader, 100), ElementsAre("db:a", "web:b", "db:c\xff"));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(LogsTest, TailAndSinceLeaveOutTheOld) {
  AddNode("db");
  for (int i = 1; i <= 1000; ++i) Log("db", i, absl::StrCat(i));
  v1::StreamLogsRequest request;
  request.set_name("pr-7");
  request.set_tail_lines(2);
  Call one;
  EXPECT_THAT(Read(*stub_->StreamLogs(&one, request), 100), ElementsAre("db:999", "db:1000"));
  request.set_tail_lines(0);
  request.mutable_since()->set_seconds(999);
  Call two;
  EXPECT_THAT(Read(*stub_->StreamLogs(&two, request), 100), ElementsAre("db:999", "db:1000"));
}

TEST_F(LogsTest, FollowingWakesOnGrowthAndEndsWithTheEnvironment) {
  AddNode("db");
  Log("db", 1, "old");
  v1::StreamLogsRequest request;
  request.set_name("pr-7");
  request.set_follow(true);
  Call call;
  const auto reader = stub_->StreamLogs(&call, request);
  EXPECT_THAT(Read(*reader, 1), ElementsAre("db:old"));
  Log("db", 2, "new");
  EXPECT_THAT(Read(*reader, 1), ElementsAre("db:new"));
  AddNode("late");
  Log("late", 3, "hello");
  EXPECT_THAT(Read(*reader, 1), ElementsAre("late:hello"));
  Log("db", 4, "last");
  provisioner_.SetState("pr-7", EnvironmentState::kDeleted);
  EXPECT_THAT(Read(*reader, 100), ElementsAre("db:last"));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(LogsTest, AnUnknownServiceIsNotFoundWithTheNearest) {
  AddNode("checkout");
  v1::StreamLogsRequest request;
  request.set_name("pr-7");
  request.add_services("chekout");
  Call call;
  const auto reader = stub_->StreamLogs(&call, request);
  EXPECT_THAT(Read(*reader, 1), ElementsAre());
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("did you mean checkout?"));
}

class TunnelTest : public StreamsTest {
 protected:
  void SetUp() override {
    StreamsTest::SetUp();
    AddNode("web");
    AddNode("gone", NodeState::kStopped);
  }
  static v1::ExecRequest Start(const std::string& service, const std::string& command) {
    v1::ExecRequest request;
    request.mutable_start()->set_name("pr-7");
    request.mutable_start()->set_service(service);
    request.mutable_start()->add_command(command);
    return request;
  }
  // True once the same value was seen in 20 looks on end: nothing tells that nothing happens.
  bool Settled(size_t value) {
    looks_ = value == std::exchange(last_, value) ? looks_ + 1 : 0;
    return looks_ >= 20;
  }
  size_t last_ = 0;
  int looks_ = 0;
  grpc::Status Fail(const v1::ExecRequest& first) {
    Call call;
    const auto stream = stub_->Exec(&call);
    stream->Write(first);
    v1::ExecResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return stream->Finish();
  }
};

TEST_F(TunnelTest, ExecCarriesBothWaysAndEndsWithTheExitCode) {
  Call call;
  const auto stream = stub_->Exec(&call);
  stream->Write(Start("web", "cat"));
  v1::ExecRequest request;
  v1::ExecResponse response;
  request.set_stdin("hello");
  stream->Write(request);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.stdout(), "hello");
  request.set_stdin("stderr: oh");
  stream->Write(request);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.stderr(), "stderr: oh");
  request.mutable_resize()->set_columns(120);
  request.mutable_resize()->set_rows(40);
  stream->Write(request);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.stdout(), "120x40");
  stream->WritesDone();
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.exit_code(), 7);
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(Eventually([this] { return echo_.open() == 0; }));
}

TEST_F(TunnelTest, ExecSaysWhyItCannot) {
  EXPECT_EQ(Fail(Start("web", "missing")).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Fail(Start("wep", "cat")).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(Fail(Start("wep", "cat")).error_message(), HasSubstr("did you mean web?"));
  const grpc::Status stopped = Fail(Start("gone", "cat"));
  EXPECT_EQ(stopped.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(stopped.error_message(), HasSubstr("STOPPED"));
  EXPECT_EQ(Fail(v1::ExecRequest()).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(TunnelTest, WhatPrintsWaitsForAClientThatDoesNotRead) {
  Call call;
  const auto stream = stub_->Exec(&call);
  stream->Write(Start("web", "yes"));
  // A window of the server's and what the connection buffers; without a limit it would be gigabytes by the end.
  ASSERT_TRUE(Eventually([this] { return echo_.sent() >= 256 << 10; }));
  size_t before = 0;
  ASSERT_TRUE(Eventually([&] { return std::exchange(before, echo_.sent()) == echo_.sent() && Settled(before); }));
  EXPECT_LE(before, 8u << 20);
  // It goes on as soon as somebody reads.
  v1::ExecResponse response;
  for (size_t read = 0; read < before + (1 << 20); read += response.stdout().size())
    ASSERT_TRUE(stream->Read(&response));
  call.TryCancel();
  stream->Finish();
}

TEST_F(TunnelTest, AClientWaitsForACommandThatDoesNotRead) {
  Call call;
  const auto stream = stub_->Exec(&call);
  stream->Write(Start("web", "sleep"));
  std::atomic<size_t> written{0};
  std::thread writer([&] {
    v1::ExecRequest request;
    request.set_stdin(std::string(64 << 10, 'x'));
    while (stream->Write(request)) written += request.stdin().size();
  });
  ASSERT_TRUE(Eventually([this] { return echo_.received() > 256 << 10; }));
  size_t before = 0;
  ASSERT_TRUE(Eventually([&] { return std::exchange(before, written) == written && Settled(before); }));
  EXPECT_LE(echo_.received(), (256 << 10) + (64 << 10));
  EXPECT_LE(written, 8u << 20);
  call.TryCancel();
  writer.join();
  stream->Finish();
}

TEST_F(TunnelTest, AClientThatGoesAwayEndsItsCommand) {
  {
    Call call;
    const auto stream = stub_->Exec(&call);
    stream->Write(Start("web", "cat"));
    EXPECT_TRUE(Eventually([this] { return echo_.open() == 1; }));
    call.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(Eventually([this] { return echo_.open() == 0; }));
}

TEST_F(TunnelTest, PortForwardCarriesBytes) {
  Call call;
  const auto stream = stub_->PortForward(&call);
  v1::PortForwardRequest request;
  request.mutable_start()->set_name("pr-7");
  request.mutable_start()->set_service("web");
  request.mutable_start()->set_port(8080);
  stream->Write(request);
  const std::string bytes("GET /\0\xff", 7);
  request.set_data(bytes);
  stream->Write(request);
  v1::PortForwardResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.data(), bytes);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace mayfly
