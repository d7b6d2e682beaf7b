// server/http against a server on loopback that answers, or fails to, as each test says.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/http/client.h"
#include "tests/support/child.h"
#include "tests/support/http_server.h"
#include "tests/support/network.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::http {
namespace {

using absl::StatusCode;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

Outcome Fetch(Client& client, Request request) {
  std::promise<Outcome> promise;
  client.Send(std::move(request), [&](Outcome outcome) { promise.set_value(std::move(outcome)); });
  return promise.get_future().get();
}

struct Streamed {
  std::string data;
  int status = 0;
  absl::Status end;
};

TEST(HttpClientTest, SendsMethodHeadersAndBodyAndHandsBackTheAnswer) {
  HttpServer server([](HttpExchange& exchange) {
    const HttpRequest& request = exchange.request();
    exchange.Answer(201,
                    absl::StrCat(request.method, " ", request.target, " ", request.headers.at("x-a"), " ",
                                 request.headers.count("expect"), request.headers.count("x-empty"), " ",
                                 request.headers.at("user-agent"), " ", request.body),
                    {{"X-Reply", "yes"}});
  });
  Client client({.user_agent = "tester"});
  const Outcome outcome = Fetch(
      client,
      {.method = "PATCH", .url = server.url() + "/p?q=1", .headers = {{"X-A", "b"}, {"X-Empty", ""}}, .body = "body"});
  ASSERT_OK(outcome.response);
  EXPECT_EQ(201, outcome.response->status);
  EXPECT_EQ("PATCH /p?q=1 b 01 tester body", outcome.response->body);
  EXPECT_EQ("yes", outcome.response->Find("x-reply"));
}

TEST(HttpClientTest, ARefusedConnectionSentNothing) {
  const auto port = FreePort();
  Client client;
  const Outcome outcome = Fetch(client, {.url = absl::StrCat("http://127.0.0.1:", port, "/secret?token=x")});
  EXPECT_THAT(outcome.response,
              StatusIs(StatusCode::kUnavailable, AllOf(HasSubstr(absl::StrCat("http://127.0.0.1:", port, ": ")),
                                                       Not(HasSubstr("secret")), Not(HasSubstr("token")))));
  EXPECT_FALSE(outcome.sent);
}

TEST(HttpClientTest, AResetAfterTheRequestMayHaveBeenSent) {
  HttpServer server([](HttpExchange& exchange) { exchange.Reset(); });
  Client client;
  const Outcome outcome = Fetch(client, {.method = "POST", .url = server.url(), .body = "x"});
  EXPECT_THAT(outcome.response, StatusIs(StatusCode::kUnavailable, testing::_));
  EXPECT_TRUE(outcome.sent);
}

TEST(HttpClientTest, AKeptConnectionThatDiesCountsAsSentEvenWhenTheServerThenRefuses) {
  auto listener = std::make_unique<Listener>();
  const std::string url = absl::StrCat("http://127.0.0.1:", listener->port());
  Client client;
  std::promise<Outcome> first;
  client.Send({.url = url}, [&](Outcome outcome) { first.set_value(std::move(outcome)); });
  const int fd = listener->Accept();
  char buffer[4096];
  ASSERT_GT(recv(fd, buffer, sizeof(buffer), 0), 0);
  const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  ASSERT_EQ(send(fd, answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
  ASSERT_OK(first.get_future().get().response);
  listener.reset();
  std::promise<Outcome> second;
  client.Send({.method = "POST", .url = url, .body = "x"},
              [&](Outcome outcome) { second.set_value(std::move(outcome)); });
  ASSERT_GT(recv(fd, buffer, sizeof(buffer), 0), 0);
  close(fd);
  const Outcome outcome = second.get_future().get();
  EXPECT_THAT(outcome.response, StatusIs(StatusCode::kUnavailable, testing::_));
  EXPECT_TRUE(outcome.sent);
}

TEST(HttpClientTest, DeadlineAndIdleLimitsEndRequestsThatHang) {
  HttpServer server([](HttpExchange& exchange) {
    if (exchange.request().path == "/trickle") exchange.Begin(200);
    exchange.Wait();
  });
  Client client;
  const Outcome late = Fetch(client, {.url = server.url(), .deadline = absl::Milliseconds(50)});
  EXPECT_THAT(late.response, StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("no complete answer within 50 ms")));
  EXPECT_TRUE(late.sent);
  const Outcome idle = Fetch(client, {.url = server.url() + "/trickle", .idle = absl::Milliseconds(60)});
  EXPECT_THAT(idle.response, StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("nothing came within 60 ms")));
}

TEST(HttpClientTest, BytesThatComeKeepTheIdleLimitAway) {
  HttpServer server([](HttpExchange& exchange) {
    exchange.Begin(200);
    for (int i = 0; i < 6; ++i) {
      exchange.Wait(absl::Milliseconds(50));
      exchange.Write("x");
    }
    exchange.End();
  });
  Client client;
  const Outcome outcome = Fetch(client, {.url = server.url(), .idle = absl::Milliseconds(200)});
  ASSERT_OK(outcome.response);
  EXPECT_EQ("xxxxxx", outcome.response->body);
}

TEST(HttpClientTest, AnAnswerOverTheCapIsCutOff) {
  HttpServer server([](HttpExchange& exchange) { exchange.Answer(200, std::string(5000, 'x')); });
  Client client;
  const Outcome outcome = Fetch(client, {.url = server.url(), .max_bytes = 4096});
  EXPECT_THAT(outcome.response, StatusIs(StatusCode::kResourceExhausted, HasSubstr("larger than 4.0 KiB")));
}

TEST(HttpClientTest, RedirectsAreHandedBackAndNotFollowed) {
  std::atomic<int> requests = 0;
  HttpServer server([&](HttpExchange& exchange) {
    ++requests;
    exchange.Answer(302, "", {{"Location", "/elsewhere"}});
  });
  Client client;
  const Outcome outcome = Fetch(client, {.url = server.url()});
  ASSERT_OK(outcome.response);
  EXPECT_EQ(302, outcome.response->status);
  EXPECT_EQ(1, requests);
}

TEST(HttpClientTest, WhatCannotBeSentIsRefusedWithoutAConnection) {
  Client client;
  const auto bad = [&](Request request) { return Fetch(client, std::move(request)).response; };
  EXPECT_THAT(bad({.url = "file:///etc/passwd"}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("https://")));
  EXPECT_THAT(bad({.url = "http://127.0.0.1/ x"}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("space")));
  EXPECT_THAT(bad({.url = "http://127.0.0.1", .headers = {{"Authorization", "a\r\nX: b"}}}),
              StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("\"Authorization\""), Not(HasSubstr("X: b")))));
}

