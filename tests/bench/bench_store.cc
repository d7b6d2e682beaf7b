// ./dev bench accept: how long until an environment is durable.
//
// CreateEnvironment through gRPC on a Unix socket, with the API, the provisioner, the reader and planner of specs and
// the SQLite store of a server, beside a handler that does nothing, call by call in turns; the engine accepts
// everything and does nothing, so that only the acceptance is measured. Below it the store's own calls.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "mayfly/base/ids.h"
#include "mayfly/v1/environment_service.grpc.pb.h"
#include "server/api/server.h"
#include "server/base/real_loop.h"
#include "server/plan/planner.h"
#include "server/report/report_builder.h"
#include "server/run/provisioner.h"
#include "server/spec/catalogue_loader.h"
#include "server/store/sqlite_store.h"
#include "tests/bench/figures.h"
#include "tests/support/store_records.h"

namespace mayfly::bench {
namespace {

void Require(const absl::Status& status, absl::string_view what) {
  if (status.ok()) return;
  fprintf(stderr, "%s: %s\n", std::string(what).c_str(), status.ToString().c_str());
  exit(1);
}

// A folder on the disk that a state folder would be on, not in memory.
class Folder {
 public:
  Folder() {
    std::string pattern = "/var/tmp/mayfly-bench-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) Require(absl::UnknownError("mkdtemp"), pattern);
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

double Ms(const std::function<void()>& what) {
  const absl::Time start = absl::Now();
  what();
  return absl::ToDoubleMilliseconds(absl::Now() - start);
}

// Accepts everything; nothing ever happens.
class IdleEngine final : public Engine {
 public:
  Capabilities Describe() override {
    Capabilities capabilities;
    capabilities.engine = "idle";
    capabilities.usable = capabilities.users = capabilities.memory_limits = capabilities.disk_limits = true;
    return capabilities;
  }
  absl::StatusOr<std::vector<FoundScope>> Recover() override { return std::vector<FoundScope>(); }
  absl::Status CreateScope(const ScopeSpec&) override { return absl::OkStatus(); }
  absl::Status Prepare(const NodeRef&, const ProcessSpec&) override { return absl::OkStatus(); }
  absl::Status Start(const NodeRef&, bool) override { return absl::OkStatus(); }
  absl::Status Stop(const NodeRef&) override { return absl::OkStatus(); }
  absl::Status Expose(const NodeRef&, int, int) override { return absl::OkStatus(); }
  absl::Status Destroy(const std::string&) override { return absl::OkStatus(); }
};

PlanOutcome PlanFor(const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities& capabilities,
                    const std::vector<Store::StartTime>& measured) {
  std::map<std::string, absl::Duration> start_times;
  for (const Store::StartTime& time : measured) start_times[time.node] = time.start_time;
  PlanResult result = MakePlan(catalogue, request, capabilities, start_times, {});
  PlanOutcome outcome;
  outcome.diagnostics = result.diagnostics;
  if (HasErrors(result.diagnostics)) outcome.status = absl::InvalidArgumentError(FormatDiagnostics(result.diagnostics));
  outcome.plan = std::move(result.plan);
  return outcome;
}

// What a server is made of, in this process.
class Server {
 public:
  Server(const std::string& dir, bool sync_full) {
    auto store = OpenSqliteStore(dir, {.sync_full = sync_full});
    Require(store.status(), "store");
    store_ = *std::move(store);
    Provisioner::Options options;
    options.state_dir = dir;
    options.max_environments = 1000000;
    ProvisionerDependencies dependencies;
    dependencies.loop = &loop_;
    dependencies.engine = &engine_;
    dependencies.engine_events = &events_;
    dependencies.store = store_.get();
    dependencies.load = [](const std::string& source, const std::string& below) {
      LoadedCatalogue loaded = LoadCatalogue(source, below);
      if (HasErrors(loaded.diagnostics)) fprintf(stderr, "%s", FormatDiagnostics(loaded.diagnostics).c_str());
      return loaded;
    };
    dependencies.plan = PlanFor;
    dependencies.report = [](const EnvironmentRecord&, const std::vector<Event>& log) { return BuildReport(log); };
    provisioner_ = CreateProvisioner(options, dependencies);
    Require(provisioner_->Recover(), "recover");
    api::ServiceContext context;
    context.provisioner = provisioner_.get();
    context.engine = &engine_;
    context.worker = &worker_;
    context.state_dir = dir;
    api::ServerOptions api_options;
    api_options.socket_path = dir + "/mayflyd.sock";
    auto api = api::ApiServer::Start(api_options, context, api::AccessPolicy({.local_name = "bench"}));
    Require(api.status(), "api");
    api_ = *std::move(api);
    stub_ = v1::EnvironmentService::NewStub(
        grpc::CreateChannel("unix:" + api_options.socket_path, grpc::InsecureChannelCredentials()));
  }
  ~Server() {
    api_->Stop();
    provisioner_->Shutdown();
    loop_.Stop();
  }

  double Create(const std::string& source, int i) {
    v1::CreateEnvironmentRequest request;
    request.set_environment_id(absl::StrCat("bench-", i));
    request.set_request_id(NewUuid());
    request.set_source(source);
    grpc::ClientContext context;
    v1::Environment response;
    grpc::Status status;
    const double ms = Ms([&] { status = stub_->CreateEnvironment(&context, request, &response); });
    if (!status.ok()) Require(absl::UnknownError(status.error_message()), "CreateEnvironment");
    return ms;
  }

 private:
  RealLoop loop_;
  RealLoop worker_;
  IdleEngine engine_;
  EngineEventQueue events_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Provisioner> provisioner_;
  std::unique_ptr<api::ApiServer> api_;
  std::unique_ptr<v1::EnvironmentService::Stub> stub_;
};

// Answers at once, on the same API of gRPC.
class EmptyServer {
 public:
  explicit EmptyServer(const std::string& dir) {
    grpc::ServerBuilder builder;
    const std::string address = "unix:" + dir + "/empty.sock";
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&handlers_);
    server_ = builder.BuildAndStart();
    stub_ = v1::EnvironmentService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }
  double Call() {
    grpc::ClientContext context;
    v1::Environment response;
    v1::CreateEnvironmentRequest request;
    return Ms([&] { stub_->CreateEnvironment(&context, request, &response); });
  }

 private:
  class Handlers final : public v1::EnvironmentService::CallbackService {
    grpc::ServerUnaryReactor* CreateEnvironment(grpc::CallbackServerContext* context,
                                                const v1::CreateEnvironmentRequest*, v1::Environment*) override {
      auto* reactor = context->DefaultReactor();
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }
  };
  Handlers handlers_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::EnvironmentService::Stub> stub_;
};

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

// A catalogue of `count` services.
std::string WriteSource(const std::string& dir, int count) {
  const std::string source = dir + "/source";
  for (int i = 0; i < count; ++i) {
    const std::string folder = absl::StrCat(source, "/s", i);
    std::filesystem::create_directories(folder);
    WriteFile(folder + "/service.yml", absl::StrCat("name: s", i, "\ntype: http\nrun: [sleep, inf]\n",
                                                    i > 0 ? absl::StrCat("needs: [s", (i - 1) / 2, "]\n") : ""));
  }
  WriteFile(source + "/envspec.yml", "name: bench\nservices: [\"*\"]\n");
  // A server does not remember a catalogue whose files changed within the last second.
  absl::SleepFor(absl::Milliseconds(1100));
  return source;
}

void MeasureAccept(Figures& figures, const std::string& title, int services, bool sync_full, int count,
                   std::optional<Goal> goal) {
  Folder folder;
  const std::string source = WriteSource(folder.path(), services);
  Server server(folder.path(), sync_full);
  EmptyServer empty(folder.path());
  std::vector<double> accept;
  std::vector<double> nothing;
  std::vector<double> over;
  for (int i = 0; i < count + 50; ++i) {
    const double e = empty.Call();
    const double a = server.Create(source, i);
    if (i < 50) continue;  // Channels connect, catalogues are read for the first time.
    accept.push_back(a);
    nothing.push_back(e);
    over.push_back(a - e);
  }
  figures.Add(absl::StrCat(title, ": CreateEnvironment"), "ms", accept);
  figures.Add(absl::StrCat(title, ": empty handler"), "ms", nothing);
  figures.Add(absl::StrCat(title, ": difference"), "ms", over, std::move(goal));
}

WriteBatch BatchOf(const EnvironmentRecord& record, int64_t first) {
  WriteBatch batch;
  batch.environment = record;
  for (int64_t i = 0; i < 5; ++i) {
    Event event = TestEvent(first + i, EventKind::kNode);
    event.node = "checkout";
    event.node_state = NodeState::kReady;
    event.attempt = 1;
    event.message.clear();
    batch.events.push_back(std::move(event));
  }
  batch.put_resources = {{record.uid, "node", "checkout", 1, "0123456789abcdef", true}};
  return batch;
}

void MeasureStore(Figures& figures, bool sync_full, int count) {
  Folder folder;
  auto opened = OpenSqliteStore(folder.path(), {.sync_full = sync_full});
  Require(opened.status(), "store");
  Store& store = **opened;
  std::vector<double> create, write, read, get, reopen;
  for (int i = 0; i < count; ++i) {
    EnvironmentRecord record = TestRecord(absl::StrCat("env-", i));
    record.request.request_id = record.uid;
    std::vector<Event> events = TestEvents(1, 2);
    for (int n = 0; n < 21; ++n)
      events[1].plan.push_back({absl::StrCat("service-", n), NodeKind::kService, {"postgres"}, {"asked for"}});
    create.push_back(Ms([&] { record = store.CreateEnvironment(record, events)->record; }));
    for (int64_t first = 3; first < 3 + 5 * 5; first += 5) {
      const WriteBatch batch = BatchOf(record, first);
      write.push_back(1000 * Ms([&] { Require(store.Write(record.uid, batch), "write"); }));
      ++record.etag;
    }
    get.push_back(1000 * Ms([&] { Require(store.GetEnvironment(record.name).status(), "get"); }));
    read.push_back(1000 * Ms([&] { Require(store.ReadEvents(record.uid, 0, 1000).status(), "read"); }));
  }
  const std::string title = sync_full ? "store, FULL" : "store";
  const auto goal = [&](Goal value) { return sync_full ? std::optional<Goal>() : std::optional<Goal>(value); };
  figures.Add(title + ": create, 21 nodes planned", "ms", create, goal({"p95", 0.3}));
  figures.Add(title + ": write of record and 5 events", "us", write, goal({"median", 60}));
  if (sync_full) return;
  figures.Add(title + ": get", "us", get);
  figures.Add(title + ": read 27 events", "us", read);
  for (int i = 0; i < 10; ++i) {
    opened->reset();
    reopen.push_back(Ms([&] { opened = OpenSqliteStore(folder.path()); }));
  }
  figures.Add(absl::StrCat(title, ": open with ", count, " live environments"), "ms", reopen);
}

int Main(int argc, char** argv) {
  Figures figures("accept");
  MeasureAccept(figures, "killed process, 2 services", 2, false, 1000, Goal{"p99", 1});
  MeasureAccept(figures, "killed process, 21 services", 21, false, 1000, Goal{"p99", 1});
  MeasureAccept(figures, "power loss (FULL), 2 services", 2, true, 500, std::nullopt);
  MeasureStore(figures, false, 1000);
  MeasureStore(figures, true, 200);
  return figures.Finish(argc, argv);
}

}  // namespace
}  // namespace mayfly::bench

int main(int argc, char** argv) {
  return mayfly::bench::Main(argc, argv);
}
