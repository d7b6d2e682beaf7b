// The ways in which an attempt ends, and what is told of each.
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/pod_node.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

// What may still come, such as a machine from an autoscaler or a registry that is down, is waited for this long.
constexpr absl::Duration kPendingLimit = absl::Minutes(5);
// The gate tells more of an end than the cluster does, and usually first.
constexpr absl::Duration kGateGrace = absl::Milliseconds(500);

// Without an answer by then, the exit is told as it is.
constexpr absl::Duration kAskLimit = absl::Seconds(1);

// From a running container until its gate has called: milliseconds, or some seconds through a relay.
constexpr absl::Duration kFirstCallLimit = absl::Seconds(10);

bool ContainerRuns(const json& pod) {
  for (const json& container : pod.value("status", json::object()).value("containerStatuses", json::array())) {
    if (container.value("name", "") == kContainer) return container.value("state", json::object()).contains("running");
  }
  return false;
}

Cause DeletedBySomebody(const std::string& pod) {
  Cause cause;
  cause.code = CauseCode::kScopeLost;
  cause.message = absl::StrCat("somebody deleted its pod ", pod);
  return cause;
}

std::string Ending(int exit_code, int signal) {
  return signal != 0 ? absl::StrCat("was ended by signal ", signal, " (SIG", sigabbrev_np(signal), ")")
                     : absl::StrCat("exited with code ", exit_code);
}

}  // namespace

Cause PodNode::Diagnose(int exit_code, int signal, long oom_kills) const {
  Cause cause;
  if (one_shot_ && exit_code == 0 && signal == 0) return cause;
  cause.node = name_;
  // When it was started before this server was, nobody knows how long it ran.
  const std::string after = started_at_ == absl::ZeroDuration()
                                ? ""
                                : absl::StrCat(" after ", HumanDuration(host_->reactor().Now() - started_at_));
  const std::string ending = absl::StrCat(Ending(exit_code, signal), after);
  if (oom_kills > 0) {
    cause.code = CauseCode::kOutOfMemory;
    const int64_t limit = process_.resources.memory_bytes;
    cause.message = absl::StrCat("used all of its ", limit > 0 ? absl::StrCat(HumanSize(limit), " of ") : "",
                                 "memory and ", ending);
  } else if (!deletion_.empty()) {
    // However it took its stop signal: it would not have ended by itself.
    cause = deletion_;
    cause.node = name_;
    cause.evidence.push_back(ending);
  } else {
    cause.code = signal != 0 ? CauseCode::kSignaled : one_shot_ ? CauseCode::kJobFailed : CauseCode::kExited;
    cause.message = ending;
  }
  for (const std::string& end : sidecar_ends_) cause.evidence.push_back(end);
  if (output_ != nullptr) {
    for (std::string& line : output_->Tail(kEvidenceLines)) cause.evidence.push_back(std::move(line));
  }
  return cause;
}

void PodNode::OnExited(absl::string_view text) {
  if (!Live()) {
    if (!one_shot_) LetGateGo();
    return;
  }
  int status = 0;
  long long cpu_us = 0, when_us = 0;
  long peak_kib = 0, oom_kills = 0;
  if (sscanf(std::string(text).c_str(), "%d %lld %ld %ld %lld", &status, &cpu_us, &peak_kib, &oom_kills, &when_us) != 5)
    return;
  EndProbing();
  host_->reactor().CancelTimer(grace_timer_);
  if (output_ != nullptr) output_->Drain();
  EngineEvent event = NewEvent(EngineEvent::Kind::kExited);
  event.when = Here(when_us);
  event.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  event.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  event.stopped = stop_requested_;
  event.usage.cpu = absl::Microseconds(cpu_us);
  event.usage.peak_memory_bytes = std::clamp<int64_t>(peak_kib, 0, int64_t{1} << 40) * 1024;
  if (!event.stopped) event.cause = Diagnose(event.exit_code, event.signal, oom_kills);
  state_ = State::kEnded;
  // A job's files may still be wanted, and only a container that lives can give them.
  if (!one_shot_) LetGateGo();
  if (event.cause.empty() || oom_kills > 0 || !deletion_.empty()) return EmitEnd(std::move(event));
  AskWhy(std::move(event));
}

