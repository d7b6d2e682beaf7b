// ./dev bench api: how fast a server answers and tells, beside a handler that does nothing.
//
// The server runs in a process of its own with everything a server has except an engine that runs anything, so that its
// memory and nothing else's is measured. The client drives it through gRPC on Unix sockets without looking into what
// comes back, in the same way for both handlers. `bench_api get|watch|stalled` measures one part.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "mayfly/v1/environment_service.grpc.pb.h"
#include "server/api/server.h"
#include "server/app/provisioning.h"
#include "server/base/real_loop.h"
#include "server/run/engine_event_queue.h"
#include "server/store/sqlite_store.h"
#include "tests/bench/figures.h"

extern char** environ;

namespace mayfly::bench {
namespace {

constexpr int kStored = 1000;
constexpr int kWatchers = 1000;
constexpr int kServices = 21;
constexpr int kInFlight = 64;
constexpr char kService[] = "/mayfly.v1.EnvironmentService/";

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "bench_api: %s\n", what.c_str());
  exit(1);
}
void Require(const absl::Status& status, absl::string_view what) {
  if (!status.ok()) Die(absl::StrCat(what, ": ", status.ToString()));
}

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// ---- the server's process

// Accepts everything, says at once that it is done and starts nothing; tells what it is told to tell.
class IdleEngine final : public Engine {
 public:
  explicit IdleEngine(EngineEventSink* sink) : sink_(sink) {}
  Capabilities Describe() override {
    Capabilities all;
    all.engine = "idle";
    all.usable = all.users = all.memory_limits = all.process_limits = all.cpu_limits = all.disk_limits = true;
    return all;
  }
  absl::StatusOr<std::vector<FoundScope>> Recover() override { return std::vector<FoundScope>(); }
  absl::Status CreateScope(const ScopeSpec& scope) override {
    scopes_[scope.environment] = scope.id;
    return Say(EngineEvent::Kind::kScopeReady, {scope.id, ""});
  }
  absl::Status Prepare(const NodeRef& node, const ProcessSpec&) override {
    return Say(EngineEvent::Kind::kPrepared, node);
  }
  absl::Status Start(const NodeRef& node, bool) override {
    static_cast<void>(Say(EngineEvent::Kind::kStarted, node));
    return Say(EngineEvent::Kind::kReady, node);
  }
  absl::Status Stop(const NodeRef&) override { return absl::OkStatus(); }
  absl::Status Expose(const NodeRef&, int, int) override { return absl::OkStatus(); }
  absl::Status Destroy(const std::string&) override { return absl::OkStatus(); }

  // An event of `environment`, which is stored and told to its watchers.
  void Tell(const std::string& environment) {
    EngineEvent event;
    event.kind = EngineEvent::Kind::kExposed;
    event.node = {scopes_[environment], "s0", 1};
    event.when = absl::Nanoseconds(NowNs());
    event.port = 8080;
    event.address = "127.0.0.1:20480";
    sink_->OnEngineEvent(event);
  }

 private:
  absl::Status Say(EngineEvent::Kind kind, const NodeRef& node) {
    EngineEvent event;
    event.kind = kind;
    event.node = node;
    event.when = absl::Nanoseconds(NowNs());
    sink_->OnEngineEvent(event);
    return absl::OkStatus();
  }

  EngineEventSink* const sink_;
  std::map<std::string, std::string> scopes_;  // Written before anything is told.
};

class EmptyHandler final : public v1::EnvironmentService::CallbackService {
  grpc::ServerUnaryReactor* GetEnvironment(grpc::CallbackServerContext* context, const v1::GetEnvironmentRequest*,
                                           v1::Environment*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// Orders on standard input: "tell NAME COUNT". One line back for each.
int Serve(const std::string& dir) {
  api::RaiseDescriptorLimit();
  auto store = OpenSqliteStore(dir);
  Require(store.status(), "store");
  RealLoop loop, worker;
  EngineEventQueue events;
  IdleEngine engine(&events);
  const auto provisioner = app::MakeProvisioner({.state_dir = dir,
                                                 .loop = &loop,
                                                 .engine = &engine,
                                                 .engine_events = &events,
                                                 .store = store->get(),
                                                 .max_environments = 10 * kStored});
  Require(provisioner->Recover(), "recover");
  api::ServiceContext context;
  context.provisioner = provisioner.get();
  context.engine = &engine;
  context.worker = &worker;
  auto api =
      api::ApiServer::Start({.socket_path = dir + "/mayfly.sock"}, context, api::AccessPolicy({"bench", {}, {}}));
  Require(api.status(), "api");
  EmptyHandler empty;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + dir + "/empty.sock", grpc::InsecureServerCredentials());
  builder.RegisterService(&empty);
  const auto empty_server = builder.BuildAndStart();
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    int count = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[2], &count)) break;
    const int64_t when = NowNs();
    for (int i = 0; i < count; ++i) engine.Tell(words[1]);
    std::cout << when << std::endl;
  }
  (*api)->Stop();
  empty_server->Shutdown();
  provisioner->Shutdown();
  loop.Stop();
  return 0;
}

