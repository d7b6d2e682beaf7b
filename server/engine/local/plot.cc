#include "server/engine/local/plot.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/channel.h"
#include "server/engine/local/init.h"
#include "server/engine/local/messages.h"

namespace mayfly::local {
namespace {

// One blocking message from a child that has no reactor of its own.
void SendAndFlush(int fd, uint16_t type, const std::string& body, std::vector<UniqueFd> fds) {
  Reactor reactor;
  Channel channel(&reactor, UniqueFd(dup(fd)), [](Frame) {}, [] {});
  channel.SendBody(type, body, std::move(fds));
  channel.Flush();
}

void SendParts(int channel, std::vector<UniqueFd> all) {
  while (!all.empty()) {
    const size_t n = std::min(all.size(), Channel::kMaxFds);
    std::vector<UniqueFd> part(std::make_move_iterator(all.begin()), std::make_move_iterator(all.begin() + n));
    all.erase(all.begin(), all.begin() + n);
    SendAndFlush(channel, kNetworkPart, "", std::move(part));
  }
}

// In a child, which has no business of its own once the launcher is gone. A change of ids undoes it.
void EndWithLauncher(pid_t launcher) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != launcher) _exit(1);
}

[[noreturn]] void MakeNetworksInChild(int channel, int slots, pid_t launcher) {
  CloseAllExcept({channel});
  char go;
  if (read(channel, &go, 1) != 1) _exit(1);  // The maps are written.
  absl::Status status = BecomeInside();
  EndWithLauncher(launcher);
  if (status.ok()) {
    auto networks = MakeNetworks(slots);
    status = networks.status();
    if (status.ok()) {
      std::vector<UniqueFd> all;
      all.push_back(std::move(networks->user));
      all.push_back(std::move(networks->hub));
      for (UniqueFd& fd : networks->slots) all.push_back(std::move(fd));
      SendParts(channel, std::move(all));
      _exit(0);
    }
  }
  SendAndFlush(channel, kNetworkError, std::string(status.message()), {});
  _exit(1);
}