// The gate's word may come before the watch tells that the pod is being deleted, of which the exit is only a part.
void PodNode::AskWhy(EngineEvent event) {
  const auto told = [this](const absl::StatusOr<json>& answer) {
    if (held_end_ == nullptr) return;
    host_->reactor().CancelTimer(std::exchange(held_timer_, 0));
    EngineEvent end = std::move(*std::exchange(held_end_, nullptr));
    const bool gone = absl::IsNotFound(answer.status());
    if (gone || (answer.ok() && answer->at("metadata").value("uid", "") == uid_)) {
      if (deletion_.empty()) deletion_ = gone ? DeletedBySomebody(pod()) : CauseOfDeletion(*answer);
    }
    if (!deletion_.empty()) end.cause = Diagnose(end.exit_code, end.signal, 0);
    EmitEnd(std::move(end));
  };
  held_end_ = std::make_unique<EngineEvent>(std::move(event));
  held_timer_ = host_->reactor().AddTimer(kAskLimit, [this, told] {
    held_timer_ = 0;
    told(absl::DeadlineExceededError(""));
  });
  host_->api().Get(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), host_->Here(Guarded(told)));
}

void PodNode::OnFailedStart(absl::string_view text) {
  if (state_ == State::kEnded) return;
  char stage[16] = "";
  int error = 0;
  if (sscanf(std::string(text).c_str(), "%15s %d", stage, &error) != 2) return;
  const std::string what = absl::StrCat("'", EscapeLine(process_.argv.empty() ? "" : process_.argv[0]), "'");
  Cause cause;
  if (strcmp(stage, "workdir") == 0) {
    cause.code = CauseCode::kStartFailed;
    cause.message = absl::StrCat("folder '", EscapeLine(process_.image_workdir), "' in the image: ", strerror(error));
  } else if (strcmp(stage, "script") == 0) {
    cause.code = CauseCode::kNotExecutable;
    cause.message = absl::StrCat("the interpreter that ", what, " names in its first line is not in the image");
  } else if (error == ENOENT || error == ENOTDIR) {
    cause.code = CauseCode::kCommandNotFound;
    cause.message = absl::StrCat(what, " is not in image ", EscapeLine(process_.image));
  } else if (error == EACCES || error == ENOEXEC || error == EPERM || error == EISDIR) {
    cause.code = CauseCode::kNotExecutable;
    cause.message = absl::StrCat(what, " cannot be executed: ", strerror(error));
  } else {
    cause.code = CauseCode::kStartFailed;
    cause.message = absl::StrCat(what, " could not be started: ", strerror(error));
  }
  LetGateGo();
  Fail(std::move(cause));
}

void PodNode::Fail(Cause cause) {
  if (state_ == State::kEnded) return;
  EndProbing();
  claims_.reset();
  host_->reactor().CancelTimer(std::exchange(pending_timer_, 0));
  const bool ran = Runs();
  state_ = State::kEnded;
  EngineEvent event = NewEvent(ran ? EngineEvent::Kind::kExited : EngineEvent::Kind::kStartFailed);
  event.stopped = stop_requested_;
  if (link_ != nullptr) {
    KillGate();
  } else if (!ran && !uid_.empty()) {
    host_->Delete(absl::StrCat(PodsPath(host_->place().space()), "/", pod()), uid_);
  }
  cause.node = name_;
  if (!event.stopped || !ran) event.cause = std::move(cause);
  EmitEnd(std::move(event));
}

void PodNode::End(const PodVerdict& verdict) {
  if (!Live()) return;
  if (!HasProcess() && verdict.exit_code == 0 && verdict.cause.empty()) return;
  const bool ran = HasProcess();
  EndProbing();
  claims_.reset();
  host_->reactor().CancelTimer(grace_timer_);
  host_->reactor().CancelTimer(std::exchange(pending_timer_, 0));
  if (output_ != nullptr) output_->Drain();
  state_ = State::kEnded;
  EngineEvent event = NewEvent(ran ? EngineEvent::Kind::kExited : EngineEvent::Kind::kStartFailed);
  event.exit_code = verdict.signal != 0 ? 0 : verdict.exit_code;
  event.signal = verdict.signal;
  event.stopped = stop_requested_ && ran;
  if (!event.stopped) {
    event.cause = verdict.cause.empty() ? Diagnose(verdict.exit_code, verdict.signal, 0) : verdict.cause;
    event.cause.node = name_;
    if (event.cause.evidence.empty() && output_ != nullptr) event.cause.evidence = output_->Tail(kEvidenceLines);
  }
  EmitEnd(std::move(event));
}

