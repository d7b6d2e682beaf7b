#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/launcher_impl.h"

namespace mayfly::local {

void Launcher::Take(TakeRequest request) {
  const absl::Duration now = reactor_.Now();
  last_take_ = now;
  if (requests_.count(request.scope) > 0) return Reply(request.scope, "the scope exists");
  for (const auto& shell : shells_) {
    if (shell->scope == request.scope) return Reply(request.scope, "the scope exists");
  }
  const int slots = std::max(request.slots, 1);
  Expect(slots);
  for (const auto& shell : shells_) {
    if (shell->state == Shell::State::kWarm && shell->scope.empty() && Fits(*shell, request, slots)) {
      GiveTo(shell.get(), request, /*warm=*/true);
      return ScheduleRefill();
    }
  }
  target_ = std::min(target_ + 1, options_.pool_limit);
  ScheduleTrim();
  requests_[request.scope] = request;
  for (const auto& shell : shells_) {
    const bool coming = shell->state == Shell::State::kNetworks || shell->state == Shell::State::kWarming;
    if (coming && shell->scope.empty() && Fits(*shell, request, slots)) {
      shell->scope = request.scope;
      return ScheduleRefill();
    }
  }
  // Networks that wait to be used again are up in a tenth of the time that new ones take.
  const auto idle = std::find_if(idle_plots_.begin(), idle_plots_.end(),
                                 [&](const Shell* shell) { return Fits(*shell, request, slots); });
  if (idle != idle_plots_.end()) {
    Shell* const shell = *idle;
    idle_plots_.erase(idle);
    shell->scope = request.scope;
    Warm(shell);
  } else {
    unmade_.push_back(request.scope);
    MakeForRequests();
  }
  ScheduleRefill();
}

std::string Launcher::TakeWaiting(const Shell& shell) {
  const auto it = std::find_if(unmade_.begin(), unmade_.end(), [&](const std::string& scope) {
    const TakeRequest& request = requests_.at(scope);
    return Fits(shell, request, std::max(request.slots, 1));
  });
  if (it == unmade_.end()) return "";
  const std::string scope = *it;  // NOLINT(performance-unnecessary-copy-initialization): what it refers to goes.
  unmade_.erase(it);
  return scope;
}

bool Launcher::Fits(const Shell& shell, const TakeRequest& request, int slots) {
  return shell.plot.slots >= slots && (shell.plot.owner.empty() || shell.plot.owner == request.owner);
}

void Launcher::Reply(const std::string& scope, const std::string& error, bool warm) {
  if (server_ != nullptr) server_->Send(TakeReply{scope, error, warm});
}

void Launcher::GiveTo(Shell* shell, const TakeRequest& request, bool warm) {
  shell->state = Shell::State::kTaken;
  shell->scope = request.scope;
  shell->plot.owner = request.owner;
  shell->plot.used = true;
  shell->expected = std::min(std::max(request.slots, 1), shell->plot.slots);
  const absl::Status status = [&]() -> absl::Status {
    ScopeDescriptor descriptor;
    descriptor.scope = request.scope;
    descriptor.environment = request.environment;
    descriptor.owner = request.owner;
    descriptor.pid = shell->init;
    MAYFLY_ASSIGN_OR_RETURN(descriptor.start_time, ProcessStartTime(shell->init));
    MAYFLY_ASSIGN_OR_RETURN(descriptor.pid_namespace, NamespaceInode(shell->init, "pid"));
    descriptor.boot_id = BootId();
    descriptor.cgroup = shell->group;
    descriptor.host_id = shell->plot.host_id;
    descriptor.protocol = kProtocol;
    MAYFLY_RETURN_IF_ERROR(WriteDescriptor(options_.state_dir, descriptor));
    const std::string folder = ScopeFolder(options_.state_dir, request.scope);
    MAYFLY_ASSIGN_OR_RETURN(UniqueFd listener, ListenControl(folder));
    Assign assign{request.scope, request.environment, false, ""};
    std::vector<UniqueFd> fds;
    fds.push_back(std::move(listener));
    if (!request.log_dir.empty()) {
      MAYFLY_ASSIGN_OR_RETURN(fds.emplace_back(), LogFolder(request.log_dir, root_ ? shell->plot.host_id : 0));
      assign.has_logs = true;
    }
    if (root_ && !request.source_root.empty()) {
      // A failure shows again, with its cause, when the first node asks for the folder.
      if (auto mount = SourceMount(request.source_root, shell->plot.host_id); mount.ok()) {
        fds.push_back(*std::move(mount));
        assign.source_root = request.source_root;
      }
    }
    shell->channel->Send(assign, std::move(fds));
    return PublishControl(folder);
  }();
  Reply(request.scope, std::string(status.message()), warm);
}

absl::StatusOr<UniqueFd> Launcher::LogFolder(const std::string& path, uint32_t host_id) {
  MAYFLY_RETURN_IF_ERROR(MakeDirs(path, 0700));
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  if (host_id != 0 && fchown(fd.get(), host_id, host_id) != 0) return ErrnoStatus(errno, path);
  return fd;
}

void Launcher::Release(const std::string& scope) {
  if (std::find(unmade_.begin(), unmade_.end(), scope) != unmade_.end()) {
    unmade_.erase(std::find(unmade_.begin(), unmade_.end(), scope));
    requests_.erase(scope);
    Reply(scope, "the scope was destroyed");
    return SendReceipt(scope, Receipt{});
  }
  requests_.erase(scope);
  for (const auto& shell : shells_) {
    if (shell->scope != scope) continue;
    shell->release_began = reactor_.Now();
    switch (shell->state) {
      case Shell::State::kNetworks:
      case Shell::State::kWarming:
        shell->scope.clear();  // It goes to the pool instead.
        Reply(scope, "the scope was destroyed");
        return SendReceipt(scope, Receipt{});
      case Shell::State::kDead:
        return FinishRelease(shell.get());
      case Shell::State::kEnding:
        return;
      case Shell::State::kWarm:
      case Shell::State::kTaken:
        shell->release_wanted = true;
        shell->state = Shell::State::kEnding;
        SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
        return;
    }
  }
  ReleaseForeign(scope);
}

void Launcher::ReleaseForeign(const std::string& scope) {
  const absl::Duration began = reactor_.Now();
  auto descriptor = ReadDescriptor(options_.state_dir, scope);
  if (const auto known = adopted_.find(scope); !descriptor.ok() && known != adopted_.end()) {
    descriptor = known->second;  // The folder was taken away meanwhile; what it described was not.
  }
  if (!descriptor.ok()) {
    // A folder without a descriptor was made just before a crash, and nothing else was.
    RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope)).IgnoreError();
    return SendReceipt(scope, Receipt{});
  }
  auto pidfd = OpenInit(*descriptor);
  if (!pidfd.ok()) return FinishForeign(*descriptor, began, 0);
  if (foreign_.count(scope) > 0) return;
  foreign_[scope] = *std::move(pidfd);
  const int fd = foreign_[scope].get();
  reactor_
      .Add(fd, EPOLLIN,
           [this, scope, d = *descriptor, began](uint32_t) {
             reactor_.Remove(foreign_[scope].get());
             foreign_.erase(scope);
             FinishForeign(d, began, 1);
           })
      .IgnoreError();
  SignalPidfd(fd, SIGKILL).IgnoreError();
}

