#include "server/engine/kubernetes/ingress_route.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/text.h"

namespace mayfly::kubernetes {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(5);
constexpr absl::Duration kLongestPause = absl::Seconds(15);
// An environment is not held up for longer than this by a controller that does not route.
constexpr absl::Duration kNoticeAfter = absl::Seconds(15);
constexpr size_t kMostCompared = 4096;

}  // namespace

IngressRoute::IngressRoute(Reactor& reactor, IngressOptions options, std::string label, Wiring wiring)
    : reactor_(reactor),
      options_(std::move(options)),
      label_(std::move(label)),
      host_(absl::StrCat(label_, ".", options_.domain)),
      wiring_(std::move(wiring)),
      pause_(kFirstPause),
      trouble_("the ingress controller has not taken it: is there one of this class?"),
      self_(std::make_shared<IngressRoute*>(this)) {}

IngressRoute::~IngressRoute() {
  reactor_.CancelTimer(timer_);
  reactor_.CancelTimer(notice_);
}

std::function<void(http::Outcome)> IngressRoute::Guarded(std::function<void(const http::Outcome&)> fn) {
  return [weak = std::weak_ptr<IngressRoute*>(self_), fn = std::move(fn)](const http::Outcome& outcome) {
    if (weak.lock() != nullptr) fn(outcome);
  };
}

void IngressRoute::Make(std::vector<Creation> objects) {
  if (std::exchange(made_, true)) return;
  for (Creation& creation : objects) {
    wiring_.create(std::move(creation),
                   [this, weak = std::weak_ptr<IngressRoute*>(self_)](const absl::StatusOr<nlohmann::json>& answer) {
                     if (weak.lock() == nullptr || answer.ok() || absl::IsAlreadyExists(answer.status())) return;
                     trouble_ = EscapeLine(answer.status().message());
                     GiveNotice();
                   });
  }
}

void IngressRoute::OnObject(const nlohmann::json& ingress) {
  uid_ = ingress.value("metadata", nlohmann::json::object()).value("uid", "");
  const std::string address = IngressAddress(ingress);
  if (address == controller_) return;
  controller_ = address;
  pause_ = kFirstPause;
  TryAsk();
}

void IngressRoute::SetReady(bool ready) {
  ready_ = ready;
  reactor_.CancelTimer(std::exchange(notice_, 0));
  if (!ready || told_) return;
  if (!noticed_) notice_ = reactor_.AddTimer(kNoticeAfter, [this] { GiveNotice(); });
  pause_ = kFirstPause;
  TryAsk();
}

http::Request IngressRoute::MakeRequest(const std::string& host) const {
  const bool six = controller_.find(':') != std::string::npos;
  http::Request request;
  request.url = absl::StrCat(options_.tls ? "https" : "http", "://", six ? "[" : "", controller_, six ? "]" : "", "/");
  request.headers = {{"Host", host}};
  if (options_.tls) {
    http::Tls tls;
    // Whether people trust its certificate is not what is asked.
    tls.insecure = true;
    tls.server_name = host;
    request.tls = std::make_shared<const http::Tls>(std::move(tls));
  }
  request.deadline = absl::Seconds(5);
  request.connect = absl::Seconds(2);
  request.max_bytes = size_t{1} << 20;
  return request;
}

void IngressRoute::TryAsk() {
  if (!ready_ || told_ || asking_ || controller_.empty()) return;
  reactor_.CancelTimer(std::exchange(timer_, 0));
  asking_ = true;
  wiring_.ask(MakeRequest(host_), Guarded([this](const http::Outcome& outcome) { OnAnswer(outcome); }));
}

void IngressRoute::AskLater() {
  asking_ = false;
  timer_ = reactor_.AddTimer(pause_, [this] {
    timer_ = 0;
    TryAsk();
  });
  pause_ = std::min(pause_ * 2, kLongestPause);
}

void IngressRoute::OnAnswer(const http::Outcome& outcome) {
  if (!outcome.response.ok()) {
    const bool unseen = !outcome.sent && (absl::IsUnavailable(outcome.response.status()) ||
                                          absl::IsDeadlineExceeded(outcome.response.status()));
    // Who uses the URL may have a way to the controller that this server has not: its own word counts then.
    if (unseen) return Tell();
    trouble_ = EscapeLine(outcome.response.status().message());
    // An answer that is too long is one.
    if (absl::IsResourceExhausted(outcome.response.status())) return Tell();
    return AskLater();
  }
  const int status = outcome.response->status;
  if (status == 502 || status == 503 || status == 504) {
    trouble_ = absl::StrCat("the ingress controller answers ", status, ": it does not reach the service");
    return AskLater();
  }
  if (status == 404) return Compare(status, outcome.response->body.substr(0, kMostCompared));
  Tell();
}

// A service may answer 404, too. The controller's own is the one that a host gets which nobody has.
void IngressRoute::Compare(int status, const std::string& body) {
  const std::string nobody = absl::StrCat("nobody-", NewUuid().substr(0, 8), ".", options_.domain);
  wiring_.ask(MakeRequest(nobody), Guarded([this, status, body](const http::Outcome& outcome) {
                const bool same = !outcome.response.ok() || (outcome.response->status == status &&
                                                             outcome.response->body.substr(0, kMostCompared) == body);
                if (!same) return Tell();
                trouble_ = "the ingress controller answers 404, as for a host that it does not know";
                AskLater();
              }));
}

void IngressRoute::Tell() {
  asking_ = false;
  told_ = true;
  reactor_.CancelTimer(std::exchange(notice_, 0));
  Repeat();
}

void IngressRoute::GiveNotice() {
  notice_ = 0;
  if (told_ || std::exchange(noticed_, true)) return;
  Repeat();
}

void IngressRoute::Repeat() {
  const std::string url = absl::StrCat(options_.tls ? "https" : "http", "://", host_);
  if (told_) return wiring_.tell({absl::StrCat(host_, options_.tls ? ":443" : ":80"), url, ""});
  if (noticed_) wiring_.tell({"", "", absl::StrCat(url, " does not lead to it: ", trouble_)});
}

}  // namespace mayfly::kubernetes
