#include "server/engine/local/rootfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "server/engine/local/plot.h"

namespace mayfly::local {
namespace {

constexpr int64_t kDefaultDiskBytes = 512 << 20;
constexpr int64_t kBytesPerInode = 4096;
constexpr char kBuild[] = "/sys/root";  // Where a shim's tmpfs is mounted until it becomes the root.
constexpr char kEmpty[] = "/sys/empty";
constexpr char kDevices[] = "/sys/dev";
constexpr char kHost[] = "/sys/host";  // The host's read-only folders, put together once for all shims.

absl::Status Mount(const char* source, const std::string& target, const char* type, unsigned long flags,
                   const std::string& options = "") {
  if (mount(source, target.c_str(), type, flags, options.empty() ? nullptr : options.c_str()) == 0)
    return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("mount of ", type == nullptr ? source : type, " on ", target));
}

absl::Status MakeFolder(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return ErrnoStatus(errno, absl::StrCat("mkdir ", path));
  return absl::OkStatus();
}

absl::Status WriteNew(const std::string& path, absl::string_view text, mode_t mode = 0644) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.valid() || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, path);
  }
  return absl::OkStatus();
}

absl::Status SetReadOnly(const std::string& target, unsigned flags) {
  mount_attr attr{};
  attr.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  if (syscall(SYS_mount_setattr, AT_FDCWD, target.c_str(), flags, &attr, sizeof(attr)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("read-only ", target));
  }
  return absl::OkStatus();
}

absl::Status BindReadOnly(const std::string& from, const std::string& to) {
  MAYFLY_RETURN_IF_ERROR(Mount(from.c_str(), to, nullptr, MS_BIND | MS_REC));
  return SetReadOnly(to, AT_RECURSIVE);
}

// `userxattr` keeps the layer's marks where an unprivileged user may write them.
absl::Status MountOverlay(const std::string& lower, const std::string& upper, const std::string& work,
                          const std::string& target) {
  const std::string options =
      upper.empty() ? absl::StrCat("lowerdir=", lower, ",userxattr")
                    : absl::StrCat("lowerdir=", lower, ",upperdir=", upper, ",workdir=", work, ",userxattr");
  return Mount("overlay", target, "overlay", MS_NOSUID | MS_NODEV | (upper.empty() ? MS_RDONLY : 0), options);
}

// Covers a folder, where there is one, with an empty one.
absl::Status Hide(const std::string& path) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return absl::OkStatus();
  return Mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k");
}

// Folders of the host that are never shown: the kernel's, other people's data, and what every service has of its own.
bool IsLeftOut(absl::string_view name) {
  static const std::set<std::string>* const kLeftOut = new std::set<std::string>{
      "proc", "sys", "dev", "run", "tmp", "home", "root", "boot", "mnt", "media", "lost+found", "etc", "var", "srv"};
  return kLeftOut->count(std::string(name)) > 0;
}

// Program folders hold no sockets that anybody connects to; any other folder is shown through an overlay, which hides
// the sockets in it (connecting through a read-only bind mount would reach the host's own).
bool IsProgramFolder(absl::string_view name) {
  return name == "usr" || name == "bin" || name == "sbin" || absl::StartsWith(name, "lib") || name == "nix" ||
         name == "gnu";
}

// In the init: what all services find in /dev. None of them can change it.
absl::Status ShareDevices() {
  const std::string dev = kDevices;
  MAYFLY_RETURN_IF_ERROR(MakeFolder(dev, 0755));
  MAYFLY_RETURN_IF_ERROR(Mount(kDevices, dev, nullptr, MS_BIND));
  for (const char* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
    const std::string target = absl::StrCat(dev, "/", name);
    MAYFLY_RETURN_IF_ERROR(WriteNew(target, ""));
    MAYFLY_RETURN_IF_ERROR(Mount(absl::StrCat("/dev/", name).c_str(), target, nullptr, MS_BIND));
  }
  MAYFLY_RETURN_IF_ERROR(MakeFolder(dev + "/pts", 0755));
  MAYFLY_RETURN_IF_ERROR(MakeFolder(dev + "/shm", 0755));
  const std::pair<const char*, const char*> links[] = {{"pts/ptmx", "/ptmx"},
                                                       {"/proc/self/fd", "/fd"},
                                                       {"/proc/self/fd/0", "/stdin"},
                                                       {"/proc/self/fd/1", "/stdout"},
                                                       {"/proc/self/fd/2", "/stderr"}};
  for (const auto& [to, name] : links) {
    if (symlink(to, (dev + name).c_str()) != 0) return ErrnoStatus(errno, dev + name);
  }
  return SetReadOnly(dev, 0);
}

