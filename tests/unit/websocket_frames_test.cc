#include "server/http/websocket_frames.h"

#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/http/websocket_handshake.h"
#include "tests/support/seed.h"
#include "tests/support/status_matchers.h"

namespace mayfly::http {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr WsMask kMask = {0x37, 0xfa, 0x21, 0x3d};  // That of the examples in RFC 6455, section 5.7.

std::string Hex(const char* text) {
  return absl::HexStringToBytes(text);
}

std::string Name(const WsMessage& message) {
  return absl::StrCat(static_cast<int>(message.opcode), ":", message.close_code, ":", message.payload);
}

// What a decoder makes of `bytes`; the failure's code at the end where there is one.
std::vector<std::string> Decode(const std::string& bytes, size_t max = 1 << 20,
                                WsDecoder::Peer peer = WsDecoder::Peer::kServer, size_t split = std::string::npos) {
  WsDecoder decoder(peer, max);
  std::vector<WsMessage> messages;
  absl::Status status = decoder.Feed(absl::string_view(bytes).substr(0, split), messages);
  if (status.ok() && split < bytes.size()) status = decoder.Feed(absl::string_view(bytes).substr(split), messages);
  std::vector<std::string> names;
  for (const WsMessage& message : messages) names.push_back(Name(message));
  if (!status.ok()) names.push_back(absl::StrCat("failed ", decoder.failure()));
  return names;
}

TEST(WsEncodeTest, FramesAreThoseOfTheStandard) {
  EXPECT_EQ(Hex("810548656c6c6f"), EncodeWsFrame(WsOpcode::kText, true, "Hello", nullptr));
  EXPECT_EQ(Hex("818537fa213d7f9f4d5158"), EncodeWsFrame(WsOpcode::kText, true, "Hello", &kMask));
  EXPECT_EQ(Hex("010348656c"), EncodeWsFrame(WsOpcode::kText, false, "Hel", nullptr));
  EXPECT_EQ(Hex("80026c6f"), EncodeWsFrame(WsOpcode::kContinuation, true, "lo", nullptr));
  EXPECT_EQ(Hex("890548656c6c6f"), EncodeWsFrame(WsOpcode::kPing, true, "Hello", nullptr));
  EXPECT_EQ(Hex("8a8537fa213d7f9f4d5158"), EncodeWsFrame(WsOpcode::kPong, true, "Hello", &kMask));
}

TEST(WsEncodeTest, LengthsTakeTheShortestForm) {
  EXPECT_EQ(Hex("827d"), EncodeWsFrame(WsOpcode::kBinary, true, std::string(125, 'x'), nullptr).substr(0, 2));
  EXPECT_EQ(Hex("827e007e"), EncodeWsFrame(WsOpcode::kBinary, true, std::string(126, 'x'), nullptr).substr(0, 4));
  EXPECT_EQ(Hex("827effff"), EncodeWsFrame(WsOpcode::kBinary, true, std::string(65535, 'x'), nullptr).substr(0, 4));
  EXPECT_EQ(Hex("827f0000000000010000"),
            EncodeWsFrame(WsOpcode::kBinary, true, std::string(65536, 'x'), nullptr).substr(0, 10));
}

TEST(WsEncodeTest, ReasonOfACloseIsCutBetweenCharacters) {
  const std::string close = EncodeWsClose(1000, std::string(122, 'x') + "\xC3\xA4");
  EXPECT_EQ(Hex("03e8") + std::string(122, 'x'), close);
  EXPECT_EQ("", EncodeWsClose(kWsNoCode, "ignored"));
}

TEST(WsDecodeTest, MessagesComeOutWhereverTheirBytesAreSplit) {
  std::string bytes;
  bytes += EncodeWsFrame(WsOpcode::kText, false, "Hel", nullptr);
  bytes += EncodeWsFrame(WsOpcode::kPing, true, "p", nullptr);  // Control frames may stand between fragments.
  bytes += EncodeWsFrame(WsOpcode::kContinuation, false, "", nullptr);
  bytes += EncodeWsFrame(WsOpcode::kContinuation, true, "lo", nullptr);
  bytes += EncodeWsFrame(WsOpcode::kBinary, true, std::string(300, 'b'), nullptr);
  bytes += EncodeWsFrame(WsOpcode::kBinary, true, "", nullptr);
  bytes += EncodeWsFrame(WsOpcode::kClose, true, EncodeWsClose(1001, "bye"), nullptr);
  const std::vector<std::string> wanted = {"9:1005:p", "1:1005:Hello", "2:1005:" + std::string(300, 'b'),
                                           "2:1005:", "8:1001:bye"};
  for (size_t split = 0; split <= bytes.size(); ++split) {
    EXPECT_EQ(wanted, Decode(bytes, 1 << 20, WsDecoder::Peer::kServer, split)) << split;
  }
}

TEST(WsDecodeTest, MasksOfAClientAreTakenOff) {
  const std::string bytes = EncodeWsFrame(WsOpcode::kBinary, true, std::string(70000, 'm'), &kMask);
  for (const size_t split : {0, 1, 5, 11, 15, 16, 4097}) {
    EXPECT_THAT(Decode(bytes, 1 << 20, WsDecoder::Peer::kClient, split),
                ElementsAre("2:1005:" + std::string(70000, 'm')));
  }
}

TEST(WsDecodeTest, WhatTheStandardForbidsFailsWithItsCode) {
  const struct {
    const char* what;
    std::string bytes;
    int code;
  } kCases[] = {
      {"masked by a server", Hex("818537fa213d7f9f4d5158"), 1002},
      {"reserved bit", Hex("c10548656c6c6f"), 1002},
      {"reserved data opcode", Hex("8300"), 1002},
      {"reserved control opcode", Hex("8b00"), 1002},
      {"continuation of nothing", Hex("8000"), 1002},
      {"message inside a message", Hex("01014181014d"), 1002},
      {"fragmented ping", Hex("0900"), 1002},
      {"long ping", Hex("897e007e"), 1002},
      {"length in two bytes without need", Hex("827e007d"), 1002},
      {"length in eight bytes without need", Hex("827f000000000000ffff"), 1002},
      {"negative length", Hex("827fffffffffffffffff"), 1002},
      {"half a close code", Hex("880103"), 1002},
      {"close code that must not be sent", Hex("880203ed"), 1002},
      {"close code of nobody", Hex("88020000"), 1002},
      {"reason that is not UTF-8", Hex("880303e8ff"), 1007},
      {"text that is not UTF-8", Hex("8102c328"), 1007},
      {"surrogate in text", Hex("8103eda080"), 1007},
      {"overlong text", Hex("8102c0af"), 1007},
      {"huge length", Hex("827f7fffffffffffffff"), 1009},
  };
  for (const auto& test : kCases) {
    for (size_t split = 0; split <= test.bytes.size(); ++split) {
      EXPECT_THAT(Decode(test.bytes, 1 << 20, WsDecoder::Peer::kServer, split),
                  ElementsAre(absl::StrCat("failed ", test.code)))
          << test.what << " at " << split;
    }
  }
}

TEST(WsDecodeTest, TheLimitIsForTheWholeMessage) {
  const std::string half = EncodeWsFrame(WsOpcode::kBinary, false, std::string(60, 'x'), nullptr);
  const std::string exact = EncodeWsFrame(WsOpcode::kContinuation, true, std::string(40, 'x'), nullptr);
  const std::string over = EncodeWsFrame(WsOpcode::kContinuation, true, std::string(41, 'x'), nullptr);
  EXPECT_THAT(Decode(half + exact, 100), ElementsAre("2:1005:" + std::string(100, 'x')));
  EXPECT_THAT(Decode(half + over, 100), ElementsAre("failed 1009"));
}

TEST(WsDecodeTest, NothingCountsAfterACloseFrame) {
  const std::string close = EncodeWsFrame(WsOpcode::kClose, true, EncodeWsClose(1000, ""), nullptr);
  EXPECT_THAT(Decode(close + Hex("ffffff")), ElementsAre("8:1000:"));
}

TEST(WsDecodeTest, RandomBytesNeverHurt) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const auto peer = random() % 2 == 0 ? WsDecoder::Peer::kServer : WsDecoder::Peer::kClient;
    const std::vector<std::string> whole = Decode(bytes, 32, peer);
    EXPECT_EQ(whole, Decode(bytes, 32, peer, random() % (bytes.size() + 1))) << "seed " << seed;
  }
}

