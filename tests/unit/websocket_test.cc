#include "server/http/websocket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/unique_fd.h"
#include "server/http/websocket_frames.h"
#include "tests/support/status_matchers.h"

namespace mayfly::http {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// One accepted connection, spoken to in blocking steps.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}

  void Say(const std::string& bytes) {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t size = send(fd_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (size <= 0) return;
      done += static_cast<size_t>(size);
    }
  }
  void SayFrame(WsOpcode opcode, const std::string& payload) { Say(EncodeWsFrame(opcode, true, payload, nullptr)); }
  std::string Head() {
    std::string head;
    char byte = 0;
    while (!absl::EndsWith(head, "\r\n\r\n") && recv(fd_.get(), &byte, 1, 0) == 1) head.push_back(byte);
    return head;
  }
  // Agrees to the WebSocket; the request's head.
  std::string Agree(const std::string& subprotocol = "p") {
    const std::string head = Head();
    const std::string name = "Sec-WebSocket-Key: ";
    const size_t at = head.find(name) + name.size();
    Say(absl::StrCat("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
                     WsAcceptFor(head.substr(at, head.find('\r', at) - at)),
                     "\r\nSec-WebSocket-Protocol: ", subprotocol, "\r\n\r\n"));
    return head;
  }
  // The next message of the client; a close frame with its code after the connection's end.
  WsMessage Next() {
    while (messages_.empty()) {
      char buffer[65536];
      const ssize_t size = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (size <= 0) return {WsOpcode::kClose, "the connection ended", 0};
      EXPECT_OK(decoder_.Feed(absl::string_view(buffer, static_cast<size_t>(size)), messages_));
    }
    WsMessage message = std::move(messages_.front());
    messages_.erase(messages_.begin());
    return message;
  }
  void Reset() {
    const linger now = {1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd_.reset();
  }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  WsDecoder decoder_{WsDecoder::Peer::kClient, 64 << 20};
  std::vector<WsMessage> messages_;
};

// Serves connections on a loopback port one after another, each with the given function, on a thread.
class Server {
 public:
  explicit Server(std::function<void(Peer&)> serve) : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(0, bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size));
    EXPECT_EQ(0, listen(listener_.get(), 8));
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, serve = std::move(serve)] {
      while (true) {
        const int fd = accept(listener_.get(), nullptr, nullptr);
        if (fd < 0) return;
        Peer peer(fd);
        serve(peer);
      }
    });
  }
  ~Server() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string url(const std::string& path = "/") const { return absl::StrCat("http://127.0.0.1:", port_, path); }

 private:
  UniqueFd listener_;
  int port_ = 0;
  std::thread thread_;
};

class WebSocketTest : public testing::Test {
 protected:
  WebSocketRequest Request(const Server& server) {
    WebSocketRequest request;
    request.url = server.url("/x?y=1");
    request.subprotocols = {"p", "q"};
    return request;
  }
  WebSocketEvents Events() {
    WebSocketEvents events;
    events.on_open = [this](const std::string& subprotocol) { Change([&] { opened_ = subprotocol; }); };
    events.on_message = [this](std::string message, bool) {
      Change([&] {
        bytes_ += message.size();
        messages_.push_back(std::move(message));
      });
    };
    events.on_sent = [this](size_t bytes) { Change([&] { sent_ += bytes; }); };
    events.on_close = [this](WebSocketEnd end) { Change([&] { end_ = std::move(end); }); };
    return events;
  }
  void Open(WebSocketRequest request) { socket_ = client_.Open(std::move(request), Events()); }
  bool Await(const std::function<bool()>& done) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), done);
  }
  // True when `done` stays false for as long.
  bool StaysFalse(const std::function<bool()>& done, std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, done);
  }
  // How it ended.
  WebSocketEnd End() {
    EXPECT_TRUE(Await([this] { return end_.has_value(); }));
    return end_.value_or(WebSocketEnd());
  }
  void Change(const std::function<void()>& fn) {
    const std::lock_guard lock(mutex_);
    fn();
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string opened_;
  std::vector<std::string> messages_;
  size_t bytes_ = 0;
  size_t sent_ = 0;
  std::optional<WebSocketEnd> end_;
  WebSocketClient client_;
  std::unique_ptr<WebSocket> socket_;
};

