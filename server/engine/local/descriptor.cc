#include "server/engine/local/descriptor.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"

namespace mayfly::local {
namespace {

// The socket's address goes through a descriptor: sun_path holds 108 bytes, a state folder may be longer.
absl::StatusOr<sockaddr_un> ControlAddress(const UniqueFd& folder, const char* name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = absl::StrCat("/proc/self/fd/", folder.get(), "/", name);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

absl::StatusOr<UniqueFd> OpenScopeFolder(const std::string& folder) {
  UniqueFd fd(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, folder);
  return fd;
}

}  // namespace

std::string ScopeFolder(const std::string& state_dir, const std::string& scope) {
  return absl::StrCat(state_dir, "/scopes/", scope);
}

std::string BootId() {
  const auto id = ReadSmallFile(AT_FDCWD, "/proc/sys/kernel/random/boot_id");
  return id.ok() ? std::string(absl::StripSuffix(*id, "\n")) : "";
}

absl::Status WriteDescriptor(const std::string& state_dir, const ScopeDescriptor& d) {
  const std::string folder = ScopeFolder(state_dir, d.scope);
  MAYFLY_RETURN_IF_ERROR(MakeDirs(folder, 0700));
  const std::string text =
      absl::StrCat("scope=", d.scope, "\nenvironment=", d.environment, "\nowner=", d.owner, "\npid=", d.pid,
                   "\nstart_time=", d.start_time, "\npid_namespace=", d.pid_namespace, "\nboot_id=", d.boot_id,
                   "\ncgroup=", d.cgroup, "\nhost_id=", d.host_id, "\nprotocol=", d.protocol, "\n");
  return ReplaceFile(folder + "/init", text, 0600);
}

absl::StatusOr<ScopeDescriptor> ReadDescriptor(const std::string& state_dir, const std::string& scope) {
  const std::string folder = ScopeFolder(state_dir, scope);
  struct stat st;
  if (lstat(folder.c_str(), &st) != 0) return absl::NotFoundError(absl::StrCat("no scope ", scope));
  const auto text = ReadSmallFile(AT_FDCWD, folder + "/init");
  if (!text.ok()) return absl::DataLossError(absl::StrCat("scope ", scope, " has no descriptor"));
  std::map<std::string, std::string> values;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits('=', 1));
    values.insert(field);
  }
  ScopeDescriptor d;
  d.scope = values["scope"];
  d.environment = values["environment"];
  d.owner = values["owner"];
  d.boot_id = values["boot_id"];
  d.cgroup = values["cgroup"];
  if (d.scope != scope || !absl::SimpleAtoi(values["pid"], &d.pid) || d.pid <= 1 ||
      !absl::SimpleAtoi(values["start_time"], &d.start_time) ||
      !absl::SimpleAtoi(values["pid_namespace"], &d.pid_namespace) ||
      !absl::SimpleAtoi(values["host_id"], &d.host_id) || !absl::SimpleAtoi(values["protocol"], &d.protocol)) {
    return absl::DataLossError(absl::StrCat("scope ", scope, " has a damaged descriptor"));
  }
  return d;
}

absl::StatusOr<std::vector<std::string>> ListScopes(const std::string& state_dir) {
  std::vector<std::string> scopes;
  DIR* dir = opendir((state_dir + "/scopes").c_str());
  if (dir == nullptr) {
    if (errno == ENOENT) return scopes;
    return ErrnoStatus(errno, state_dir + "/scopes");
  }
  errno = 0;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') scopes.push_back(entry->d_name);
    errno = 0;
  }
  const int error = errno;
  closedir(dir);
  if (error != 0) return ErrnoStatus(error, state_dir + "/scopes");
  std::sort(scopes.begin(), scopes.end());
  return scopes;
}

absl::StatusOr<UniqueFd> OpenInit(const ScopeDescriptor& d) {
  if (d.boot_id != BootId()) return absl::NotFoundError("the machine has restarted since");
  // The descriptor first: from then on the number cannot be taken by another process unnoticed.
  MAYFLY_ASSIGN_OR_RETURN(UniqueFd pidfd, OpenPidfd(d.pid));
  MAYFLY_ASSIGN_OR_RETURN(const uint64_t start, ProcessStartTime(d.pid));
  if (start != d.start_time) return absl::NotFoundError(absl::StrCat("process ", d.pid, " is another one by now"));
  return pidfd;
}

absl::StatusOr<UniqueFd> ListenControl(const std::string& folder) {
  MAYFLY_ASSIGN_OR_RETURN(const UniqueFd dir, OpenScopeFolder(folder));
  MAYFLY_ASSIGN_OR_RETURN(const sockaddr_un address, ControlAddress(dir, "control.new"));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  const mode_t old = umask(0177);
  const int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  umask(old);
  if (bound != 0) return ErrnoStatus(errno, folder + "/control.new");
  if (listen(fd.get(), 16) != 0) return ErrnoStatus(errno, folder + "/control.new");
  return fd;
}

absl::Status PublishControl(const std::string& folder) {
  const std::string path = folder + "/control.sock";
  return rename((folder + "/control.new").c_str(), path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, path);
}

bool IsPublished(const std::string& folder) {
  return access((folder + "/control.sock").c_str(), F_OK) == 0 || errno != ENOENT;
}

absl::StatusOr<UniqueFd> ConnectControl(const std::string& folder) {
  MAYFLY_ASSIGN_OR_RETURN(const UniqueFd dir, OpenScopeFolder(folder));
  MAYFLY_ASSIGN_OR_RETURN(const sockaddr_un address, ControlAddress(dir, "control.sock"));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, folder + "/control.sock");
  }
  return fd;
}

}  // namespace mayfly::local
