#include "server/engine/kubernetes/gate_prober.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/gate_pump.h"
#include "server/engine/parts/probe_grpc.h"
#include "server/engine/parts/probe_http.h"
#include "server/engine/parts/probe_pace.h"

namespace mayfly::kubernetes {
namespace {

constexpr absl::Duration kReportEvery = absl::Seconds(1);

}  // namespace

GateProber::GateProber(Reactor& reactor, GateLink& link, Probe probe, std::string address, Prober::Callbacks callbacks)
    : reactor_(reactor),
      link_(link),
      probe_(std::move(probe)),
      address_(std::move(address)),
      callbacks_(std::move(callbacks)),
      self_(std::make_shared<GateProber*>(this)) {}

GateProber::~GateProber() {
  reactor_.CancelTimer(timer_);
  reactor_.CancelTimer(report_timer_);
}

void GateProber::Start() {
  started_ = reactor_.Now();
  link_.Send(GATE_AWAIT_PORT, 0, probe_.port, "");
  // The first report comes before the deadline, however near that is: it is what the failure will be told with.
  report_timer_ = reactor_.AddTimer(std::min(kReportEvery, probe_.within * 0.75), [this] { Report(); });
}

void GateProber::OnListening() {
  if (std::exchange(listening_, true)) return;
  Ask();
}

void GateProber::Ask() {
  timer_ = 0;
  if (probe_.kind == Probe::Kind::kTcp) return OnAnswer({.healthy = true, .connected = true});
  DialThroughGate(reactor_, link_, probe_.port,
                  [weak = std::weak_ptr<GateProber*>(self_)](absl::StatusOr<UniqueFd> fd) {
                    if (const auto self = weak.lock()) (*self)->OnConnected(std::move(fd));
                  });
}

void GateProber::OnConnected(absl::StatusOr<UniqueFd> fd) {
  if (!fd.ok()) return OnAnswer({.healthy = false, .connected = false, .message = std::string(fd.status().message())});
  const std::string host = absl::StrCat(address_, ":", probe_.port);
  auto protocol =
      probe_.kind == Probe::Kind::kHttp ? MakeHttpProbe(host, probe_.path) : MakeGrpcProbe(host, probe_.service);
  exchange_ = std::make_unique<ProbeExchange>(reactor_, nullptr, std::move(protocol), ProbeExchange::Limits());
  if (auto answer = exchange_->BeginOn(fd->release(), [this](ProbeAnswer late) { OnAnswer(std::move(late)); })) {
    OnAnswer(*std::move(answer));
  }
}

void GateProber::OnAnswer(ProbeAnswer answer) {
  exchange_.reset();
  if (!answer.healthy) {
    last_answer_ = std::move(answer.message);
    timer_ = reactor_.AddTimer(AnswerPace(reactor_.Now() - started_), [this] { Ask(); });
    return;
  }
  reactor_.CancelTimer(report_timer_);
  const auto on_ready = std::move(callbacks_.on_ready);  // It may destroy this.
  if (on_ready) on_ready();
}

void GateProber::Report() {
  report_timer_ = reactor_.AddTimer(kReportEvery, [this] { Report(); });
  link_.Send(GATE_LIST_PORTS, 0, 0, "");
}

void GateProber::OnPorts(absl::string_view text) {
  ProbeFailure failure = ExplainPort(address_, probe_.port, ParseProcNetTcp(text));
  if (failure.message.empty()) failure.message = last_answer_.empty() ? "has not answered yet" : last_answer_;
  if (!last_answer_.empty() && failure.message != last_answer_) {
    failure.evidence.push_back(absl::StrCat("last answer: ", last_answer_));
  }
  const auto on_failing = callbacks_.on_failing;  // It may destroy this.
  if (on_failing) on_failing(failure);
}

}  // namespace mayfly::kubernetes