TEST_F(WebSocketTest, MessagesGoBothWaysAndTheCloseIsAnswered) {
  std::string head;
  Server server([&](Peer& peer) {
    head = peer.Agree("q");
    peer.SayFrame(WsOpcode::kText, "hello");
    peer.SayFrame(WsOpcode::kBinary, peer.Next().payload + " back");
    peer.SayFrame(WsOpcode::kClose, EncodeWsClose(1000, "done"));
    EXPECT_EQ(1000, peer.Next().close_code);
  });
  WebSocketRequest request = Request(server);
  request.headers = {{"authorization", "Bearer t"}};
  Open(request);
  socket_->Send("early");
  const WebSocketEnd end = End();
  EXPECT_OK(end.status);
  EXPECT_EQ(1000, end.code);
  EXPECT_EQ("done", end.reason);
  EXPECT_EQ("q", opened_);
  EXPECT_EQ(5u, sent_);
  EXPECT_THAT(messages_, ElementsAre("hello", "early back"));
  EXPECT_THAT(head, AllOf(HasSubstr("GET /x?y=1 HTTP/1.1\r\n"), HasSubstr("authorization: Bearer t\r\n")));
}

TEST_F(WebSocketTest, PingsAreAnswered) {
  Server server([&](Peer& peer) {
    peer.Agree();
    peer.SayFrame(WsOpcode::kPing, "are you there");
    const WsMessage pong = peer.Next();
    EXPECT_EQ(WsOpcode::kPong, pong.opcode);
    EXPECT_EQ("are you there", pong.payload);
    peer.SayFrame(WsOpcode::kClose, "");
  });
  Open(Request(server));
  EXPECT_OK(End().status);
}

TEST_F(WebSocketTest, ASilentPeerIsAskedAndThenTakenForDead) {
  Server server([&](Peer& peer) {
    peer.Agree();
    EXPECT_EQ(WsOpcode::kPing, peer.Next().opcode);
    EXPECT_EQ("the connection ended", peer.Next().payload);
  });
  WebSocketRequest request = Request(server);
  request.ping = absl::Milliseconds(100);
  Open(request);
  EXPECT_THAT(End().status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("silent")));
}

TEST_F(WebSocketTest, CloseSaysGoodbyeAfterWhatWasSent) {
  Server server([&](Peer& peer) {
    peer.Agree();
    EXPECT_EQ("last", peer.Next().payload);
    const WsMessage close = peer.Next();
    EXPECT_EQ(1001, close.close_code);
    EXPECT_EQ("leaving", close.payload);
    peer.SayFrame(WsOpcode::kBinary, "one more");
    peer.SayFrame(WsOpcode::kClose, EncodeWsClose(1001, ""));
  });
  Open(Request(server));
  ASSERT_TRUE(Await([&] { return !opened_.empty(); }));
  socket_->Send("last");
  socket_->Close(1001, "leaving");
  EXPECT_OK(End().status);
  EXPECT_THAT(messages_, ElementsAre("one more"));
}

