#include "server/api/acceptor.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <optional>

#include "mayfly/base/status.h"
#include "server/obs/log.h"

namespace mayfly::api {
namespace {

std::optional<ino_t> Inode(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) return std::nullopt;
  return info.st_ino;
}

bool IsOwnUser(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  if (peer.uid == geteuid() || peer.uid == 0) return true;
  LogWarning("connection of another user refused", {{"uid", peer.uid}, {"pid", peer.pid}});
  return false;
}

int64_t MonotonicNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::ToInt64Nanoseconds(absl::DurationFromTimespec(now));
}

}  // namespace

Acceptor::Acceptor(Options options) : options_(options), stop_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Acceptor::~Acceptor() {
  Stop();
}

void Acceptor::Add(UniqueFd listener, Peers peers, Handler handler) {
  listeners_.push_back({std::move(listener), peers, std::move(handler)});
}

void Acceptor::Start() {
  thread_ = std::thread(&Acceptor::Run, this);
}

void Acceptor::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(stop_event_.get(), 1);
  thread_.join();
  listeners_.clear();
}

int Acceptor::open_connections() {
  MutexLock lock(mutex_);
  std::erase_if(connections_, [](const Connection& connection) { return Inode(connection.fd) != connection.inode; });
  return static_cast<int>(connections_.size());
}

absl::Duration Acceptor::last_accept() const {
  return absl::Nanoseconds(last_accept_ns_.load());
}

void Acceptor::Run() {
  std::vector<pollfd> polls;
  polls.reserve(listeners_.size() + 1);
  for (const Listener& listener : listeners_) polls.push_back({listener.fd.get(), POLLIN, 0});
  polls.push_back({stop_event_.get(), POLLIN, 0});
  bool backing_off = false;
  while (true) {
    // While backing off only the wish to stop is listened to: the listeners would be readable all the time.
    pollfd* const first = backing_off ? &polls.back() : polls.data();
    const int timeout = backing_off ? static_cast<int>(absl::ToInt64Milliseconds(options_.back_off)) : -1;
    if (poll(first, backing_off ? 1 : polls.size(), timeout) < 0 && errno != EINTR) {
      LogError("poll of listeners failed", {{"error", ErrnoStatus(errno, "poll")}});
      backing_off = true;
      continue;
    }
    if (polls.back().revents != 0) return;
    backing_off = false;
    for (Listener& listener : listeners_) backing_off = !AcceptAll(listener) || backing_off;
  }
}

bool Acceptor::AcceptAll(Listener& listener) {
  while (true) {
    size_t count;
    {
      MutexLock lock(mutex_);
      count = connections_.size();
    }
    if (count >= static_cast<size_t>(options_.max_connections) || count >= recount_at_) {
      count = static_cast<size_t>(open_connections());
      recount_at_ = std::max<size_t>(64, 2 * count);
      if (count >= static_cast<size_t>(options_.max_connections)) return false;
    }
    UniqueFd fd(accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      HandOver(listener, std::move(fd));
    } else if (errno == EAGAIN) {
      return true;
    } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
      LogWarning("cannot accept connections for now", {{"error", ErrnoStatus(errno, "accept4")}});
      return false;
    }
  }
}

void Acceptor::HandOver(Listener& listener, UniqueFd fd) {
  if (listener.peers == Peers::kOwnUser && !IsOwnUser(fd.get())) return;
  const std::optional<ino_t> inode = Inode(fd.get());
  if (!inode) return;
  last_accept_ns_ = MonotonicNanoseconds();
  {
    MutexLock lock(mutex_);
    connections_.push_back({fd.get(), *inode});
  }
  listener.handler(fd.release());
}

int RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

int ConnectionCap(int descriptors) {
  return std::min(10000, std::max(1, descriptors - std::min(512, descriptors / 2)));
}

}  // namespace mayfly::api
