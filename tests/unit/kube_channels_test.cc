// What travels on the channels of exec and port-forward, byte by byte.
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/client/exec.h"
#include "server/engine/kubernetes/client/port_forward.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Bytes(std::initializer_list<int> bytes) {
  std::string out;
  for (const int byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

TEST(ExecPathTest, EveryWordOfTheCommandIsEscaped) {
  EXPECT_EQ(
      "/api/v1/namespaces/n/pods/p/exec?stdin=true&stdout=true&stderr=true&container=c&command=sh&command=-c&"
      "command=a%20%26%3D%22%C3%A4",
      ExecPath({"n", "p", "c", {"sh", "-c", "a &=\"\xC3\xA4"}}));
  EXPECT_EQ("/api/v1/namespaces/n/pods/p/exec?stdin=true&stdout=true&tty=true&command=sh",
            ExecPath({"n", "p", "", {"sh"}, true}));
}

TEST(ExecProtocolTest, ChannelsAreNumberedAsTheStandardHasThem) {
  ExecProtocol protocol(true);
  EXPECT_THAT(protocol.Subprotocols(), ElementsAre("v5.channel.k8s.io", "v4.channel.k8s.io"));
  EXPECT_EQ(Bytes({0, 'h', 'i'}), protocol.Data("hi"));
  EXPECT_EQ(Bytes({4}) + R"({"Width":120,"Height":40})", protocol.Resize(120, 40));
  EXPECT_EQ(Bytes({0, 4}), protocol.CloseWrite()) << "Ctrl-D";
  const ChannelProtocol::Piece out = protocol.OnMessage(Bytes({1, 'o'}));
  EXPECT_EQ("o", out.bytes);
  EXPECT_FALSE(out.stderr_stream);
  const ChannelProtocol::Piece err = protocol.OnMessage(Bytes({2, 'e'}));
  EXPECT_EQ("e", err.bytes);
  EXPECT_TRUE(err.stderr_stream);
  for (const std::string& nothing : {std::string(), Bytes({1}), Bytes({0, 'x'}), Bytes({4, 'x'}), Bytes({200, 'x'})}) {
    EXPECT_EQ("", protocol.OnMessage(nothing).bytes);
  }
}

TEST(ExecProtocolTest, OnlyTheFifthVersionEndsInputAlone) {
  ExecProtocol protocol(false);
  protocol.OnOpen("v4.channel.k8s.io");
  EXPECT_EQ("", protocol.CloseWrite());
  protocol.OnOpen("v5.channel.k8s.io");
  EXPECT_EQ(Bytes({255, 0}), protocol.CloseWrite());
  EXPECT_EQ("", protocol.Resize(1, 1)) << "no terminal";
}

// How a stream ends after this on the channel of errors, and then this end of the connection.
ChannelProtocol::Ended EndOf(const std::string& status, absl::Status connection = absl::OkStatus()) {
  ExecProtocol protocol(false);
  // In two messages, as a long one may come.
  protocol.OnMessage(Bytes({3}) + status.substr(0, status.size() / 2));
  protocol.OnMessage(Bytes({3}) + status.substr(status.size() / 2));
  http::WebSocketEnd end;
  end.status = std::move(connection);
  return protocol.OnEnd(end);
}

TEST(ExecProtocolTest, TheStatusOnTheLastChannelTellsHowItEnded) {
  EXPECT_OK(EndOf(R"({"status":"Success"})").status);
  EXPECT_EQ(0, EndOf(R"({"status":"Success"})").exit_code);
  const auto failed = EndOf(R"({"status":"Failure","message":"command terminated","reason":"NonZeroExitCode",
      "details":{"causes":[{"reason":"Other","message":"1"},{"reason":"ExitCode","message":"42"}]}})",
                            absl::UnavailableError("the connection ended without a goodbye"));
  EXPECT_OK(failed.status);
  EXPECT_EQ(42, failed.exit_code);
  EXPECT_THAT(
      EndOf(R"({"status":"Failure","message":"no such \u001b[1mfile","code":500,"reason":"InternalError"})").status,
      StatusIs(absl::StatusCode::kFailedPrecondition, "no such \\x1b[1mfile"));
  EXPECT_THAT(EndOf(R"({"status":"Failure","message":"gone","code":404})").status,
              StatusIs(absl::StatusCode::kNotFound, "gone"));
}

TEST(ExecProtocolTest, WhatTheServerShouldNotSayEndsAsAnError) {
  for (const std::string status :
       {R"({"status":"Failure","reason":"NonZeroExitCode"})", R"({"reason":"NonZeroExitCode","details":5})",
        R"({"reason":"NonZeroExitCode","details":{"causes":[5,{"reason":"ExitCode","message":"x"}]}})", "[", "{}",
        "null", R"({"message":{}})"}) {
    const auto ended = EndOf(status);
    EXPECT_THAT(ended.status, StatusIs(absl::StatusCode::kFailedPrecondition, testing::_)) << status;
    EXPECT_EQ(-1, ended.exit_code);
  }
  EXPECT_THAT(EndOf("").status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("before its end")));
  EXPECT_THAT(EndOf("", absl::UnavailableError("reset")).status, StatusIs(absl::StatusCode::kUnavailable, "reset"));
}

TEST(ExecProtocolTest, ARefusalIsToldInTheServersWords) {
  http::WebSocketEnd end;
  end.status = absl::PermissionDeniedError("HTTP 403");
  end.http_status = 403;
  end.body = R"({"kind":"Status","code":403,"message":"pods \"p\" is forbidden"})";
  EXPECT_THAT(ExecProtocol(false).OnEnd(end).status,
              StatusIs(absl::StatusCode::kPermissionDenied, "pods \"p\" is forbidden"));
  end.body = "<html>\n";
  EXPECT_THAT(ExecProtocol(false).OnEnd(end).status,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("<html>\\n")));
}

TEST(PortForwardProtocolTest, TheFirstMessageOfEachChannelIsThePort) {
  PortForwardProtocol protocol;
  EXPECT_EQ("/api/v1/namespaces/n/pods/p/portforward?ports=7000", PortForwardPath({"n", "p", 7000}));
  EXPECT_EQ("", protocol.OnMessage(Bytes({0, 0x58, 0x1B})).bytes);
  EXPECT_EQ("", protocol.OnMessage(Bytes({1, 0x58, 0x1B})).bytes);
  EXPECT_EQ("data", protocol.OnMessage(Bytes({0}) + "data").bytes);
  EXPECT_FALSE(protocol.Complete());
  EXPECT_OK(protocol.OnEnd({}).status);
  EXPECT_EQ("", protocol.OnMessage(Bytes({1}) + "connection refused\n").bytes);
  EXPECT_TRUE(protocol.Complete());
  EXPECT_THAT(protocol.OnEnd({}).status, StatusIs(absl::StatusCode::kUnavailable, "connection refused"));
}

TEST(PortForwardProtocolTest, OtherChannelsAndEmptyMessagesAreNothing) {
  PortForwardProtocol protocol;
  for (const std::string& nothing : {std::string(), Bytes({0}), Bytes({2, 'x'}), Bytes({255, 'x'})}) {
    EXPECT_EQ("", protocol.OnMessage(nothing).bytes);
  }
}

}  // namespace
}  // namespace mayfly::kube