constexpr char kKey[] = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr char kAgreed[] =
    "HTTP/1.1 101 Switching Protocols\r\nUPGRADE: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: b\r\n\r\n";

TEST(WsHandshakeTest, AcceptIsThatOfTheStandard) {
  EXPECT_EQ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", WsAcceptFor(kKey));
}

TEST(WsHandshakeTest, RequestNamesHostPathAndProtocols) {
  WebSocketRequest request;
  request.url = "https://user@[::1]:6443/api?x=1#part";
  request.headers = {{"authorization", "Bearer t"}};
  request.subprotocols = {"b", "c"};
  EXPECT_EQ(
      "GET /api?x=1 HTTP/1.1\r\nHost: [::1]:6443\r\nUser-Agent: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Protocol: b, c\r\nauthorization: Bearer "
      "t\r\n\r\n",
      WsUpgradeRequest(request, "test", "k"));
  request.url = "http://host?x";
  EXPECT_THAT(WsUpgradeRequest(request, "test", "k"), HasSubstr("GET /?x HTTP/1.1\r\nHost: host\r\n"));
}

TEST(WsHandshakeTest, AgreementIsReadAtEverySplitAndFramesBehindItAreKept) {
  const std::string bytes = std::string(kAgreed) + "frames";
  for (size_t split = 0; split < bytes.size() - 6; ++split) {
    WsUpgradeReader reader(kKey, {"a", "b"});
    ASSERT_OK(reader.Feed(absl::string_view(bytes).substr(0, split)));
    ASSERT_EQ(WsUpgradeReader::State::kReading, reader.state());
    ASSERT_OK(reader.Feed(absl::string_view(bytes).substr(split)));
    ASSERT_EQ(WsUpgradeReader::State::kOpen, reader.state());
    EXPECT_EQ("b", reader.subprotocol());
    EXPECT_EQ("frames", reader.TakeRest());
  }
}

