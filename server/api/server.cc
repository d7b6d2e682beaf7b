#include "server/api/server.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "mayfly/base/status.h"
#include "server/obs/log.h"

namespace mayfly::api {
namespace {

using ExternalAcceptor = grpc::experimental::ExternalConnectionAcceptor;

Acceptor::Handler HandOverTo(std::shared_ptr<ExternalAcceptor> target) {
  return [target = std::move(target)](int fd) {
    ExternalAcceptor::NewConnectionParameters connection;
    connection.fd = fd;
    target->HandleNewConnection(&connection);
  };
}

// The reflection library adds itself to every server of a process that links it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

// The kernel gives it to no other file while the socket listens. 0: nothing is there.
ino_t SocketInode(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

void Tune(grpc::ServerBuilder& builder) {
  // Clients that watch for hours ping every 30 s; gRPC's own minimum of five minutes would throw them out.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A connection that says nothing must not hold a descriptor for the two minutes that are the default.
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 10 * 60 * 1000);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

absl::Status CheckListenSafety(const ServerOptions& options) {
  if (!options.listen) return absl::OkStatus();
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::FailedPreconditionError("--tls-cert and --tls-key belong together: give both");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return absl::FailedPreconditionError("--tls-client-ca needs --tls-cert and --tls-key");
  }
  if (!options.listen->loopback && (options.tls_cert.empty() || options.tls_client_ca.empty())) {
    return absl::FailedPreconditionError(
        absl::StrCat("--listen on ", options.listen->host.empty() ? "every address" : options.listen->host,
                     " is reachable from other machines: give --tls-cert, --tls-key and --tls-client-ca, or listen on "
                     "127.0.0.1"));
  }
  if (options.tls_client_ca.empty() && !options.has_tokens) {
    return absl::FailedPreconditionError(
        "every user of this machine can connect to --listen on loopback: give --token-file (or --tls-cert, --tls-key "
        "and --tls-client-ca)");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ApiServer>> ApiServer::Start(const ServerOptions& options, ServiceContext context,
                                                            AccessPolicy policy) {
  MAYFLY_RETURN_IF_ERROR(CheckListenSafety(options));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<ApiServer> server(new ApiServer(options.stop_grace));
  server->acceptor_ = std::make_unique<Acceptor>(Acceptor::Options{.max_connections = options.max_connections});
  server->service_ = std::make_unique<EnvironmentService>(std::move(context), std::move(policy));
  grpc::ServerBuilder builder;
  Tune(builder);
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  builder.RegisterService(server->service_.get());
  MAYFLY_RETURN_IF_ERROR(server->Listen(options, builder));
  server->service_->AddWatchQueue(builder.AddCompletionQueue());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr) return absl::InternalError("the gRPC server does not start; see its log");
  server->service_->ServeWatches();
  server->acceptor_->Start();
  return server;
}

absl::Status ApiServer::Listen(const ServerOptions& options, grpc::ServerBuilder& builder) {
  constexpr auto kFromFd = grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD;
  if (options.listen) {
    std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
    if (!options.tls_cert.empty()) {
      MAYFLY_ASSIGN_OR_RETURN(tls_,
                              ReloadingTlsCredentials({options.tls_cert, options.tls_key, options.tls_client_ca}));
      credentials = tls_;
    }
    MAYFLY_ASSIGN_OR_RETURN(TcpListener listener, ListenTcp(*options.listen));
    tcp_port_ = listener.port;
    acceptor_->Add(std::move(listener.fd), Acceptor::Peers::kAnyone,
                   HandOverTo(builder.experimental().AddExternalConnectionAcceptor(kFromFd, credentials)));
  }
  if (!options.socket_path.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(UniqueFd listener, ListenUnix(options.socket_path));
    socket_path_ = options.socket_path;
    socket_inode_ = SocketInode(socket_path_);
    acceptor_->Add(
        std::move(listener), Acceptor::Peers::kOwnUser,
        HandOverTo(builder.experimental().AddExternalConnectionAcceptor(kFromFd, grpc::InsecureServerCredentials())));
  }
  return absl::OkStatus();
}

ApiServer::~ApiServer() {
  Stop();
}

void ApiServer::Stop() {
  if (std::exchange(stopped_, true)) return;
  // First, so that a client that comes now finds no server rather than one that does not answer.
  // Where the state folder was taken away and made anew, another server's lies in its place.
  if (!socket_path_.empty() && SocketInode(socket_path_) == socket_inode_) unlink(socket_path_.c_str());
  acceptor_->Stop();
  if (server_ == nullptr) return;
  if (!service_->Drain(stop_grace_)) LogWarning("calls are cancelled: they did not end while stopping");
  // For the last answers to leave; then connections are closed, whatever clients think of it.
  constexpr std::chrono::milliseconds kLastAnswers(100);
  server_->Shutdown(std::chrono::system_clock::now() + kLastAnswers);
  server_->Wait();
  service_->CloseWatches();
}

}  // namespace mayfly::api
