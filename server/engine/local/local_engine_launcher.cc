#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "server/engine/local/local_engine_impl.h"
#include "server/obs/log.h"

namespace mayfly::local {
namespace {

// A launcher that ends again and again is started less and less often.
constexpr absl::Duration kRestartDelay = absl::Milliseconds(50), kRestartDelayLimit = absl::Seconds(10);

}  // namespace

void LocalEngineImpl::Take(const ScopeSpec& spec) {
  if (launcher_ == nullptr) return;
  launcher_->Send(
      TakeRequest{spec.id, spec.environment, spec.owner, spec.source_root, spec.log_dir, spec.expected_nodes});
}

void LocalEngineImpl::OnLauncherFrame(Frame frame) {
  switch (frame.type) {
    case TakeReply::kType: {
      TakeReply reply;
      if (Decode(frame.body, reply)) OnTaken(reply);
      return;
    }
    case ReleaseReply::kType: {
      ReleaseReply reply;
      if (Decode(frame.body, reply)) OnReleased(reply);
      return;
    }
    case EgressReply::kType: {
      EgressReply reply;
      if (!Decode(frame.body, reply) || frame.fds.size() != 1) return;
      const auto it = scopes_io_.find(reply.scope);
      if (it != scopes_io_.end() && it->second->channel != nullptr) {
        it->second->egress_open = true;
        it->second->channel->Send(EgressGate{}, std::move(frame.fds));
      }
      return;
    }
    case DescribeReply::kType: {
      DescribeReply reply;
      if (!Decode(frame.body, reply)) return;
      MutexLock lock(mutex_);
      capabilities_ = reply.capabilities;
      changed_.NotifyAll();
      return;
    }
    default:
      return;
  }
}

void LocalEngineImpl::AdoptLauncher() {
  launcher_ = std::make_unique<Channel>(
      io_.reactor(), std::move(handle_.channel), [this](Frame frame) { OnLauncherFrame(std::move(frame)); },
      [this] {
        launcher_.reset();
        OnLauncherGone();
      });
  launched_ = io_.reactor()->Now();
  auto pidfd = OpenPidfd(handle_.pid);
  if (!pidfd.ok()) return;
  launcher_pidfd_ = *std::move(pidfd);
  io_.reactor()
      ->Add(launcher_pidfd_.get(), EPOLLIN,
            [this](uint32_t) {
              io_.reactor()->Remove(launcher_pidfd_.get());
              launcher_pidfd_.Reset();
              OnLauncherGone();
            })
      .IgnoreError();
}

void LocalEngineImpl::OnLauncherGone() {
  if (launcher_ != nullptr || launcher_pidfd_.valid()) return;
  int status = 0;
  while (waitpid(handle_.pid, &status, 0) < 0 && errno == EINTR) {
  }
  LogWarning("the launcher has ended and is started again; environments go on",
             {{"pid", handle_.pid}, {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0}});
  handle_.pid = 0;
  const bool stayed = io_.reactor()->Now() - launched_ > kRestartDelayLimit;
  restart_delay_ = stayed ? absl::ZeroDuration() : std::clamp(restart_delay_ * 2, kRestartDelay, kRestartDelayLimit);
  ScheduleRestart();
}

void LocalEngineImpl::ScheduleRestart() {
  restart_timer_ = io_.reactor()->AddTimer(restart_delay_, [this] {
    restart_timer_ = 0;
    const absl::Status status = RestartLauncher(handle_);
    if (status.ok()) return ResumeWork();
    LogError("the launcher cannot be started", {{"why", status}});
    if (absl::IsFailedPrecondition(status)) return GiveUp();
    restart_delay_ = std::clamp(restart_delay_ * 2, kRestartDelay, kRestartDelayLimit);
    ScheduleRestart();
  });
}

void LocalEngineImpl::GiveUp() {
  {
    MutexLock lock(mutex_);
    launcher_gone_ = true;
  }
  for (const auto& [id, scope] : scopes_io_) {
    if (scope->channel == nullptr && !scope->lost) FailScope(id, kLauncherGone);
  }
}

void LocalEngineImpl::ResumeWork() {
  AdoptLauncher();
  {
    MutexLock lock(mutex_);
    if (capabilities_.engine.empty()) launcher_->Send(DescribeRequest{});
  }
  for (const std::string& id : releasing_) launcher_->Send(ReleaseRequest{id});
  for (const auto& [id, scope] : scopes_io_) {
    if (releasing_.count(id) > 0 || scope->lost) continue;
    if (scope->channel == nullptr) {
      scope->undoing = true;
      launcher_->Send(ReleaseRequest{id});
    } else if (scope->has_egress && !scope->egress_open) {
      launcher_->Send(EgressRequest{id});
    }
  }
}

}  // namespace mayfly::local
