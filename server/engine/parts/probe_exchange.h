// One attempt of a probe over TCP: connect, say something, hear the answer, close. Never blocks; bounded in time and in
// what it reads.
#ifndef MAYFLY_SERVER_ENGINE_PARTS_PROBE_EXCHANGE_H_
#define MAYFLY_SERVER_ENGINE_PARTS_PROBE_EXCHANGE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/parts/probe_budget.h"
#include "server/engine/parts/reactor.h"

namespace mayfly {

struct ProbeAnswer {
  bool healthy = false;
  bool connected = false;  // False: nobody listened.
  std::string message;     // What was answered, one safe line: "HTTP 503: 'starting up'". Empty when healthy.
};

// What is said over the connection. One object per attempt.
class ProbeProtocol {
 public:
  struct Step {
    std::optional<ProbeAnswer> answer;  // Known now; nothing more is read.
    std::string reply;                  // To be sent, such as an acknowledgement.
  };
  virtual ~ProbeProtocol() = default;
  virtual std::string Request() = 0;
  virtual Step OnBytes(absl::string_view bytes) = 0;
  // The peer closed, or nothing more is read, before the answer was known: `reason` is a clause such as "closed the
  // connection" to complete a message with.
  virtual ProbeAnswer OnEnd(absl::string_view reason) = 0;
};

// At most `max` characters of untrusted text in quotes, escaped, on one line: 'starting up...'.
std::string QuoteAnswer(absl::string_view text, size_t max = 120);

// Not thread-safe. Destroying it abandons the attempt; `done` is then not called.
class ProbeExchange {
 public:
  struct Limits {
    absl::Duration time = absl::Seconds(1);
    size_t bytes = 64 * 1024;
  };
  using Done = std::function<void(ProbeAnswer answer)>;  // May destroy the exchange.

  // A null `protocol` is satisfied by the connection alone. `budget` may be null.
  ProbeExchange(Reactor& reactor, ProbeBudget* budget, std::unique_ptr<ProbeProtocol> protocol, Limits limits);
  ~ProbeExchange();
  ProbeExchange(const ProbeExchange&) = delete;
  ProbeExchange& operator=(const ProbeExchange&) = delete;

  // Once. Returns the answer when it is known at once, as it is for a refused connection; otherwise `done` is called
  // later, exactly once.
  std::optional<ProbeAnswer> Begin(absl::string_view ipv4_address, int port, Done done);
  // The same over a stream socket that leads there already; takes it over.
  std::optional<ProbeAnswer> BeginOn(int fd, Done done);

 private:
  std::optional<ProbeAnswer> TryConnect();
  std::optional<ProbeAnswer> Await(std::optional<ProbeAnswer> answer);
  std::optional<ProbeAnswer> Connected();
  std::optional<ProbeAnswer> OnEvent();
  std::optional<ProbeAnswer> Read();
  std::optional<ProbeAnswer> Flush();
  ProbeAnswer End(absl::string_view reason);
  void Finish(ProbeAnswer answer);
  void Close();

  Reactor& reactor_;
  ProbeBudget* budget_;
  std::unique_ptr<ProbeProtocol> protocol_;
  const Limits limits_;
  Done done_;
  std::string address_;
  int port_ = 0;
  int fd_ = -1;
  bool watched_ = false;
  bool connected_ = false;
  size_t read_ = 0;
  std::string unsent_;
  Reactor::TimerId timer_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_ENGINE_PARTS_PROBE_EXCHANGE_H_
