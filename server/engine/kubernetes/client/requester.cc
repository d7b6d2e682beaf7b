#include "server/engine/kubernetes/client/requester.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/api_error.h"

namespace mayfly::kube {
namespace {

constexpr size_t kMaxErrorBody = size_t{64} << 10;

// Only the form in seconds: the API server sends no other.
absl::Duration RetryAfter(const http::Response& response) {
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(response.Find("retry-after"), &seconds)) return absl::ZeroDuration();
  return absl::Seconds(std::clamp<int64_t>(seconds, 0, 3600));
}

// Nothing that time mends.
bool IsFinal(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status);
}

std::function<double()> SystemRandom() {
  auto generator = std::make_shared<std::mt19937_64>(std::random_device()());
  return [generator] { return std::uniform_real_distribution<double>(0, 1)(*generator); };
}

ApiClientOptions WithRandom(ApiClientOptions options) {
  if (!options.random) options.random = SystemRandom();
  return options;
}

// Admission asks webhooks before anything is stored.
bool OfDeadWebhook(const absl::Status& status) {
  return absl::StrContains(FailureOf(status).message, "failed calling webhook");
}

constexpr int kWebhookAttempts = 4;

}  // namespace

struct Requester::Flight {
  uint64_t id = 0;
  ApiCall call;
  std::function<void(ApiReply)> done;
  Credentials used;
  int attempts = 0;
  bool refused = false;
  bool maybe_done = false;
  bool fresh = false;  // The next attempt avoids the connection that answered nothing.
  bool finished = false;
  absl::Status why;  // What the latest attempt failed with.
};

struct Requester::Stream {
  StreamCall call;
  std::function<void()> on_open;
  std::function<void(absl::string_view)> on_data;
  std::function<void(StreamEnd)> on_end;
  Credentials used;
  http::RequestId request = 0;
  int http_status = 0;
  absl::Duration retry_after;
  std::string error_body;
};

class Requester::Door {
 public:
  void Open(http::Client* client) {
    MutexLock lock(mutex_);
    client_ = client;
  }
  void Shut() { Open(nullptr); }
  void Post(std::function<void()> fn) {
    MutexLock lock(mutex_);
    if (client_ != nullptr) client_->loop().Post(std::move(fn));
  }

