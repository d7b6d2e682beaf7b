#include "server/engine/local/local_engine.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/egress.h"
#include "server/engine/local/local_engine_impl.h"
#include "server/engine/parts/proxy.h"
#include "server/obs/log.h"

namespace mayfly::local {
LocalEngineImpl::LocalEngineImpl(const LocalEngineOptions& options, LauncherHandle launcher, EngineEventSink* sink)
    : options_(options), sink_(sink), handle_(std::move(launcher)) {
  io_.Run([&] { AdoptLauncher(); });
}

LocalEngineImpl::~LocalEngineImpl() {
  io_.Run([this] {
    for (const auto& [id, scope] : scopes_io_) {
      scope->channel.reset();
      scope->lost = true;
    }
    calls_.clear();
    launcher_.reset();
    if (launcher_pidfd_.valid()) io_.reactor()->Remove(launcher_pidfd_.get());
    if (restart_timer_ != 0) io_.reactor()->CancelTimer(restart_timer_);
  });
  // It ends by itself when its channel closes; its idle pool is gone when it has.
  if (handle_.pid == 0) return;
  if (const absl::Status ended = AwaitLauncherEnd(handle_.pid); !ended.ok()) LogWarning(ended.message());
}

Capabilities LocalEngineImpl::Describe() {
  MutexLock lock(mutex_);
  if (capabilities_.engine.empty()) {
    io_.Post([this] {
      if (launcher_ != nullptr) launcher_->Send(DescribeRequest{});
    });
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (capabilities_.engine.empty()) {
      if (!changed_.WaitUntil(mutex_, limit)) break;
    }
  }
  return capabilities_;
}

absl::Status LocalEngineImpl::CreateScope(const ScopeSpec& spec) {
  MutexLock lock(mutex_);
  if (launcher_gone_) return absl::UnavailableError(kLauncherGone);
  if (spec.id.empty() || spec.id.find('/') != std::string::npos) return absl::InvalidArgumentError("bad scope id");
  if (const auto it = scopes_.find(spec.id); it != scopes_.end()) {
    const ScopeSpec& old = it->second->spec;
    if (it->second->destroying)
      return absl::FailedPreconditionError(absl::StrCat("scope ", spec.id, " is being destroyed"));
    if (old.owner != spec.owner || old.environment != spec.environment) {
      return absl::AlreadyExistsError(absl::StrCat("scope ", spec.id, " exists"));
    }
    const std::shared_ptr<Scope> scope = it->second;
    io_.Post([this, scope] {
      if (scope->channel != nullptr) EmitScope(scope->spec.id, EngineEvent::Kind::kScopeReady);
    });
    return absl::OkStatus();
  }
  auto scope = std::make_shared<Scope>();
  scope->spec = spec;
  scopes_[spec.id] = scope;
  io_.Post([this, scope] {
    scopes_io_[scope->spec.id] = scope;
    Take(scope->spec);
  });
  return absl::OkStatus();
}

absl::Status LocalEngineImpl::Prepare(const NodeRef& ref, const ProcessSpec& process) {
  if (process.argv.empty() || process.argv[0].empty()) return absl::InvalidArgumentError("a process needs a command");
  if (!process.image.empty()) return absl::InvalidArgumentError("the local engine runs no images");
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
  NodeRecord& node = scope->nodes[ref.node];
  if (ref.attempt < node.attempt) return absl::FailedPreconditionError("an attempt that has passed");
  if (ref.attempt > node.attempt && node.prepared && !node.ended) {
    return absl::FailedPreconditionError(absl::StrCat(ref.node, " still runs attempt ", node.attempt));
  }
  if (ref.attempt > node.attempt) node = NodeRecord{ref.attempt, true, false, false, 0};
  for (const std::string& target : process.egress) MAYFLY_RETURN_IF_ERROR(ParseEgress(target).status());
  WhenConnected(scope, [this, ref, process](Scope& s) {
    if (!process.egress.empty() && !std::exchange(s.has_egress, true) && launcher_ != nullptr) {
      launcher_->Send(EgressRequest{ref.scope});
    }
    s.channel->Send(PrepareRequest{ref.node, ref.attempt, process});
  });
  return absl::OkStatus();
}

absl::Status LocalEngineImpl::Start(const NodeRef& ref, bool one_shot) {
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindPrepared(ref));
  WhenConnected(scope, [ref, one_shot](Scope& s) { s.channel->Send(StartRequest{ref.node, ref.attempt, one_shot}); });
  return absl::OkStatus();
}

