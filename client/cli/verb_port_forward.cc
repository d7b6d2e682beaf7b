#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <list>
#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/verbs.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

struct Ports {
  int local = 0;
  int remote = 0;
};

// "8080:80", ":80" (any free port here) or "80" (the same).
std::optional<Ports> ParsePorts(absl::string_view text) {
  Ports ports;
  const size_t colon = text.find(':');
  const absl::string_view remote = colon == absl::string_view::npos ? text : text.substr(colon + 1);
  const absl::string_view local = colon == absl::string_view::npos ? text : text.substr(0, colon);
  if (!absl::SimpleAtoi(remote, &ports.remote) || ports.remote < 1 || ports.remote > 65535) return std::nullopt;
  if (!local.empty() && (!absl::SimpleAtoi(local, &ports.local) || ports.local < 0 || ports.local > 65535)) {
    return std::nullopt;
  }
  return ports;
}

absl::StatusOr<OwnedFd> Listen(int port) {
  OwnedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 || listen(fd.get(), 64) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(absl::StrCat("port ", port, " of this machine is in use: choose another one"));
    }
    return ErrnoStatus(errno, absl::StrCat("cannot listen on port ", port));
  }
  return fd;
}

int PortOf(int fd) {
  sockaddr_in address = {};
  socklen_t length = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

// One accepted connection and its stream, with a thread for each direction.
class Tunnel {
 public:
  Tunnel(OwnedFd fd, std::unique_ptr<PortForwardStream> stream) : fd_(std::move(fd)), stream_(std::move(stream)) {}
  ~Tunnel() {
    stream_->Cancel();
    shutdown(fd_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }

  void Start(const v1::PortForwardRequest& start, Session& session) {
    thread_ = std::thread([this, start, &session] {
      if (stream_->Write(start)) {
        std::thread up([this] { Upwards(); });
        Downwards();
        up.join();
      }
      const absl::Status status = stream_->Finish();
      // Closed by either side is the usual end.
      if (!status.ok() && !absl::IsCancelled(status))
        session.console().Error(absl::StrCat("connection: ", EscapeLine(status.message())));
      MutexLock lock(mutex_);
      over_ = true;
    });
  }

  bool over() const {
    MutexLock lock(mutex_);
    return over_;
  }

 private:
  void Upwards() {
    char buffer[65536];
    while (true) {
      const ssize_t got = read(fd_.get(), buffer, sizeof(buffer));
      if (got < 0 && errno == EINTR) continue;
      v1::PortForwardRequest request;
      if (got > 0) {
        request.set_data(buffer, static_cast<size_t>(got));
      } else {
        request.set_closed(true);
      }
      if (!stream_->Write(request) || got <= 0) break;
    }
    stream_->WritesDone();
  }

  void Downwards() {
    v1::PortForwardResponse response;
    bool whole = true;
    while (whole && stream_->Read(&response)) whole = WriteAll(fd_.get(), response.data()).ok();
    if (!whole) stream_->Cancel();
    // Ends the reader of the other direction, too.
    shutdown(fd_.get(), SHUT_RDWR);
  }

  OwnedFd fd_;
  std::unique_ptr<PortForwardStream> stream_;
  std::thread thread_;
  mutable Mutex mutex_;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

ExitCode VerbPortForward(Session& session) {
  const auto& words = session.options().words;
  const auto ports = words.size() == 2 ? ParsePorts(words[1]) : std::nullopt;
  if (!ports.has_value())
    return Usage(session, "say which: mayfly port-forward SERVICE LOCAL:REMOTE, such as gateway 8080:80");
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::GetEnvironmentRequest get;
  get.set_name(*name);
  if (const auto environment = (*client)->GetEnvironment(get); !environment.ok())
    return session.Fail(environment.status());
  auto listener = Listen(ports->local);
  // "80" for a port that an ordinary user may not have, or that is taken, still gets a free one.
  if (!listener.ok() && words[1].find(':') == std::string::npos) listener = Listen(0);
  if (!listener.ok()) return session.Fail(listener.status());
  session.console().Out(
      absl::StrCat("127.0.0.1:", PortOf(listener->get()), " -> ", EscapeLine(words[0]), ":", ports->remote, "\n"));

  v1::PortForwardRequest start;
  start.mutable_start()->set_name(*name);
  start.mutable_start()->set_service(words[0]);
  start.mutable_start()->set_port(ports->remote);
  std::list<Tunnel> tunnels;
  while (true) {
    pollfd fds[2] = {{listener->get(), POLLIN, 0}, {session.interrupts()->fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) break;
    OwnedFd connection(accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.get() < 0) {
      // Out of descriptors, most likely: an old connection has to end first.
      poll(&fds[1], 1, 100);
      continue;
    }
    tunnels.remove_if([](const Tunnel& tunnel) { return tunnel.over(); });
    tunnels.emplace_back(std::move(connection), (*client)->PortForward()).Start(start, session);
  }
  session.interrupts()->Take();
  return kExitInterrupted;
}

}  // namespace mayfly
