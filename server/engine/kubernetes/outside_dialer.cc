#include "server/engine/kubernetes/outside_dialer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::kubernetes {
namespace {

constexpr size_t kMostCalls = 128;
constexpr absl::Duration kLookupLimit = absl::Seconds(10);
constexpr absl::Duration kConnectLimit = absl::Seconds(5);

// Its output comes on the descriptor, whose end is the program's.
absl::StatusOr<UniqueFd> StartLookup(const std::string& host, pid_t* pid) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd out(fds[0]), in(fds[1]);
  fcntl(out.get(), F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  std::string name = host;
  char program[] = "/usr/bin/getent", database[] = "ahostsv4", end[] = "--";
  char* const argv[] = {program, database, end, name.data(), nullptr};
  const int error = posix_spawn(pid, program, &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, program);
  return out;
}

std::vector<uint32_t> AddressesIn(const std::string& text) {
  std::vector<uint32_t> addresses;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    uint32_t address = 0;
    const std::string word(line.substr(0, line.find(' ')));
    if (inet_pton(AF_INET, word.c_str(), &address) != 1) continue;
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) addresses.push_back(address);
  }
  return addresses;
}

}  // namespace

struct OutsideDialer::Call {
  EgressTarget target;
  std::function<void(absl::StatusOr<UniqueFd>)> done;
  pid_t pid = 0;
  UniqueFd output;
  std::string text;
  std::vector<uint32_t> addresses;  // Still to be tried.
  UniqueFd socket;
  absl::Status failure;
  Reactor::TimerId limit = 0;
};

OutsideDialer::OutsideDialer(IoThread& io, Options options) : io_(io), options_(std::move(options)) {}

OutsideDialer::~OutsideDialer() {
  while (!calls_.empty()) {
    calls_.begin()->second->done = nullptr;
    Finish(calls_.begin()->first, absl::CancelledError(""));
  }
}

void OutsideDialer::Dial(const EgressTarget& target, std::function<void(absl::StatusOr<UniqueFd>)> done) {
  const uint64_t id = ++last_;
  auto& call = calls_[id] = std::make_unique<Call>();
  call->target = target;
  call->done = std::move(done);
  if (calls_.size() > kMostCalls) {
    return Finish(id, absl::ResourceExhaustedError("too many connections are being made"));
  }
  absl::StatusOr<UniqueFd> output = StartLookup(target.host, &call->pid);
  if (!output.ok()) return Finish(id, output.status());
  call->output = *std::move(output);
  call->limit = io_.reactor()->AddTimer(
      kLookupLimit, [this, id] { Finish(id, absl::UnavailableError("looking the name up takes too long")); });
  io_.reactor()->Add(call->output.get(), EPOLLIN, [this, id](uint32_t) { OnLookedUp(id); }).IgnoreError();
}

void OutsideDialer::OnLookedUp(uint64_t id) {
  Call& call = *calls_.at(id);
  char buffer[4096];
  const ssize_t n = read(call.output.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) {
    call.text.append(buffer, static_cast<size_t>(n));
    if (call.text.size() < size_t{64} << 10) return;
  }
  io_.reactor()->Remove(call.output.get());
  call.output.reset();
  io_.reactor()->CancelTimer(std::exchange(call.limit, 0));
  kill(call.pid, SIGKILL);
  waitpid(std::exchange(call.pid, 0), nullptr, 0);  // It has closed its output: a moment.
  call.addresses = AddressesIn(call.text);
  call.failure = absl::NotFoundError("no such name");
  TryNext(id);
}

void OutsideDialer::TryNext(uint64_t id) {
  Call& call = *calls_.at(id);
  while (!call.addresses.empty()) {
    const uint32_t address = call.addresses.front();
    call.addresses.erase(call.addresses.begin());
    // Only here is it known what a name leads to.
    if (IsOutOfBounds(address, options_.to_host) || options_.out_of_bounds.count(address) > 0) {
      char text[INET_ADDRSTRLEN];
      call.failure = absl::PermissionDeniedError(
          absl::StrCat(inet_ntop(AF_INET, &address, text, sizeof text), " is out of bounds"));
      continue;
    }
    call.socket.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (call.socket.valid()) setsockopt(call.socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = address;
    to.sin_port = htons(static_cast<uint16_t>(call.target.port));
    if (!call.socket.valid() ||
        (connect(call.socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS)) {
      call.failure = absl::UnavailableError(strerror(errno));
      continue;
    }
    call.limit = io_.reactor()->AddTimer(kConnectLimit, [this, id] {
      Call& late = *calls_.at(id);
      io_.reactor()->Remove(late.socket.get());
      late.failure = absl::UnavailableError("does not answer");
      late.limit = 0;
      TryNext(id);
    });
    io_.reactor()->Add(call.socket.get(), EPOLLOUT, [this, id](uint32_t) { OnConnected(id); }).IgnoreError();
    return;
  }
  call.socket.reset();
  Finish(id, call.failure);
}

void OutsideDialer::OnConnected(uint64_t id) {
  Call& call = *calls_.at(id);
  io_.reactor()->Remove(call.socket.get());
  io_.reactor()->CancelTimer(std::exchange(call.limit, 0));
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(call.socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return Finish(id, std::move(call.socket));
  call.failure = absl::UnavailableError(strerror(error));
  TryNext(id);
}

void OutsideDialer::Finish(uint64_t id, absl::StatusOr<UniqueFd> result) {
  const auto it = calls_.find(id);
  const std::unique_ptr<Call> call = std::move(it->second);
  calls_.erase(it);
  io_.reactor()->CancelTimer(call->limit);
  if (call->pid > 0) {
    if (call->output.valid()) io_.reactor()->Remove(call->output.get());
    kill(call->pid, SIGKILL);
    waitpid(call->pid, nullptr, 0);
  }
  if (call->socket.valid()) io_.reactor()->Remove(call->socket.get());
  if (!call->done) return;
  // Never inline.
  io_.Post([done = call->done, moved = std::make_shared<absl::StatusOr<UniqueFd>>(std::move(result))] {
    done(std::move(*moved));
  });
}

}  // namespace mayfly::kubernetes
