#include "server/engine/kubernetes/pod_node.h"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

bool ProbesPort(const Probe& probe) {
  return probe.kind == Probe::Kind::kTcp || probe.kind == Probe::Kind::kHttp || probe.kind == Probe::Kind::kGrpc;
}

}  // namespace

PodNode::PodNode(PodHost* host, std::string name)
    : host_(host), name_(std::move(name)), self_(std::make_shared<PodNode*>(this)) {}

PodNode::~PodNode() {
  EndProbing();
  for (const Reactor::TimerId timer : {grace_timer_, pending_timer_, held_timer_, call_timer_})
    host_->reactor().CancelTimer(timer);
}

PodHost::Answer PodNode::Guarded(std::function<void(const absl::StatusOr<json>&)> fn) {
  return [weak = std::weak_ptr<PodNode*>(self_), attempt = attempt_,
          fn = std::move(fn)](const absl::StatusOr<json>& answer) {
    const auto self = weak.lock();
    if (self != nullptr && (*self)->attempt_ == attempt) fn(answer);
  };
}

EngineEvent PodNode::NewEvent(EngineEvent::Kind kind) const {
  EngineEvent event;
  event.kind = kind;
  event.node = NodeRef{host_->place().scope, name_, attempt_};
  event.when = host_->reactor().Now();
  return event;
}

void PodNode::Emit(EngineEvent event) {
  if (event.kind != EngineEvent::Kind::kProbe) events_.push_back(event);
  host_->Emit(event);
}

void PodNode::RepeatLast() {
  if (!events_.empty()) host_->Emit(events_.back());
}

void PodNode::Prepare(int attempt, ProcessSpec process) {
  if (attempt == attempt_ && state_ != State::kNew) {
    process_ = std::move(process);  // Of an adopted one, the whole of it was not known.
    return RepeatLast();
  }
  if (!uid_.empty()) host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), uid_);
  link_.reset();
  host_->reactor().CancelTimer(std::exchange(call_timer_, 0));
  claims_.reset();
  sidecars_.reset();
  sidecar_ends_.clear();
  attempt_ = attempt;
  process_ = std::move(process);
  state_ = State::kPreparing;
  events_.clear();
  uid_.clear();
  said_.clear();
  pod_ip_.clear();
  address_.clear();
  waiting_for_ = deletion_ = Cause();
  one_shot_ = stop_requested_ = start_requested_ = probe_ready_ = endpoints_written_ = routed_ = false;
  output_seen_ = 0;
  started_at_ = absl::ZeroDuration();
  end_follows_ = false;
  CreatePod();
}

FoundScope::Node PodNode::Describe() const {
  FoundScope::Node node;
  node.node = name_;
  node.attempt = attempt_;
  node.running = Runs();
  node.ready = state_ == State::kReady;
  node.exited = state_ == State::kEnded;
  if (const EngineEvent* const last = last_event(); node.exited && last != nullptr) {
    node.exit_code = last->exit_code;
    node.signal = last->signal;
  }
  return node;
}

void PodNode::OpenOutput() {
  LogWriter::Options options;
  options.dir_fd = host_->log_folder();
  options.node = name_;
  options.on_line = [this](absl::string_view line, bool) {
    if (prober_ != nullptr && !sidecar_speaks_) prober_->OnLogLine(line);
  };
  if (auto made = LogWriter::Create(host_->reactor(), std::move(options), -1, -1); made.ok()) {
    output_ = *std::move(made);
  }
}