class ServerProcess {
 public:
  explicit ServerProcess(const std::string& dir) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) Die("pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::string self = "/proc/self/exe", serve = "serve", folder = dir;
    char* argv[] = {self.data(), serve.data(), folder.data(), nullptr};
    if (posix_spawn(&pid_, self.c_str(), &actions, nullptr, argv, environ) != 0) Die("the server does not start");
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    orders_ = fdopen(in[1], "w");
    answers_ = fdopen(out[0], "r");
    if (ReadLine() != "ready") Die("the server does not serve");
  }
  ~ServerProcess() {
    fclose(orders_);
    waitpid(pid_, nullptr, 0);
    fclose(answers_);
  }
  // When the first of `count` events happened.
  int64_t Tell(const std::string& environment, int count) {
    fprintf(orders_, "tell %s %d\n", environment.c_str(), count);
    fflush(orders_);
    int64_t when = 0;
    if (!absl::SimpleAtoi(ReadLine(), &when)) Die("the server does not answer");
    return when;
  }
  // What it has used, in milliseconds.
  double Cpu() const {
    clockid_t clock;
    timespec used{};
    if (clock_getcpuclockid(pid_, &clock) != 0 || clock_gettime(clock, &used) != 0) Die("no clock of the server");
    return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
  }
  // Memory that is its own, in KiB.
  double Memory() const {
    std::ifstream status(absl::StrCat("/proc/", pid_, "/status"));
    for (std::string line; std::getline(status, line);) {
      absl::string_view rest = line;
      int64_t kib = 0;
      if (absl::ConsumePrefix(&rest, "RssAnon:") && absl::SimpleAtoi(absl::StripSuffix(rest, "kB"), &kib)) {
        return static_cast<double>(kib);
      }
    }
    Die("no RssAnon");
  }

 private:
  std::string ReadLine() {
    char line[256] = "";
    if (fgets(line, sizeof(line), answers_) == nullptr) Die("the server is gone");
    return std::string(absl::StripSuffix(line, "\n"));
  }
  pid_t pid_ = 0;
  FILE* orders_ = nullptr;
  FILE* answers_ = nullptr;
};

// ---- the client

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
}

grpc::ByteBuffer Raw(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// Calls GetEnvironment kInFlight at a time for a while; calls per second.
double GetRate(const std::string& socket, absl::Duration length) {
  struct Get {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> call;
    grpc::ByteBuffer response;
    grpc::Status status;
  };
  grpc::GenericStub stub(Connect(socket));
  grpc::CompletionQueue queue;
  std::vector<Get> gets(kInFlight);
  int sent = 0;
  const auto send = [&](Get& get) {
    v1::GetEnvironmentRequest request;
    request.set_name(absl::StrCat("bench-", sent++ % kStored));
    get.context = std::make_unique<grpc::ClientContext>();
    get.call = stub.PrepareUnaryCall(get.context.get(), absl::StrCat(kService, "GetEnvironment"), Raw(request), &queue);
    get.call->StartCall();
    get.call->Finish(&get.response, &get.status, &get);
  };
  const int64_t start = NowNs();
  const int64_t end = start + absl::ToInt64Nanoseconds(length);
  for (Get& get : gets) send(get);
  int done = 0;
  int64_t now = start;
  for (int open = kInFlight; open > 0;) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    Get& get = *static_cast<Get*>(tag);
    if (!get.status.ok()) Die("GetEnvironment: " + get.status.error_message());
    if ((now = NowNs()) < end) {
      ++done;
      send(get);
    } else {
      --open;
    }
  }
  queue.Shutdown();
  return done / absl::ToDoubleSeconds(length);
}

