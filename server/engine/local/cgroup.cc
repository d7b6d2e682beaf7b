#include "server/engine/local/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::local {
namespace {

constexpr char kLeaf[] = "/mayflyd";

struct Hierarchy {
  std::string mount;
  bool v2 = false;
  std::set<std::string> controllers;  // v1 only.
};

std::vector<Hierarchy> MountedHierarchies() {
  std::vector<Hierarchy> found;
  const auto mounts = ReadSmallFile(AT_FDCWD, "/proc/self/mounts", 1 << 20);
  if (!mounts.ok()) return found;
  for (const absl::string_view line : absl::StrSplit(*mounts, '\n')) {
    const std::vector<std::string> field = absl::StrSplit(line, ' ');
    if (field.size() < 4) continue;
    if (field[2] == "cgroup2") found.push_back({field[1], true, {}});
    if (field[2] == "cgroup") found.push_back({field[1], false, absl::StrSplit(field[3], ',')});
  }
  return found;
}

// The process's own path in the hierarchy that has `controller`; v2 for "".
std::string OwnPath(absl::string_view controller) {
  const auto groups = ReadSmallFile(AT_FDCWD, "/proc/self/cgroup");
  if (!groups.ok()) return "/";
  for (const absl::string_view line : absl::StrSplit(*groups, '\n')) {
    const std::vector<absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (field.size() != 3) continue;
    const std::set<absl::string_view> controllers = absl::StrSplit(field[1], ',');
    if (controllers.count(controller) > 0) return std::string(field[2]);
  }
  return "/";
}

bool MakeGroup(const std::string& folder) {
  return mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST;
}

// Pages of files that the processes before have read stay charged to the group. A little is not worth a new directory.
constexpr int64_t kMostInherited = 4 << 20;

absl::Status CheckEmpty(int dir, const std::string& folder) {
  MAYFLY_ASSIGN_OR_RETURN(const std::string procs, ReadSmallFile(dir, "cgroup.procs"));
  return procs.empty() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(folder, " is still busy"));
}

