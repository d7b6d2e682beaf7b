// The engines that the conformance suite runs against: one line each at the end.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/kubernetes_engine.h"
#include "server/engine/kubernetes/namespace_pool.h"
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
  InAnImage(kubernetes::KubernetesEngine* engine, std::function<void(const std::string&)> on_create)
      : engine_(engine), on_create_(std::move(on_create)) {}
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override {
    ExecRequest inside = request;
    for (std::string& word : inside.argv) Move(folder_, word);
    return engine_->Exec(inside, std::move(callbacks));
  }
  Capabilities Describe() override { return engine_->Describe(); }
  absl::StatusOr<std::vector<FoundScope>> Recover() override { return engine_->Recover(); }
  absl::Status CreateScope(const ScopeSpec& scope) override {
    if (!scope.id.empty()) on_create_(scope.id);
    return engine_->CreateScope(scope);
  }
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
  const std::function<void(const std::string&)> on_create_;
  std::string folder_;
};

// Ends with its scopes, not with its test: in kube namespaces that were given the next engine could not begin before.
class OneInCluster final : public EngineEventSink {
 public:
  explicit OneInCluster(EngineEventSink* sink) : sink_(sink) {}
  ~OneInCluster() override {
    // What a test leaves, or has just begun to take down.
    std::set<std::string> left;
    {
      MutexLock lock(mutex_);
      left = scopes_;
    }
    for (const std::string& scope : left) EXPECT_EQ(engine->Destroy(scope), absl::OkStatus());
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    MutexLock lock(mutex_);
    while (!scopes_.empty()) {
      if (gone_.WaitUntil(mutex_, end)) continue;
      ADD_FAILURE() << *scopes_.begin() << " is not gone within 30 s";
      break;
    }
  }
  void OnEngineEvent(const EngineEvent& event) override {
    MutexLock lock(mutex_);
    if (event.kind == EngineEvent::Kind::kScopeGone) scopes_.erase(event.node.scope);
    gone_.NotifyAll();
    if (sink_ != nullptr) sink_->OnEngineEvent(event);
  }
  void Created(const std::string& scope) {
    MutexLock lock(mutex_);
    scopes_.insert(scope);
  }
  void Leave() {
    MutexLock lock(mutex_);
    sink_ = nullptr;
  }
  void Forget() {
    MutexLock lock(mutex_);
    scopes_.clear();
  }

 private:
  Mutex mutex_;
  CondVar gone_;
  EngineEventSink* sink_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> scopes_ ABSL_GUARDED_BY(mutex_);

 public:
  TempDir state;
  std::unique_ptr<kubernetes::KubernetesEngine> engine;  // Last: it tells until its end.
};

// Kube namespaces that were made for the test, for another identity than the administrator's
// (tests/cluster/rights_test.py); each test has some of them while those of former ones are cleared. None: each scope
// makes its own.
class GivenNamespaces final : public testing::Environment {
 public:
  static constexpr size_t kForOne = 2;
  GivenNamespaces() {
    const char* const given = std::getenv("MAYFLY_TEST_KUBE_NAMESPACES");
    if (given == nullptr) return;
    const auto names = kubernetes::ParseNamespaces(given);
    if (!names.ok()) return;
    for (size_t i = 0; i + kForOne <= names->size(); i += kForOne) {
      parts_.push_back(
          {{names->begin() + static_cast<ptrdiff_t>(i), names->begin() + static_cast<ptrdiff_t>(i + kForOne)},
           nullptr});
    }
  }
  static GivenNamespaces& Get() {
    static auto* const all = new GivenNamespaces();  // GoogleTest's, which deletes it.
    return *all;
  }
  std::vector<std::string> Next() {
    if (parts_.empty()) return {};
    turn_ = (turn_ + 1) % parts_.size();
    parts_[turn_].last.reset();
    return parts_[turn_].names;
  }
  void Leave(std::unique_ptr<OneInCluster> one) {
    one->Leave();
    if (!parts_.empty()) parts_[turn_].last = std::move(one);
  }
  void TearDown() override { parts_.clear(); }

 private:
  struct Part {
    std::vector<std::string> names;
    std::unique_ptr<OneInCluster> last;
  };
  std::vector<Part> parts_;
  size_t turn_ = 0;
};

class KubernetesUnderTest final : public EngineUnderTest {
 public:
  KubernetesUnderTest(EngineEventSink* sink, kube::Endpoint endpoint)
      : endpoint_(std::move(endpoint)),
        names_(GivenNamespaces::Get().Next()),
        one_(std::make_unique<OneInCluster>(sink)) {
    Restart();
  }
  ~KubernetesUnderTest() override {
    adapted_.reset();
    if (names_.empty()) {
      one_->Forget();
    } else {
      GivenNamespaces::Get().Leave(std::move(one_));
    }
  }
  Engine& engine() override { return *adapted_; }
  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return adapted_.get(); }
  Connector* connector() override { return one_->engine.get(); }
  FileCollector* collector() override { return one_->engine.get(); }
  void Restart() override {
    one_->engine.reset();
    kubernetes::KubernetesEngineOptions options;
    options.state_dir = one_->state.path();
    options.installation = absl::StrCat("conformance-", getpid());
    options.endpoint = endpoint_;
    options.registry = "192.0.2.1:5000";
    options.gate_relay = getenv("MAYFLY_TEST_GATE_RELAY") != nullptr;
    options.namespaces = names_;
    auto engine = kubernetes::KubernetesEngine::Create(options, one_.get());
    ASSERT_TRUE(engine.ok()) << engine.status();
    one_->engine = *std::move(engine);
    adapted_ =
        std::make_unique<InAnImage>(one_->engine.get(), [this](const std::string& scope) { one_->Created(scope); });
  }
  bool Turn() override { return false; }
  absl::StatusOr<std::string> Dial(const std::string& address, const std::string& line) override {
    return DialTcp(address, line);
  }

 private:
  const kube::Endpoint endpoint_;
  const std::vector<std::string> names_;
  LogReader logs_;
  std::unique_ptr<OneInCluster> one_;
  std::unique_ptr<InAnImage> adapted_;
};

std::unique_ptr<EngineUnderTest> MakeKubernetes(EngineEventSink* sink) {
  const std::optional<kube::Endpoint> endpoint = TestCluster();
  if (!endpoint) return nullptr;
  return std::make_unique<KubernetesUnderTest>(sink, *endpoint);
}

}  // namespace

std::vector<EngineFactory> ConformanceEngines() {
  static testing::Environment* const given = testing::AddGlobalTestEnvironment(&GivenNamespaces::Get());
  static_cast<void>(given);
  return {
      {"Fake", MakeFake},
      {"Local", MakeLocal},
      {"Kubernetes", MakeKubernetes},
  };
}

}  // namespace mayfly