// In a shim: with terminals and shared memory of its own.
absl::Status ShowDevices(const std::string& root) {
  const std::string dev = root + "/root/dev", memory = root + "/shm";
  MAYFLY_RETURN_IF_ERROR(MakeFolder(dev, 0755));
  MAYFLY_RETURN_IF_ERROR(Mount(kDevices, dev, nullptr, MS_BIND | MS_REC));
  MAYFLY_RETURN_IF_ERROR(
      Mount("devpts", dev + "/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"));
  MAYFLY_RETURN_IF_ERROR(MakeFolder(memory, 01777));
  chmod(memory.c_str(), 01777);
  return Mount(memory.c_str(), dev + "/shm", nullptr, MS_BIND);
}

// A folder of the host with a private writable layer, and with /sys/<name> in front where the init made one.
absl::Status MakeWritableFolder(const std::string& name, const std::string& root) {
  const std::string target = absl::StrCat(root, "/root/", name);
  const std::string upper = absl::StrCat(root, "/up/", name), work = absl::StrCat(root, "/work/", name);
  MAYFLY_RETURN_IF_ERROR(MakeFolder(target, 0755));
  MAYFLY_RETURN_IF_ERROR(MakeFolder(upper, 0755));
  MAYFLY_RETURN_IF_ERROR(MakeFolder(work, 0755));
  if (name == "var") {
    for (const char* folder : {"/lib", "/log", "/cache", "/tmp", "/spool"}) {
      MAYFLY_RETURN_IF_ERROR(MakeFolder(upper + folder, 0755));
    }
  }
  const std::string ours = absl::StrCat("/sys/", name);
  const std::string lower = absl::StrCat(access(ours.c_str(), F_OK) == 0 ? ours + ":" : "", "/", name);
  const absl::Status overlay = MountOverlay(lower, upper, work, target);
  if (overlay.ok()) return overlay;
  // Something is mounted below it (containers mount single files into /etc): read-only, with our own files on top.
  MAYFLY_RETURN_IF_ERROR(BindReadOnly("/" + name, target));
  if (name == "var") {
    for (const char* folder : {"/lib", "/log", "/cache", "/tmp", "/spool"}) {
      Mount((upper + folder).c_str(), target + folder, nullptr, MS_BIND).IgnoreError();
    }
  }
  for (const char* file : {"passwd", "group", "nsswitch.conf", "resolv.conf"}) {
    if (name == "etc")
      Mount(absl::StrCat("/sys/etc/", file).c_str(), absl::StrCat(target, "/", file), nullptr, MS_BIND).IgnoreError();
  }
  return absl::OkStatus();
}

// In the init.
absl::Status ShareHostFolder(const RootPlan::Folder& folder, const std::vector<std::string>& hidden) {
  const std::string target = absl::StrCat(kHost, "/", folder.name), from = "/" + folder.name;
  if (folder.kind != RootPlan::Folder::Kind::kBind && folder.kind != RootPlan::Folder::Kind::kOverlay) {
    return absl::OkStatus();
  }
  MAYFLY_RETURN_IF_ERROR(MakeFolder(target, 0755));
  if (folder.kind == RootPlan::Folder::Kind::kBind) {
    MAYFLY_RETURN_IF_ERROR(BindReadOnly(from, target));
  } else {
    // Fails where something is mounted below or the folder may not be read: then it stays empty.
    MountOverlay(absl::StrCat(from, ":", kEmpty), "", "", target).IgnoreError();
  }
  for (const std::string& path : hidden) {
    if (absl::StartsWith(path, from + "/")) MAYFLY_RETURN_IF_ERROR(Hide(kHost + path));
  }
  return absl::OkStatus();
}