UniqueFd OpenFolder(const std::string& folder) {
  return UniqueFd(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Whether the next scope may have it: empty, and nothing to pay for. DATA_LOSS when somebody is in it.
absl::StatusOr<bool> MayBeReused(const UniqueFd& dir, const std::string& folder, const std::string& controller) {
  if (const absl::Status empty = CheckEmpty(dir.get(), folder); !empty.ok())
    return absl::DataLossError(empty.message());
  if (controller != "memory") return true;
  const auto usage = ReadSmallFile(dir.get(), "memory.usage_in_bytes");
  int64_t bytes = 0;
  return usage.ok() && absl::SimpleAtoi(absl::StripSuffix(*usage, "\n"), &bytes) && bytes <= kMostInherited;
}

// A slot's folder: that of the scope before, or a new one.
absl::StatusOr<UniqueFd> OpenSlotFolder(const CgroupHost& host, const std::string& controller,
                                        const std::string& parent, const std::string& folder) {
  if (UniqueFd dir = OpenFolder(folder); dir.valid()) {
    MAYFLY_ASSIGN_OR_RETURN(const bool reuse, MayBeReused(dir, folder, controller));
    if (reuse) return dir;
    if (rmdir(folder.c_str()) != 0) return ErrnoStatus(errno, folder);
  }
  const bool v2 = host.mode == CgroupHost::Mode::kV2;
  // The base may be missing: an earlier launcher of this installation removes it when it ends.
  for (const std::string& above : {host.folders.at(controller), parent}) {
    if (mkdir(above.c_str(), 0755) != 0 || !v2) continue;
    std::vector<std::string> all;
    for (const auto& [name, unused] : host.folders) all.push_back("+" + name);
    MAYFLY_RETURN_IF_ERROR(WriteKernelFile(AT_FDCWD, above + "/cgroup.subtree_control", absl::StrJoin(all, " ")));
  }
  if (!MakeGroup(folder)) return ErrnoStatus(errno, folder);
  UniqueFd dir = OpenFolder(folder);
  if (!dir.valid()) return ErrnoStatus(errno, folder);
  return dir;
}

UniqueFd OpenIn(const UniqueFd& dir, const char* file, int flags) {
  return UniqueFd(openat(dir.get(), file, flags | O_CLOEXEC));
}

void UseV2(const Hierarchy& hierarchy, const std::string& name, pid_t parent, CgroupHost& host) {
  std::string own = absl::StrCat(hierarchy.mount, OwnPath(""));
  // A launcher that is started anew by its server is born in the leaf that both stepped aside into.
  if (absl::EndsWith(own, kLeaf) && access(absl::StrCat(absl::StripSuffix(own, kLeaf), "/", name).c_str(), F_OK) == 0) {
    own = std::string(absl::StripSuffix(own, kLeaf));
  }
  const auto available = ReadSmallFile(AT_FDCWD, own + "/cgroup.controllers");
  if (!available.ok()) return;
  const std::set<std::string> controllers = absl::StrSplit(absl::StripSuffix(*available, "\n"), ' ');
  std::vector<std::string> wanted;
  for (const char* controller : {"memory", "pids", "cpu"}) {
    if (controllers.count(controller) > 0) wanted.push_back(absl::StrCat("+", controller));
  }
  const std::string base = absl::StrCat(own, "/", name);
  if (wanted.empty() || !MakeGroup(base)) return;
  const std::string enable = absl::StrJoin(wanted, " ");
  if (!WriteKernelFile(AT_FDCWD, own + "/cgroup.subtree_control", enable).ok()) {
    // A group with processes of its own cannot hand out controllers: step aside into a leaf.
    const std::string leaf = absl::StrCat(own, kLeaf);
    if (!MakeGroup(leaf)) return;
    for (const pid_t pid : {getpid(), parent}) {
      if (!WriteKernelFile(AT_FDCWD, leaf + "/cgroup.procs", absl::StrCat(pid)).ok()) return;
    }
    if (!WriteKernelFile(AT_FDCWD, own + "/cgroup.subtree_control", enable).ok()) return;
  }
  if (!WriteKernelFile(AT_FDCWD, base + "/cgroup.subtree_control", enable).ok()) return;
  host.mode = CgroupHost::Mode::kV2;
  for (const std::string& controller : wanted) host.folders[controller.substr(1)] = base;
}

int64_t ReadNumber(const UniqueFd& fd, absl::string_view key) {
  if (!fd.valid()) return -1;
  char buffer[1024];
  const ssize_t n = pread(fd.get(), buffer, sizeof(buffer), 0);
  if (n <= 0) return -1;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(buffer, n), '\n')) {
    int64_t number = 0;
    if (key.empty() && absl::SimpleAtoi(line, &number)) return number;
    if (!key.empty() && absl::StartsWith(line, absl::StrCat(key, " ")) &&
        absl::SimpleAtoi(line.substr(key.size() + 1), &number)) {
      return number;
    }
  }
  return -1;
}

absl::Status WriteFd(const UniqueFd& fd, const std::string& text, absl::string_view what) {
  if (!fd.valid() || pwrite(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, what);
}

int64_t CpuNanoseconds(const SlotCgroup& slot) {
  const int64_t value = ReadNumber(slot.cpu_usage, slot.v2 ? "usage_usec" : "");
  return value < 0 ? -1 : slot.v2 ? value * 1000 : value;
}

}  // namespace

CgroupHost FindCgroups(const std::string& name, pid_t parent) {
  CgroupHost host;
  for (const Hierarchy& hierarchy : MountedHierarchies()) {
    if (hierarchy.v2) {
      if (host.mode == CgroupHost::Mode::kNone) UseV2(hierarchy, name, parent, host);
      continue;
    }
    for (const char* controller : {"memory", "pids", "cpu", "cpuacct"}) {
      if (hierarchy.controllers.count(controller) == 0 || host.Has(controller)) continue;
      const std::string own = OwnPath(controller);
      const std::string folder = absl::StrCat(hierarchy.mount, own == "/" ? "" : own, "/", name);
      if (!MakeGroup(folder) || access(folder.c_str(), W_OK) != 0) continue;
      host.folders[controller] = folder;
      host.mode = CgroupHost::Mode::kV1;
    }
  }
  return host;
}