// Streams of WatchEnvironment on a few connections, all driven by whoever calls Collect.
class Watchers {
 public:
  Watchers(const std::string& socket, const std::string& environment, int64_t from, int count, int connections) {
    v1::WatchEnvironmentRequest request;
    request.set_name(environment);
    request.set_from_sequence(from);
    std::vector<std::unique_ptr<grpc::GenericStub>> stubs;
    for (int i = 0; i < connections; ++i) stubs.push_back(std::make_unique<grpc::GenericStub>(Connect(socket)));
    streams_ = std::vector<Stream>(static_cast<size_t>(count));
    for (size_t i = 0; i < streams_.size(); ++i) {
      streams_[i].call = stubs[i % stubs.size()]->PrepareCall(&streams_[i].context,
                                                              absl::StrCat(kService, "WatchEnvironment"), &queue_);
      streams_[i].call->StartCall(&streams_[i]);
      Next();
      streams_[i].call->WriteLast(Raw(request), grpc::WriteOptions(), &streams_[i]);
      Next();
    }
    for (Stream& stream : streams_) Read(stream);
    // Each begins with the environment as it is.
    for (int i = 0; i < count; ++i) Read(Next());
  }
  ~Watchers() {
    for (Stream& stream : streams_) stream.context.TryCancel();
    grpc::Status ignored;
    for (size_t i = 0; i < streams_.size(); ++i) Next();  // The reads that are pending.
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  // The next event at each watcher: how long after `when`, in milliseconds.
  std::vector<double> Collect(const std::function<int64_t()>& tell) {
    const int64_t when = tell();
    std::vector<double> out;
    while (out.size() < streams_.size()) {
      Stream& stream = Next();
      out.push_back(static_cast<double>(NowNs() - when) / 1e6);
      Read(stream);
    }
    return out;
  }
  // How long until every watcher has read `events` more, in milliseconds.
  double Drain(int events, const std::function<int64_t()>& tell) {
    for (Stream& stream : streams_) stream.events = 0;
    const int64_t when = tell();
    for (size_t finished = 0; finished < streams_.size();) {
      Stream& stream = Next();
      v1::WatchEnvironmentResponse response;
      grpc::Slice slice;
      if (!stream.message.DumpToSingleSlice(&slice).ok() ||
          !response.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
        Die("what a watcher reads is no response");
      }
      stream.events += response.events_size();
      if (stream.events >= events) ++finished;
      Read(stream);
    }
    return static_cast<double>(NowNs() - when) / 1e6;
  }

 private:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
    grpc::ByteBuffer message;
    int events = 0;
  };
  void Read(Stream& stream) { stream.call->Read(&stream.message, &stream); }
  Stream& Next() {
    void* tag = nullptr;
    bool ok = false;
    if (!queue_.Next(&tag, &ok)) Die("the queue of watchers ended");
    return *static_cast<Stream*>(tag);
  }
  grpc::CompletionQueue queue_;
  std::vector<Stream> streams_;
};

// A client that subscribes and never reads.
class Stalled {
 public:
  Stalled(const std::string& socket, const std::string& environment, int64_t from) {
    v1::WatchEnvironmentRequest request;
    request.set_name(environment);
    request.set_from_sequence(from);
    grpc::GenericStub stub(Connect(socket));
    call_ = stub.PrepareCall(&context_, absl::StrCat(kService, "WatchEnvironment"), &queue_);
    void* tag;
    bool ok;
    call_->StartCall(this);
    queue_.Next(&tag, &ok);
    call_->WriteLast(Raw(request), grpc::WriteOptions(), this);
    queue_.Next(&tag, &ok);
  }
  ~Stalled() {
    context_.TryCancel();
    grpc::Status status;
    void* tag;
    bool ok;
    call_->Finish(&status, this);
    queue_.Next(&tag, &ok);
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
  }