TEST(HttpClientTest, TheProxiesOfTheEnvironmentAreNotAsked) {
  setenv("http_proxy", absl::StrCat("http://127.0.0.1:", FreePort()).c_str(), 1);
  HttpServer server([](HttpExchange& exchange) { exchange.Answer(200, "direct"); });
  Client client;
  const Outcome outcome = Fetch(client, {.url = server.url()});
  unsetenv("http_proxy");
  ASSERT_OK(outcome.response);
  EXPECT_EQ("direct", outcome.response->body);
}

TEST(HttpClientTest, AProxyThatIsGivenCarriesTheRequest) {
  HttpServer proxy([](HttpExchange& exchange) { exchange.Answer(200, "by proxy: " + exchange.request().target); });
  Client client;
  const Outcome outcome = Fetch(client, {.url = "http://cluster.invalid/x", .proxy = proxy.url()});
  ASSERT_OK(outcome.response);
  EXPECT_EQ("by proxy: http://cluster.invalid/x", outcome.response->body);
}

TEST(HttpClientTest, AStreamComesPieceByPieceAndEndsAsTheServerEndsIt) {
  HttpExchange* running = nullptr;
  HttpServer server([&](HttpExchange& exchange) {
    running = &exchange;
    exchange.Begin(200);
    exchange.Write("one");
    exchange.Wait();
    exchange.Write("two");
    exchange.request().path == "/well" ? exchange.End() : exchange.Reset();
  });
  Client client;
  for (const std::string path : {"/well", "/ill"}) {
    Streamed streamed;
    std::promise<void> ended;
    client.Open(
        {.url = server.url() + path}, [&](const Response& head) { streamed.status = head.status; },
        [&](absl::string_view data) {
          // The second piece is made only once the first has come.
          if (streamed.data.empty()) running->Notify();
          absl::StrAppend(&streamed.data, data);
        },
        [&](absl::Status status, bool) {
          streamed.end = std::move(status);
          ended.set_value();
        });
    ended.get_future().wait();
    EXPECT_EQ(200, streamed.status);
    EXPECT_EQ(path == "/well" ? StatusCode::kOk : StatusCode::kUnavailable, streamed.end.code()) << streamed.end;
    EXPECT_EQ(path == "/well" ? "onetwo" : streamed.data, streamed.data);
  }
}