void PodNode::OnGate(const GateHello& hello, std::unique_ptr<GateLink> link) {
  // Prepared and stopped before its gate ran.
  if (state_ == State::kEnded && hello.state != GateHello::State::kEnded && hello.state != GateHello::State::kFailed) {
    return link->Send(GATE_KILL, 1, 0, "");
  }
  LogDebug("gate called", {{"scope", host_->place().scope}, {"node", name_}});
  EndProbing();  // It speaks through the former connection.
  link_ = std::move(link);
  if (said_ != hello.address) address_.clear();
  said_ = hello.address;
  clock_ahead_ = host_->reactor().Now() - absl::Microseconds(hello.now_us);
  one_shot_ |= hello.one_shot;
  GateLink::Callbacks callbacks;
  callbacks.on_frame = [this](const gate_frame& frame, absl::string_view payload) { OnFrame(frame, payload); };
  callbacks.on_lost = [this] { OnLinkLost(); };
  link_->SetCallbacks(std::move(callbacks));
  link_->SendNumber(GATE_WELCOME, output_seen_);
  host_->reactor().CancelTimer(std::exchange(pending_timer_, 0));
  host_->reactor().CancelTimer(std::exchange(call_timer_, 0));
  claims_.reset();
  if (output_ == nullptr) OpenOutput();
  // Only what had its name was ever told that it is ready.
  if (hello.state == GateHello::State::kReady) named_ = endpoints_written_ = true;
  TryAddress(hello.peer);
  TryAddress(pod_ip_);
  switch (hello.state) {
    case GateHello::State::kWaiting:
      if (state_ == State::kPreparing) {
        state_ = State::kPrepared;
        Emit(NewEvent(EngineEvent::Kind::kPrepared));
      } else if (state_ == State::kStarting) {
        state_ = State::kPrepared;  // GO was lost with the connection.
      }
      return TryStart();
    case GateHello::State::kRunning:
    case GateHello::State::kReady:
      if (state_ == State::kPreparing) Emit(NewEvent(EngineEvent::Kind::kPrepared));
      probe_ready_ = routed_ = hello.state == GateHello::State::kReady;
      if (!Runs()) {
        OnStarted(host_->reactor().Now());
      } else if (state_ == State::kRunning && !one_shot_) {
        BeginProbing();
      }
      return;
    case GateHello::State::kEnded:
    case GateHello::State::kFailed:
      end_follows_ = Live();  // EXITED or FAILED.
      return;
  }
}

void PodNode::Start(bool one_shot) {
  one_shot_ = one_shot;
  if (start_requested_ || state_ == State::kEnded) return RepeatLast();
  start_requested_ = true;
  TryStart();
}

void PodNode::TryStart() {
  if (!start_requested_ || state_ != State::kPrepared || link_ == nullptr) return;
  state_ = State::kStarting;
  link_->Send(GATE_GO, one_shot_ ? 1 : 0, 0, "");
  if (sidecars_ != nullptr) sidecars_->Start();
}

void PodNode::OnFrame(const gate_frame& frame, absl::string_view payload) {
  switch (frame.type) {
    case GATE_OUTPUT:
      return OnOutput(frame, payload);
    case GATE_STARTED: {
      int64_t when = 0;
      memcpy(&when, payload.data(), std::min(payload.size(), sizeof when));
      return OnStarted(Here(when));
    }
    case GATE_FAILED:
      return OnFailedStart(payload);
    case GATE_EXITED:
      return OnExited(payload);
    case GATE_LISTENING:
      if (gate_prober_ != nullptr) gate_prober_->OnListening();
      return;
    case GATE_PORTS:
      if (gate_prober_ != nullptr) gate_prober_->OnPorts(payload);
      return;
    case GATE_OUT:
      return OnOut(frame, payload);
    case GATE_NOTIFIED:
      if (prober_ != nullptr) prober_->OnNotify(payload);
      return;
    default:
      return;
  }
}

void PodNode::OnOutput(const gate_frame& frame, absl::string_view payload) {
  uint64_t offset = 0;
  if (payload.size() < sizeof offset) return;
  memcpy(&offset, payload.data(), sizeof offset);
  payload.remove_prefix(sizeof offset);
  const uint64_t end = offset + payload.size();
  if (end <= output_seen_) return;  // Said again after a break.
  output_seen_ = end;
  if (output_ != nullptr) output_->Feed(payload, frame.flag == 1);
  host_->OnOutput(payload, frame.flag == 1);
  // At once: what a gate still keeps it says again to a later server, which does not know what this one has written.
  if (link_ != nullptr) link_->SendNumber(GATE_ACK, output_seen_);
}

absl::Duration PodNode::Here(int64_t gate_us) {
  const absl::Duration now = host_->reactor().Now();
  clock_ahead_ = std::min(clock_ahead_, now - absl::Microseconds(gate_us));
  return std::min(absl::Microseconds(gate_us) + clock_ahead_, now);
}

void PodNode::OnStarted(absl::Duration when) {
  if (Runs() || state_ == State::kEnded) return;
  state_ = State::kRunning;
  start_requested_ = true;
  started_at_ = when;
  if (sidecars_ != nullptr) sidecars_->Start();
  EngineEvent event = NewEvent(EngineEvent::Kind::kStarted);
  event.when = when;
  Emit(std::move(event));
  if (stop_requested_) {
    stop_requested_ = false;
    return Stop();
  }
  if (!one_shot_) BeginProbing();
}

