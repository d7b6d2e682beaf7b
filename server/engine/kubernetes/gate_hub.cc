#include "server/engine/kubernetes/gate_hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/engine/parts/proxy.h"
#include "server/obs/log.h"

namespace mayfly::kubernetes {
namespace {

// Anybody in the cluster may call. These many may be on the line without having said who they are, each this long.
constexpr size_t kMostCallers = 512;
constexpr absl::Duration kHelloLimit = absl::Seconds(5);
constexpr size_t kMostRefused = 8;                         // Versions that are told of.
constexpr absl::Duration kPause = absl::Milliseconds(50);  // Without descriptors.

// Pods of a workload have one token, and "web-1@POD/SIDECAR" is proved by that of "web-1@/SIDECAR".
std::string Authority(const std::string& pod) {
  const size_t at = pod.find('@');
  if (at == std::string::npos) return pod;
  const size_t slash = pod.find('/', at);
  return absl::StrCat(pod.substr(0, at + 1), slash == std::string::npos ? "" : pod.substr(slash));
}

absl::StatusOr<GateHello> ParseHello(absl::string_view text, absl::string_view secret, int newest) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  int version = 0;
  if (words.size() != 6 || !absl::SimpleAtoi(words[0], &version)) return absl::InvalidArgumentError("no hello");
  const std::vector<std::string> names = absl::StrSplit(words[1], absl::MaxSplits('/', 1));
  if (names.size() != 2) return absl::InvalidArgumentError("no hello");
  const std::string token = GateToken(secret, names[0], Authority(names[1]));
  if (words[2].size() != token.size() || CRYPTO_memcmp(words[2].data(), token.data(), token.size()) != 0) {
    return absl::UnauthenticatedError("another token");
  }
  // Only who is known gets so far: of the others no line is written.
  if (version < 1 || version > newest) return absl::UnimplementedError(absl::StrCat(version));
  GateHello hello;
  hello.version = version;
  hello.scope = names[0];
  hello.pod = names[1];
  hello.address = words[3];
  if (!absl::SimpleAtoi(words[5], &hello.now_us)) return absl::InvalidArgumentError("no hello");
  using State = GateHello::State;
  const std::map<std::string, State> states = {{"waiting", State::kWaiting},
                                               {"running", State::kRunning},
                                               {"ready", State::kReady},
                                               {"ended", State::kEnded},
                                               {"failed", State::kFailed}};
  const auto state = states.find(words[4]);
  if (state == states.end()) return absl::InvalidArgumentError("no hello");
  hello.state = state->second;
  return hello;
}

}  // namespace

std::string GateToken(absl::string_view secret, absl::string_view scope, absl::string_view pod) {
  // Twice, as HMAC does: one pass over secret and name could be continued by whoever knows its result.
  return Sha256Hex(absl::StrCat(secret, Sha256Hex(absl::StrCat(secret, "/", scope, "/", pod)))).substr(0, 32);
}

absl::StatusOr<std::unique_ptr<GateHub>> GateHub::Create(Reactor& reactor, const std::string& address,
                                                         std::string secret, OnGate on_gate, int newest) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", address, "' is no IPv4 address with a port"));
  }
  const std::string host = address.substr(0, colon);
  MAYFLY_ASSIGN_OR_RETURN(const int fd, ListenOn(host, port));
  auto hub = std::unique_ptr<GateHub>(new GateHub(reactor, UniqueFd(fd), absl::StrCat(host, ":", PortOf(fd)),
                                                  std::move(secret), std::move(on_gate), newest));
  MAYFLY_RETURN_IF_ERROR(reactor.Add(fd, EPOLLIN, [hub = hub.get()](uint32_t) { hub->Accept(); }));
  return hub;
}

GateHub::GateHub(Reactor& reactor, UniqueFd socket, std::string address, std::string secret, OnGate on_gate, int newest)
    : reactor_(reactor),
      socket_(std::move(socket)),
      address_(std::move(address)),
      secret_(std::move(secret)),
      on_gate_(std::move(on_gate)),
      newest_(newest) {}

GateHub::~GateHub() {
  reactor_.CancelTimer(pause_);
  reactor_.Remove(socket_.get());
  while (!callers_.empty()) Drop(callers_.begin()->first);
}

void GateHub::Accept() {
  for (;;) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    UniqueFd fd(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) Pause();
      return;
    }
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    char peer[INET_ADDRSTRLEN] = "";
    Take(std::move(fd), from.sin_family == AF_INET ? inet_ntop(AF_INET, &from.sin_addr, peer, sizeof peer) : "");
  }
}

void GateHub::Take(UniqueFd fd, std::string peer) {
  // The one that has waited longest makes way: silence must not keep the others out.
  if (callers_.size() >= kMostCallers) Drop(callers_.begin()->first);
  const uint64_t id = next_caller_++;
  GateLink::Callbacks callbacks;
  callbacks.on_frame = [this, id](const gate_frame& frame, absl::string_view payload) {
    frame.type == GATE_HELLO ? OnHello(id, frame.flag != 0, payload) : Drop(id);
  };
  callbacks.on_lost = [this, id] { Drop(id); };
  Caller& caller = callers_[id];
  caller.peer = std::move(peer);
  caller.limit = reactor_.AddTimer(kHelloLimit, [this, id] { Drop(id); });
  caller.link = std::make_unique<GateLink>(reactor_, std::move(fd), std::move(callbacks));
}

void GateHub::Pause() {
  // The caller stays in the queue and would be told of for ever.
  reactor_.Modify(socket_.get(), 0).IgnoreError();
  pause_ = reactor_.AddTimer(kPause, [this] { reactor_.Modify(socket_.get(), EPOLLIN).IgnoreError(); });
}

void GateHub::OnHello(uint64_t id, bool one_shot, absl::string_view text) {
  absl::StatusOr<GateHello> hello = ParseHello(text, secret_, newest_);
  int version = 0;
  if (absl::IsUnimplemented(hello.status()) && absl::SimpleAtoi(hello.status().message(), &version) &&
      refused_.size() < kMostRefused && refused_.insert(version).second) {
    LogError("a pod's gate speaks a version of the protocol that this server does not know: a newer server made it",
             {{"version", version}, {"known", absl::StrCat("1 to ", newest_)}});
  }
  if (!hello.ok()) return Drop(id);
  hello->one_shot = one_shot;
  hello->peer = callers_[id].peer;
  std::unique_ptr<GateLink> link = std::move(callers_[id].link);
  link->SetCallbacks({});
  Drop(id);
  on_gate_(*hello, std::move(link));
}

void GateHub::Drop(uint64_t id) {
  const auto it = callers_.find(id);
  if (it == callers_.end()) return;
  reactor_.CancelTimer(it->second.limit);
  const std::unique_ptr<GateLink> link = std::move(it->second.link);
  callers_.erase(it);
}

}  // namespace mayfly::kubernetes
