#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "server/engine/local/descriptor.h"
#include "server/engine/local/local_engine_impl.h"

namespace mayfly::local {
namespace {

constexpr absl::Duration kUsageLimit = absl::Milliseconds(20);
constexpr absl::Duration kAnswerLimit = absl::Seconds(10);

// Of one process alone, where no group counts for all of a node's.
Usage ProcessUsage(int64_t pid) {
  Usage usage;
  const auto stat = pid > 0 ? ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat")) : absl::NotFoundError("");
  if (!stat.ok()) return usage;
  const std::vector<std::string> fields = absl::StrSplit(stat->substr(stat->rfind(')') + 1), ' ');
  int64_t ticks = 0;
  for (size_t i = 12; i < 16 && i < fields.size(); ++i) {  // utime, stime, and those of children it waited for.
    int64_t value = 0;
    if (absl::SimpleAtoi(fields[i], &value)) ticks += value;
  }
  usage.cpu = absl::Seconds(ticks) / sysconf(_SC_CLK_TCK);
  const auto status = ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/", pid, "/status"));
  const size_t peak = status.ok() ? status->find("VmHWM:") : std::string::npos;
  if (peak != std::string::npos) usage.peak_memory_bytes = std::atoll(status->c_str() + peak + 6) * 1024;
  return usage;
}

int64_t HostPid(int pidfd) {
  const auto info = ReadSmallFile(AT_FDCWD, absl::StrCat("/proc/self/fdinfo/", pidfd));
  if (!info.ok()) return 0;
  const size_t at = info->find("Pid:");
  return at == std::string::npos ? 0 : std::atoll(info->c_str() + at + 4);
}

}  // namespace

void LocalEngineImpl::Emit(const EngineEvent& event) {
  if (!event.node.node.empty()) {
    MutexLock lock(mutex_);
    const auto it = scopes_.find(event.node.scope);
    if (it == scopes_.end() || it->second->destroying) return;  // Its end has been asked for: only that is told.
    NodeRecord& node = it->second->nodes[event.node.node];
    if (event.kind == EngineEvent::Kind::kStarted && node.attempt == event.node.attempt) {
      node.running = true;
      node.pid = event.pid;
    }
    if (event.kind == EngineEvent::Kind::kExited || event.kind == EngineEvent::Kind::kStartFailed) {
      if (node.attempt == event.node.attempt) {
        node.ended = true;
        node.running = false;
      }
    }
  }
  sink_->OnEngineEvent(event);
}

void LocalEngineImpl::EmitScope(const std::string& id, EngineEvent::Kind kind, Cause cause, Receipt receipt) {
  EngineEvent event;
  event.kind = kind;
  event.node.scope = id;
  event.when = MonotonicNow();
  event.cause = std::move(cause);
  event.receipt = std::move(receipt);
  sink_->OnEngineEvent(event);
}

void LocalEngineImpl::FailScope(const std::string& id, const std::string& message) {
  if (const auto it = scopes_io_.find(id); it != scopes_io_.end()) it->second->lost = true;
  Cause cause;
  cause.code = CauseCode::kEngineUnavailable;
  cause.message = message;
  EmitScope(id, EngineEvent::Kind::kScopeFailed, cause);
}

void LocalEngineImpl::Release(const std::string& id) {
  const auto it = scopes_io_.find(id);
  if (it == scopes_io_.end() || it->second->channel == nullptr) return SendRelease(id);
  if (it->second->release_timer != 0) return;
  it->second->channel->Send(UsageRequest{});
  it->second->release_timer = io_.reactor()->AddTimer(kUsageLimit, [this, id] { SendRelease(id); });
}

void LocalEngineImpl::OnUsage(const std::string& id, Scope& scope, UsageReply reply) {
  if (scope.release_timer == 0) return;
  scope.usage = std::move(reply.nodes);
  io_.reactor()->CancelTimer(scope.release_timer);
  SendRelease(id);
}

void LocalEngineImpl::SendRelease(const std::string& id) {
  releasing_.insert(id);
  if (const auto it = scopes_io_.find(id); it != scopes_io_.end()) {
    MutexLock lock(mutex_);
    for (const auto& [name, node] : it->second->nodes) {
      Usage& usage = it->second->usage[name];
      if (node.running && usage.peak_memory_bytes < 0) usage = ProcessUsage(node.pid);
    }
  }
  if (launcher_ != nullptr) launcher_->Send(ReleaseRequest{id});
}

void LocalEngineImpl::OnTaken(const TakeReply& reply) {
  const auto it = scopes_io_.find(reply.scope);
  if (it == scopes_io_.end()) return;
  const std::shared_ptr<Scope> scope = it->second;
  if (!reply.error.empty()) return FailScope(reply.scope, reply.error);
  if (const absl::Status status = ConnectTo(scope); !status.ok()) {
    return FailScope(reply.scope, std::string(status.message()));
  }
  EmitScope(reply.scope, EngineEvent::Kind::kScopeReady);
  std::vector<std::function<void(Scope&)>> waiting;
  waiting.swap(scope->waiting);
  for (const auto& fn : waiting) fn(*scope);
}

absl::Status LocalEngineImpl::ConnectTo(const std::shared_ptr<Scope>& scope) {
  const std::string id = scope->spec.id;
  MAYFLY_ASSIGN_OR_RETURN(UniqueFd fd, ConnectControl(ScopeFolder(options_.state_dir, id)));
  scope->channel = std::make_unique<Channel>(
      io_.reactor(), std::move(fd), [this, id](Frame frame) { OnInitFrame(id, std::move(frame)); },
      [this, id] { OnInitGone(id); });
  scope->channel->Send(Hello{});
  return absl::OkStatus();
}

void LocalEngineImpl::OnInitFrame(const std::string& id, Frame frame) {
  const auto it = scopes_io_.find(id);
  if (it == scopes_io_.end()) return;
  if (frame.type == NodeEvent::kType) {
    NodeEvent message;
    if (!Decode(frame.body, message) || message.event.node.scope != id) return;
    if (!frame.fds.empty()) message.event.pid = HostPid(frame.fds[0].get());
    Emit(message.event);
  } else if (frame.type == UsageReply::kType) {
    UsageReply reply;
    if (Decode(frame.body, reply)) OnUsage(id, *it->second, std::move(reply));
  } else if (frame.type == CallDone::kType) {
    CallDone done;
    if (Decode(frame.body, done)) FinishCall(done);
  } else if (frame.type == Snapshot::kType) {
    Scope& scope = *it->second;
    if (!scope.snapshot_wanted || !Decode(frame.body, scope.snapshot)) return;
    MutexLock lock(mutex_);
    scope.snapshot_seen = true;
    changed_.NotifyAll();
  }
}

void LocalEngineImpl::OnInitGone(const std::string& id) {
  FailCalls(id);
  const auto it = scopes_io_.find(id);
  if (it == scopes_io_.end()) return;
  it->second->channel.reset();
  it->second->lost = true;
  {
    MutexLock lock(mutex_);
    changed_.NotifyAll();
    if (it->second->destroying) return;
  }
  Cause cause;
  cause.code = CauseCode::kScopeLost;
  cause.message = "the environment's first process has ended";
  EmitScope(id, EngineEvent::Kind::kScopeLost, cause);
}

void LocalEngineImpl::OnReleased(const ReleaseReply& reply) {
  const bool wanted = releasing_.erase(reply.scope) > 0;
  if (const auto it = scopes_io_.find(reply.scope); it != scopes_io_.end() && it->second->undoing && !wanted) {
    it->second->undoing = false;
    return Take(it->second->spec);
  }
  Receipt receipt = reply.receipt;
  if (const auto it = scopes_io_.find(reply.scope); it != scopes_io_.end()) {
    const std::shared_ptr<Scope> scope = it->second;
    std::vector<EngineEvent> ends;
    {
      MutexLock lock(mutex_);
      receipt.ports = static_cast<int>(scope->addresses.size());
      for (const auto& [name, node] : scope->nodes) {
        if (!node.prepared || node.ended) continue;
        receipt.processes += node.running;
        EngineEvent& end = ends.emplace_back();
        end.kind = EngineEvent::Kind::kExited;
        end.node = NodeRef{reply.scope, name, node.attempt};
        end.when = MonotonicNow();
        end.signal = node.running ? SIGKILL : 0;
        end.stopped = true;
        end.usage = scope->usage[name];
      }
      scopes_.erase(reply.scope);
      scopes_io_.erase(it);
    }
    FailCalls(reply.scope);
    for (const EngineEvent& end : ends) sink_->OnEngineEvent(end);
  }
  EmitScope(reply.scope, EngineEvent::Kind::kScopeReleased, Cause(), receipt);
  EmitScope(reply.scope, EngineEvent::Kind::kScopeGone);
}

absl::StatusOr<std::vector<FoundScope>> LocalEngineImpl::Recover() {
  // A launcher that answers has outlived the one of the server before, which might else still take a scope.
  if (Describe().engine.empty()) {
    return absl::UnavailableError(
        "the launcher does not answer; it may be waiting for one that an earlier server left "
        "behind: look for a process mayfly-launcher that hangs");
  }
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, ListScopes(options_.state_dir));
  std::vector<FoundScope> found;
  for (const std::string& id : ids) {
    const auto descriptor = ReadDescriptor(options_.state_dir, id);
    FoundScope result;
    result.id = id;
    if (descriptor.ok()) result.environment = descriptor->environment;
    std::shared_ptr<Scope> scope;
    {
      MutexLock lock(mutex_);
      if (scopes_.count(id) > 0) continue;
      scope = std::make_shared<Scope>();
      scope->spec.id = id;
      if (descriptor.ok()) {
        scope->spec.environment = descriptor->environment;
        scope->spec.owner = descriptor->owner;
      }
      scope->snapshot_wanted = true;
      scopes_[id] = scope;
    }
    const bool alive = descriptor.ok() && descriptor->protocol == kProtocol && OpenInit(*descriptor).ok();
    bool connected = false;
    io_.Run([&] {
      scopes_io_[id] = scope;
      connected = alive && ConnectTo(scope).ok();
      scope->lost = !connected;
    });
    bool answered = false;
    if (connected) {
      const auto limit = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kAnswerLimit);
      MutexLock lock(mutex_);
      while (!scope->snapshot_seen && changed_.WaitUntil(mutex_, limit)) {
      }
      answered = scope->snapshot_seen;
    }
    std::vector<EngineEvent> replay;
    if (answered) {
      io_.Run([&] {
        result.addresses = scope->snapshot.addresses;
        MutexLock lock(mutex_);
        scope->addresses = scope->snapshot.addresses;
        for (const NodeSnapshot& node : scope->snapshot.nodes) {
          FoundScope::Node& n = result.nodes.emplace_back();
          n.node = node.node;
          n.attempt = node.attempt;
          int64_t pid = 0;
          for (const EngineEvent& event : node.events) {
            replay.push_back(event);
            if (event.pid != 0) pid = event.pid;
            if (event.kind == EngineEvent::Kind::kStarted) n.running = true;
            if (event.kind == EngineEvent::Kind::kReady) n.ready = true;
            if (event.kind == EngineEvent::Kind::kExited || event.kind == EngineEvent::Kind::kStartFailed) {
              n.exited = true;
              n.running = n.ready = false;
              n.exit_code = event.exit_code;
              n.signal = event.signal;
            }
          }
          scope->nodes[node.node] = NodeRecord{node.attempt, true, n.running, n.exited, pid};
        }
      });
    }
    found.push_back(std::move(result));
    io_.Post([this, id, answered, replay] {
      for (const EngineEvent& event : replay) Emit(event);
      if (answered) return;
      Cause cause;
      cause.code = CauseCode::kScopeLost;
      cause.message = "the environment's first process has ended";
      EmitScope(id, EngineEvent::Kind::kScopeLost, cause);
    });
  }
  return found;
}

}  // namespace mayfly::local
