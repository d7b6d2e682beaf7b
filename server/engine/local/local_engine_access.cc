#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/local_engine_impl.h"
#include "server/engine/parts/file_stream.h"
#include "server/engine/parts/terminal.h"

namespace mayfly::local {
namespace {

absl::StatusOr<FdStreamOptions> OpenPipes(std::vector<UniqueFd>* theirs) {
  FdStreamOptions options;
  for (int i = 0; i < 3; ++i) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
    theirs->emplace_back(i == 0 ? fds[0] : fds[1]);
    (i == 0 ? options.input : i == 1 ? options.output : options.error) = i == 0 ? fds[1] : fds[0];
  }
  return options;
}

absl::StatusOr<FdStreamOptions> OpenTerminalFor(const ExecRequest& request, std::vector<UniqueFd>* theirs) {
  MAYFLY_ASSIGN_OR_RETURN(const Terminal terminal, OpenTerminal(request.columns, request.rows));
  theirs->emplace_back(terminal.inner);
  for (int i = 0; i < 2; ++i) theirs->emplace_back(fcntl(terminal.inner, F_DUPFD_CLOEXEC, 3));
  FdStreamOptions options;
  options.kind = FdStreamOptions::Kind::kTerminal;
  options.output = terminal.outer;
  return options;
}

}  // namespace

StartedStream LocalEngineImpl::Attach(FdStreamOptions options, Stream::Callbacks callbacks) {
  options.reactor = io_.reactor();
  options.post = [this](std::function<void()> fn) { io_.Post(std::move(fn)); };
  return StartFdStream(std::move(options), std::move(callbacks));
}

void LocalEngineImpl::Call(const std::shared_ptr<Scope>& scope, uint64_t id, std::function<void(Scope&)> send,
                           std::function<void(absl::Status, int exit_code)> done) {
  io_.Post([this, scope, id, send = std::move(send), done = std::move(done)] {
    if (scope->channel == nullptr) return done(absl::UnavailableError("the environment does not answer"), 0);
    calls_[id] = {scope->spec.id, done};
    send(*scope);
  });
}

void LocalEngineImpl::FinishCall(const CallDone& done) {
  const auto it = calls_.find(done.id);
  if (it == calls_.end()) return;
  const auto fn = std::move(it->second.done);
  calls_.erase(it);
  fn(absl::Status(static_cast<absl::StatusCode>(done.code), done.message), done.exit_code);
}

void LocalEngineImpl::FailCalls(const std::string& scope) {
  std::vector<uint64_t> ids;
  for (const auto& [id, call] : calls_) {
    if (call.scope == scope) ids.push_back(id);
  }
  for (const uint64_t id : ids) {
    FinishCall(CallDone{id, static_cast<int>(absl::StatusCode::kUnavailable), "the environment has ended", 0});
  }
}

absl::StatusOr<std::unique_ptr<Stream>> LocalEngineImpl::Exec(const ExecRequest& request, Stream::Callbacks callbacks) {
  if (request.argv.empty()) return absl::InvalidArgumentError("a command is needed");
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindRunning(request.node));
  auto theirs = std::make_shared<std::vector<UniqueFd>>();
  MAYFLY_ASSIGN_OR_RETURN(FdStreamOptions options,
                          request.terminal ? OpenTerminalFor(request, theirs.get()) : OpenPipes(theirs.get()));
  const uint64_t id = ++last_call_;
  options.on_abandoned = [this, scope, id, node = request.node.node] {
    if (calls_.erase(id) > 0 && scope->channel != nullptr) scope->channel->Send(KillCommand{id, node});
  };
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  Call(
      scope, id,
      [request, id, theirs](Scope& s) {
        s.channel->Send(ExecCommand{id, request.node.node, request.argv, request.terminal}, std::move(*theirs));
      },
      started.finish);
  return std::move(started.stream);
}

absl::StatusOr<std::unique_ptr<Stream>> LocalEngineImpl::Connect(const NodeRef& ref, int port,
                                                                 Stream::Callbacks callbacks) {
  MutexLock lock(mutex_);
  MAYFLY_ASSIGN_OR_RETURN(const std::shared_ptr<Scope> scope, FindRunning(ref));
  MAYFLY_ASSIGN_OR_RETURN(auto pair, SocketPair(SOCK_STREAM));
  const uint64_t id = ++last_call_;
  FdStreamOptions options;
  options.kind = FdStreamOptions::Kind::kSocket;
  options.output = pair.first.Release();
  options.on_abandoned = [this, id] { calls_.erase(id); };
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  Call(
      scope, id,
      [id, ref, port, theirs = std::make_shared<UniqueFd>(std::move(pair.second))](Scope& s) {
        std::vector<UniqueFd> fds;
        fds.push_back(std::move(*theirs));
        s.channel->Send(ConnectRequest{id, ref.node, port}, std::move(fds));
      },
      started.finish);
  return std::move(started.stream);
}

void LocalEngineImpl::Collect(const NodeRef& ref, std::vector<std::string> paths, std::string destination,
                              int64_t max_bytes, std::function<void(absl::Status)> done) {
  const auto scope = [&] {
    MutexLock lock(mutex_);
    return FindScope(ref.scope);
  }();
  if (!scope.ok()) return done(scope.status());
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return done(ErrnoStatus(errno, "pipe"));
  if (const absl::Status made = MakeDirs(destination, 0755); !made.ok()) return done(made);
  const auto receiver = std::make_shared<FileReceiver>(destination, max_bytes);
  const auto failure = std::make_shared<absl::Status>();
  // Holds the stream until its own end.
  const auto holder = std::make_shared<std::unique_ptr<Stream>>();
  Stream::Callbacks callbacks;
  callbacks.on_data = [receiver, failure](const std::string& bytes, bool) {
    if (failure->ok()) *failure = receiver->Feed(bytes);
  };
  callbacks.on_close = [this, failure, done, holder](absl::Status status, int) {
    io_.Post([holder] { holder->reset(); });
    done(failure->ok() ? status : *failure);
  };
  FdStreamOptions options;
  options.output = pipe_fds[0];
  StartedStream started = Attach(std::move(options), std::move(callbacks));
  *holder = std::move(started.stream);
  const uint64_t id = ++last_call_;
  Call(
      *scope, id,
      [id, ref, paths, max_bytes, theirs = std::make_shared<UniqueFd>(pipe_fds[1])](Scope& s) {
        std::vector<UniqueFd> fds;
        fds.push_back(std::move(*theirs));
        s.channel->Send(CollectRequest{id, ref.node, paths, max_bytes}, std::move(fds));
      },
      started.finish);
}

}  // namespace mayfly::local