void PodNode::Wait(Cause cause) {
  cause.node = name_;
  if (!Live() || waiting_for_ == cause) return;
  // Between two tries the cluster may only say that it waits; what it said of the last one still holds.
  if (waiting_for_.code == cause.code && cause.evidence.empty() && !waiting_for_.evidence.empty()) return;
  waiting_for_ = std::move(cause);
  EngineEvent event = NewEvent(EngineEvent::Kind::kProbe);
  event.message = waiting_for_.message;
  event.cause = waiting_for_;
  Emit(event);
  if (pending_timer_ != 0) return;
  pending_timer_ = host_->reactor().AddTimer(kPendingLimit, [this] {
    pending_timer_ = 0;
    Fail(waiting_for_);
  });
}

void PodNode::AwaitCall() {
  if (state_ != State::kPreparing || link_ != nullptr || call_timer_ != 0) return;
  call_timer_ = host_->reactor().AddTimer(kFirstCallLimit, [this] {
    call_timer_ = 0;
    if (state_ != State::kPreparing || link_ != nullptr) return;
    Cause cause;
    cause.code = CauseCode::kServerUnreached;
    cause.message =
        absl::StrCat("its pod runs, but has not reached the server at ",
                     host_->MakePodOptions(this->pod()).gate_address, " within ", HumanDuration(kFirstCallLimit));
    Wait(std::move(cause));
  });
}

void PodNode::OnPod(const json* pod) {
  if (!Live()) return;
  if (pod == nullptr) {
    PodVerdict verdict{PodVerdict::Kind::kEnded};
    verdict.signal = SIGKILL;
    verdict.cause = deletion_;
    if (verdict.cause.empty()) verdict.cause = DeletedBySomebody(this->pod());
    return End(verdict);
  }
  pod_ip_ = pod->value("status", json::object()).value("podIP", "");
  TryAddress(pod_ip_);
  // While it is live we delete nothing of it.
  if (deletion_.empty()) deletion_ = CauseOfDeletion(*pod);
  const PodVerdict verdict = JudgePod(*pod);
  switch (verdict.kind) {
    case PodVerdict::Kind::kFine:
      if (ContainerRuns(*pod)) AwaitCall();
      // Of its volumes, and of the way to the server, the pod itself says nothing.
      if (waiting_for_.code != CauseCode::kVolumePending && waiting_for_.code != CauseCode::kServerUnreached) {
        host_->reactor().CancelTimer(std::exchange(pending_timer_, 0));
      }
      return;
    case PodVerdict::Kind::kFailed:
      return Fail(verdict.cause);
    case PodVerdict::Kind::kWaiting:
      return Wait(verdict.cause);
    case PodVerdict::Kind::kEnded:
      break;
  }
  host_->reactor().AddTimer(link_ != nullptr ? kGateGrace : absl::ZeroDuration(),
                            [weak = std::weak_ptr<PodNode*>(self_), verdict, attempt = attempt_] {
                              const auto self = weak.lock();
                              if (self != nullptr && (*self)->attempt_ == attempt) (*self)->End(verdict);
                            });
}

void PodNode::OnLinkLost() {
  // Never from here: it is the link that calls.
  host_->reactor().AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<PodNode*>(self_), lost = link_.get()] {
    const auto self = weak.lock();
    if (self == nullptr || (*self)->link_.get() != lost) return;
    (*self)->EndProbing();  // Begun again when the gate calls again.
    (*self)->link_.reset();
  });
}

void PodNode::Collect(const std::vector<std::string>& paths, int64_t max_bytes,
                      std::function<void(absl::string_view)> on_data, std::function<void(absl::Status)> done) {
  if (link_ == nullptr) return done(absl::FailedPreconditionError("its pod does not answer any more"));
  const uint64_t most = static_cast<uint64_t>(max_bytes);
  std::string payload(reinterpret_cast<const char*>(&most), sizeof most);
  for (const std::string& path : paths) payload.append(path).push_back('\0');
  const auto id = std::make_shared<uint16_t>(0);
  StreamEvents events;
  events.on_data = [this, weak = std::weak_ptr<PodNode*>(self_), on_data, id](absl::string_view bytes) {
    on_data(bytes);
    if (weak.lock() != nullptr && link_ != nullptr) link_->Taken(*id, static_cast<uint32_t>(bytes.size()));
  };
  events.on_end = [done](int error, int code) {
    if (error != 0) return done(absl::UnavailableError(absl::StrCat("collecting files: ", strerror(error))));
    done(code == 0 ? absl::OkStatus()
                   : absl::Status(static_cast<absl::StatusCode>(code), "files of a finished node: not all were read"));
  };
  *id = link_->OpenStream(GATE_COLLECT, payload, std::move(events));
}

}  // namespace mayfly::kubernetes