// In a shim.
absl::Status ShowHostFolder(const RootPlan::Folder& folder, const std::string& root) {
  const std::string target = absl::StrCat(root, "/root/", folder.name);
  switch (folder.kind) {
    case RootPlan::Folder::Kind::kLink:
      return symlink(folder.link.c_str(), target.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, target);
    case RootPlan::Folder::Kind::kWritable:
      return MakeWritableFolder(folder.name, root);
    case RootPlan::Folder::Kind::kEmpty:
      return MakeFolder(target, 0755);
    case RootPlan::Folder::Kind::kBind:
    case RootPlan::Folder::Kind::kOverlay:
      MAYFLY_RETURN_IF_ERROR(MakeFolder(target, 0755));
      return Mount(absl::StrCat(kHost, "/", folder.name).c_str(), target, nullptr, MS_BIND | MS_REC);
  }
  return absl::OkStatus();
}

bool IsEmptyFolder(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return true;
  int entries = 0;
  while (entries < 3 && readdir(dir) != nullptr) ++entries;
  closedir(dir);
  return entries < 3;  // "." and ".."
}

std::string DiskOptions(int64_t disk_bytes) {
  const int64_t bytes = disk_bytes > 0 ? disk_bytes : kDefaultDiskBytes;
  // Room for our own folders even in the smallest layer.
  return absl::StrCat("mode=755,size=", std::max<int64_t>(bytes, 65536),
                      ",nr_inodes=", std::max<int64_t>(bytes / kBytesPerInode, 1024));
}

// Opens below the service's tree; links cannot lead out of it.
int OpenInRoot(const std::string& path, uint64_t flags, uint64_t mode) {
  const UniqueFd root(open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how)));
}

absl::Status WriteRendered(const RenderedFile& file, const std::string& workdir) {
  const std::string path = absl::StartsWith(file.path, "/") ? file.path : absl::StrCat(workdir, "/", file.path);
  const size_t slash = path.rfind('/');
  const std::string folder = path.substr(0, std::max<size_t>(slash, 1)), name = path.substr(slash + 1);
  // Parents first, each below the one before it.
  for (size_t end = 1; end < folder.size() + 1 && folder.size() > 1;) {
    end = std::min(folder.find('/', end), folder.size());
    const size_t start = folder.rfind('/', end - 1);
    const UniqueFd parent(OpenInRoot(start == 0 ? "/" : folder.substr(0, start), O_PATH | O_DIRECTORY, 0));
    if (parent.valid()) mkdirat(parent.get(), folder.substr(start + 1, end - start - 1).c_str(), 0755);
    ++end;
  }
  const UniqueFd parent(OpenInRoot(folder, O_PATH | O_DIRECTORY, 0));
  if (!parent.valid()) return ErrnoStatus(errno, absl::StrCat("folder of file ", path));
  unlinkat(parent.get(), name.c_str(), 0);
  const UniqueFd fd(openat(parent.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("file ", path));
  if (write(fd.get(), file.content.data(), file.content.size()) != static_cast<ssize_t>(file.content.size())) {
    return ErrnoStatus(errno, absl::StrCat("file ", path));
  }
  if (fchmod(fd.get(), file.mode & 0777) != 0) return ErrnoStatus(errno, absl::StrCat("file ", path));
  return absl::OkStatus();
}

absl::Status ShowSource(const std::string& path, int source, bool wipe) {
  const std::string target = "/root" + path;
  umount2(target.c_str(), MNT_DETACH);  // Of the attempt before.
  MAYFLY_RETURN_IF_ERROR(MakeDirs(target, 0755));
  if (wipe) {
    RemoveTree(AT_FDCWD, "/up/source").IgnoreError();
    RemoveTree(AT_FDCWD, "/work/source").IgnoreError();
  }
  MAYFLY_RETURN_IF_ERROR(MakeFolder("/up/source", 0755));
  MAYFLY_RETURN_IF_ERROR(MakeFolder("/work/source", 0755));
  const absl::Status status = MountOverlay(absl::StrCat("/share/src", source), "/up/source", "/work/source", target);
  if (status.ok()) return status;
  return Annotate(status, absl::StrCat("source folder ", path, " (is something mounted below it?)"));
}

}  // namespace