absl::Status ProvePlotClean(const Plot& plot) {
  for (size_t i = 0; i < plot.networks.slots.size(); ++i) {
    if (setns(plot.networks.slots[i].get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns");
    MAYFLY_RETURN_IF_ERROR(Annotate(ProveClean(/*hub=*/false), absl::StrCat("network of slot ", i)));
  }
  if (setns(plot.networks.hub.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns");
  return Annotate(ProveClean(/*hub=*/true), "hub");
}

// With v2, an init could make groups, but not let its shims enter: nodes of further slots are limited in other ways.
std::map<std::string, UniqueFd> HandOutGroups(const CgroupHost& host, const std::string& group, const Plot& plot) {
  std::map<std::string, UniqueFd> folders;
  if (host.mode != CgroupHost::Mode::kV1) return folders;
  for (const auto& [controller, base] : host.folders) {
    UniqueFd folder(open(absl::StrCat(base, "/", group).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.valid() && fchown(folder.get(), plot.host_id, plot.host_group) == 0) {
      folders[controller] = std::move(folder);
    }
  }
  return folders;
}

// Everything until the init exists. Runs in the short-lived child.
absl::StatusOr<InitConfig> EnterPlot(const Plot& plot, const std::string& group, const ShellParts& parts) {
  InitConfig config;
  for (int i = 0; i < plot.slots; ++i) {
    MAYFLY_ASSIGN_OR_RETURN(SlotCgroup cgroup, MakeSlotCgroup(*parts.cgroups, group, i));
    config.cgroups.push_back(std::move(cgroup));
  }
  config.groups = HandOutGroups(*parts.cgroups, group, plot);
  // What keeps services together must not be what the kernel ends first. Ordinary users may not say so.
  WriteKernelFile(AT_FDCWD, "/proc/self/oom_score_adj", "-900").IgnoreError();
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (setns(plot.networks.user.get(), CLONE_NEWUSER) != 0) return ErrnoStatus(errno, "setns of the user namespace");
  MAYFLY_RETURN_IF_ERROR(BecomeInside());
  if (plot.used) {
    if (const absl::Status clean = ProvePlotClean(plot); !clean.ok()) return absl::DataLossError(clean.message());
  }
  if (setns(plot.networks.hub.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns of the hub");
  config.shims = parts.shims;
  config.root = *parts.root;
  config.filter = parts.filter;
  config.egress_to_host = parts.egress_to_host;
  return config;
}

[[noreturn]] void StartShellInChild(const Plot& plot, const std::string& group, const ShellParts& parts,
                                    UniqueFd channel, pid_t launcher) {
  EndWithLauncher(launcher);
  std::vector<int> keep = {plot.networks.user.get(), plot.networks.hub.get(), channel.get(), parts.lock};
  for (const UniqueFd& slot : plot.networks.slots) keep.push_back(slot.get());
  CloseAllExcept(std::move(keep));
  // An init holds nothing of the server's: whoever waits for the end of the server's output must not wait for it.
  for (int i = 0; i < 3; ++i) {
    const int fd = open("/dev/null", O_RDWR);
    if (fd > i) {
      dup2(fd, i);
      close(fd);
    }
  }
  auto config = EnterPlot(plot, group, parts);
  if (!config.ok()) {
    SendAndFlush(channel.get(), InitWarm::kType, Encode(InitWarm{std::string(config.status().message())}), {});
    _exit(absl::IsDataLoss(config.status()) ? kPlotUnclean : 1);
  }
  int pidfd = -1;
  // CLONE_PARENT: the launcher is to see its end.
  const auto pid = CloneProcess(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PARENT, &pidfd);
  if (!pid.ok()) {
    SendAndFlush(channel.get(), InitWarm::kType, Encode(InitWarm{std::string(pid.status().message())}), {});
    _exit(1);
  }
  if (*pid == 0) {
    close(parts.lock);
    for (const UniqueFd& slot : plot.networks.slots) config->slots.emplace_back(slot.get());
    close(plot.networks.user.get());
    close(plot.networks.hub.get());
    config->launcher = std::move(channel);
    RunInit(std::move(*config));
  }
  std::vector<UniqueFd> fds;
  fds.emplace_back(pidfd);
  SendAndFlush(channel.get(), InitBorn::kType, Encode(InitBorn{*pid}), std::move(fds));
  _exit(0);
}

}  // namespace

absl::Status WriteIdMaps(pid_t pid, uint32_t inside, uint32_t outside_user, uint32_t outside_group) {
  const std::string folder = absl::StrCat("/proc/", pid);
  // Without this an ordinary user may not map a group; it also keeps a service from shedding groups that deny it
  // things.
  MAYFLY_RETURN_IF_ERROR(WriteKernelFile(AT_FDCWD, folder + "/setgroups", "deny"));
  MAYFLY_RETURN_IF_ERROR(WriteKernelFile(AT_FDCWD, folder + "/uid_map", absl::StrCat(inside, " ", outside_user, " 1")));
  return WriteKernelFile(AT_FDCWD, folder + "/gid_map", absl::StrCat(inside, " ", outside_group, " 1"));
}

absl::Status BecomeInside() {
  if (syscall(SYS_setresgid, kInsideId, kInsideId, kInsideId) != 0) return ErrnoStatus(errno, "setresgid");
  if (syscall(SYS_setresuid, kInsideId, kInsideId, kInsideId) != 0) return ErrnoStatus(errno, "setresuid");
  return absl::OkStatus();
}

absl::StatusOr<Child> StartNetworkMaker(const Plot& plot, int slots) {
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const pid_t self = getpid();
  MAYFLY_ASSIGN_OR_RETURN(const pid_t pid, CloneProcess(CLONE_NEWUSER | CLONE_NEWNET));
  if (pid == 0) MakeNetworksInChild(pair.second.get(), slots, self);
  if (const absl::Status maps = WriteIdMaps(pid, kInsideId, plot.host_id, plot.host_group); !maps.ok()) {
    kill(pid, SIGKILL);
    return Annotate(maps, "user namespace");
  }
  if (send(pair.first.get(), "g", 1, MSG_NOSIGNAL) != 1) return ErrnoStatus(errno, "network maker");
  return Child{pid, std::move(pair.first)};
}

absl::StatusOr<Child> StartMoreNetworksMaker(int first, int count) {
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  MAYFLY_ASSIGN_OR_RETURN(const pid_t pid, CloneProcess(0));
  if (pid != 0) return Child{pid, std::move(pair.first)};
  const int channel = pair.second.get();
  CloseAllExcept({channel});
  auto networks = MakeMoreNetworks(first, count);
  if (networks.ok()) {
    SendParts(channel, *std::move(networks));
    _exit(0);
  }
  SendAndFlush(channel, kNetworkError, std::string(networks.status().message()), {});
  _exit(1);
}

absl::StatusOr<Child> StartShell(const Plot& plot, const std::string& group, const ShellParts& parts) {
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const pid_t self = getpid();
  MAYFLY_ASSIGN_OR_RETURN(const pid_t pid, CloneProcess(0));
  if (pid == 0) StartShellInChild(plot, group, parts, std::move(pair.second), self);
  return Child{pid, std::move(pair.first)};
}

absl::StatusOr<UniqueFd> CloneSourceTree(const std::string& path, unsigned flags) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  const UniqueFd folder(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how))));
  if (!folder.valid()) return ErrnoStatus(errno, absl::StrCat("source folder ", path));
  UniqueFd tree(static_cast<int>(
      syscall(SYS_open_tree, folder.get(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags)));
  if (!tree.valid()) return ErrnoStatus(errno, absl::StrCat("source folder ", path));
  return tree;
}

absl::StatusOr<UniqueFd> SourceMount(const std::string& path, uint32_t host_id) {
  MAYFLY_ASSIGN_OR_RETURN(UniqueFd tree, CloneSourceTree(path, 0));
  struct stat st;
  if (fstat(tree.get(), &st) != 0) return ErrnoStatus(errno, path);
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  MAYFLY_ASSIGN_OR_RETURN(const pid_t pid, CloneProcess(CLONE_NEWUSER));
  if (pid == 0) {
    char end;
    close(pair.first.get());
    _exit(read(pair.second.get(), &end, 1) == 0 ? 0 : 1);
  }
  UniqueFd mapping;
  // Read as: the folder's owner in the file system becomes host_id.
  const std::string folder = absl::StrCat("/proc/", pid);
  if (WriteKernelFile(AT_FDCWD, folder + "/uid_map", absl::StrCat(st.st_uid, " ", host_id, " 1")).ok() &&
      WriteKernelFile(AT_FDCWD, folder + "/gid_map", absl::StrCat(st.st_gid, " ", host_id, " 1")).ok()) {
    mapping = UniqueFd(open((folder + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  }
  pair.first.Reset();
  pair.second.Reset();
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<uint64_t>(mapping.get());
  if (mapping.valid() && syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0) errno = 0;
  return tree;
}

}  // namespace mayfly::local