std::vector<int> SlotCgroup::Fds() const {
  std::vector<int> fds;
  for (const UniqueFd& fd : procs) fds.push_back(fd.get());
  for (const UniqueFd* fd :
       {&memory_max, &memory_peak, &memory_events, &pids_max, &pids_events, &cpu_max, &cpu_usage}) {
    if (fd->valid()) fds.push_back(fd->get());
  }
  return fds;
}

absl::Status SlotCgroup::Limit(const Resources& resources) {
  const std::string none = v2 ? "max" : "-1";
  const absl::Status memory =
      WriteFd(memory_max, resources.memory_bytes > 0 ? absl::StrCat(resources.memory_bytes) : none, "memory limit");
  constexpr int64_t kLittle = 8 << 20;
  if (!memory.ok() && resources.memory_bytes > 0 && resources.memory_bytes < kLittle) {
    return absl::InvalidArgumentError(
        absl::StrCat("a memory limit of ", HumanSize(resources.memory_bytes),
                     " is less than the process that watches over it takes by itself; give it at least 8Mi"));
  }
  MAYFLY_RETURN_IF_ERROR(memory);
  // The shim is one of the group's processes.
  MAYFLY_RETURN_IF_ERROR(
      WriteFd(pids_max, resources.processes > 0 ? absl::StrCat(resources.processes + 1) : "max", "process limit"));
  constexpr int64_t kPeriodUs = 100000;
  const int64_t quota = static_cast<int64_t>(resources.cpus * kPeriodUs);
  const std::string text = resources.cpus <= 0 ? none : absl::StrCat(quota < 1000 ? 1000 : quota);
  const std::string line = v2 ? absl::StrCat(text, " ", kPeriodUs) : text;
  // The kernel takes a lock of the whole machine for a write that changes nothing, too.
  char now[64];
  const ssize_t n = cpu_max.valid() ? pread(cpu_max.get(), now, sizeof(now), 0) : -1;
  if (n > 0 && absl::string_view(now, n) == line + "\n") return absl::OkStatus();
  return WriteFd(cpu_max, line, "CPU limit");
}

void SlotCgroup::Reset() {
  WriteFd(memory_peak, "0", "peak")
      .IgnoreError();  // v2 before 6.12 cannot: the peak then counts from the group's start.
  cpu_base_ns = CpuNanoseconds(*this);
  oom_base = ReadNumber(memory_events, "oom_kill");
  pids_base = ReadNumber(pids_events, "max");
}

Usage SlotCgroup::Read() const {
  Usage usage;
  const int64_t cpu = CpuNanoseconds(*this);
  if (cpu >= 0) usage.cpu = absl::Nanoseconds(cpu - cpu_base_ns);
  usage.peak_memory_bytes = ReadNumber(memory_peak, "");
  return usage;
}

int64_t SlotCgroup::OomKills() const {
  const int64_t now = ReadNumber(memory_events, "oom_kill");
  return now < 0 ? 0 : now - oom_base;
}

int64_t SlotCgroup::RefusedForks() const {
  const int64_t now = ReadNumber(pids_events, "max");
  return now < 0 ? 0 : now - pids_base;
}