RootPlan PlanRoot(const std::vector<std::string>& hidden) {
  RootPlan plan;
  plan.hidden = hidden;
  DIR* dir = opendir("/");
  if (dir == nullptr) return plan;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == ".." || IsLeftOut(name)) continue;
    struct stat st;
    if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    RootPlan::Folder folder{name, RootPlan::Folder::Kind::kBind, ""};
    if (S_ISLNK(st.st_mode)) {
      char link[PATH_MAX];
      const ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link));
      if (n <= 0) continue;
      folder.kind = RootPlan::Folder::Kind::kLink;
      folder.link.assign(link, n);
    } else if (!S_ISDIR(st.st_mode)) {
      continue;
    } else if (!IsProgramFolder(name)) {
      folder.kind = IsEmptyFolder("/" + name) ? RootPlan::Folder::Kind::kEmpty : RootPlan::Folder::Kind::kOverlay;
    }
    plan.folders.push_back(std::move(folder));
  }
  closedir(dir);
  for (const char* name : {"etc", "var", "srv"}) {
    if (access(absl::StrCat("/", name).c_str(), R_OK | X_OK) == 0) {
      const bool empty = IsEmptyFolder(absl::StrCat("/", name));
      plan.folders.push_back({name, empty ? RootPlan::Folder::Kind::kEmpty : RootPlan::Folder::Kind::kWritable, ""});
    }
  }
  std::sort(plan.folders.begin(), plan.folders.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return plan;
}

