#include "tests/support/fault_proxy.h"

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

constexpr char kGone[] =
    R"({"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410})";

std::string Failure(int status) {
  const std::string reason = status == 429 ? "TooManyRequests" : status == 410 ? "Expired" : "InternalError";
  return absl::StrCat(R"({"kind":"Status","apiVersion":"v1","status":"Failure","message":"a fault","reason":")", reason,
                      R"(","code":)", status, "}");
}

bool IsStream(const HttpRequest& request) {
  return request.query.count("watch") > 0 || request.query.count("follow") > 0;
}

}  // namespace

// A stream on its way through: filled by the HTTP client's thread, emptied by the connection's.
struct FaultProxy::Relay {
  explicit Relay(HttpExchange& to) : exchange(to) {}
  HttpExchange& exchange;
  Mutex mutex;
  int status ABSL_GUARDED_BY(mutex) = 0;
  std::string data ABSL_GUARDED_BY(mutex);
  bool ended ABSL_GUARDED_BY(mutex) = false;
  bool well ABSL_GUARDED_BY(mutex) = false;
  bool cut ABSL_GUARDED_BY(mutex) = false;
};

FaultProxy::FaultProxy(kube::Endpoint upstream)
    : upstream_(std::move(upstream)),
      http_({.max_host_connections = 4}),
      server_([this](HttpExchange& exchange) { Handle(exchange); }) {}

FaultProxy::~FaultProxy() {
  CutStreams();
  SetPartition(false);
}

kube::Endpoint FaultProxy::endpoint() const {
  kube::Endpoint endpoint;
  endpoint.server = server_.url();
  return endpoint;
}

void FaultProxy::SetPlan(Plan plan) {
  MutexLock lock(mutex_);
  plan_ = std::move(plan);
}

void FaultProxy::SetPartition(bool on) {
  MutexLock lock(mutex_);
  partition_ = on;
  if (on) return;
  for (HttpExchange* exchange : held_) exchange->Notify();
}

void FaultProxy::CutStreams() {
  MutexLock lock(mutex_);
  for (const std::shared_ptr<Relay>& relay : relays_) {
    MutexLock inner(relay->mutex);
    relay->cut = true;
    relay->exchange.Notify();
  }
}

int FaultProxy::requests() const {
  MutexLock lock(mutex_);
  return requests_;
}

int FaultProxy::streams() const {
  MutexLock lock(mutex_);
  return static_cast<int>(relays_.size());
}

std::vector<FaultProxy::Passed> FaultProxy::passed() const {
  MutexLock lock(mutex_);
  return passed_;
}

http::Request FaultProxy::Outgoing(const HttpRequest& request) const {
  http::Request out;
  out.method = request.method;
  out.url = upstream_.server + request.target;
  for (const char* name : {"content-type", "accept"}) {
    if (const auto found = request.headers.find(name); found != request.headers.end()) {
      out.headers.push_back({found->first, found->second});
    }
  }
  out.body = request.body;
  out.tls = upstream_.tls;
  return out;
}

bool FaultProxy::Hold(HttpExchange& exchange) {
  {
    MutexLock lock(mutex_);
    if (!partition_) return true;
    held_.push_back(&exchange);
  }
  // Data that comes for a stream wakes it, too.
  bool on = true;
  while (on && exchange.Wait() == HttpExchange::Woken::kNotified) {
    MutexLock lock(mutex_);
    on = partition_;
  }
  MutexLock lock(mutex_);
  held_.erase(std::find(held_.begin(), held_.end(), &exchange));
  exchange.Reset();
  return false;
}

void FaultProxy::Handle(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  Fault fault;
  {
    MutexLock lock(mutex_);
    ++requests_;
    if (plan_) fault = plan_(request);
  }
  if (!Hold(exchange)) return;
  switch (fault.kind) {
    case Fault::Kind::kReset:
      return exchange.Reset();
    case Fault::Kind::kRefuse:
      return exchange.Answer(
          fault.status, Failure(fault.status),
          fault.retry_after < 0 ? std::map<std::string, std::string>()
                                : std::map<std::string, std::string>{{"Retry-After", absl::StrCat(fault.retry_after)}});
    case Fault::Kind::kGoneEvent:
      exchange.Begin(200);
      exchange.Write(absl::StrCat(R"({"type":"ERROR","object":)", kGone, "}\n"));
      return exchange.End();
    case Fault::Kind::kSlow:
      // As API servers do: a request that nobody waits for any more is not carried out.
      if (exchange.Wait(fault.delay) != HttpExchange::Woken::kTimeout) return exchange.Reset();
      break;
    default:
      break;
  }
  IsStream(request) ? PassStream(exchange, fault) : PassOn(exchange, fault);
}