TEST_F(WebSocketTest, TheWindowHoldsThePeerUpAndTakenLetsItGoOn) {
  constexpr size_t kMessage = 32 << 10;
  constexpr size_t kCount = 1000;  // More than the kernel's buffers hold.
  constexpr size_t kWindow = 4 * kMessage;
  std::atomic<size_t> said = 0;
  Server server([&](Peer& peer) {
    peer.Agree();
    for (size_t i = 0; i < kCount; ++i, ++said) peer.SayFrame(WsOpcode::kBinary, std::string(kMessage, 'm'));
    peer.SayFrame(WsOpcode::kClose, EncodeWsClose(1000, ""));
    peer.Next();
  });
  WebSocketRequest request = Request(server);
  request.window = kWindow;
  request.ping = absl::Milliseconds(20);  // Being held up is no silence.
  Open(request);
  ASSERT_TRUE(Await([&] { return bytes_ >= kWindow; }));
  EXPECT_TRUE(StaysFalse([&] { return bytes_ > 2 * kWindow || said == kCount; }, std::chrono::milliseconds(200)));
  size_t taken = 0;
  while (taken < kCount * kMessage) {
    size_t now = 0;
    ASSERT_TRUE(Await([&] { return (now = bytes_) > taken; }));
    EXPECT_LE(now - taken, kWindow + 2 * kMessage);
    socket_->Taken(now - taken);
    taken = now;
  }
  EXPECT_OK(End().status);
}

TEST_F(WebSocketTest, WhatIsSentWithoutWaitingIsBounded) {
  std::mutex hold;
  hold.lock();
  Server server([&](Peer& peer) {
    peer.Agree();
    const std::lock_guard wait(hold);
  });
  Open(Request(server));
  for (int i = 0; i < 40; ++i) socket_->Send(std::string(1 << 20, 'x'));
  EXPECT_THAT(End().status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("not taken")));
  hold.unlock();
}

TEST_F(WebSocketTest, EveryByteThatWasSentIsAccountedForWhenThePeerGoes) {
  Server server([&](Peer& peer) {
    peer.Agree();
    peer.Reset();
  });
  WebSocketEvents events = Events();
  // Nothing else runs on that thread until the message is queued.
  client_.MakePoster()([&] {
    socket_ = client_.Open(Request(server), std::move(events));
    socket_->Send(std::string(4 << 20, 'x'));
  });
  EXPECT_THAT(End().status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1")));
  EXPECT_EQ(4u << 20, sent_);
}

TEST_F(WebSocketTest, ARefusalComesWithItsBody) {
  Server server([&](Peer& peer) {
    peer.Head();
    peer.Say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    peer.Next();
  });
  Open(Request(server));
  const WebSocketEnd end = End();
  EXPECT_THAT(end.status, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("HTTP 403")));
  EXPECT_EQ(403, end.http_status);
  EXPECT_EQ("no", end.body);
}

TEST_F(WebSocketTest, WhatIsNoWebSocketIsSaid) {
  const struct {
    const char* answer;
    absl::StatusCode code;
    const char* message;
  } kCases[] = {
      {"", absl::StatusCode::kUnavailable, "without an answer"},
      {"220 mail\r\n", absl::StatusCode::kInvalidArgument, "no HTTP/1.1"},
      {"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
       absl::StatusCode::kInvalidArgument, "Sec-WebSocket-Accept"},
  };
  for (const auto& test : kCases) {
    Server server([&](Peer& peer) {
      peer.Head();
      peer.Say(test.answer);
    });
    end_.reset();
    Open(Request(server));
    EXPECT_THAT(End().status, StatusIs(test.code, HasSubstr(test.message)));
  }
}

TEST_F(WebSocketTest, AMessageOverTheLimitEndsItWithItsCode) {
  Server server([&](Peer& peer) {
    peer.Agree();
    peer.SayFrame(WsOpcode::kBinary, std::string(1001, 'x'));
    EXPECT_EQ(kWsTooBig, peer.Next().close_code);
  });
  WebSocketRequest request = Request(server);
  request.max_message = 1000;
  Open(request);
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, End().status.code());
}

TEST_F(WebSocketTest, AServerThatNeverAgreesIsGivenUp) {
  Server server([&](Peer& peer) {
    peer.Head();
    peer.Next();
  });
  WebSocketRequest request = Request(server);
  request.deadline = absl::Milliseconds(100);
  Open(request);
  EXPECT_THAT(End().status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("100 ms")));
}