 private:
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

int64_t LastSequence(v1::EnvironmentService::Stub& stub, const std::string& name) {
  grpc::ClientContext context;
  v1::GetEnvironmentRequest request;
  request.set_name(name);
  v1::Environment environment;
  if (!stub.GetEnvironment(&context, request, &environment).ok()) Die("GetEnvironment of " + name);
  return environment.last_sequence();
}

void Fill(v1::EnvironmentService::Stub& stub, const std::string& source) {
  for (int i = 0; i < kStored; ++i) {
    grpc::ClientContext context;
    v1::CreateEnvironmentRequest request;
    request.set_environment_id(absl::StrCat("bench-", i));
    request.set_source(source);
    v1::Environment environment;
    const grpc::Status status = stub.CreateEnvironment(&context, request, &environment);
    if (!status.ok()) Die("CreateEnvironment: " + status.error_message());
  }
  // Nothing may happen by itself while something is measured.
  for (int i = 0; i < kStored; ++i) {
    grpc::ClientContext context;
    v1::WatchEnvironmentRequest request;
    request.set_name(absl::StrCat("bench-", i));
    request.set_until_settled(true);
    v1::WatchEnvironmentResponse response;
    const auto reader = stub.WatchEnvironment(&context, request);
    while (reader->Read(&response)) {
    }
    if (const grpc::Status status = reader->Finish(); !status.ok()) Die("Watch: " + status.error_message());
  }
}

std::string WriteSource(const std::string& dir) {
  std::filesystem::create_directories(dir + "/source");
  std::ofstream file(dir + "/source/envspec.yml");
  file << "name: bench\nservices:\n";
  for (int i = 0; i < kServices; ++i) {
    file << "  - {name: s" << i << ", run: [sleep, inf], type: worker" << (i > 0 ? ", needs: [s0]" : "") << "}\n";
  }
  return dir + "/source";
}

void BenchGet(const std::string& dir, Figures& figures) {
  std::vector<double> empty, get, share;
  GetRate(dir + "/empty.sock", absl::Seconds(1));
  GetRate(dir + "/mayfly.sock", absl::Seconds(1));
  for (int i = 0; i < 10; ++i) {
    empty.push_back(GetRate(dir + "/empty.sock", absl::Seconds(1)));
    get.push_back(GetRate(dir + "/mayfly.sock", absl::Seconds(1)));
    share.push_back(100 * get.back() / empty.back());
  }
  figures.Add("empty handler, 64 in flight", "/s", empty);
  figures.Add("Get, 1,000 environments of 21 services stored", "/s", get);
  figures.Add("Get, of the empty handler's rate", "%", share, Goal{"median", 50, true});
}

void BenchWatch(const std::string& dir, ServerProcess& server, v1::EnvironmentService::Stub& stub, Figures& figures) {
  std::vector<double> latency, memory, cpu;
  for (int round = 0; round < 3; ++round) {
    const std::string name = absl::StrCat("bench-", round);
    const double before = server.Memory();
    Watchers watchers(dir + "/mayfly.sock", name, LastSequence(stub, name), kWatchers, 4);
    const auto tell = [&] { return server.Tell(name, 1); };
    for (int i = 0; i < 5; ++i) watchers.Collect(tell);
    memory.push_back((server.Memory() - before) / kWatchers);
    const double used = server.Cpu();
    for (int i = 0; i < 50; ++i) {
      for (const double ms : watchers.Collect(tell)) latency.push_back(ms);
    }
    cpu.push_back((server.Cpu() - used) / 50);
  }
  figures.Add("event -> one of 1,000 watchers", "ms", latency, Goal{"p99", 10});
  figures.Add("server CPU of an event to 1,000 watchers", "ms", cpu);
  figures.Add("server memory of a watcher", "KiB", memory, Goal{"max", 32});
}

void BenchStalled(const std::string& dir, ServerProcess& server, v1::EnvironmentService::Stub& stub, Figures& figures) {
  constexpr int kEvents = 2000;
  constexpr int kBeside = 50;
  const std::string name = "bench-9";
  std::vector<double> alone, beside, cost;
  for (int round = 0; round < 22; ++round) {
    const auto drain = [&] {
      Watchers watchers(dir + "/mayfly.sock", name, LastSequence(stub, name), kBeside, 2);
      return watchers.Drain(kEvents, [&] { return server.Tell(name, kEvents); });
    };
    const double without = drain();
    const Stalled stalled(dir + "/mayfly.sock", name, LastSequence(stub, name));
    const double with = drain();
    if (round < 2) continue;  // Warm.
    alone.push_back(without);
    beside.push_back(with);
    cost.push_back(100 * (with / without - 1));
  }
  figures.Add("2,000 events to 50 watchers", "ms", alone);
  figures.Add("the same beside a stalled watcher", "ms", beside);
  figures.Add("a stalled watcher costs the others", "%", cost, Goal{"median", 10});
}

int Run(int argc, char** argv) {
  std::string dir = "/var/tmp/mayfly-bench-api-XXXXXX";
  if (mkdtemp(dir.data()) == nullptr) Die("mkdtemp");
  signal(SIGPIPE, SIG_IGN);
  api::RaiseDescriptorLimit();
  Figures figures("api");
  {
    ServerProcess server(dir);
    const auto stub = v1::EnvironmentService::NewStub(Connect(dir + "/mayfly.sock"));
    Fill(*stub, WriteSource(dir));
    const auto wanted = [&](const std::string& part) { return argc < 2 || argv[1][0] == '-' || argv[1] == part; };
    if (wanted("get")) BenchGet(dir, figures);
    if (wanted("watch")) BenchWatch(dir, server, *stub, figures);
    if (wanted("stalled")) BenchStalled(dir, server, *stub, figures);
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return figures.Finish(argc, argv);
}

}  // namespace
}  // namespace mayfly::bench

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "serve") return mayfly::bench::Serve(argv[2]);
  return mayfly::bench::Run(argc, argv);
}
