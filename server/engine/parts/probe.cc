#include "server/engine/parts/probe.h"

#include <re2/re2.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/engine/parts/probe_grpc.h"
#include "server/engine/parts/probe_http.h"
#include "server/engine/parts/probe_pace.h"

namespace mayfly {
namespace {

constexpr absl::Duration kReportEvery = absl::Seconds(1);
constexpr absl::Duration kQuickPace = absl::Microseconds(100);
constexpr int kQuickLooks = 5;
constexpr size_t kMostPorts = 5;        // In one message.
constexpr size_t kMostOfALine = 16384;  // That a pattern is tried on.

std::string Where(const ListeningPort& port) {
  if (port.address == "0.0.0.0" || port.address == "::") return absl::StrCat(port.port);
  const bool ipv6 = absl::StrContains(port.address, ':');
  return absl::StrCat(ipv6 ? "[" : "", port.address, ipv6 ? "]:" : ":", port.port);
}

std::string Where(const std::vector<ListeningPort>& ports) {
  std::vector<std::string> words;
  for (const ListeningPort& port : ports) {
    const std::string word = Where(port);
    if (words.empty() || words.back() != word) words.push_back(word);
  }
  const size_t more = words.size() > kMostPorts ? words.size() - kMostPorts : 0;
  words.resize(words.size() - more);
  return absl::StrCat(absl::StrJoin(words, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

bool IsLoopback(const ListeningPort& port) {
  return absl::StartsWith(port.address, "127.") || port.address == "::1";
}

}  // namespace

ProbeFailure ExplainPort(absl::string_view ipv4_address, int declared, const std::vector<ListeningPort>& listening) {
  if (listening.empty()) {
    return {CauseCode::kNeverListened, absl::StrCat("nothing listens on port ", declared), "", {}};
  }
  std::vector<ListeningPort> same, other;
  for (const ListeningPort& port : listening) {
    if (port.port == declared && port.Reaches(ipv4_address)) return {CauseCode::kProbeFailing, "", "", {}};
    (port.port == declared ? same : other).push_back(port);
  }
  if (!same.empty()) {
    const bool loopback = std::all_of(same.begin(), same.end(), IsLoopback);
    const bool ipv6 = !loopback && std::all_of(same.begin(), same.end(), [](const auto& p) { return p.ipv6_only; });
    return {CauseCode::kWrongPort,
            absl::StrCat("listens on ", Where(same), ipv6 ? " for IPv6 only" : " only", "; bind 0.0.0.0"),
            "bind 0.0.0.0, so that it can be reached from other services",
            {}};
  }
  return {CauseCode::kWrongPort,
          absl::StrCat("listens on ", Where(other), ", declared is ", declared),
          absl::StrCat("declare `port: ", other[0].port, "`, or make it listen on ", declared),
          {}};
}

Prober::Prober(Reactor& reactor, ProberOptions options, Callbacks callbacks)
    : reactor_(reactor), options_(std::move(options)), callbacks_(std::move(callbacks)) {
  if (options_.probe.kind != Probe::Kind::kLog) return;
  RE2::Options quiet(RE2::Quiet);
  pattern_ = std::make_unique<RE2>(options_.probe.pattern, quiet);
}

Prober::~Prober() {
  reactor_.CancelTimer(timer_);
  reactor_.CancelTimer(report_timer_);
}

void Prober::Start() {
  started_ = reactor_.Now();
  self_ = std::make_shared<Prober*>(this);
  switch (options_.probe.kind) {
    case Probe::Kind::kNone:
      timer_ = reactor_.AddTimer(absl::ZeroDuration(), [this] { BecomeReady(); });
      return;
    case Probe::Kind::kLog:
    case Probe::Kind::kNotify:
      break;
    default:
      timer_ = reactor_.AddTimer(absl::ZeroDuration(), [this] { Look(); });
      break;
  }
  // The first report comes before the deadline, however near that is: it is what the failure will be told with.
  const absl::Duration first = std::min(kReportEvery, options_.probe.within * 0.75);
  report_timer_ = reactor_.AddTimer(first, [this] { Report(); });
}

void Prober::Report() {
  report_timer_ = reactor_.AddTimer(kReportEvery, [this] { Report(); });
  if (!callbacks_.on_failing) return;
  const auto on_failing = callbacks_.on_failing;  // It may destroy this.
  on_failing(Diagnose());
}

void Prober::Hint() {
  if (ready_ || timer_ == 0 || options_.probe.kind == Probe::Kind::kNone) return;
  quick_ = kQuickLooks;
  reactor_.CancelTimer(timer_);
  timer_ = reactor_.AddTimer(absl::ZeroDuration(), [this] { Look(); });
}

void Prober::Later(absl::Duration interval) {
  const absl::Duration now = reactor_.Now();
  if (quick_ > 0) {
    --quick_;
    timer_ = reactor_.AddTimer(kQuickPace, [this] { Look(); });
    return;
  }
  if (options_.budget != nullptr) interval = std::max(interval, options_.budget->Wait(now));
  timer_ = reactor_.AddTimer(AlignedWait(now, interval), [this] { Look(); });
}

void Prober::Look() {
  timer_ = 0;
  ++looks_;
  if (options_.probe.kind == Probe::Kind::kCommand) return RunOnce();
  std::optional<ProbeAnswer> answer;
  {
    const ProbeBudget::Meter meter(options_.budget, reactor_);
    if (options_.diag != nullptr && !connected_) {
      const absl::StatusOr<bool> listening = options_.diag->IsListening(options_.address, options_.probe.port);
      if (listening.ok() && !*listening) return Later(LookPace(Age()));
    }
    const std::string host = absl::StrCat(options_.address, ":", options_.probe.port);
    std::unique_ptr<ProbeProtocol> protocol;
    if (options_.probe.kind == Probe::Kind::kHttp) protocol = MakeHttpProbe(host, options_.probe.path);
    if (options_.probe.kind == Probe::Kind::kGrpc) protocol = MakeGrpcProbe(host, options_.probe.service);
    exchange_ =
        std::make_unique<ProbeExchange>(reactor_, options_.budget, std::move(protocol), ProbeExchange::Limits());
    answer = exchange_->Begin(options_.address, options_.probe.port,
                              [this](ProbeAnswer late) { OnAnswer(std::move(late)); });
  }
  if (answer) OnAnswer(*std::move(answer));
}

void Prober::OnAnswer(ProbeAnswer answer) {
  exchange_.reset();
  if (answer.healthy) return BecomeReady();
  connected_ = answer.connected;
  last_answer_ = std::move(answer.message);
  Later(connected_ ? AnswerPace(Age()) : LookPace(Age()));
}

void Prober::RunOnce() {
  command_started_ = reactor_.Now();
  command_running_ = true;
  options_.run_command(options_.probe.command, [weak = std::weak_ptr<Prober*>(self_)](int code, std::string output) {
    if (const std::shared_ptr<Prober*> self = weak.lock()) (*self)->OnCommandDone(code, output);
  });
}

void Prober::OnCommandDone(int exit_code, const std::string& output) {
  if (!command_running_ || ready_) return;
  command_running_ = false;
  if (exit_code == 0) return BecomeReady();
  last_answer_ = exit_code < 0 ? "could not be run, or was killed" : absl::StrCat("exited with code ", exit_code);
  if (!output.empty()) {
    const size_t tail = output.size() > 120 ? output.size() - 120 : 0;
    absl::StrAppend(&last_answer_, ": ", tail > 0 ? "..." : "", QuoteAnswer(absl::string_view(output).substr(tail)));
  }
  Later(CommandPace(Age(), reactor_.Now() - command_started_));
}

void Prober::OnLogLine(absl::string_view line) {
  if (ready_ || pattern_ == nullptr || !pattern_->ok()) return;
  line = line.substr(0, kMostOfALine);
  if (RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), *pattern_)) BecomeReady();
}

void Prober::OnNotify(absl::string_view datagram) {
  if (ready_ || options_.probe.kind != Probe::Kind::kNotify) return;
  for (const absl::string_view line : absl::StrSplit(datagram, '\n')) {
    if (absl::StartsWith(line, "STATUS=")) status_ = std::string(line.substr(7, 120));
    if (line == "READY=1") return BecomeReady();
  }
}

void Prober::BecomeReady() {
  ready_ = true;
  reactor_.CancelTimer(timer_);
  reactor_.CancelTimer(report_timer_);
  timer_ = report_timer_ = 0;
  const auto on_ready = std::move(callbacks_.on_ready);  // It may destroy this.
  if (on_ready) on_ready();
}

ProbeFailure Prober::Diagnose() const {
  const Probe& probe = options_.probe;
  ProbeFailure failure;
  switch (probe.kind) {
    case Probe::Kind::kNone:
      return failure;
    case Probe::Kind::kLog:
      failure.message = pattern_->ok() ? absl::StrCat("no line of its output matched ", QuoteAnswer(probe.pattern))
                                       : absl::StrCat("the pattern is no regular expression: ", pattern_->error());
      return failure;
    case Probe::Kind::kNotify:
      failure.message = "did not send READY=1 to $NOTIFY_SOCKET";
      if (!status_.empty()) failure.evidence.push_back(absl::StrCat("its status: ", QuoteAnswer(status_)));
      return failure;
    case Probe::Kind::kCommand:
      failure.message = absl::StrCat("the probe's command ", last_answer_.empty() ? "has not ended yet" : last_answer_);
      return failure;
    default:
      break;
  }
  if (options_.diag != nullptr) {
    if (const auto listening = options_.diag->Listening(); listening.ok()) {
      failure = ExplainPort(options_.address, probe.port, *listening);
      if (!listening->empty()) failure.evidence.push_back(absl::StrCat("listens on ", Where(*listening)));
    }
  } else if (!connected_) {
    failure.code = CauseCode::kNeverListened;
  }
  if (failure.message.empty()) failure.message = last_answer_.empty() ? "has not answered yet" : last_answer_;
  if (!last_answer_.empty() && failure.message != last_answer_) {
    failure.evidence.push_back(absl::StrCat("last answer: ", last_answer_));
  }
  return failure;
}

}  // namespace mayfly
