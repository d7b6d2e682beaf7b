#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/base/folder.h"
#include "server/engine/kubernetes/client/exec.h"
#include "server/engine/kubernetes/client/port_forward.h"
#include "server/engine/kubernetes/gate_pump.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/engine/parts/file_stream.h"

namespace mayfly::kubernetes {

void KubernetesEngineImpl::Join(int a, int b) {
  const uint64_t id = ++last_relay_;
  relays_[id] = std::make_unique<Relay>(reactor(), a, b, [this, id] { relays_.erase(id); });
}

StartedStream KubernetesEngineImpl::Attach(FdStreamOptions options, Stream::Callbacks callbacks) {
  options.reactor = io_.reactor();
  options.post = [this](std::function<void()> fn) { io_.Post(std::move(fn)); };
  return StartFdStream(std::move(options), std::move(callbacks));
}

absl::StatusOr<std::unique_ptr<Stream>> KubernetesEngineImpl::Exec(const ExecRequest& request,
                                                                   Stream::Callbacks callbacks) {
  if (request.argv.empty()) return absl::InvalidArgumentError("a command is needed");
  kube::PodExec exec;
  MAYFLY_RETURN_IF_ERROR(OnThread([&]() -> absl::Status {
    MAYFLY_ASSIGN_OR_RETURN(PodNode* const node, FindRunning(request.node));
    exec.pod = node->pod();
    exec.name_space = scopes_.at(request.node.scope)->place().space();
    return absl::OkStatus();
  }));
  exec.container = kContainer;
  exec.argv = request.argv;
  exec.terminal = request.terminal;
  exec.columns = request.columns;
  exec.rows = request.rows;
  return kube::StartExec(options_.endpoint, *sockets_, exec, std::move(callbacks));
}

std::unique_ptr<Stream> KubernetesEngineImpl::DialPod(const std::string& space, const std::string& pod, int port,
                                                      Stream::Callbacks callbacks) {
  return kube::StartPortForward(options_.endpoint, *sockets_, {space, pod, static_cast<uint16_t>(port)},
                                std::move(callbacks));
}

absl::StatusOr<std::unique_ptr<Stream>> KubernetesEngineImpl::Connect(const NodeRef& ref, int port,
                                                                      Stream::Callbacks callbacks) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoStatus(errno, "socketpair");
  UniqueFd ours(fds[0]), theirs(fds[1]);
  std::unique_ptr<Stream> stream;
  const absl::Status status = OnThread([&]() -> absl::Status {
    MAYFLY_ASSIGN_OR_RETURN(PodNode* const node, FindRunning(ref));
    if (node->link() == nullptr) return absl::UnavailableError(absl::StrCat(ref.node, " does not answer just now"));
    FdStreamOptions options;
    options.kind = FdStreamOptions::Kind::kSocket;
    options.output = ours.release();
    StartedStream started = Attach(std::move(options), std::move(callbacks));
    stream = std::move(started.stream);
    DialThroughGate(reactor(), *node->link(), port,
                    [this, finish = started.finish, fd = theirs.release()](absl::StatusOr<UniqueFd> joined) {
                      if (!joined.ok()) {
                        close(fd);
                        return finish(joined.status(), 0);
                      }
                      Join(fd, joined->release());
                    });
    return absl::OkStatus();
  });
  MAYFLY_RETURN_IF_ERROR(status);
  return stream;
}

void KubernetesEngineImpl::Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination,
                                   int64_t max_bytes, std::function<void(absl::Status)> done) {
  if (const absl::Status made = MakeDirs(destination, 0755); !made.ok()) return done(made);
  io_.Post([this, ref, paths, destination, max_bytes, done] {
    const auto node = FindNode(ref);
    if (!node.ok()) return done(node.status());
    const auto receiver = std::make_shared<FileReceiver>(destination, max_bytes);
    const auto failure = std::make_shared<absl::Status>();
    PodNode* const target = (*node)->Target();
    if (target == nullptr) return done(absl::FailedPreconditionError("nothing of it is there"));
    target->Collect(
        paths, max_bytes,
        [receiver, failure](absl::string_view bytes) {
          if (failure->ok()) *failure = receiver->Feed(bytes);
        },
        [failure, done](absl::Status status) { done(failure->ok() ? status : *failure); });
  });
}

}  // namespace mayfly::kubernetes