void Launcher::FinishForeign(const ScopeDescriptor& descriptor, absl::Duration began, int inits) {
  Receipt receipt;
  receipt.processes = receipt.mounts = receipt.networks = inits;
  RemoveGroups(descriptor.cgroup, &receipt);
  RemoveFolder(descriptor.scope, &receipt);
  receipt.took = reactor_.Now() - began;
  host_ids_.erase(descriptor.host_id);
  adopted_.erase(descriptor.scope);
  SendReceipt(descriptor.scope, receipt);
}

void Launcher::FinishRelease(Shell* shell) {
  Receipt receipt;
  // Of its nodes and its hub. What the pool had ready beyond that is no part of the environment.
  receipt.networks = shell->expected + 1;
  receipt.mounts = shell->expected + 1;
  const std::string scope = shell->scope;
  ReleaseGroups(shell, &receipt);
  RemoveFolder(scope, &receipt);
  receipt.took = reactor_.Now() - shell->release_began;
  SendReceipt(scope, receipt);
  shell->scope.clear();
  shell->release_wanted = false;
  // Beyond what is kept warm, because a few that come and go at the same time would otherwise be made and dropped in
  // turn.
  if (closing_ || PoolSize() >= 2 * options_.pool_limit) {
    RemoveGroup(shell->group);
    return Drop(shell);
  }
  idle_plots_.push_back(shell);
  shell->state = Shell::State::kDead;
  ScheduleRefill();
  ScheduleTrim();
}

void Launcher::RemoveGroups(const std::string& group, Receipt* receipt) {
  if (group.empty()) return;
  const auto removed = RemoveCgroups(cgroups_, group);
  if (removed.ok()) {
    receipt->cgroups = *removed;
  } else {
    receipt->blockers.push_back(std::string(removed.status().message()));
    RemoveGroup(group);  // The descriptor, which names it, goes now.
  }
}

void Launcher::ReleaseGroups(Shell* shell, Receipt* receipt) {
  if (shell->group.empty()) return;
  if (KeepsCgroups(cgroups_)) {
    if (const auto empty = CountEmptyCgroups(cgroups_, shell->group, shell->plot.slots); empty.ok()) {
      receipt->cgroups = *empty * (shell->expected + 1) / (shell->plot.slots + 1);
      return;
    }
  }
  RemoveGroups(shell->group, receipt);
  shell->group.clear();
}

void Launcher::RemoveFolder(const std::string& scope, Receipt* receipt) {
  const absl::Status folder = RemoveTree(AT_FDCWD, ScopeFolder(options_.state_dir, scope));
  if (!folder.ok()) receipt->blockers.push_back(std::string(folder.message()));
}

void Launcher::SendReceipt(const std::string& scope, const Receipt& receipt) {
  if (server_ != nullptr) server_->Send(ReleaseReply{scope, receipt});
}

}  // namespace mayfly::local
