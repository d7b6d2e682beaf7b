#include "server/api/environment_service.h"

#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/version.h"
#include "mayfly/spec/environment_request.h"
#include "server/api/convert.h"
#include "server/api/grpc_status.h"
#include "server/api/log_stream.h"
#include "server/api/report_content.h"
#include "server/api/tunnel.h"
#include "server/api/validate.h"
#include "server/obs/log.h"

namespace mayfly::api {
namespace {

using grpc::ServerUnaryReactor;

ServerUnaryReactor* Reject(grpc::CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// A stream that ends before it began.
template <typename Base>
class Rejected final : public Base {
 public:
  explicit Rejected(const absl::Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

void AttachDiagnostics(grpc::CallbackServerContext* context, const Diagnostics& diagnostics) {
  if (diagnostics.empty()) return;
  context->AddTrailingMetadata(kDiagnosticsKey, ShortDiagnostics(diagnostics).SerializeAsString());
}

}  // namespace

absl::StatusOr<std::string> EnvironmentService::OwnedUid(const Caller& caller, const std::string& name,
                                                         const std::string& uid) const {
  if (caller.any_owner()) return uid;
  MAYFLY_ASSIGN_OR_RETURN(const EnvironmentViewRef view, FindEnvironment(*context_.provisioner, name, uid));
  MAYFLY_RETURN_IF_ERROR(CheckOwner(caller, name, view->record.request.owner));
  return view->record.uid;
}

// Access first: what is wrong with a request is no business of strangers.
#define MAYFLY_ADMIT(caller, method, validation)                         \
  const absl::StatusOr<Caller> caller = policy_.Check(method, *context); \
  if (!caller.ok()) return Reject(context, caller.status());             \
  if (const absl::Status valid = (validation); !valid.ok()) return Reject(context, valid)
// `owned` is then the uid to act on, and on no other that has taken its name meanwhile.
#define MAYFLY_ADMIT_OWNER(owned, method, validation, name, uid)          \
  MAYFLY_ADMIT(caller, method, validation);                               \
  const absl::StatusOr<std::string> owned = OwnedUid(*caller, name, uid); \
  if (!owned.ok()) return Reject(context, owned.status())

absl::StatusOr<Caller> EnvironmentService::Admit(absl::string_view method,
                                                 const grpc::ServerContextBase& context) const {
  if (stopping_.load(std::memory_order_relaxed)) return absl::UnavailableError("server is stopping");
  return policy_.Check(method, context);
}

bool EnvironmentService::Drain(absl::Duration limit) {
  stopping_ = true;
  if (watches_ != nullptr) watches_->Stop();
  logs_.Stop();
  tunnels_.Stop();
  return calls_.WaitForNone(limit);
}

Provisioner::Done EnvironmentService::Answer(CallToken token, ServerUnaryReactor* reactor, v1::Environment* response) {
  return [token = std::move(token), reactor, response](absl::StatusOr<EnvironmentViewRef> view) {
    if (view.ok()) *response = ToProto(**view, Nodes::kWith);
    reactor->Finish(ToGrpc(view.status()));
  };
}

ServerUnaryReactor* EnvironmentService::CreateEnvironment(Context* context, const v1::CreateEnvironmentRequest* request,
                                                          v1::Environment* response) {
  MAYFLY_ADMIT(caller, "CreateEnvironment", Validate(*request));
  EnvironmentRequest wanted = FromProto(*request, caller->name);
  // The source of what is made again was allowed to its owner when it was recorded, and is not read.
  const bool replay = !request->replay().empty();
  if (const absl::Status allowed = context_.sources.Confine(*caller, wanted); !replay && !allowed.ok())
    return Reject(context, allowed);
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  const CreateOptions options{.validate_only = request->validate_only(),
                              .allow_update = request->allow_update(),
                              .any_owner = caller->any_owner(),
                              .replay = request->replay()};
  context_.provisioner->Create(std::move(wanted), options,
                               [token = calls_.Enter(), context, reactor, response](const CreateOutcome& outcome) {
                                 if (outcome.environment) *response = ToProto(*outcome.environment, Nodes::kWith);
                                 AttachDiagnostics(context, outcome.diagnostics);
                                 reactor->Finish(ToGrpc(outcome.status));
                               });
  return reactor;
}

ServerUnaryReactor* EnvironmentService::GetEnvironment(Context* context, const grpc::ByteBuffer* raw,
                                                       grpc::ByteBuffer* response) {
  MAYFLY_ADMIT(caller, "GetEnvironment", absl::OkStatus());
  const absl::StatusOr<v1::GetEnvironmentRequest> request = ParseRaw<v1::GetEnvironmentRequest>(*raw);
  if (!request.ok()) return Reject(context, request.status());
  if (const absl::Status valid = ValidateName(request->name()); !valid.ok()) return Reject(context, valid);
  const absl::StatusOr<EnvironmentViewRef> view = context_.provisioner->Get(request->name());
  if (!view.ok()) return Reject(context, view.status());
  const grpc::Slice slice = views_.Get(*view);
  *response = grpc::ByteBuffer(&slice, 1);
  return Reject(context, absl::OkStatus());
}

ServerUnaryReactor* EnvironmentService::ListEnvironments(Context* context, const v1::ListEnvironmentsRequest* request,
                                                         v1::ListEnvironmentsResponse* response) {
  MAYFLY_ADMIT(caller, "ListEnvironments", absl::OkStatus());
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.worker->Post([this, token = calls_.Enter(), reactor, request, response] {
    const auto list = [&]() -> absl::Status {
      MAYFLY_ASSIGN_OR_RETURN(const ParsedFilter parsed, ParseFilter(*request));
      MAYFLY_ASSIGN_OR_RETURN(const int page_size, PageSize(*request));
      MAYFLY_ASSIGN_OR_RETURN(const Provisioner::ViewPage page,
                              context_.provisioner->List(parsed.filter, page_size, request->page_token()));
      for (const EnvironmentViewRef& view : page.environments) {
        if (!parsed.Takes(view->record)) continue;
        *response->add_environments() = ToProto(*view, Nodes::kWithout);
      }
      response->set_next_page_token(page.next_page_token);
      return absl::OkStatus();
    };
    reactor->Finish(ToGrpc(list()));
  });
  return reactor;
}

ServerUnaryReactor* EnvironmentService::UpdateEnvironment(Context* context, const v1::UpdateEnvironmentRequest* request,
                                                          v1::Environment* response) {
  MAYFLY_ADMIT_OWNER(uid, "UpdateEnvironment", absl::OkStatus(), request->environment().name(), "");
  absl::StatusOr<Provisioner::UpdateOptions> options = ParseUpdate(*request);
  if (!options.ok()) return Reject(context, options.status());
  options->uid = *uid;
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.provisioner->Update(request->environment().name(), *std::move(options),
                               Answer(calls_.Enter(), reactor, response));
  return reactor;
}

ServerUnaryReactor* EnvironmentService::DeleteEnvironment(Context* context, const v1::DeleteEnvironmentRequest* request,
                                                          v1::Environment* response) {
  MAYFLY_ADMIT_OWNER(uid, "DeleteEnvironment", Validate(*request), request->name(), request->uid());
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.provisioner->Delete(request->name(), {.etag = request->etag(), .uid = *uid, .graceful = request->graceful()},
                               Answer(calls_.Enter(), reactor, response));
  return reactor;
}

void EnvironmentService::AddWatchQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue) {
  WatchQueue::Context watch;
  watch.provisioner = context_.provisioner;
  watch.calls = &calls_;
  watch.admit = [this](const grpc::ServerContextBase& context,
                       const grpc::ByteBuffer& raw) -> absl::StatusOr<v1::WatchEnvironmentRequest> {
    MAYFLY_RETURN_IF_ERROR(Admit("WatchEnvironment", context).status());
    MAYFLY_ASSIGN_OR_RETURN(v1::WatchEnvironmentRequest request, ParseRaw<v1::WatchEnvironmentRequest>(raw));
    MAYFLY_RETURN_IF_ERROR(Validate(request));
    return request;
  };
  watch.request = [this](grpc::ServerContext* context, grpc::ByteBuffer* request,
                         grpc::ServerAsyncWriter<grpc::ByteBuffer>* writer, grpc::ServerCompletionQueue* calls,
                         void* tag) { RequestWatchEnvironment(context, request, writer, calls, calls, tag); };
  watches_ = std::make_unique<WatchQueue>(std::move(queue), std::move(watch));
}

grpc::ServerWriteReactor<v1::StreamLogsResponse>* EnvironmentService::StreamLogs(Context* context,
                                                                                 const v1::StreamLogsRequest* request) {
  absl::Status admitted = Admit("StreamLogs", *context).status();
  if (admitted.ok()) admitted = Validate(*request);
  if (!admitted.ok()) return new Rejected<grpc::ServerWriteReactor<v1::StreamLogsResponse>>(admitted);
  return LogStream::Start(*request, {context_.provisioner, context_.logs, &folders_, &logs_, calls_.Enter()});
}

ServerUnaryReactor* EnvironmentService::PlanEnvironment(Context* context, const v1::PlanEnvironmentRequest* request,
                                                        v1::PlanEnvironmentResponse* response) {
  MAYFLY_ADMIT(caller, "PlanEnvironment", Annotate(Validate(request->request()), "request"));
  EnvironmentRequest wanted = FromProto(request->request(), caller->name);
  if (const absl::Status allowed = context_.sources.Confine(*caller, wanted); !allowed.ok())
    return Reject(context, allowed);
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.provisioner->MakePlan(std::move(wanted),
                                 [token = calls_.Enter(), context, reactor, response](const PlanOutcome& outcome) {
                                   if (outcome.status.ok()) {
                                     *response = ToProto(outcome.plan, outcome.diagnostics);
                                   } else {
                                     AttachDiagnostics(context, outcome.diagnostics);
                                   }
                                   reactor->Finish(ToGrpc(outcome.status));
                                 });
  return reactor;
}

ServerUnaryReactor* EnvironmentService::RunTests(Context* context, const v1::RunTestsRequest* request,
                                                 v1::Environment* response) {
  MAYFLY_ADMIT_OWNER(uid, "RunTests", Validate(*request), request->name(), "");
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.provisioner->RunTests(
      request->name(),
      {.tests = {request->tests().begin(), request->tests().end()}, .request_id = request->request_id(), .uid = *uid},
      Answer(calls_.Enter(), reactor, response));
  return reactor;
}

ServerUnaryReactor* EnvironmentService::RestartServices(Context* context, const v1::RestartServicesRequest* request,
                                                        v1::Environment* response) {
  MAYFLY_ADMIT_OWNER(uid, "RestartServices", Validate(*request), request->name(), "");
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.provisioner->Restart(request->name(),
                                {.services = {request->services().begin(), request->services().end()}, .uid = *uid},
                                Answer(calls_.Enter(), reactor, response));
  return reactor;
}

ServerUnaryReactor* EnvironmentService::GetReport(Context* context, const v1::GetReportRequest* request,
                                                  v1::GetReportResponse* response) {
  MAYFLY_ADMIT(caller, "GetReport", Validate(*request));
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.worker->Post([this, token = calls_.Enter(), reactor, request, response] {
    const auto answer = [&]() -> absl::Status {
      MAYFLY_ASSIGN_OR_RETURN(const EnvironmentViewRef view,
                              FindEnvironment(*context_.provisioner, request->name(), request->uid()));
      MAYFLY_ASSIGN_OR_RETURN(const Report report, context_.provisioner->GetReport(*view));
      const std::string artifact_dir = context_.provisioner->ArtifactDir(*view);
      response->set_content(WriteReport(report, request->format(), artifact_dir));
      if (request->with_files()) AddKeptFiles(artifact_dir, kMaxReportFiles, *response);
      return absl::OkStatus();
    };
    reactor->Finish(ToGrpc(answer()));
  });
  return reactor;
}

grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecResponse>* EnvironmentService::Exec(Context* context) {
  absl::StatusOr<Caller> caller = Admit("Exec", *context);
  if (!caller.ok()) return new Rejected<grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecResponse>>(caller.status());
  return Tunnel<ExecTraits>::Start(
      {context_.provisioner, context_.execer, context_.connector, &tunnels_, *std::move(caller), calls_.Enter()});
}

grpc::ServerBidiReactor<v1::PortForwardRequest, v1::PortForwardResponse>* EnvironmentService::PortForward(
    Context* context) {
  absl::StatusOr<Caller> caller = Admit("PortForward", *context);
  if (!caller.ok()) {
    return new Rejected<grpc::ServerBidiReactor<v1::PortForwardRequest, v1::PortForwardResponse>>(caller.status());
  }
  return Tunnel<PortForwardTraits>::Start(
      {context_.provisioner, context_.execer, context_.connector, &tunnels_, *std::move(caller), calls_.Enter()});
}

ServerUnaryReactor* EnvironmentService::GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                                                      v1::ServerInfo* response) {
  MAYFLY_ADMIT(caller, "GetServerInfo", absl::OkStatus());
  ServerUnaryReactor* const reactor = context->DefaultReactor();
  context_.worker->Post([this, token = calls_.Enter(), reactor, request, response] {
    const Capabilities capabilities = context_.engine->Describe();
    response->set_version(std::string(Version()));
    response->set_installation(context_.installation);
    response->set_pid(getpid());
    *response->mutable_start_time() = ToProto(context_.start_time);
    response->set_engine(capabilities.engine);
    response->set_usable(capabilities.usable);
    if (request->check_host()) {
      for (const CapabilityCheck& check : capabilities.checks) *response->add_checks() = ToProto(check);
    }
    response->set_environments(context_.provisioner->live());
    response->set_state_dir(context_.state_dir);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

ServerUnaryReactor* EnvironmentService::StopServer(Context* context, const v1::StopServerRequest* request,
                                                   v1::StopServerResponse*) {
  MAYFLY_ADMIT(caller, "StopServer", absl::OkStatus());
  const int live = context_.provisioner->live();
  if (live > 0 && !request->force()) {
    return Reject(context, absl::FailedPreconditionError(absl::StrCat(
                               live, live == 1 ? " environment is" : " environments are",
                               " alive; take them down first, or stop with force: they live on and the next server "
                               "adopts them")));
  }
  LogInfo("stop asked for", {{"caller", caller->name}, {"force", request->force()}});
  ServerUnaryReactor* const reactor = Reject(context, absl::OkStatus());
  context_.stop();
  return reactor;
}

#undef MAYFLY_ADMIT_OWNER
#undef MAYFLY_ADMIT

}  // namespace mayfly::api