absl::StatusOr<SlotCgroup> MakeSlotCgroup(const CgroupHost& host, const std::string& group, int slot) {
  SlotCgroup cgroup;
  cgroup.v2 = host.mode == CgroupHost::Mode::kV2;
  std::map<std::string, UniqueFd> folders;
  for (const auto& [controller, base] : host.folders) {
    const std::string parent = absl::StrCat(base, "/", group);
    const std::string path = absl::StrCat(parent, "/s", slot);
    UniqueFd& folder = folders[path];
    if (!folder.valid()) {
      MAYFLY_ASSIGN_OR_RETURN(folder, OpenSlotFolder(host, controller, parent, path));
      cgroup.procs.push_back(OpenIn(folder, "cgroup.procs", O_WRONLY));
      if (!cgroup.procs.back().valid()) return ErrnoStatus(errno, path + "/cgroup.procs");
    }
    if (controller == "memory") {
      cgroup.memory_max = OpenIn(folder, cgroup.v2 ? "memory.max" : "memory.limit_in_bytes", O_WRONLY);
      cgroup.memory_peak = OpenIn(folder, cgroup.v2 ? "memory.peak" : "memory.max_usage_in_bytes", O_RDWR);
      if (!cgroup.memory_peak.valid()) cgroup.memory_peak = OpenIn(folder, "memory.peak", O_RDONLY);
      cgroup.memory_events = OpenIn(folder, cgroup.v2 ? "memory.events" : "memory.oom_control", O_RDONLY);
    } else if (controller == "pids") {
      cgroup.pids_max = OpenIn(folder, "pids.max", O_WRONLY);
      cgroup.pids_events = OpenIn(folder, "pids.events", O_RDONLY);
    } else if (controller == "cpu") {
      cgroup.cpu_max = OpenIn(folder, cgroup.v2 ? "cpu.max" : "cpu.cfs_quota_us", O_RDWR);
      if (cgroup.v2) cgroup.cpu_usage = OpenIn(folder, "cpu.stat", O_RDONLY);
    } else if (controller == "cpuacct") {
      cgroup.cpu_usage = OpenIn(folder, "cpuacct.usage", O_RDONLY);
    }
  }
  return cgroup;
}

bool KeepsCgroups(const CgroupHost& host) {
  return host.mode == CgroupHost::Mode::kV1;
}

absl::StatusOr<int> CountEmptyCgroups(const CgroupHost& host, const std::string& group, int slots) {
  std::set<std::string> parents;
  for (const auto& [controller, base] : host.folders) parents.insert(absl::StrCat(base, "/", group));
  // A process enters and leaves all hierarchies together, so that one of them tells for all.
  for (int slot = 0; slot < slots && !parents.empty(); ++slot) {
    const std::string folder = absl::StrCat(*parents.begin(), "/s", slot);
    const UniqueFd dir = OpenFolder(folder);
    MAYFLY_RETURN_IF_ERROR(CheckEmpty(dir.get(), folder));
  }
  return static_cast<int>(parents.size()) * (slots + 1);
}

absl::StatusOr<int> RemoveCgroups(const CgroupHost& host, const std::string& group) {
  int removed = 0;
  absl::Status status;
  std::set<std::string> done;
  for (const auto& [controller, base] : host.folders) {
    const std::string parent = absl::StrCat(base, "/", group);
    if (!done.insert(parent).second) continue;
    DIR* dir = opendir(parent.c_str());
    if (dir == nullptr) continue;
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_name[0] != 's' || entry->d_type != DT_DIR) continue;
      if (unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0) ++removed;
    }
    closedir(dir);
    if (rmdir(parent.c_str()) == 0) {
      ++removed;
    } else if (errno != ENOENT) {
      status.Update(absl::UnavailableError(absl::StrCat(parent, " is still busy")));
    }
  }
  if (!status.ok()) return status;
  return removed;
}

void RemoveInstallation(const CgroupHost& host) {
  for (const auto& [controller, base] : host.folders) rmdir(base.c_str());
}

std::vector<std::string> ListCgroups(const CgroupHost& host) {
  std::set<std::string> groups;
  for (const auto& [controller, base] : host.folders) {
    DIR* dir = opendir(base.c_str());
    if (dir == nullptr) continue;
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_type == DT_DIR && entry->d_name[0] != '.') groups.insert(entry->d_name);
    }
    closedir(dir);
  }
  return {groups.begin(), groups.end()};
}

}  // namespace mayfly::local