absl::Status LocalEngineImpl::Stop(const NodeRef& ref) {
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
  if (scope->nodes.count(ref.node) == 0) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
  WhenConnected(scope, [ref](Scope& s) { s.channel->Send(StopRequest{ref.node}); });
  return absl::OkStatus();
}

absl::Status LocalEngineImpl::Expose(const NodeRef& ref, int port, int host_port) {
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindScope(ref.scope));
  if (scope->nodes.count(ref.node) == 0) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
  const std::string key = absl::StrCat(ref.node, ":", port);
  if (const auto it = scope->addresses.find(key); it != scope->addresses.end()) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kExposed;
    event.node = ref;
    event.when = MonotonicNow();
    event.port = port;
    event.address = it->second;
    io_.Post([this, event] { Emit(event); });
    return absl::OkStatus();
  }
  MAYFLY_ASSIGN_OR_RETURN(const int listener, ListenOnHost(absl::StrCat(scope->spec.environment, "/", key), host_port));
  UniqueFd fd(listener);
  const std::string address = absl::StrCat("127.0.0.1:", PortOf(fd.get()));
  scope->addresses[key] = address;
  WhenConnected(scope, [ref, port, address, fd = std::make_shared<UniqueFd>(std::move(fd))](Scope& s) {
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(*fd));
    s.channel->Send(ExposeRequest{ref.node, port, address}, std::move(fds));
  });
  return absl::OkStatus();
}

absl::Status LocalEngineImpl::Destroy(const std::string& id) {
  if (id.empty() || id.find('/') != std::string::npos || id[0] == '.')
    return absl::InvalidArgumentError("bad scope id");
  MutexLock lock(mutex_);
  if (launcher_gone_) return absl::UnavailableError(kLauncherGone);
  if (const auto it = scopes_.find(id); it != scopes_.end()) it->second->destroying = true;
  io_.Post([this, id] { Release(id); });
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Scope>> LocalEngineImpl::FindScope(const std::string& id) {
  const auto it = scopes_.find(id);
  if (it == scopes_.end() || it->second->destroying) return absl::NotFoundError(absl::StrCat("no scope ", id));
  return it->second;
}

absl::StatusOr<std::shared_ptr<Scope>> LocalEngineImpl::FindPrepared(const NodeRef& ref) {
  MAYFLY_ASSIGN_OR_RETURN(std::shared_ptr<Scope> scope, FindScope(ref.scope));
  const auto it = scope->nodes.find(ref.node);
  if (it == scope->nodes.end()) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
  if (it->second.attempt != ref.attempt || !it->second.prepared) {
    return absl::FailedPreconditionError(absl::StrCat(ref.node, " is not prepared for attempt ", ref.attempt));
  }
  return scope;
}

absl::StatusOr<std::shared_ptr<Scope>> LocalEngineImpl::FindRunning(const NodeRef& ref) {
  MAYFLY_ASSIGN_OR_RETURN(std::shared_ptr<Scope> scope, FindScope(ref.scope));
  const auto it = scope->nodes.find(ref.node);
  if (it == scope->nodes.end()) return absl::NotFoundError(absl::StrCat("no node ", ref.node));
  if (!it->second.running) return absl::FailedPreconditionError(absl::StrCat(ref.node, " does not run"));
  return scope;
}

void LocalEngineImpl::WhenConnected(const std::shared_ptr<Scope>& scope, std::function<void(Scope&)> fn) {
  io_.Post([scope, fn = std::move(fn)] {
    if (scope->channel != nullptr) {
      fn(*scope);
    } else if (!scope->lost) {
      scope->waiting.push_back(fn);
    }
  });
}

std::unique_ptr<LocalEngine> LocalEngine::Create(const LocalEngineOptions& options, LauncherHandle launcher,
                                                 EngineEventSink* sink) {
  return std::make_unique<LocalEngineImpl>(options, std::move(launcher), sink);
}

}  // namespace mayfly::local