absl::Status PrepareShared(const RootPlan& plan) {
  MAYFLY_RETURN_IF_ERROR(Mount("none", "/", nullptr, MS_REC | MS_SLAVE));
  // /sys exists everywhere and is of no use to an init; it is covered in this mount namespace only.
  MAYFLY_RETURN_IF_ERROR(Mount("tmpfs", "/sys", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m"));
  for (const char* folder : {"/sys/share", "/sys/etc", "/sys/empty", "/sys/root", kHost})
    MAYFLY_RETURN_IF_ERROR(MakeFolder(folder, 0755));
  MAYFLY_RETURN_IF_ERROR(Mount(kSharedFolder, kSharedFolder, nullptr, MS_BIND));
  MAYFLY_RETURN_IF_ERROR(Mount("none", kSharedFolder, nullptr, MS_SHARED));
  MAYFLY_RETURN_IF_ERROR(WriteNew(kHostsFile, "127.0.0.1 localhost\n"));
  for (const RootPlan::Folder& folder : plan.folders) {
    MAYFLY_RETURN_IF_ERROR(ShareHostFolder(folder, plan.hidden));
  }
  MAYFLY_RETURN_IF_ERROR(ShareDevices());
  const std::string id = absl::StrCat(kInsideId);
  MAYFLY_RETURN_IF_ERROR(
      WriteNew("/sys/etc/passwd", absl::StrCat("app:x:", id, ":", id, ":service:/home/app:/bin/sh\n",
                                               "nobody:x:65534:65534:not yours:/nonexistent:/usr/sbin/nologin\n")));
  MAYFLY_RETURN_IF_ERROR(WriteNew("/sys/etc/group", absl::StrCat("app:x:", id, ":\nnogroup:x:65534:\n")));
  MAYFLY_RETURN_IF_ERROR(WriteNew("/sys/etc/hosts", ""));
  // Every name there is stands in the hosts file. Asking a name server as well would cost gRPC three seconds for each
  // name: its resolver also wants an IPv6 address, and does not notice that nobody answers.
  MAYFLY_RETURN_IF_ERROR(WriteNew("/sys/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"));
  return WriteNew("/sys/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
}

absl::Status AttachSource(int number, const std::string& path, int detached_mount) {
  const std::string target = absl::StrCat(kSharedFolder, "/src", number);
  MAYFLY_RETURN_IF_ERROR(MakeFolder(target, 0755));
  UniqueFd own;
  if (detached_mount < 0) {
    MAYFLY_ASSIGN_OR_RETURN(own, CloneSourceTree(path, AT_RECURSIVE));
    detached_mount = own.get();
  }
  if (syscall(SYS_move_mount, detached_mount, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return ErrnoStatus(errno, absl::StrCat("source folder ", path));
  if (access(target.c_str(), R_OK | X_OK) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("source folder ", path, " cannot be read by other users"));
  }
  return absl::OkStatus();
}

absl::Status BuildRoot(const RootPlan& plan) {
  MAYFLY_RETURN_IF_ERROR(Mount("none", "/", nullptr, MS_REC | MS_SLAVE));
  MAYFLY_RETURN_IF_ERROR(Mount("tmpfs", kBuild, "tmpfs", MS_NOSUID | MS_NODEV, DiskOptions(0)));
  // From here on by short paths: a hundred of them are walked.
  if (chdir(kBuild) != 0) return ErrnoStatus(errno, "chdir");
  const std::string root = ".";
  for (const char* folder : {"/root", "/share", "/up", "/work", "/root/proc", "/root/sys", "/root/home",
                             "/root/home/app", "/root/run", "/root/run/mayfly"}) {
    MAYFLY_RETURN_IF_ERROR(MakeFolder(root + folder, 0755));
  }
  MAYFLY_RETURN_IF_ERROR(MakeFolder(root + "/root/tmp", 01777));
  chmod((root + "/root/tmp").c_str(), 01777);
  MAYFLY_RETURN_IF_ERROR(MakeFolder(root + "/root/root", 0700));
  for (const RootPlan::Folder& folder : plan.folders) MAYFLY_RETURN_IF_ERROR(ShowHostFolder(folder, root));
  for (const std::string& path : plan.hidden) {
    if (absl::StartsWith(path, "/var/") || absl::StartsWith(path, "/etc/") || absl::StartsWith(path, "/srv/")) {
      MAYFLY_RETURN_IF_ERROR(Hide(absl::StrCat(root, "/root", path)));
    }
  }
  MAYFLY_RETURN_IF_ERROR(ShowDevices(root));
  MAYFLY_RETURN_IF_ERROR(Mount("proc", root + "/root/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  MAYFLY_RETURN_IF_ERROR(Mount(kSharedFolder, root + "/share", nullptr, MS_BIND | MS_REC));
  MAYFLY_RETURN_IF_ERROR(Mount(kHostsFile, root + "/root/etc/hosts", nullptr, MS_BIND));
  if (syscall(SYS_pivot_root, ".", ".") != 0) return ErrnoStatus(errno, "pivot_root");
  // The host's tree now lies over our root at "."; take it off.
  if (umount2(".", MNT_DETACH) != 0) return ErrnoStatus(errno, "umount of the host's tree");
  return chdir("/") == 0 ? absl::OkStatus() : ErrnoStatus(errno, "chdir");
}

absl::Status Furnish(const RootPlan& plan, const ProcessSpec& process, int source, bool wipe_source) {
  static int64_t current_disk = 0;
  if (process.resources.disk_bytes != current_disk) {
    MAYFLY_RETURN_IF_ERROR(
        Mount("tmpfs", "/", "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, DiskOptions(process.resources.disk_bytes)));
    current_disk = process.resources.disk_bytes;
  }
  if (source >= 0) MAYFLY_RETURN_IF_ERROR(ShowSource(process.source_root, source, wipe_source));
  for (const std::string& path : plan.hidden) {
    if (source >= 0 && absl::StartsWith(path, process.source_root + "/")) MAYFLY_RETURN_IF_ERROR(Hide("/root" + path));
  }
  for (const RenderedFile& file : process.files) MAYFLY_RETURN_IF_ERROR(WriteRendered(file, process.workdir));
  return absl::OkStatus();
}

bool RootIsFull() {
  struct statfs fs;
  return statfs("/", &fs) == 0 && (fs.f_bavail == 0 || (fs.f_files > 0 && fs.f_ffree == 0));
}

}  // namespace mayfly::local
