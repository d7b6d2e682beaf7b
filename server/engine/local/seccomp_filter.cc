#include "server/engine/local/seccomp_filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "mayfly/base/status.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {
namespace {

constexpr const char* kDenied[] = {
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "setns",
    "unshare",
    "bpf",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "perf_event_open",
    "reboot",
    "swapon",
    "swapoff",
    "open_by_handle_at",
    "name_to_handle_at",
    "acct",
    "quotactl",
    "quotactl_fd",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "syslog",
    "iopl",
    "ioperm",
    "lookup_dcookie",
    "nfsservctl",
    "vhangup",
    "fanotify_init",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "move_pages",
    "migrate_pages",
    "mbind",
    "set_mempolicy",
    "vm86",
    "vm86old",
    "modify_ldt",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
};

constexpr uint64_t kNamespaceFlags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                     CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */;

// Leaves UNIX, INET, INET6 and NETLINK. What a network namespace does not keep apart (AF_VSOCK has one table of ports
// for the whole machine) or what nobody needs is no family here.
absl::Status DenySocketFamilies(scmp_filter_ctx ctx) {
  std::vector<scmp_arg_cmp> denied = {SCMP_A0_32(SCMP_CMP_GT, AF_NETLINK), SCMP_A0_32(SCMP_CMP_EQ, AF_UNSPEC)};
  for (unsigned family = AF_INET + 1; family < AF_NETLINK; ++family) {
    if (family != AF_INET6) denied.push_back(SCMP_A0_32(SCMP_CMP_EQ, family));
  }
  for (const scmp_arg_cmp& family : denied) {
    const int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, family);
    if (rc < 0) return ErrnoStatus(-rc, "seccomp rule for sockets");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<sock_filter>> CompileSeccompFilter() {
  const std::unique_ptr<void, void (*)(void*)> context(seccomp_init(SCMP_ACT_ALLOW),
                                                       [](void* c) { seccomp_release(c); });
  if (context == nullptr) return absl::UnimplementedError("libseccomp has no filter for this machine");
  scmp_filter_ctx ctx = context.get();
  for (const char* name : kDenied) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0) continue;  // Not a system call of this machine.
    if (const int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), number, 0); rc < 0) return ErrnoStatus(-rc, name);
  }
  // Each flag by itself: a masked comparison is true only for all bits at once.
  for (uint64_t flag = 1; flag <= kNamespaceFlags; flag <<= 1) {
    if ((kNamespaceFlags & flag) == 0 || flag == 0x80) continue;  // In clone(2) the low byte is the exit signal.
    const int rc =
        seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    if (rc < 0) return ErrnoStatus(-rc, "seccomp rule for clone");
  }
  // clone3 passes its flags in memory, where no filter looks; libc falls back to clone.
  if (const int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0); rc < 0) {
    return ErrnoStatus(-rc, "seccomp rule for clone3");
  }
  // Pushing input into the terminal of whoever runs `exec`.
  for (const unsigned request : {static_cast<unsigned>(TIOCSTI), 0x541Cu /* TIOCLINUX */}) {
    const int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                    SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, request));
    if (rc < 0) return ErrnoStatus(-rc, "seccomp rule for ioctl");
  }
  MAYFLY_RETURN_IF_ERROR(DenySocketFamilies(ctx));
  // A tree is searched, not walked: the list is on the path of every system call.
  seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);

  const UniqueFd file(memfd_create("seccomp", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd");
  if (const int rc = seccomp_export_bpf(ctx, file.get()); rc < 0) return ErrnoStatus(-rc, "seccomp export");
  const off_t size = lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(size / sizeof(sock_filter));
  if (pread(file.get(), program.data(), size, 0) != size) return ErrnoStatus(errno, "seccomp export");
  return program;
}

}  // namespace mayfly::local