TEST_F(WebSocketTest, NobodyThereIsUnavailable) {
  WebSocketRequest request;
  {
    Server server([](Peer&) {});
    request = Request(server);
  }
  Open(request);
  EXPECT_EQ(absl::StatusCode::kUnavailable, End().status.code());
}

TEST_F(WebSocketTest, WhatCannotBeAskedIsRefused) {
  WebSocketRequest request;
  request.url = "ftp://h/";
  Open(request);
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, End().status.code());
  end_.reset();
  request.url = "http://127.0.0.1:1/";
  request.headers = {{"a", "b\r\nc: d"}};
  Open(request);
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, End().status.code());
  end_.reset();
  request.headers.clear();
  request.subprotocols = {"a, b"};
  Open(request);
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, End().status.code());
}

TEST_F(WebSocketTest, AProxyIsAskedForAConnectionToTheServer) {
  std::string asked;
  Server proxy([&](Peer& peer) {
    asked = peer.Head();
    peer.Say("HTTP/1.1 200 fine\r\n\r\n");
    EXPECT_THAT(peer.Agree(), HasSubstr("Host: kube.example:6443\r\n"));
    peer.SayFrame(WsOpcode::kClose, EncodeWsClose(1000, ""));
    peer.Next();
  });
  WebSocketRequest request;
  request.url = "http://kube.example:6443/x";
  request.proxy = proxy.url("");
  request.subprotocols = {"p"};
  request.headers = {{"authorization", "Bearer S3CRET"}};
  Open(request);
  EXPECT_OK(End().status);
  EXPECT_THAT(asked, AllOf(HasSubstr("CONNECT kube.example:6443 "), testing::Not(HasSubstr("S3CRET"))));
}

TEST_F(WebSocketTest, DestroyingItEndsTheConnectionAndNothingIsCalled) {
  std::promise<void> ended;
  Server server([&](Peer& peer) {
    peer.Agree();
    EXPECT_EQ(1000, peer.Next().close_code);
    EXPECT_EQ("the connection ended", peer.Next().payload);
    ended.set_value();
  });
  Open(Request(server));
  ASSERT_TRUE(Await([&] { return !opened_.empty(); }));
  socket_.reset();
  ended.get_future().get();
  EXPECT_FALSE(end_.has_value());
}

TEST_F(WebSocketTest, ItMayBeDestroyedInItsOwnCallback) {
  Server server([&](Peer& peer) {
    peer.Agree();
    peer.SayFrame(WsOpcode::kBinary, "one");
    peer.SayFrame(WsOpcode::kBinary, "two");
    EXPECT_EQ(1000, peer.Next().close_code);
  });
  WebSocketEvents events = Events();
  events.on_message = [this](std::string message, bool) {
    Change([&] { messages_.push_back(std::move(message)); });
    socket_.reset();
  };
  WebSocketRequest request = Request(server);
  {
    const std::lock_guard lock(mutex_);
    socket_ = client_.Open(std::move(request), std::move(events));
  }
  ASSERT_TRUE(Await([&] { return !messages_.empty(); }));
  bool posted = false;
  client_.MakePoster()([&] { Change([&] { posted = true; }); });
  ASSERT_TRUE(Await([&] { return posted; }));
  EXPECT_THAT(messages_, ElementsAre("one"));
}

TEST_F(WebSocketTest, TheClientsEndIsEverySocketsEnd) {
  Server server([&](Peer& peer) {
    peer.Agree();
    peer.Next();
  });
  {
    WebSocketClient client;
    socket_ = client.Open(Request(server), Events());
    ASSERT_TRUE(Await([&] { return !opened_.empty(); }));
  }
  EXPECT_EQ(absl::StatusCode::kCancelled, End().status.code());
  socket_->Send("to nobody");
}

}  // namespace
}  // namespace mayfly::http