 private:
  Mutex mutex_;
  http::Client* client_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

Requester::Requester(Endpoint endpoint, const ApiClientOptions& options, int connections)
    : endpoint_(std::move(endpoint)),
      options_(WithRandom(options)),
      door_(std::make_shared<Door>()),
      http_(std::make_unique<http::Client>(
          http::ClientOptions{.user_agent = options.user_agent, .max_host_connections = connections})),
      timers_(options.timers != nullptr ? *options.timers : http_->loop()) {
  door_->Open(http_.get());
}

Requester::~Requester() {
  http_->RunAndWait([this] {
    closing_ = true;
    while (!flights_.empty()) {
      const std::shared_ptr<Flight> flight = flights_.begin()->second;  // The entry goes before the flight may.
      Finish(flight, absl::CancelledError("the client ended"));
    }
    while (!streams_.empty()) EndStream(streams_.begin()->first, absl::CancelledError("the client ended"));
  });
  door_->Shut();
  http_.reset();
}

double Requester::Random() {
  return options_.random();
}

absl::Duration Requester::Pause(int earlier) {
  const absl::Duration full =
      std::min(options_.longest_pause, options_.first_pause * (int64_t{1} << std::min(earlier, 20)));
  return full * (0.5 + 0.5 * Random());
}

void Requester::After(absl::Duration delay, std::function<void()> fn) {
  timers_.PostAfter(delay, [door = door_, fn = std::move(fn)]() mutable { door->Post(std::move(fn)); });
}

void Requester::Count(const std::string& verb, uint64_t requests, uint64_t failures, uint64_t sent, uint64_t received) {
  MutexLock lock(mutex_);
  VerbStats& stats = stats_[verb];
  stats.requests += requests;
  stats.failures += failures;
  stats.bytes_sent += sent;
  stats.bytes_received += received;
}

void Requester::AddTo(ClientStats& stats) const {
  MutexLock lock(mutex_);
  for (const auto& [verb, own] : stats_) {
    VerbStats& sum = stats[verb];
    sum.requests += own.requests;
    sum.failures += own.failures;
    sum.bytes_sent += own.bytes_sent;
    sum.bytes_received += own.bytes_received;
  }
}

void Requester::Call(ApiCall call, std::function<void(ApiReply)> done) {
  auto flight = std::make_shared<Flight>();
  flight->call = std::move(call);
  flight->done = std::move(done);
  http_->loop().Post([this, flight] {
    flight->id = ++last_id_;
    flights_.emplace(flight->id, flight);
    flight->attempts = flight->call.earlier;
    if (closing_) {
      Finish(flight, absl::CancelledError("the client ended"));
    } else if (flight->call.earlier > 0) {
      After(Pause(flight->call.earlier - 1), [this, flight] { Try(flight); });
    } else {
      Try(flight);
    }
  });
}

void Requester::Try(const std::shared_ptr<Flight>& flight) {
  if (flight->finished) return;
  endpoint_.authorizer->Authorize([this, door = door_, flight](absl::StatusOr<Credentials> credentials) {
    door->Post([this, flight, credentials = std::move(credentials)]() mutable { Put(flight, std::move(credentials)); });
  });
}

http::Request Requester::Prepare(absl::string_view target, const Credentials& credentials) const {
  absl::string_view server = endpoint_.server;
  while (!server.empty() && server.back() == '/') server.remove_suffix(1);
  http::Request request;
  request.url = absl::StrCat(server, target);
  request.headers = credentials.headers;
  request.headers.push_back({"Accept", "application/json"});
  request.tls = credentials.tls != nullptr ? credentials.tls : endpoint_.tls;
  request.proxy = endpoint_.proxy;
  request.max_bytes = options_.max_bytes;
  return request;
}

void Requester::Put(const std::shared_ptr<Flight>& flight, absl::StatusOr<Credentials> credentials) {
  if (flight->finished) return;
  if (!credentials.ok()) {
    absl::Status status = Annotate(credentials.status(), flight->call.what);
    ++flight->attempts;
    if (IsFinal(status)) return Finish(flight, std::move(status));
    return Again(flight, std::move(status), absl::ZeroDuration());
  }
  flight->used = *std::move(credentials);
  const ApiCall& call = flight->call;
  http::Request request = Prepare(call.target, flight->used);
  request.method = call.method;
  request.body = call.body;
  if (!call.content_type.empty()) request.headers.push_back({"Content-Type", call.content_type});
  request.deadline = std::clamp(call.deadline - Now(), absl::Milliseconds(1), options_.attempt);
  request.connect = std::min(request.connect, request.deadline);
  request.fresh_connection = flight->fresh;
  ++flight->attempts;
  Count(call.verb, 1, 0, call.body.size(), 0);
  http_->Send(std::move(request), [this, flight](http::Outcome outcome) {
    if (!flight->finished) OnOutcome(flight, outcome);
  });
}

void Requester::OnOutcome(const std::shared_ptr<Flight>& flight, const http::Outcome& outcome) {
  const ApiCall& call = flight->call;
  if (outcome.response.ok()) {
    Count(call.verb, 0, outcome.response->status >= 400 ? 1 : 0, 0, outcome.response->body.size());
    return OnAnswer(flight, *outcome.response);
  }
  Count(call.verb, 0, 1, 0, 0);
  absl::Status status = Annotate(outcome.response.status(), call.what);
  flight->maybe_done = flight->maybe_done || outcome.sent;
  flight->fresh = absl::IsDeadlineExceeded(status);
  // What little time was left for a last attempt explains nothing.
  if (flight->fresh && !flight->why.ok() && Now() >= call.deadline) status = flight->why;
  if (IsFinal(status) || (outcome.sent && !call.repeatable)) return Finish(flight, std::move(status));
  Again(flight, std::move(status), absl::ZeroDuration());
}

void Requester::OnAnswer(const std::shared_ptr<Flight>& flight, const http::Response& response) {
  const ApiCall& call = flight->call;
  if (response.status < 300) return Finish(flight, response.body);
  absl::Status status = StatusOf(ParseFailure(response.status, response.body), call.what);
  flight->fresh = false;
  if (response.status == 401) {
    endpoint_.authorizer->Refused(flight->used);
    if (std::exchange(flight->refused, true)) return Finish(flight, std::move(status));
    return Try(flight);
  }
  // The server turned it away before it did anything.
  if (response.status == 429) return Again(flight, std::move(status), RetryAfter(response));
  if (response.status < 500) return Finish(flight, std::move(status));
  if (OfDeadWebhook(status)) {
    // Nothing was written. It may be about to start again, which takes seconds; who waits longer wants to be told.
    if (flight->attempts >= kWebhookAttempts) return Finish(flight, std::move(status));
    return Again(flight, std::move(status), RetryAfter(response));
  }
  // An error of the server, or of something before it, says nothing about what has been done.
  flight->maybe_done = true;
  if (!call.repeatable) return Finish(flight, std::move(status));
  Again(flight, std::move(status), RetryAfter(response));
}

void Requester::Again(const std::shared_ptr<Flight>& flight, absl::Status why, absl::Duration retry_after) {
  const absl::Duration pause = std::max(Pause(std::max(flight->attempts - 1, 0)), retry_after * (1 + 0.1 * Random()));
  if (Now() + pause >= flight->call.deadline) return Finish(flight, std::move(why));
  flight->why = std::move(why);
  After(pause, [this, flight] { Try(flight); });
}

void Requester::Finish(const std::shared_ptr<Flight>& flight, absl::StatusOr<std::string> body) {
  if (std::exchange(flight->finished, true)) return;
  flights_.erase(flight->id);
  const auto done = std::move(flight->done);
  done({std::move(body), flight->maybe_done});
}

uint64_t Requester::Open(StreamCall call, std::function<void()> on_open, std::function<void(absl::string_view)> on_data,
                         std::function<void(StreamEnd)> on_end) {
  const uint64_t id = ++last_id_;
  auto stream = std::make_shared<Stream>();
  stream->call = std::move(call);
  stream->on_open = std::move(on_open);
  stream->on_data = std::move(on_data);
  stream->on_end = std::move(on_end);
  streams_.emplace(id, stream);
  endpoint_.authorizer->Authorize([this, door = door_, id](absl::StatusOr<Credentials> credentials) {
    door->Post([this, id, credentials = std::move(credentials)]() mutable { Connect(id, std::move(credentials)); });
  });
  return id;
}

void Requester::Connect(uint64_t id, absl::StatusOr<Credentials> credentials) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const std::shared_ptr<Stream> stream = found->second;
  if (!credentials.ok()) return EndStream(id, Annotate(credentials.status(), stream->call.what));
  stream->used = *std::move(credentials);
  http::Request request = Prepare(stream->call.target, stream->used);
  request.deadline = stream->call.deadline;
  request.idle = stream->call.idle;
  Count(stream->call.verb, 1, 0, 0, 0);
  // Callbacks look the stream up again: each may have closed it.
  stream->request = http_->Open(
      std::move(request),
      [this, id](const http::Response& head) {
        const auto at = streams_.find(id);
        if (at == streams_.end()) return;
        const std::shared_ptr<Stream> opened = at->second;
        opened->http_status = head.status;
        opened->retry_after = RetryAfter(head);
        if (head.status < 300) opened->on_open();
      },
      [this, id](absl::string_view data) {
        const auto at = streams_.find(id);
        if (at == streams_.end()) return;
        const std::shared_ptr<Stream> opened = at->second;
        Count(opened->call.verb, 0, 0, 0, data.size());
        if (opened->http_status < 300) return opened->on_data(data);
        absl::StrAppend(&opened->error_body,
                        data.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, opened->error_body.size())));
      },
      [this, id](absl::Status status, bool) { EndStream(id, std::move(status)); });
}

void Requester::EndStream(uint64_t id, absl::Status status) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const std::shared_ptr<Stream> stream = found->second;
  streams_.erase(found);
  if (stream->http_status >= 300) {
    status = StatusOf(ParseFailure(stream->http_status, stream->error_body), stream->call.what);
    if (stream->http_status == 401) endpoint_.authorizer->Refused(stream->used);
  } else if (!status.ok() && !absl::StartsWith(status.message(), stream->call.what)) {
    status = Annotate(status, stream->call.what);
  }
  if (!status.ok()) Count(stream->call.verb, 0, 1, 0, 0);
  stream->on_end({std::move(status), stream->retry_after});
}

void Requester::Close(uint64_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const http::RequestId request = found->second->request;
  streams_.erase(found);
  if (request != 0) http_->Cancel(request);
}

}  // namespace mayfly::kube
