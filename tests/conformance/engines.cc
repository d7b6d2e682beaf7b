// The engines that the conformance suite runs against: one line each at the end.
#include "tests/conformance/engine_conformance.h"
#include "tests/support/fake_engine.h"
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

std::unique_ptr<EngineUnderTest> MakeFake(EngineEventSink* sink) { return std::make_unique<FakeUnderTest>(sink); }

}  // namespace

std::vector<EngineFactory> ConformanceEngines() {
  return {
      {"Fake", MakeFake},
  };
}

}  // namespace mayfly
