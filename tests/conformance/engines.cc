// The engines that the conformance suite runs against: one line each at the end.
#include <unistd.h>

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/kubernetes/kubernetes_engine.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/parts/log_reader.h"
#include "tests/conformance/engine_conformance.h"
#include "tests/support/fake_engine.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/temp_dir.h"
#include "tests/support/virtual_loop.h"

namespace mayfly {
namespace {

class FakeUnderTest final : public EngineUnderTest {
 public:
  explicit FakeUnderTest(EngineEventSink* sink) : sink_(sink) { Restart(); }
  Engine& engine() override { return *engine_; }
  LogSource* logs() override { return engine_.get(); }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }
  void Restart() override {
    engine_.reset();
    // What happens now, nobody hears.
    loop_.Advance(absl::Milliseconds(200));
    engine_ = std::make_unique<FakeEngine>(&world_, sink_);
  }
  bool Turn() override {
    loop_.Advance(absl::Milliseconds(1));
    return true;
  }
  // There are no sockets in a fake world; that it knows the address is all that can be said.
  absl::StatusOr<std::string> Dial(const std::string& address, const std::string& line) override {
    for (const auto& [id, scope] : world_.scopes()) {
      for (const auto& [name, node] : scope.nodes) {
        for (const auto& [port, known] : node.exposed) {
          if (known == address && !scope.destroyed) return line;
        }
      }
    }
    return absl::UnavailableError("nobody listens there");
  }

 private:
  EngineEventSink* const sink_;
  VirtualLoop loop_;
  FakeWorld world_{&loop_};
  std::unique_ptr<FakeEngine> engine_;
};

std::unique_ptr<EngineUnderTest> MakeFake(EngineEventSink* sink) {
  return std::make_unique<FakeUnderTest>(sink);
}

class LocalUnderTest final : public EngineUnderTest {
 public:
  explicit LocalUnderTest(EngineEventSink* sink) : sink_(sink) { Restart(); }
  Engine& engine() override { return *engine_; }
  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }
  void Restart() override {
    engine_.reset();
    local::LauncherOptions options;
    options.state_dir = state_.path();
    options.pool = 0;
    options.slots = 4;
    auto launcher = local::ForkLauncher(options);
    ASSERT_TRUE(launcher.ok()) << launcher.status();
    engine_ = local::LocalEngine::Create({state_.path()}, *std::move(launcher), sink_);
  }
  bool Turn() override { return false; }
  absl::StatusOr<std::string> Dial(const std::string& address, const std::string& line) override {
    return DialTcp(address, line);
  }

 private:
  EngineEventSink* const sink_;
  TempDir state_;
  LogReader logs_;
  std::unique_ptr<local::LocalEngine> engine_;
};

std::unique_ptr<EngineUnderTest> MakeLocal(EngineEventSink* sink) {
  auto local = std::make_unique<LocalUnderTest>(sink);
  if (local->engine().Describe().usable) return local;
  return nullptr;
}

// The suite speaks of programs in a folder of this machine; in a cluster the same programs are in an image.
class InAnImage final : public Engine, public Execer {
 public:
  explicit InAnImage(kubernetes::KubernetesEngine* engine) : engine_(engine) {}
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override {
    ExecRequest inside = request;
    for (std::string& word : inside.argv) Move(folder_, word);
    return engine_->Exec(inside, std::move(callbacks));
  }
  Capabilities Describe() override { return engine_->Describe(); }
  absl::StatusOr<std::vector<FoundScope>> Recover() override { return engine_->Recover(); }
  absl::Status CreateScope(const ScopeSpec& scope) override { return engine_->CreateScope(scope); }
  absl::Status Prepare(const NodeRef& node, const ProcessSpec& process) override {
    ProcessSpec inside = process;
    if (!process.argv.empty()) inside.image = "mayfly/workload:1";  // Nothing to run stays nothing to run.
    folder_ = process.source_root;
    for (std::string& word : inside.argv) Move(process.source_root, word);
    for (std::string& word : inside.probe.command) Move(process.source_root, word);
    return engine_->Prepare(node, inside);
  }
  absl::Status Start(const NodeRef& node, bool one_shot) override { return engine_->Start(node, one_shot); }
  absl::Status Stop(const NodeRef& node) override { return engine_->Stop(node); }
  absl::Status Expose(const NodeRef& node, int port, int host_port) override {
    return engine_->Expose(node, port, host_port);
  }
  absl::Status Destroy(const std::string& scope) override { return engine_->Destroy(scope); }

 private:
  static void Move(const std::string& folder, std::string& word) {
    if (!folder.empty() && absl::StartsWith(word, folder)) word = "/work" + word.substr(folder.size());
  }
  kubernetes::KubernetesEngine* const engine_;
  std::string folder_;
};

class KubernetesUnderTest final : public EngineUnderTest {
 public:
  KubernetesUnderTest(EngineEventSink* sink, kube::Endpoint endpoint) : sink_(sink), endpoint_(std::move(endpoint)) {
    Restart();
  }
  Engine& engine() override { return *adapted_; }
  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return adapted_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }
  void Restart() override {
    engine_.reset();
    kubernetes::KubernetesEngineOptions options;
    options.state_dir = state_.path();
    options.installation = absl::StrCat("conformance-", getpid());
    options.endpoint = endpoint_;
    options.registry = "192.0.2.1:5000";
    auto engine = kubernetes::KubernetesEngine::Create(options, sink_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    adapted_ = std::make_unique<InAnImage>(engine_.get());
  }
  bool Turn() override { return false; }
  absl::StatusOr<std::string> Dial(const std::string& address, const std::string& line) override {
    return DialTcp(address, line);
  }

 private:
  EngineEventSink* const sink_;
  const kube::Endpoint endpoint_;
  TempDir state_;
  LogReader logs_;
  std::unique_ptr<kubernetes::KubernetesEngine> engine_;
  std::unique_ptr<InAnImage> adapted_;
};

std::unique_ptr<EngineUnderTest> MakeKubernetes(EngineEventSink* sink) {
  const std::optional<kube::Endpoint> endpoint = TestCluster();
  if (!endpoint) return nullptr;
  return std::make_unique<KubernetesUnderTest>(sink, *endpoint);
}

}  // namespace

std::vector<EngineFactory> ConformanceEngines() {
  return {
      {"Fake", MakeFake},
      {"Local", MakeLocal},
      {"Kubernetes", MakeKubernetes},
  };
}

}  // namespace mayfly
