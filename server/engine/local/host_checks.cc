#include "server/engine/local/host_checks.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/engine/local/plot.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {
namespace {

using Result = CapabilityCheck::Result;

constexpr rlim_t kWantedFiles = 4096;

// What a child inside found out, as it fits into a pipe.
struct Tried {
  int maps = -1;  // errno, 0 for success, -1 for not tried.
  int tmpfs = -1, overlay = -1, proc = -1;
};

std::string Sysctl(const std::string& path) {
  const auto text = ReadSmallFile(AT_FDCWD, "/proc/sys/" + path);
  return text.ok() ? std::string(absl::StripSuffix(*text, "\n")) : "";
}

int ErrnoOf(int rc) {
  return rc == 0 ? 0 : errno;
}

[[noreturn]] void TryInChild(int channel) {
  char go;
  if (read(channel, &go, 1) != 1) _exit(1);
  Tried tried;
  tried.maps = BecomeInside().ok() ? 0 : EPERM;
  mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr);
  // Before /sys is covered: the kernel wants to see a whole /proc and lets nobody uncover one.
  tried.proc = ErrnoOf(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  tried.tmpfs = ErrnoOf(mount("tmpfs", "/sys", "tmpfs", 0, nullptr));
  if (tried.tmpfs == 0) {
    for (const char* folder : {"/sys/up", "/sys/work", "/sys/low", "/sys/all"}) mkdir(folder, 0755);
    tried.overlay = ErrnoOf(
        mount("overlay", "/sys/all", "overlay", 0, "lowerdir=/sys/low,upperdir=/sys/up,workdir=/sys/work,userxattr"));
  }
  _exit(write(channel, &tried, sizeof(tried)) == sizeof(tried) ? 0 : 1);
}

// The errno of making the namespaces, or 0 and what worked inside.
int TryNamespaces(bool root, Tried* tried) {
  auto pair = SocketPair(SOCK_STREAM);
  if (!pair.ok()) return EMFILE;
  errno = 0;
  const auto pid =
      CloneProcess(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
  if (!pid.ok()) return errno;
  if (*pid == 0) TryInChild(pair->second.get());
  pair->second.Reset();
  // Any unprivileged id will do for a try.
  const uint32_t id = root ? 65534 : geteuid();
  const absl::Status maps = WriteIdMaps(*pid, kInsideId, id, root ? 65534 : getegid());
  if (!maps.ok()) tried->maps = EPERM;
  if (maps.ok() && send(pair->first.get(), "g", 1, MSG_NOSIGNAL) == 1 &&
      read(pair->first.get(), tried, sizeof(*tried)) != sizeof(*tried)) {
    tried->maps = EIO;
  }
  pair->first.Reset();
  while (waitpid(*pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return 0;
}

CapabilityCheck NamespaceCheck(int error, const Tried& tried) {
  CapabilityCheck check{"user namespaces", Result::kOk, "each environment and service gets its own", ""};
  if (error == 0 && tried.maps == 0) return check;
  check.result = Result::kMissing;
  check.detail = absl::StrCat("refused: ", std::strerror(error != 0 ? error : tried.maps));
  if (Sysctl("kernel/unprivileged_userns_clone") == "0") {
    check.remedy = "sudo sysctl -w kernel.unprivileged_userns_clone=1";
  } else if (Sysctl("user/max_user_namespaces") == "0") {
    check.remedy = "sudo sysctl -w user.max_user_namespaces=15000";
  } else if (Sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1") {
    check.remedy =
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,' for "
        "mayflyd";
  } else {
    check.remedy =
        "inside a container: start it with user namespaces and mounts allowed (docker: --security-opt "
        "seccomp=unconfined --security-opt apparmor=unconfined); otherwise see user.max_*_namespaces in sysctl";
  }
  return check;
}

CapabilityCheck MountCheck(const char* name, int error, const char* remedy) {
  if (error == 0) return {name, Result::kOk, "works inside a user namespace", ""};
  return {name, Result::kMissing, error < 0 ? "could not be tried" : absl::StrCat("refused: ", std::strerror(error)),
          remedy};
}

CapabilityCheck CgroupCheck(const CgroupHost& cgroups) {
  CapabilityCheck check{"control groups", Result::kOk, "", ""};
  const char* mode = cgroups.mode == CgroupHost::Mode::kV2   ? "v2"
                     : cgroups.mode == CgroupHost::Mode::kV1 ? "v1"
                                                             : "none usable";
  std::string have, lack;
  for (const char* controller : {"memory", "pids", "cpu"}) {
    std::string& list = cgroups.Has(controller) ? have : lack;
    absl::StrAppend(&list, list.empty() ? "" : ", ", controller);
  }
  check.detail = absl::StrCat(mode, have.empty() ? "" : ": limits of " + have);
  if (lack.empty()) return check;
  check.result = Result::kDegraded;
  absl::StrAppend(&check.detail, "; without ", lack,
                  ": memory and process limits by rlimits, out of memory is inferred, no CPU limits");
  check.remedy =
      "run as root, or give the user a delegated group: systemd-run --user --scope -p Delegate=yes mayflyd ...";
  return check;
}

CapabilityCheck FileCheck() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max >= kWantedFiles) return {"open files", Result::kOk, absl::StrCat("up to ", files.rlim_max), ""};
  return {"open files", Result::kDegraded, absl::StrCat("only ", files.rlim_max, ": large environments will not fit"),
          absl::StrCat("raise the hard limit: ulimit -Hn ", kWantedFiles, " or LimitNOFILE= of the unit")};
}

}  // namespace

Capabilities CheckHost(const CgroupHost& cgroups, bool root, size_t filter_size) {
  Capabilities c;
  c.engine = "local";
  c.memory_limits = cgroups.Has("memory");
  c.process_limits = cgroups.Has("pids");
  c.cpu_limits = cgroups.Has("cpu");
  c.disk_limits = true;
  Tried tried;
  const int error = TryNamespaces(root, &tried);
  c.checks.push_back(NamespaceCheck(error, tried));
  if (c.checks.back().result == Result::kOk) {
    c.checks.push_back(
        MountCheck("overlay", tried.overlay, "Linux 5.11 or newer with the overlay module: sudo modprobe overlay"));
    c.checks.push_back(MountCheck("proc", tried.proc,
                                  "something is mounted over parts of /proc (usual in containers): start the container "
                                  "with an unmasked /proc (docker: --security-opt systempaths=unconfined)"));
  }
  c.checks.push_back(CgroupCheck(cgroups));
  c.checks.push_back(FileCheck());
  c.checks.push_back(filter_size > 0
                         ? CapabilityCheck{"seccomp", Result::kOk, "system calls of services are filtered", ""}
                         : CapabilityCheck{"seccomp", Result::kMissing, "no filter could be compiled",
                                           "a kernel with CONFIG_SECCOMP_FILTER"});
  c.usable = true;
  for (const CapabilityCheck& check : c.checks) c.usable &= check.result != Result::kMissing;
  return c;
}

}  // namespace mayfly::local
