// mayfly.v1.EnvironmentService on gRPC's callback API, but for Watch: checks access and the request, asks the
// Provisioner, translates the answer. No handler waits: gRPC 1.51 runs all of them on as few as two threads.
#ifndef MAYFLY_SERVER_API_ENVIRONMENT_SERVICE_H_
#define MAYFLY_SERVER_API_ENVIRONMENT_SERVICE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "mayfly/base/loop.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"
#include "mayfly/v1/environment_service.grpc.pb.h"
#include "server/api/access.h"
#include "server/api/call_count.h"
#include "server/api/folder_watch.h"
#include "server/api/source_gate.h"
#include "server/api/stream_pump.h"
#include "server/api/watch_queue.h"
#include "server/api/wire.h"
#include "server/run/provisioner.h"

namespace mayfly::api {

// What the service works with; none is owned, all outlive it. LogSource, Execer and Connector may be nullptr.
struct ServiceContext {
  Provisioner* provisioner = nullptr;
  Engine* engine = nullptr;
  LogSource* logs = nullptr;
  Execer* execer = nullptr;
  Connector* connector = nullptr;
  SourceGate sources;      // What callers over the network may name as a source.
  Loop* worker = nullptr;  // For what reads files or asks the host; not the run loop.
  std::string state_dir;
  std::string installation;
  absl::Time start_time;
  std::function<void()> stop;  // Asks the process to stop in order. Any thread; returns at once.
};

namespace internal {
// Get and Watch answer with bytes that many calls share, hence "raw".
using S = v1::EnvironmentService;
using Handlers = S::WithCallbackMethod_CreateEnvironment<S::WithRawCallbackMethod_GetEnvironment<
    S::WithCallbackMethod_ListEnvironments<S::WithCallbackMethod_UpdateEnvironment<
        S::WithCallbackMethod_DeleteEnvironment<S::WithRawMethod_WatchEnvironment<S::WithCallbackMethod_StreamLogs<
            S::WithCallbackMethod_PlanEnvironment<S::WithCallbackMethod_RunTests<S::WithCallbackMethod_RestartServices<
                S::WithCallbackMethod_GetReport<S::WithCallbackMethod_Exec<S::WithCallbackMethod_PortForward<
                    S::WithCallbackMethod_GetServerInfo<S::WithCallbackMethod_StopServer<S::Service>>>>>>>>>>>>>>>;
}  // namespace internal

class EnvironmentService final : public internal::Handlers {
 public:
  EnvironmentService(ServiceContext context, AccessPolicy policy)
      : context_(std::move(context)), policy_(std::move(policy)) {}

  // Watch has a completion queue of its own: made before the server, served once it runs, closed after its shutdown.
  void AddWatchQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue);
  void ServeWatches() { watches_->Start(); }
  void CloseWatches() { watches_.reset(); }

  // Ends all streams with UNAVAILABLE and refuses what comes later with it. True once no call is under way, false
  // when `limit` came first.
  bool Drain(absl::Duration limit);

  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* CreateEnvironment(Context* context, const v1::CreateEnvironmentRequest* request,
                                              v1::Environment* response) override;
  grpc::ServerUnaryReactor* GetEnvironment(Context* context, const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListEnvironments(Context* context, const v1::ListEnvironmentsRequest* request,
                                             v1::ListEnvironmentsResponse* response) override;
  grpc::ServerUnaryReactor* UpdateEnvironment(Context* context, const v1::UpdateEnvironmentRequest* request,
                                              v1::Environment* response) override;
  grpc::ServerUnaryReactor* DeleteEnvironment(Context* context, const v1::DeleteEnvironmentRequest* request,
                                              v1::Environment* response) override;
  grpc::ServerWriteReactor<v1::StreamLogsResponse>* StreamLogs(Context* context,
                                                               const v1::StreamLogsRequest* request) override;
  grpc::ServerUnaryReactor* PlanEnvironment(Context* context, const v1::PlanEnvironmentRequest* request,
                                            v1::PlanEnvironmentResponse* response) override;
  grpc::ServerUnaryReactor* RunTests(Context* context, const v1::RunTestsRequest* request,
                                     v1::Environment* response) override;
  grpc::ServerUnaryReactor* RestartServices(Context* context, const v1::RestartServicesRequest* request,
                                            v1::Environment* response) override;
  grpc::ServerUnaryReactor* GetReport(Context* context, const v1::GetReportRequest* request,
                                      v1::GetReportResponse* response) override;
  grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecResponse>* Exec(Context* context) override;
  grpc::ServerBidiReactor<v1::PortForwardRequest, v1::PortForwardResponse>* PortForward(Context* context) override;
  grpc::ServerUnaryReactor* GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* StopServer(Context* context, const v1::StopServerRequest* request,
                                       v1::StopServerResponse* response) override;

 private:
  // For verbs that answer with the environment.
  Provisioner::Done Answer(CallToken token, grpc::ServerUnaryReactor* reactor, v1::Environment* response);

  // For callers who may act on their own environments only: the uid of the one they mean, if it is theirs. For others
  // `uid`, unread.
  absl::StatusOr<std::string> OwnedUid(const Caller& caller, const std::string& name, const std::string& uid) const;

  // May this caller do this now?
  absl::StatusOr<Caller> Admit(absl::string_view method, const grpc::ServerContextBase& context) const;

  const ServiceContext context_;
  const AccessPolicy policy_;
  std::atomic<bool> stopping_{false};
  CallCount calls_;
  ViewCache views_;
  std::unique_ptr<WatchQueue> watches_;
  FolderWatcher folders_;
  StreamPump logs_;     // Apart: its turns read files.
  StreamPump tunnels_;  // Apart: opening one asks the engine.
};

}  // namespace mayfly::api

#endif  // MAYFLY_SERVER_API_ENVIRONMENT_SERVICE_H_
