// A small HTTP/1.1 server on loopback whose answers, and failures to answer, a test decides. One thread per connection.
#ifndef MAYFLY_TESTS_SUPPORT_HTTP_SERVER_H_
#define MAYFLY_TESTS_SUPPORT_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

struct HttpRequest {
  std::string method;
  std::string target;                          // As it came: path and query.
  std::string path;                            // Without the query.
  std::map<std::string, std::string> query;    // Decoded.
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;
};

// One request and the answer to it. A handler that returns without having answered resets the connection. Answering is
// for one thread at a time; Notify may come from any.
class HttpExchange {
 public:
  enum class Woken { kNotified, kPeerGone, kServerStops, kTimeout };

  const HttpRequest& request() const { return request_; }

  void Answer(int status, absl::string_view body, const std::map<std::string, std::string>& headers = {});
  // An answer in pieces: Begin, any number of Write, End. Write is false when the peer is gone.
  void Begin(int status, const std::map<std::string, std::string>& headers = {});
  bool Write(absl::string_view data);
  void End();
  // Ends the connection with a reset, whatever has been answered.
  void Reset();

  // Blocks until one of these happens.
  Woken Wait(absl::Duration limit = absl::InfiniteDuration());
  void Notify();
  // Blocks for `delay`, whatever the peer does; false when the server stops.
  bool Delay(absl::Duration delay);

 private:
  friend class HttpServer;
  HttpExchange(int fd, int stop, HttpRequest request);
  ~HttpExchange();
  bool SendAll(absl::string_view data);

  const int fd_;
  const int stop_;
  int wake_ = -1;
  HttpRequest request_;
  bool begun_ = false;
  bool ended_ = false;
};

class HttpServer {
 public:
  // Runs on the connection's thread.
  using Handler = std::function<void(HttpExchange&)>;

  explicit HttpServer(Handler handler);
  ~HttpServer();  // Ends all connections and waits for the handlers.
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  std::string url() const;
  int connections() const;  // Accepted so far.

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  int port_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_HTTP_SERVER_H_
