#include "server/engine/parts/probe_grpc.h"

#include <cstdio>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/hpack_reader.h"
#include "tests/support/child.h"
#include "tests/support/reactor_server.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::_;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

ProbeAnswer Check(int port, const std::string& service, Reactor& reactor) {
  ProbeExchange exchange(reactor, nullptr, MakeGrpcProbe(absl::StrCat("127.0.0.1:", port), service), {});
  std::optional<ProbeAnswer> answer;
  std::optional<ProbeAnswer> at_once =
      exchange.Begin("127.0.0.1", port, [&](ProbeAnswer late) { answer = std::move(late); });
  if (at_once) return *at_once;
  if (!RunUntil(reactor, [&] { return answer.has_value(); })) return {.message = "the test waited too long"};
  return *answer;
}

class RealServer : public testing::Test {
 protected:
  void SetUp() override {
    server_ = std::make_unique<Child>(std::vector<std::string>{"/usr/bin/python3", "tests/unit/grpc_health_server.py"});
    const std::string line = server_->ReadLine();
    if (sscanf(line.c_str(), "%d %d", &port_, &bare_port_) != 2) GTEST_SKIP() << "no python3-grpcio here";
  }
  std::unique_ptr<Child> server_;
  int port_ = 0;
  int bare_port_ = 0;
  Reactor reactor_;
};

TEST_F(RealServer, AnswersAsItIs) {
  EXPECT_TRUE(Check(port_, "", reactor_).healthy);
  EXPECT_TRUE(Check(port_, "up", reactor_).healthy);
  EXPECT_EQ(Check(port_, "down", reactor_).message, "gRPC health: NOT_SERVING");
  EXPECT_EQ(Check(port_, "shop.Cart", reactor_).message, "gRPC health: NOT_FOUND: 'no such service: shop.Cart'");
  EXPECT_THAT(Check(bare_port_, "", reactor_).message, HasSubstr("gRPC health: UNIMPLEMENTED"));
  EXPECT_THAT(Check(bare_port_, "", reactor_).message, HasSubstr("register grpc.health.v1.Health"));
}

TEST(GrpcProbeTest, OtherProtocolsGetAMessage) {
  const std::map<std::string, std::string> cases = {
      {"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak gRPC: 'HTTP/1.1 400 Bad Request'"},
      {"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/2"},
      {std::string("\0\0\0\4\0\0\0\0\0", 9), "closed the connection before the health check was answered"},
      {std::string("\0\0\0\4\0\0\0\0\0\0\0\4\3\0\0\0\0\1\0\0\0\2", 22), "gRPC health: the server reset the call"},
      {std::string("\0\0\0\4\0\0\0\0\0\0\0\1\1\4\0\0\0\1\x8d", 19), "gRPC health: HTTP '404'"},
      {"", "closed the connection without an answer"}};
  for (const auto& [bytes, message] : cases) {
    Reactor reactor;
    ReactorServer server(reactor, [&](const std::string&) { return ReactorServer::Reply{bytes, true}; });
    const ProbeAnswer answer = Check(server.port(), "", reactor);
    EXPECT_FALSE(answer.healthy);
    EXPECT_EQ(answer.message, message);
  }
}

// Every beginning of a good answer, and a good answer with any one byte changed, comes to some end.
TEST(GrpcProbeTest, HostileBytesComeToAnEnd) {
  const std::string good = absl::HexStringToBytes(
      "000000040000000000"
      "00000101040000000188"
      "00000700000000000100000000020801");
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int change : {1, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const auto probe = MakeGrpcProbe("a", "");
      for (const char c : bytes) {
        if (probe->OnBytes(absl::string_view(&c, 1)).answer) break;
      }
      probe->OnEnd("closed the connection");
    }
  }
  const auto probe = MakeGrpcProbe("a", "");
  EXPECT_TRUE(probe->OnBytes(good).answer->healthy);
}

TEST(HpackReaderTest, ReadsPlainAndHuffmanLiterals) {
  // RFC 7541, C.2.1, C.4.1 and C.6.1, in so far as no dynamic table is involved.
  const auto read = [](absl::string_view hex) { return ReadHpack(absl::HexStringToBytes(hex)); };
  EXPECT_THAT(*read("400a637573746f6d2d6b65790d637573746f6d2d686561646572"),
              ElementsAre(Pair("custom-key", "custom-header")));
  EXPECT_THAT(*read("418cf1e3c2e5f23a6ba0ab90f4ff"), ElementsAre(Pair("?", "www.example.com")));
  EXPECT_THAT(*read("2088"), ElementsAre(Pair(":status", "200")));
  EXPECT_THAT(*read("4803333032"), ElementsAre(Pair(":status", "302")));
  EXPECT_THAT(*read("6196d07abe941054d444a8200595040b8166e082a62d1bff"),
              ElementsAre(Pair("?", "Mon, 21 Oct 2013 20:13:21 GMT")));
}

TEST(HpackReaderTest, RefusesBrokenBlocks) {
  for (const char* hex : {"40", "400a6375", "ff", "ffffffffffffff", "be", "80", "7f", "00ff"}) {
    EXPECT_THAT(ReadHpack(absl::HexStringToBytes(hex)), StatusIs(absl::StatusCode::kInvalidArgument, _)) << hex;
  }
  EXPECT_FALSE(DecodeHuffman("\xff\xff\xff\xff").ok());
}

}  // namespace
}  // namespace mayfly::local
