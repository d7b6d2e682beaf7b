#include "server/engine/local/egress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "server/engine/local/messages.h"
#include "server/engine/local/network.h"
#include "server/engine/parts/proxy.h"

namespace mayfly::local {
namespace {

constexpr int kConnectSeconds = 10;

void SendOne(int channel, const EgressOpened& opened, UniqueFd connection) {
  Reactor reactor;
  Channel out(&reactor, UniqueFd(dup(channel)), [](Frame) {}, [] {});
  std::vector<UniqueFd> fds;
  if (connection.valid()) fds.push_back(std::move(connection));
  out.Send(opened, std::move(fds));
  out.Flush();
}

// The addresses of a name, as the host itself would find them. By getent and not by getaddrinfo: that loads libraries
// named in the host's configuration, which a static program cannot.
absl::StatusOr<std::vector<uint32_t>> Resolve(const std::string& host) {
  uint32_t literal = 0;
  if (inet_pton(AF_INET, host.c_str(), &literal) == 1) return std::vector<uint32_t>{literal};
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  const UniqueFd out(fds[0]);
  const pid_t pid =
      vfork();  // NOLINT(bugprone-unsafe-functions): posix_spawn is one, with a thread's stack to pay for.
  if (pid == 0) {
    dup2(fds[1], 1);
    execl("/usr/bin/getent", "getent", "ahostsv4", "--", host.c_str(), nullptr);
    _exit(127);
  }
  close(fds[1]);
  if (pid < 0) return ErrnoStatus(errno, "vfork");
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(out.get(), buffer, sizeof(buffer))) > 0;) text.append(buffer, n);
  std::vector<uint32_t> addresses;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    uint32_t address = 0;
    const std::string word(line.substr(0, line.find(' ')));
    if (inet_pton(AF_INET, word.c_str(), &address) != 1) continue;
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) addresses.push_back(address);
  }
  if (addresses.empty()) return absl::NotFoundError("no such name");
  return addresses;
}

// In a child of its own: resolving and connecting block.
[[noreturn]] void ConnectOutside(int channel, const EgressOpen& open, bool to_host) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto addresses = Resolve(open.host);
  EgressOpened opened{open.id, std::string(addresses.status().message())};
  for (const uint32_t address : addresses.value_or(std::vector<uint32_t>())) {
    // Only here is it known what a name leads to.
    if (IsOutOfBounds(address, to_host)) {
      opened.error = absl::StrCat(FormatAddress(address), " is out of bounds");
      continue;
    }
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{kConnectSeconds, 0};
    if (fd.valid()) setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = address;
    to.sin_port = htons(static_cast<uint16_t>(open.port));
    if (fd.valid() && connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
      SendOne(channel, EgressOpened{open.id, ""}, std::move(fd));
      _exit(0);
    }
    opened.error = strerror(errno);
  }
  SendOne(channel, opened, UniqueFd());
  _exit(0);
}

void Refuse(UniqueFd fd) {
  const linger reset{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

}  // namespace

void RunEgress(UniqueFd channel, uint32_t host_id, bool to_host) {
  prctl(PR_SET_NAME, "mayfly-egress", 0, 0, 0);
  CloseAllExcept({channel.get()});
  for (int i = 0; i < 3; ++i) {
    if (open("/dev/null", O_RDWR) < 0) _exit(1);
  }
  if (host_id != 0 && (syscall(SYS_setresgid, host_id, host_id, host_id) != 0 ||
                       syscall(SYS_setresuid, host_id, host_id, host_id) != 0)) {
    _exit(1);
  }
  signal(SIGCHLD, SIG_IGN);  // Children are reaped by the kernel.
  Reactor reactor;
  const int fd = channel.get();
  Channel link(
      &reactor, std::move(channel),
      [fd, to_host](Frame frame) {
        EgressOpen open;
        if (frame.type != EgressOpen::kType || !Decode(frame.body, open)) return;
        const auto pid = CloneProcess(0);
        if (pid.ok() && *pid == 0) ConnectOutside(fd, open, to_host);
      },
      [] { _exit(0); });
  reactor.Run();
  _exit(0);
}

EgressGateway::~EgressGateway() {
  for (const auto& [key, listener] : listeners_) reactor_->Remove(listener->fd.get());
}

void EgressGateway::SetGate(UniqueFd channel) {
  gate_ = std::make_unique<Channel>(
      reactor_, std::move(channel), [this](Frame frame) { OnGateFrame(std::move(frame)); }, [this] { gate_.reset(); });
  for (const auto& send : std::exchange(unsent_, {})) send();
}

absl::Status EgressGateway::Allow(const EgressTarget& target, uint32_t source) {
  auto& listener = listeners_[{target.host, target.port}];
  if (listener == nullptr) {
    uint32_t address = 0;
    if (target.literal) {
      inet_pton(AF_INET, target.host.c_str(), &address);
    } else if (const auto it = addresses_.find(target.host); it != addresses_.end()) {
      address = it->second;
    } else {
      address = EgressAddress(static_cast<int>(addresses_.size()));
    }
    const absl::Status added = AddHubAddress(address);
    if (!added.ok() && !absl::IsAlreadyExists(added)) return Annotate(added, absl::StrCat("egress to ", target.host));
    if (!target.literal) addresses_[target.host] = address;
    MAYFLY_ASSIGN_OR_RETURN(const int fd, ListenOn(FormatAddress(address), target.port));
    listener = std::make_unique<Listener>();
    listener->fd = UniqueFd(fd);
    listener->host = target.host;
    listener->port = target.port;
    Listener* const l = listener.get();
    MAYFLY_RETURN_IF_ERROR(reactor_->Add(fd, EPOLLIN, [this, l](uint32_t) { Accept(*l); }));
  }
  listener->sources.insert(source);
  return absl::OkStatus();
}

std::string EgressGateway::HostsLines() const {
  std::string text;
  for (const auto& [host, address] : addresses_) absl::StrAppend(&text, FormatAddress(address), " ", host, "\n");
  return text;
}

void EgressGateway::Accept(Listener& listener) {
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  UniqueFd fd(accept4(listener.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  if (!fd.valid()) return;
  if (listener.sources.count(peer.sin_addr.s_addr) == 0) return Refuse(std::move(fd));
  const uint64_t id = ++last_id_;
  waiting_[id].accepted = std::move(fd);
  const auto send = [this, id, host = listener.host, port = listener.port] { gate_->Send(EgressOpen{id, host, port}); };
  if (gate_ != nullptr) {
    send();
  } else {
    unsent_.push_back(send);
  }
}

void EgressGateway::OnGateFrame(Frame frame) {
  EgressOpened opened;
  if (frame.type != EgressOpened::kType || !Decode(frame.body, opened)) return;
  const auto it = waiting_.find(opened.id);
  if (it == waiting_.end()) return;
  UniqueFd accepted = std::move(it->second.accepted);
  waiting_.erase(it);
  if (frame.fds.size() != 1) return Refuse(std::move(accepted));
  const uint64_t id = opened.id;
  relays_[id] =
      std::make_unique<Relay>(*reactor_, accepted.Release(), frame.fds[0].Release(), [this, id] { relays_.erase(id); });
}

}  // namespace mayfly::local
