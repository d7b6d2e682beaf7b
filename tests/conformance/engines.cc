// The engines that the conformance suite runs against: one line each at the end.
#include "server/engine/local/local_engine.h"
#include "server/engine/parts/log_reader.h"
#include "tests/conformance/engine_conformance.h"
#include "tests/support/fake_engine.h"
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

}  // namespace

std::vector<EngineFactory> ConformanceEngines() {
  return {
      {"Fake", MakeFake},
      {"Local", MakeLocal},
  };
}

}  // namespace mayfly
