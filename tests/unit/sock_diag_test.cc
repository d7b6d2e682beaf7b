#include "server/engine/parts/sock_diag.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/network.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::_;
using testing::Contains;
using testing::ElementsAre;
using testing::FieldsAre;
using testing::HasSubstr;

// Skips on hosts without user namespaces; the same is said by `doctor`.
#define IN_NEW_NETWORK(expected, ...)                                 \
  do {                                                                \
    const std::string got = InNewNetwork(__VA_ARGS__);                \
    if (got.rfind("no namespaces here", 0) == 0) GTEST_SKIP() << got; \
    EXPECT_EQ(got, expected);                                         \
  } while (false)

std::string Kinds(const absl::StatusOr<SocketList>& list) {
  if (!list.ok()) return list.status().ToString();
  return absl::StrJoin(list->sockets, ",", [](std::string* out, const SocketInfo& info) {
    const std::string text = info.ToString();
    absl::StrAppend(out, text.substr(0, text.find(' ')));
  });
}

TEST(SockDiagTest, FindsAListenerAsASynWould) {
  auto diag = SockDiag::Open();
  ASSERT_OK(diag);
  Listener loopback, any("0.0.0.0");
  EXPECT_EQ(*diag->IsListening("127.0.0.1", loopback.port()), true);
  EXPECT_EQ(*diag->IsListening("127.0.0.2", loopback.port()), false);
  EXPECT_EQ(*diag->IsListening("127.0.0.2", any.port()), true);
  loopback.Close();
  EXPECT_EQ(*diag->IsListening("127.0.0.1", loopback.port()), false);
  EXPECT_THAT(diag->IsListening("localhost", 80), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(diag->IsListening("127.0.0.1", 0), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST(SockDiagTest, ABoundSocketThatDoesNotListenIsNotFound) {
  auto diag = SockDiag::Open();
  ASSERT_OK(diag);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in addr = {.sin_family = AF_INET};
  socklen_t length = sizeof addr;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&addr), length), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &length), 0);
  EXPECT_EQ(*diag->IsListening("127.0.0.1", ntohs(addr.sin_port)), false);
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_EQ(*diag->IsListening("127.0.0.1", ntohs(addr.sin_port)), true);
  close(fd);
}

TEST(SockDiagTest, ADualStackSocketReachesIpv4AndAnIpv6OnlyOneDoesNot) {
  auto diag = SockDiag::Open();
  ASSERT_OK(diag);
  for (const int only : {0, 1}) {
    const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) GTEST_SKIP() << "no IPv6 here";
    ASSERT_EQ(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
    ASSERT_EQ(listen(fd, 1), 0);
    sockaddr_in6 addr = {};
    socklen_t length = sizeof addr;
    ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &length), 0);
    const int port = ntohs(addr.sin6_port);
    EXPECT_EQ(*diag->IsListening("127.0.0.1", port), only == 0);
    const auto listening = diag->Listening();
    ASSERT_OK(listening);
    EXPECT_THAT(*listening, Contains(FieldsAre("::", port, only == 1)));
    EXPECT_EQ((ListeningPort{"::", port, only == 1}.Reaches("10.0.0.2")), only == 0);
    close(fd);
  }
}

TEST(SockDiagTest, ListsWhatListensOnce) {
  IN_NEW_NETWORK("127.0.0.1:8080 0.0.0.0:9090", [] {
    auto diag = SockDiag::Open();
    Listener a("127.0.0.1", 8080), b("0.0.0.0", 9090);
    const auto listening = diag->Listening();
    std::string text;
    for (const ListeningPort& port : *listening)
      absl::StrAppend(&text, text.empty() ? "" : " ", port.address, ":", port.port);
    return text;
  });
}

TEST(SockDiagTest, AFreshNetworkIsClean) {
  IN_NEW_NETWORK("", [] { return Kinds(SockDiag::Open()->Dump()); });
}

TEST(SockDiagTest, LeftoversOfEveryKindAreSeen) {
  IN_NEW_NETWORK("tcp,udp,unix", [] {
    Listener listener("0.0.0.0", 8080);
    const int udp = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(53)};
    if (bind(udp, reinterpret_cast<sockaddr*>(&addr), sizeof addr) != 0) return std::string("bind");
    const int abstract = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, "\0left", 5);
    if (bind(abstract, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t) + 5) != 0) return std::string("unix");
    return Kinds(SockDiag::Open()->Dump());
  });
}

TEST(SockDiagTest, ConnectionsAndTimeWaitAreDestroyed) {
  IN_NEW_NETWORK("before: tcp,tcp,tcp,tcp,tcp after: ", [] {
    Listener listener("0.0.0.0", 8080);
    const int kept = ConnectTo(8080), closed = ConnectTo(8080);
    const int kept_peer = listener.Accept(), closed_peer = listener.Accept();
    close(closed);  // The side that closes first is left in TIME_WAIT.
    char c;
    if (read(closed_peer, &c, 1) != 0) return std::string("read");
    auto diag = SockDiag::Open();
    std::string text = absl::StrCat("before: ", Kinds(diag->Dump()));
    close(closed_peer);
    listener.Close();
    const auto left = diag->Clean();
    // The holders still have their descriptors, on sockets that are no longer in the network.
    absl::StrAppend(&text, " after: ", Kinds(left));
    close(kept);
    close(kept_peer);
    return text;
  });
}

TEST(SockDiagTest, ASocketThatIsGoneIsDestroyedAlready) {
  IN_NEW_NETWORK("OK", [] {
    auto diag = SockDiag::Open();
    auto listener = std::make_unique<Listener>("0.0.0.0", 8080);
    const auto sockets = diag->Dump();
    listener.reset();
    return diag->Destroy(sockets->sockets.at(0)).ToString();
  });
}

TEST(SockDiagTest, UnixSocketsCannotBeDestroyed) {
  auto diag = SockDiag::Open();
  ASSERT_OK(diag);
  SocketInfo info;
  info.kind = SocketInfo::Kind::kUnix;
  info.local = "/run/\x1b[31mx";
  EXPECT_THAT(diag->Destroy(info), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("\\x1b")));
}

TEST(SockDiagTest, ReadsTheTextOfProc) {
  const auto ports = ParseProcNetTcp(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
      "   1: 0200000A:1F91 0100000A:ABCD 01 00000000:00000000 00:00000000 00000000     0\n"
      "   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0\n"
      "   2: zzzz:1F91 garbage 0A\n");
  EXPECT_THAT(ports, ElementsAre(FieldsAre("127.0.0.1", 8080, false), FieldsAre("::", 9090, false)));
}

}  // namespace
}  // namespace mayfly::local
