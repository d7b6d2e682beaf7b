// HTTP for everything in mayfly that calls out: many requests at a time over few connections, on one thread.
#ifndef MAYFLY_SERVER_HTTP_CLIENT_H_
#define MAYFLY_SERVER_HTTP_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mayfly/base/loop.h"
#include "server/http/message.h"

namespace mayfly::http {

// Names one request of one Client; never 0 and never used again.
using RequestId = uint64_t;

struct ClientOptions {
  std::string user_agent = "mayfly";
  // Per host. HTTP/2 carries 100 requests over each; what is more waits its turn instead of opening a connection each.
  int max_host_connections = 4;
  // A peer that acknowledges nothing for this long is taken for dead, and its connections' requests end UNAVAILABLE.
  absl::Duration dead_peer = absl::Seconds(20);
};

// One thread, one pool of connections (HTTP/2 over TLS where the server speaks it, else HTTP/1.1). Requests that must
// not hold up others, such as long watches, take a Client of their own.
//
// Thread-safe. Callbacks run on the Client's thread, one at a time, and must not block; they may call everything here
// but destroy the Client. Every request ends exactly once, also after Cancel and when the Client is destroyed: its last
// callback has then returned, and what it captured is released on the Client's thread.
class Client {
 public:
  using Done = std::function<void(Outcome)>;
  using OnHead = std::function<void(const Response&)>;  // Status and headers; the body is empty.
  using OnData = std::function<void(absl::string_view)>;
  using OnEnd = std::function<void(absl::Status, bool sent)>;  // OK: the answer is complete. Codes as of Outcome.

  explicit Client(ClientOptions options = {});
  ~Client();  // Not from a callback. Everything that runs ends CANCELLED first.
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The whole answer at once.
  RequestId Send(Request request, Done done);

  // The answer as it comes: `on_head` at most once, then `on_data` any number of times, and `on_end` in any case.
  // Data is handed on as it arrives, in pieces of any size.
  RequestId Open(Request request, OnHead on_head, OnData on_data, OnEnd on_end);

  // Ends a request with CANCELLED, soon; called on the Client's thread nothing but that end comes any more. A request
  // that has ended is ignored.
  void Cancel(RequestId id);

  // The Client's thread as a Loop: what is posted here runs between callbacks. It ends with the Client.
  Loop& loop();

  // Runs `fn` on the Client's thread and returns when it has run; inline when called there. What was posted before has
  // run by then.
  void RunAndWait(const std::function<void()>& fn);

  // True on the Client's thread.
  bool OnThread() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly::http

#endif  // MAYFLY_SERVER_HTTP_CLIENT_H_