void PodNode::BeginProbing() {
  if (probe_ready_) return TryReady();
  const Prober::Callbacks callbacks{[this] {
                                      EndProbing();
                                      probe_ready_ = true;
                                      TryReady();
                                    },
                                    [this](const ProbeFailure& failure) { OnProbeFailing(failure); }};
  if (ProbesPort(process_.probe)) {
    gate_prober_ = std::make_unique<GateProber>(host_->reactor(), *link_, process_.probe, said_, callbacks);
    return gate_prober_->Start();
  }
  ProberOptions options;
  options.probe = process_.probe;
  options.run_command = [this](const std::vector<std::string>& argv, std::function<void(int, std::string)> done) {
    RunInside(argv, std::move(done));
  };
  prober_ = std::make_unique<Prober>(host_->reactor(), std::move(options), callbacks);
  prober_->Start();
  // A quick service has spoken before its start was told.
  if (process_.probe.kind != Probe::Kind::kLog || output_ == nullptr) return;
  for (const std::string& line : output_->Tail()) {
    const bool own = sidecars_ == nullptr || !sidecars_->Marked(line);
    if (prober_ != nullptr && own) prober_->OnLogLine(line);
  }
}

void PodNode::RunInside(const std::vector<std::string>& argv, std::function<void(int, std::string)> done) {
  constexpr size_t kTail = 1024;
  if (link_ == nullptr) return done(-1, "");
  std::string words;
  for (const std::string& word : argv) words.append(word).push_back('\0');
  const auto output = std::make_shared<std::string>();
  const auto id = std::make_shared<uint16_t>(0);
  StreamEvents events;
  events.on_data = [this, weak = std::weak_ptr<PodNode*>(self_), output, id](absl::string_view bytes) {
    output->append(bytes.data(), bytes.size());
    if (output->size() > kTail) output->erase(0, output->size() - kTail);
    if (weak.lock() != nullptr && link_ != nullptr) link_->Taken(*id, static_cast<uint32_t>(bytes.size()));
  };
  events.on_end = [output, done](int error, int code) { done(error != 0 || code > 128 ? -1 : code, *output); };
  *id = link_->OpenStream(GATE_RUN, words, std::move(events));
}

void PodNode::OnProbeFailing(const ProbeFailure& failure) {
  EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
  event.message = failure.message;
  event.cause.code = failure.code;
  event.cause.node = name_;
  event.cause.message = failure.message;
  event.cause.hint = failure.hint;
  event.cause.evidence = failure.evidence;
  for (const std::string& end : sidecar_ends_) event.cause.evidence.push_back(end);
  if (output_ != nullptr) {
    for (std::string& line : output_->Tail(kEvidenceLines)) event.cause.evidence.push_back(std::move(line));
  }
  Emit(event);
}

void PodNode::TryReady() {
  // Others must find it by its name, too.
  if (state_ != State::kRunning || one_shot_ || !probe_ready_ || !endpoints_written_ || !IsRouted()) return;
  state_ = State::kReady;
  if (link_ != nullptr) link_->Send(GATE_MARK_READY, 0, 0, "");
  Emit(NewEvent(EngineEvent::Kind::kReady));
}

void PodNode::EndProbing() {
  prober_.reset();
  gate_prober_.reset();
  stable_.reset();
}

void PodNode::Stop() {
  switch (state_) {
    case State::kNew:
      return;
    case State::kEnded:
      return RepeatLast();
    case State::kPreparing:
    case State::kPrepared: {
      state_ = State::kEnded;
      claims_.reset();
      KillGate();
      if (sidecars_ != nullptr) sidecars_->End();
      if (!uid_.empty()) host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), uid_);
      EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
      event.stopped = true;
      return Emit(event);
    }
    case State::kStarting:
      stop_requested_ = true;
      return;
    case State::kRunning:
    case State::kReady:
      break;
  }
  if (std::exchange(stop_requested_, true)) return;
  EndProbing();
  if (link_ != nullptr) link_->Send(GATE_SIGNAL, 0, process_.stop.signal, "");
  grace_timer_ = host_->reactor().AddTimer(process_.stop.grace, [this] {
    if (link_ != nullptr) link_->Send(GATE_KILL, 0, 0, "");
  });
}

void PodNode::Kill() {
  // The gate of a job that has ended waits for somebody to want its files.
  KillGate();
  if (sidecars_ != nullptr) sidecars_->End();
  if (!Live()) return;
  stop_requested_ = true;
  EndProbing();
}

void PodNode::OnGone() {
  EndProbing();
  claims_.reset();
  if (held_end_ != nullptr) return TellEnd();
  if (!Live()) return;
  const bool ran = HasProcess();
  state_ = State::kEnded;
  EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
  event.signal = ran ? SIGKILL : 0;
  event.stopped = true;
  Emit(event);
}

}  // namespace mayfly::kubernetes