void FaultProxy::PassOn(HttpExchange& exchange, const Fault& fault) {
  const HttpRequest& request = exchange.request();
  std::promise<http::Outcome> promise;
  http_.Send(Outgoing(request), [&promise](http::Outcome outcome) { promise.set_value(std::move(outcome)); });
  const http::Outcome outcome = promise.get_future().get();
  if (!outcome.response.ok()) return exchange.Reset();
  const http::Response& response = *outcome.response;
  {
    MutexLock lock(mutex_);
    passed_.push_back({request.method, request.target, request.body, response.status, response.body});
  }
  if (!Hold(exchange) || fault.kind == Fault::Kind::kLoseAnswer) return exchange.Reset();
  if (fault.kind == Fault::Kind::kLie) return exchange.Answer(fault.status, Failure(fault.status));
  if (fault.kind == Fault::Kind::kSlowAnswer && !exchange.Delay(fault.delay)) return exchange.Reset();
  if (fault.kind == Fault::Kind::kCut) {
    exchange.Begin(response.status);
    exchange.Write(absl::string_view(response.body).substr(0, std::min(fault.bytes, response.body.size() / 2)));
    return exchange.Reset();
  }
  exchange.Answer(response.status, response.body, {{"Content-Type", "application/json"}});
}

void FaultProxy::PassStream(HttpExchange& exchange, const Fault& fault) {
  const auto relay = std::make_shared<Relay>(exchange);
  {
    MutexLock lock(mutex_);
    relays_.push_back(relay);
    passed_.push_back({exchange.request().method, exchange.request().target, "", 200, ""});
  }
  http::Request out = Outgoing(exchange.request());
  out.deadline = absl::InfiniteDuration();
  const http::RequestId id = http_.Open(
      std::move(out),
      [relay](const http::Response& head) {
        MutexLock lock(relay->mutex);
        relay->status = head.status;
        if (!relay->ended) relay->exchange.Notify();
      },
      [relay](absl::string_view data) {
        MutexLock lock(relay->mutex);
        if (relay->ended) return;
        absl::StrAppend(&relay->data, data);
        relay->exchange.Notify();
      },
      [relay](const absl::Status& status, bool) {
        MutexLock lock(relay->mutex);
        if (std::exchange(relay->ended, true)) return;
        relay->well = status.ok();
        relay->exchange.Notify();
      });
  size_t left = fault.kind == Fault::Kind::kCut ? fault.bytes : SIZE_MAX;
  bool begun = false;
  for (bool going = true; going;) {
    const HttpExchange::Woken woken = exchange.Wait();
    bool frozen = false;
    {
      MutexLock lock(mutex_);
      frozen = partition_;
    }
    if (woken != HttpExchange::Woken::kNotified) break;
    if (frozen && !Hold(exchange)) break;
    std::string data;
    bool ended = false;
    bool well = false;
    int status = 0;
    {
      MutexLock lock(relay->mutex);
      if (relay->cut) break;
      data = std::exchange(relay->data, "");
      ended = relay->ended;
      well = relay->well;
      status = relay->status;
    }
    if (!begun && status != 0) {
      exchange.Begin(status);
      begun = true;
    }
    going = exchange.Write(absl::string_view(data).substr(0, left)) && data.size() < left;
    left -= std::min(left, data.size());
    if (going && ended) {
      if (well) exchange.End();
      break;
    }
  }
  {
    MutexLock lock(relay->mutex);
    if (!relay->well) exchange.Reset();
    relay->ended = true;
  }
  http_.Cancel(id);
  MutexLock lock(mutex_);
  relays_.erase(std::find(relays_.begin(), relays_.end(), relay));
}

}  // namespace mayfly
