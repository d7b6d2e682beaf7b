// The listening half of mayflyd: gRPC with health and reflection behind our own accept loop.
#ifndef MAYFLY_SERVER_API_SERVER_H_
#define MAYFLY_SERVER_API_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "server/api/acceptor.h"
#include "server/api/environment_service.h"
#include "server/api/listen.h"
#include "server/api/tls.h"

namespace mayfly::api {

struct ServerOptions {
  std::string socket_path;           // Empty: no Unix socket.
  std::optional<TcpAddress> listen;  // Unset: no TCP.
  // PEM files. Off loopback all three are demanded: clients show a certificate of that CA.
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  bool has_tokens = false;  // The access policy knows bearer tokens; demanded on loopback without TLS.
  bool reflection = true;
  int max_connections = 1000;
  absl::Duration stop_grace = absl::Seconds(5);  // For calls under way when stopping; then they are cancelled.
};

// FAILED_PRECONDITION says which flag is missing for what `options` listens on.
absl::Status CheckListenSafety(const ServerOptions& options);

class ApiServer {
 public:
  // Listens and serves when it returns.
  static absl::StatusOr<std::unique_ptr<ApiServer>> Start(const ServerOptions& options, ServiceContext context,
                                                          AccessPolicy policy);
  ~ApiServer();  // Stops.

  // Accepts nothing more, ends streams with UNAVAILABLE, lets calls finish. Blocks. Idempotent.
  void Stop();

  Acceptor& acceptor() { return *acceptor_; }
  int tcp_port() const { return tcp_port_; }

 private:
  explicit ApiServer(absl::Duration stop_grace) : stop_grace_(stop_grace) {}

  absl::Status Listen(const ServerOptions& options, grpc::ServerBuilder& builder);

  const absl::Duration stop_grace_;
  std::string socket_path_;
  ino_t socket_inode_ = 0;
  int tcp_port_ = 0;
  bool stopped_ = false;
  std::unique_ptr<EnvironmentService> service_;
  std::shared_ptr<grpc::ServerCredentials> tls_;  // gRPC asks it for files as long as the server lives.
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_SERVER_H_