TEST(HttpClientTest, ACancelFromACallbackSilencesTheStreamAtOnce) {
  HttpServer server([](HttpExchange& exchange) {
    exchange.Answer(200, std::string(1000, 'x'));
    exchange.Wait();
  });
  for (const bool at_head : {true, false}) {
    Client client;
    std::promise<absl::Status> ended;
    RequestId id = 0;
    int pieces = 0;
    client.RunAndWait([&] {
      id = client.Open(
          {.url = server.url()},
          [&](const Response&) {
            if (at_head) client.Cancel(id);
          },
          [&](absl::string_view) {
            ++pieces;
            client.Cancel(id);
          },
          [&](absl::Status status, bool) { ended.set_value(std::move(status)); });
    });
    EXPECT_EQ(at_head ? 0 : 1, (ended.get_future().wait(), pieces));
  }
}

TEST(HttpClientTest, ACancelledRequestEndsOnceAndOthersGoOn) {
  HttpServer server([](HttpExchange& exchange) {
    if (exchange.request().path == "/hang") {
      exchange.Wait();
    } else {
      exchange.Answer(200, "fine");
    }
  });
  Client client;
  std::promise<Outcome> promise;
  std::atomic<int> calls = 0;
  const RequestId id = client.Send({.url = server.url() + "/hang"}, [&](Outcome outcome) {
    ++calls;
    promise.set_value(std::move(outcome));
  });
  ASSERT_OK(Fetch(client, {.url = server.url()}).response);
  client.Cancel(id);
  client.Cancel(id);
  EXPECT_THAT(promise.get_future().get().response, StatusIs(StatusCode::kCancelled, testing::_));
  ASSERT_OK(Fetch(client, {.url = server.url()}).response);
  EXPECT_EQ(1, calls);
}

TEST(HttpClientTest, TheClientsEndEndsEverythingAlsoWhatCallbacksBeginThen) {
  HttpServer server([](HttpExchange& exchange) { exchange.Wait(); });
  std::vector<StatusCode> codes;
  {
    Client client;
    client.Send({.url = server.url()}, [&](const Outcome& outcome) {
      codes.push_back(outcome.response.status().code());
      client.Send({.url = server.url()}, [&](const Outcome& late) { codes.push_back(late.response.status().code()); });
    });
    client.loop().PostAfter(absl::Hours(1), [&] { codes.clear(); });
    client.RunAndWait([] {});
  }
  EXPECT_THAT(codes, testing::ElementsAre(StatusCode::kCancelled, StatusCode::kCancelled));
}

TEST(HttpClientTest, ManyRequestsShareFewConnections) {
  HttpServer server([](HttpExchange& exchange) { exchange.Answer(200, "x"); });
  Client client({.max_host_connections = 3});
  std::atomic<int> left = 300;
  std::promise<void> all;
  for (int i = 0; i < 300; ++i) {
    client.Send({.url = server.url()}, [&](const Outcome& outcome) {
      EXPECT_OK(outcome.response);
      if (--left == 0) all.set_value();
    });
  }
  all.get_future().wait();
  EXPECT_LE(server.connections(), 3);
}

TEST(HttpClientTest, TimersRunInOrderOnTheClientsThreadAndCanBeCancelled) {
  Client client;
  std::promise<void> done;
  std::vector<int> order;
  client.RunAndWait([&] {
    client.loop().PostAfter(absl::Milliseconds(20), [&] { done.set_value(); });
    const TimerId never = client.loop().PostAfter(absl::Milliseconds(5), [&] { order.push_back(0); });
    client.loop().PostAfter(absl::Milliseconds(10), [&] { order.push_back(client.OnThread() ? 2 : -2); });
    client.loop().PostAfter(absl::Milliseconds(1), [&] { order.push_back(1); });
    client.loop().Cancel(never);
  });
  done.get_future().wait();
  EXPECT_THAT(order, testing::ElementsAre(1, 2));
}

