#include "server/engine/local/node.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/local/exec_child.h"
#include "server/engine/local/network.h"

namespace mayfly::local {
namespace {

constexpr size_t kEvidenceLines = 10;

}  // namespace

Node::Node(NodeHost* host, std::string name, Slot* slot) : host_(host), name_(std::move(name)), slot_(slot) {
  slot_->used = true;
}

Node::~Node() {
  EndProbing();
  host_->reactor()->CancelTimer(grace_timer_);
  FinishOutput();
}

EngineEvent Node::NewEvent(EngineEvent::Kind kind) const {
  EngineEvent event;
  event.kind = kind;
  event.node = NodeRef{host_->scope(), name_, attempt_};
  event.when = MonotonicNow();
  return event;
}

void Node::RepeatLast() {
  if (!events_.empty()) {
    const EngineEvent last = events_.back();
    events_.pop_back();
    host_->Emit(last, UniqueFd());
  }
}

void Node::Prepare(int attempt, ProcessSpec process, int source, std::vector<std::string> routes) {
  if (attempt == attempt_ && state_ != State::kNew) return RepeatLast();
  const bool wipe = one_shot_;  // A job's next try begins with the files it began with.
  attempt_ = attempt;
  events_.clear();
  stop_requested_ = false;
  one_shot_ = false;
  process_ = std::move(process);
  state_ = State::kPreparing;
  std::vector<UniqueFd> fds;
  absl::Status status = CaptureOutput(&fds);
  if (status.ok()) status = slot_->cgroup.Limit(process_.resources);
  if (!status.ok() || slot_->shim == nullptr) {
    Cause cause;
    cause.code = CauseCode::kHostLimit;
    cause.message = status.ok() ? "its place in the environment was lost" : std::string(status.message());
    return OnFailed(cause);
  }
  ShimSetup setup;
  setup.node = name_;
  setup.host_name = name_;
  setup.source = source;
  setup.wipe_source = wipe;
  setup.limit_data = !slot_->cgroup.memory_max.valid();
  setup.limit_processes = !slot_->cgroup.pids_max.valid();
  setup.notify = process_.probe.kind == Probe::Kind::kNotify;
  setup.routes = std::move(routes);
  setup.process = process_;
  setup.process.variables = WithDefaultVariables(process_.variables);
  if (setup.notify) setup.process.variables["NOTIFY_SOCKET"] = kNotifySocket;
  slot_->shim->Send(setup, std::move(fds));
}

void Node::FailPreparation(int attempt, Cause cause) {
  attempt_ = attempt;
  events_.clear();
  OnFailed(std::move(cause));
}

absl::Status Node::CaptureOutput(std::vector<UniqueFd>* child_ends) {
  FinishOutput();
  tail_.clear();
  int ends[2];
  for (int& end : ends) {
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
    end = pipe_fds[0];
    child_ends->emplace_back(pipe_fds[1]);
  }
  LogWriter::Options options;
  options.dir_fd = host_->log_folder();
  options.node = name_;
  options.on_line = [this](absl::string_view line, bool) {
    if (prober_ != nullptr) prober_->OnLogLine(line);
  };
  MAYFLY_ASSIGN_OR_RETURN(output_, LogWriter::Create(*host_->reactor(), std::move(options), ends[0], ends[1]));
  return absl::OkStatus();
}

void Node::FinishOutput() {
  if (output_ == nullptr) return;
  output_->Drain();
  tail_ = output_->Tail(kEvidenceLines);
  output_.reset();
}

void Node::OnReady(UniqueFd notify) {
  if (state_ != State::kPreparing) return;
  notify_ = std::move(notify);
  state_ = State::kPrepared;
  host_->Emit(NewEvent(EngineEvent::Kind::kPrepared), UniqueFd());
}

void Node::OnFailed(Cause cause) {
  state_ = State::kEnded;
  FinishOutput();
  EngineEvent event = NewEvent(EngineEvent::Kind::kStartFailed);
  event.cause = std::move(cause);
  event.cause.node = name_;
  host_->Emit(event, UniqueFd());
}

void Node::Start(bool one_shot) {
  if (state_ != State::kPreparing && state_ != State::kPrepared) return RepeatLast();
  one_shot_ = one_shot;
  if (state_ == State::kPrepared) state_ = State::kStarting;
  slot_->cgroup.Reset();
  // The shim works in order: a start that overtakes the end of the preparation waits there.
  if (slot_->shim != nullptr) slot_->shim->Send(ShimStart{});
}

void Node::OnStarted(absl::Duration when, UniqueFd pidfd) {
  state_ = State::kRunning;
  started_at_ = when;
  EngineEvent event = NewEvent(EngineEvent::Kind::kStarted);
  event.when = when;
  host_->Emit(event, std::move(pidfd));
  if (stop_requested_) {
    stop_requested_ = false;
    return Stop();
  }
  if (!one_shot_) BeginProbing();
}

void Node::Stop() {
  switch (state_) {
    case State::kNew:
      return;
    case State::kEnded:
      return RepeatLast();
    case State::kPreparing:
    case State::kPrepared: {
      state_ = State::kEnded;
      FinishOutput();
      EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
      event.stopped = true;
      return host_->Emit(event, UniqueFd());
    }
    case State::kStarting:
      stop_requested_ = true;
      return;
    case State::kRunning:
    case State::kReady:
      break;
  }
  if (stop_requested_) return;
  stop_requested_ = true;
  EndProbing();
  if (slot_->shim != nullptr) slot_->shim->Send(ShimSignal{process_.stop.signal});
  grace_timer_ = host_->reactor()->AddTimer(process_.stop.grace, [this] {
    if (slot_->shim != nullptr) slot_->shim->Send(ShimSignal{0});
  });
}

void Node::OnExited(const ShimExited& exited) {
  if (state_ != State::kRunning && state_ != State::kReady) return;
  EndProbing();
  host_->reactor()->CancelTimer(grace_timer_);
  FinishOutput();
  EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
  event.when = exited.when;
  event.exit_code = exited.exit_code;
  event.signal = exited.signal;
  event.stopped = stop_requested_;
  event.usage = exited.usage;
  const Usage measured = slot_->cgroup.Read();
  if (measured.cpu >= absl::ZeroDuration()) event.usage.cpu = measured.cpu;
  if (measured.peak_memory_bytes >= 0) event.usage.peak_memory_bytes = measured.peak_memory_bytes;
  if (!event.stopped) event.cause = Diagnose(exited);
  state_ = State::kEnded;
  host_->Emit(event, UniqueFd());
}

void Node::OnShimLost() {
  slot_->shim.reset();
  if (!Live()) return;
  ShimExited exited;
  exited.when = MonotonicNow();
  exited.signal = SIGKILL;
  if (state_ == State::kRunning || state_ == State::kReady) return OnExited(exited);
  Cause cause;
  cause.code = CauseCode::kStartFailed;
  cause.message = "its place in the environment was lost";
  OnFailed(cause);
}

Cause Node::Diagnose(const ShimExited& exited) const {
  Cause cause;
  if (one_shot_ && exited.exit_code == 0 && exited.signal == 0) return cause;
  cause.node = name_;
  const std::string ending = exited.signal != 0 ? absl::StrCat("was ended by signal ", exited.signal, " (SIG",
                                                               sigabbrev_np(exited.signal), ")")
                                                : absl::StrCat("exited with code ", exited.exit_code);
  const std::string after = absl::StrCat(" after ", HumanDuration(exited.when - started_at_));
  const int64_t limit = process_.resources.memory_bytes;
  if (slot_->cgroup.OomKills() > 0) {
    cause.code = CauseCode::kOutOfMemory;
    cause.message = absl::StrCat("used all of its ", HumanSize(limit), " of memory and ", ending, after);
  } else if (limit > 0 && !slot_->cgroup.memory_max.valid() && exited.usage.peak_memory_bytes > limit / 10 * 8) {
    cause.code = CauseCode::kOutOfMemory;
    cause.inferred = true;
    cause.message = absl::StrCat("used ", HumanSize(exited.usage.peak_memory_bytes), " of ", HumanSize(limit),
                                 " of memory and ", ending, after);
  } else if (exited.disk_full) {
    cause.code = CauseCode::kDiskFull;
    cause.message = absl::StrCat("filled its writable layer and ", ending, after);
  } else if (slot_->cgroup.RefusedForks() > 0) {
    cause.code = CauseCode::kTooManyProcesses;
    cause.message =
        absl::StrCat("reached its limit of ", process_.resources.processes, " processes and ", ending, after);
  } else {
    cause.code = exited.signal != 0 ? CauseCode::kSignaled : one_shot_ ? CauseCode::kJobFailed : CauseCode::kExited;
    cause.message = ending + after;
  }
  cause.evidence = tail_;
  return cause;
}

void Node::BeginProbing() {
  ProberOptions options;
  options.probe = process_.probe;
  options.address = FormatAddress(SlotAddress(slot_->index));
  options.diag = slot_->diag.get();
  options.budget = host_->probe_budget();
  options.run_command = [this](const std::vector<std::string>& argv, std::function<void(int, std::string)> done) {
    host_->RunInside(*slot_, argv, std::move(done));
  };
  prober_ = std::make_unique<Prober>(
      *host_->reactor(), std::move(options),
      Prober::Callbacks{[this] { BecomeReady(); }, [this](const ProbeFailure& failure) { OnProbeFailing(failure); }});
  prober_->Start();
  // A quick service has spoken before its start was told.
  if (process_.probe.kind == Probe::Kind::kLog && output_ != nullptr) {
    for (const std::string& line : output_->Tail()) {
      if (prober_ != nullptr) prober_->OnLogLine(line);
    }
  }
  if (notify_.valid()) {
    host_->reactor()->Add(notify_.get(), EPOLLIN, [this](uint32_t) { ReadNotify(); }).IgnoreError();
  }
}

void Node::ReadNotify() {
  char datagram[4096];
  const ssize_t n = recv(notify_.get(), datagram, sizeof(datagram), MSG_DONTWAIT);
  if (n > 0 && prober_ != nullptr) prober_->OnNotify(absl::string_view(datagram, n));
}

void Node::OnProbeFailing(const ProbeFailure& failure) {
  EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
  event.message = failure.message;
  event.cause.code = failure.code;
  event.cause.node = name_;
  event.cause.message = failure.message;
  event.cause.hint = failure.hint;
  event.cause.evidence = failure.evidence;
  if (output_ != nullptr) {
    for (std::string& line : output_->Tail(kEvidenceLines)) event.cause.evidence.push_back(std::move(line));
  }
  host_->Emit(event, UniqueFd());
}

void Node::BecomeReady() {
  if (state_ != State::kRunning) return;
  EndProbing();
  state_ = State::kReady;
  host_->Emit(NewEvent(EngineEvent::Kind::kReady), UniqueFd());
}

void Node::EndProbing() {
  prober_.reset();
  if (notify_.valid()) host_->reactor()->Remove(notify_.get());
  notify_.Reset();
}

}  // namespace mayfly::local