std::string Without(std::string text, const std::string& part, const std::string& instead = "") {
  return text.replace(text.find(part), part.size(), instead);
}

TEST(WsHandshakeTest, WhatIsNoAgreementIsRefused) {
  const struct {
    std::string answer;
    const char* message;
  } kCases[] = {
      {Without(kAgreed, "WebSocket\r", "h2c\r"), "something else"},
      {Without(kAgreed, ", Upgrade"), "something else"},
      {Without(kAgreed, "s3p", "S3p"), "Sec-WebSocket-Accept"},
      {Without(kAgreed, "Protocol: b", "Protocol: z"), "speaks none of a, b but z"},
      {Without(kAgreed, "Sec-WebSocket-Protocol: b\r\n"), "speaks none of a, b"},
      {Without(kAgreed, "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Protocol"),
       "extension"},
      {"HTTP/1.0 101 x\r\n\r\n", "no HTTP/1.1"},
      {"SSH-2.0-OpenSSH\r\n", "no HTTP/1.1"},
      {"HTTP/1.1 101 x\r\nnonsense\r\n\r\n", "without ':'"},
      {"HTTP/1.1 101 x\r\nx: " + std::string(70000, 'x'), "too large"},
  };
  for (const auto& test : kCases) {
    WsUpgradeReader reader(kKey, {"a", "b"});
    EXPECT_THAT(reader.Feed(test.answer), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.message)));
  }
}

TEST(WsHandshakeTest, RefusalsBodyIsReadHoweverItIsSent) {
  const std::string kHead = "HTTP/1.1 403 Forbidden\r\n";
  for (const std::string& rest :
       {std::string("Content-Length: 4\r\n\r\nbody"),
        std::string("Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nbod\r\n1\r\ny\r\n0\r\n\r\n")}) {
    const std::string bytes = kHead + rest;
    for (size_t split = 0; split < bytes.size(); ++split) {
      WsUpgradeReader reader(kKey, {});
      ASSERT_OK(reader.Feed(absl::string_view(bytes).substr(0, split)));
      if (reader.state() == WsUpgradeReader::State::kReading) {
        ASSERT_OK(reader.Feed(absl::string_view(bytes).substr(split)));
      }
      ASSERT_EQ(WsUpgradeReader::State::kRefused, reader.state()) << rest << " at " << split;
      EXPECT_EQ("body", reader.response().body);
      EXPECT_EQ(403, reader.response().status);
    }
  }
  WsUpgradeReader reader(kKey, {});
  ASSERT_OK(reader.Feed(kHead + "\r\nuntil the end"));
  ASSERT_EQ(WsUpgradeReader::State::kReading, reader.state());
  ASSERT_OK(reader.FeedEnd());
  EXPECT_EQ("until the end", reader.response().body);
}

TEST(WsHandshakeTest, InterimAnswersArePassedOver) {
  WsUpgradeReader reader(kKey, {"b"});
  ASSERT_OK(reader.Feed(std::string("HTTP/1.1 100 Continue\r\n\r\n") + kAgreed));
  EXPECT_EQ(WsUpgradeReader::State::kOpen, reader.state());
}

}  // namespace
}  // namespace mayfly::http
