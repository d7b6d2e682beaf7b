#include "tests/bench/process_watch.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <utility>

namespace mayfly::bench {
namespace {

constexpr int64_t kPaceNs = 500'000;  // Of probing; what is measured may be late by as much, never early.

// What can be read of it: a process may end meanwhile.
std::string ReadAll(const std::string& path) {
  std::string text;
  char buffer[65536];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  for (ssize_t size; fd >= 0 && (size = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, size);
  if (fd >= 0) close(fd);
  return text;
}

std::string ReadLink(const std::string& path) {
  char target[4096];
  const ssize_t size = readlink(path.c_str(), target, sizeof target);
  return size < 0 ? "" : std::string(target, size);
}

std::vector<int> Pids() {
  std::vector<int> found;
  DIR* folder = opendir("/proc");
  while (const dirent* entry = readdir(folder)) {
    if (const int pid = atoi(entry->d_name); pid > 0) found.push_back(pid);
  }
  closedir(folder);
  return found;
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// Dead and only waiting for a parent that is none of ours.
bool ForeignZombie(int pid) {
  const std::string stat = ReadAll("/proc/" + std::to_string(pid) + "/stat");
  const size_t end = stat.rfind(')');
  return end != std::string::npos && stat.compare(end, 6, ") Z 1 ") == 0;
}

// pid -> parent, as this process sees both.
std::map<int, int> Parents() {
  std::map<int, int> found;
  for (const int pid : Pids()) {
    const std::string stat = ReadAll("/proc/" + std::to_string(pid) + "/stat");
    const size_t end = stat.rfind(')');
    if (end != std::string::npos) found[pid] = atoi(stat.c_str() + end + 4);
  }
  return found;
}

// The outermost of the processes around `pid` that is in a pid namespace other than ours: the environment's first.
int Outermost(int pid, const std::map<int, int>& parents) {
  const std::string own = ReadLink("/proc/self/ns/pid");
  int found = 0;
  for (auto at = parents.find(pid); at != parents.end(); at = parents.find(at->second)) {
    if (ReadLink("/proc/" + std::to_string(at->first) + "/ns/pid") == own) break;
    found = at->first;
  }
  return found;
}

bool Below(int pid, const std::set<int>& roots, const std::map<int, int>& parents) {
  for (auto at = parents.find(pid); at != parents.end(); at = parents.find(at->second)) {
    if (roots.count(at->first) > 0) return true;
  }
  return false;
}

void Walk(const std::string& folder, int depth, std::set<std::string>& found) {
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = folder + "/" + name;
    if (name == "environments") continue;  // Logs and artifacts, which stay as long as the report.
    if (entry->d_type == DT_DIR) {
      found.insert(path);
      if (depth > 1) Walk(path, depth - 1, found);
    }
  }
  closedir(dir);
}

// Control group folders of a process, but for the roots and those that this process is in itself.
void Cgroups(int pid, std::set<std::string>& found) {
  std::map<std::string, std::string> roots;  // Controllers -> mount point; "" for the unified hierarchy.
  std::ifstream mounts("/proc/self/mounts");
  for (std::string device, at, type, options, rest; mounts >> device >> at >> type >> options;) {
    std::getline(mounts, rest);
    if (type == "cgroup2") roots[""] = at;
    if (type == "cgroup") roots[at.substr(at.rfind('/') + 1)] = at;
  }
  const std::string own = ReadAll("/proc/self/cgroup");
  std::istringstream groups(ReadAll("/proc/" + std::to_string(pid) + "/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.rfind("name=", 0) == 0) controllers = controllers.substr(5);
    const std::string path = line.substr(second + 1);
    if (path == "/" || own.find(line + "\n") != std::string::npos || roots.count(controllers) == 0) continue;
    found.insert(roots[controllers] + path);
  }
}

// What a SYN to `address` would find, by the kernel's own table of listeners.
bool Listens(int diagnostics, const sockaddr_in& address) {
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } ask = {};
  ask.header.nlmsg_len = sizeof ask;
  ask.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  ask.header.nlmsg_flags = NLM_F_REQUEST;
  ask.request.sdiag_family = AF_INET;
  ask.request.sdiag_protocol = IPPROTO_TCP;
  ask.request.id.idiag_sport = address.sin_port;
  ask.request.id.idiag_src[0] = address.sin_addr.s_addr;
  ask.request.id.idiag_cookie[0] = ask.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  alignas(nlmsghdr) char answer[4096];
  if (send(diagnostics, &ask, sizeof ask, 0) < 0 || recv(diagnostics, answer, sizeof answer, 0) < 0) return true;
  return reinterpret_cast<const nlmsghdr*>(answer)->nlmsg_type != NLMSG_ERROR;
}

}  // namespace

int64_t NowNs() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1'000'000'000LL + ts.tv_nsec;
}

ProcessWatch::ProcessWatch(std::string mark) : mark_(std::move(mark)) {
  prctl(PR_SET_TIMERSLACK, 1);
  events_ = socket(PF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);
  const int buffer = 16 << 20;
  setsockopt(events_, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = CN_IDX_PROC;
  const proc_cn_mcast_op op = PROC_CN_MCAST_LISTEN;
  alignas(nlmsghdr) char listen[NLMSG_SPACE(sizeof(cn_msg) + sizeof op)] = {};
  auto* header = reinterpret_cast<nlmsghdr*>(listen);
  header->nlmsg_len = NLMSG_LENGTH(sizeof(cn_msg) + sizeof op);
  header->nlmsg_type = NLMSG_DONE;
  auto* message = static_cast<cn_msg*>(NLMSG_DATA(header));
  message->id = {CN_IDX_PROC, CN_VAL_PROC};
  message->len = sizeof op;
  memcpy(message->data, &op, sizeof op);
  if (bind(events_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      send(events_, listen, header->nlmsg_len, 0) < 0) {
    perror("cannot watch processes (root and the kernel's process connector are needed)");
    exit(3);
  }
}

ProcessWatch::~ProcessWatch() {
  Forget();
  close(events_);
}

void ProcessWatch::Forget() {
  for (const auto& [name, probed] : probing_) {
    close(probed.connection);
    close(probed.diagnostics);
  }
  probing_.clear();
  seen_.clear();
}

void ProcessWatch::ReadEvents() {
  alignas(nlmsghdr) char buffer[8192];
  for (ssize_t size; (size = recv(events_, buffer, sizeof buffer, 0)) > 0;) {
    const auto* message = reinterpret_cast<const cn_msg*>(buffer + NLMSG_HDRLEN);
    proc_event event;
    memcpy(&event, message->data, sizeof event);
    if (event.what == proc_event::PROC_EVENT_EXEC) OnExec(event.event_data.exec.process_pid, event.timestamp_ns);
  }
}

void ProcessWatch::OnExec(int pid, int64_t when) {
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string variables = '\0' + ReadAll(proc + "/environ");
  const std::string wanted = std::string(1, '\0') + "W21=" + mark_ + "/";
  const size_t at = variables.find(wanted);
  if (at == std::string::npos) return;
  const std::string name = variables.c_str() + at + wanted.size();
  seen_[name] = Seen{pid, when, 0};
  const int network = open((proc + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
  if (network < 0 || setns(network, CLONE_NEWNET) != 0) return;
  close(network);
  const Probed probed = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                         socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG)};
  probing_[name] = probed;
  // Ends with a reset, so that no half-closed connection stays in a network that is to be used again.
  const linger reset = {1, 0};
  setsockopt(probed.connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void ProcessWatch::Probe(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (auto it = probing_.begin(); it != probing_.end();) {
    const Probed probed = it->second;
    if (!Listens(probed.diagnostics, address) ||
        (connect(probed.connection, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno != EISCONN)) {
      ++it;
      continue;
    }
    seen_[it->first].ready_ns = NowNs();
    close(probed.connection);
    close(probed.diagnostics);
    it = probing_.erase(it);
  }
}

void ProcessWatch::Await(size_t count, int port, int64_t limit_ns) {
  const int64_t end = NowNs() + limit_ns;
  while (NowNs() < end) {
    pollfd wait = {events_, POLLIN, 0};
    const timespec pace = {0, kPaceNs};
    ppoll(&wait, 1, &pace, nullptr);
    ReadEvents();
    if (port != 0) Probe(port);
    if (seen_.size() >= count && (port == 0 || probing_.empty())) return;
  }
}

std::set<std::string> Holdings::Folders(const std::string& state_dir) {
  std::set<std::string> found;
  if (!state_dir.empty()) Walk(state_dir, 3, found);
  return found;
}

Holdings::Holdings(const std::vector<int>& service_pids, const std::string& state_dir,
                   const std::set<std::string>& folders_before) {
  const std::map<int, int> parents = Parents();
  std::set<int> roots;
  for (const int pid : service_pids) roots.insert(Outermost(pid, parents));
  roots.erase(0);
  for (const auto& [pid, parent] : parents) {
    if (!Below(pid, roots, parents)) continue;
    pids_[pid] = syscall(SYS_pidfd_open, pid, 0);
    Cgroups(pid, cgroups_);
  }
  for (const std::string& folder : Folders(state_dir)) {
    if (folders_before.count(folder) == 0) folders_.insert(folder);
  }
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    if (!state_dir.empty() && line.find(state_dir) != std::string::npos) mounts_.insert(line);
  }
}

Holdings::~Holdings() {
  for (const auto& [pid, fd] : pids_) close(fd);
}

// A group of the pool may stay for the next environment, but nobody is in it.
bool Holdings::InUse(const std::string& cgroup) {
  return !ReadAll(cgroup + "/cgroup.procs").empty();
}

bool Holdings::Gone() const {
  for (const auto& [pid, fd] : pids_) {
    if (syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0) == 0 && !ForeignZombie(pid)) return false;
  }
  for (const std::string& path : cgroups_) {
    if (InUse(path)) return false;
  }
  for (const std::string& path : folders_) {
    if (Exists(path)) return false;
  }
  if (mounts_.empty()) return true;
  const std::string now = ReadAll("/proc/self/mounts");
  for (const std::string& line : mounts_) {
    if (now.find(line) != std::string::npos) return false;
  }
  return true;
}

int64_t Holdings::AwaitReleased(int64_t limit_ns) {
  const int64_t end = NowNs() + limit_ns;
  while (!Gone()) {
    if (NowNs() > end) return 0;
    const timespec pace = {0, 200'000};
    nanosleep(&pace, nullptr);
  }
  return NowNs();
}

std::string Holdings::Left() const {
  std::string text;
  for (const auto& [pid, fd] : pids_) {
    if (syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0) == 0) text += " pid " + std::to_string(pid);
  }
  for (const std::string& path : cgroups_) {
    if (InUse(path)) text += " " + path;
  }
  for (const std::string& path : folders_) {
    if (Exists(path)) text += " " + path;
  }
  return text;
}

}  // namespace mayfly::bench