// A TLS server of the openssl program, which asks for no client certificate, or demands one.
class TlsServer {
 public:
  explicit TlsServer(bool demand) {
    const std::string script = absl::StrCat(
        "cd ", dir_.path(),
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj "
        "/CN=ca"
        " -days 2 2>/dev/null && echo subjectAltName=DNS:api.test >ext && for n in server client; do"
        " openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n"
        " 2>/dev/null && openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext -out $n.pem"
        " -days 2 2>/dev/null; done; exec openssl s_server -accept 127.0.0.1:0 -www -cert server.pem -key server.key",
        demand ? " -CAfile ca.pem -Verify 1 -verify_return_error" : "");
    child_ = std::make_unique<Child>(std::vector<std::string>{"/bin/sh", "-c", script});
    for (std::string line = child_->ReadLine(); !line.empty(); line = child_->ReadLine()) {
      if (line.rfind("ACCEPT ", 0) == 0) {
        port_ = line.substr(line.rfind(':') + 1);
        break;
      }
    }
  }
  std::string File(const std::string& name) const {
    std::ifstream file(dir_ / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string url() const { return "https://127.0.0.1:" + port_; }

 private:
  TempDir dir_;
  std::unique_ptr<Child> child_;
  std::string port_;
};

std::shared_ptr<const Tls> Make(Tls tls) {
  return std::make_shared<const Tls>(std::move(tls));
}

TEST(HttpClientTest, TlsTrustsTheGivenAuthorityUnderTheGivenName) {
  TlsServer server(false);
  Client client;
  const auto fetch = [&](Tls tls) { return Fetch(client, {.url = server.url() + "/", .tls = Make(std::move(tls))}); };
  const Outcome good = fetch({.ca = server.File("ca.pem"), .server_name = "api.test"});
  ASSERT_OK(good.response);
  EXPECT_EQ(200, good.response->status);

  const Outcome name = fetch({.ca = server.File("ca.pem")});
  EXPECT_THAT(name.response, StatusIs(StatusCode::kUnauthenticated, HasSubstr("target host name '127.0.0.1'")));
  EXPECT_FALSE(name.sent);
  EXPECT_THAT(fetch({.server_name = "api.test"}).response,
              StatusIs(StatusCode::kUnauthenticated, HasSubstr("certificate problem")));
  EXPECT_THAT(fetch({.ca = "nonsense", .server_name = "api.test"}).response,
              StatusIs(StatusCode::kUnauthenticated, HasSubstr("TLS: ")));
  EXPECT_THAT(
      fetch({.ca = server.File("ca.pem"), .certificate = "nonsense", .key = "x", .server_name = "api.test"}).response,
      StatusIs(StatusCode::kUnauthenticated, HasSubstr("certificate")));
  ASSERT_OK(fetch({.insecure = true}).response);
}

TEST(HttpClientTest, TlsShowsTheClientCertificateAndSaysWhenOneIsDemanded) {
  TlsServer server(true);
  Client client;
  const std::string ca = server.File("ca.pem");
  EXPECT_THAT(Fetch(client, {.url = server.url() + "/", .tls = Make({.ca = ca, .server_name = "api.test"})}).response,
              StatusIs(StatusCode::kUnauthenticated, HasSubstr("alert")));
  ASSERT_OK(Fetch(client, {.url = server.url() + "/",
                           .tls = Make({.ca = ca,
                                        .certificate = server.File("client.pem"),
                                        .key = server.File("client.key"),
                                        .server_name = "api.test"})})
                .response);
}

TEST(HttpClientTest, APeerThatLeavesTheHandshakeIsTriedAgainAndOneThatSpeaksNoTlsIsNot) {
  const auto handshake_with = [](const std::string& answer) {
    Listener listener;
    Client client;
    std::promise<Outcome> promise;
    client.Send({.url = absl::StrCat("https://127.0.0.1:", listener.port())},
                [&](Outcome outcome) { promise.set_value(std::move(outcome)); });
    const int fd = listener.Accept();
    char hello[4096];
    EXPECT_GT(recv(fd, hello, sizeof(hello), 0), 0);
    EXPECT_EQ(send(fd, answer.data(), answer.size(), MSG_NOSIGNAL), static_cast<ssize_t>(answer.size()));
    close(fd);
    return promise.get_future().get();
  };
  const Outcome left = handshake_with("");
  EXPECT_THAT(left.response, StatusIs(StatusCode::kUnavailable, testing::_));
  EXPECT_FALSE(left.sent);
  const Outcome plain = handshake_with("HTTP/1.1 400 Bad Request\r\n\r\n");
  EXPECT_THAT(plain.response, StatusIs(StatusCode::kUnauthenticated, HasSubstr("wrong version number")));
  EXPECT_FALSE(plain.sent);
}

}  // namespace
}  // namespace mayfly::http
