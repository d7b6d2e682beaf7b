#include "server/app/engine_host.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/parts/log_reader.h"
#include "server/obs/log.h"

namespace mayfly::app {
namespace {

class LocalHost final : public EngineHost {
 public:
  explicit LocalHost(local::LauncherHandle launcher) : launcher_(std::move(launcher)) {}

  ~LocalHost() override {
    engine_.reset();
    if (launcher_.pid == 0) return;
    launcher_.channel.Reset();
    if (const absl::Status ended = local::AwaitLauncherEnd(launcher_.pid); !ended.ok()) {
      LogWarning(ended.message());
    }
  }

  absl::StatusOr<Engine*> Start(EngineEventSink* sink, const std::string& state_dir, const std::string&) override {
    engine_ = local::LocalEngine::Create({.state_dir = state_dir}, std::exchange(launcher_, {}), sink);
    return engine_.get();
  }

  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }

 private:
  local::LauncherHandle launcher_;  // Until Start.
  std::unique_ptr<local::LocalEngine> engine_;
  LogReader logs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EngineHost>> MakeEngineHost(const std::string& engine, const std::string& state_dir,
                                                           bool egress_to_host) {
  if (engine != "local") return absl::InvalidArgumentError(absl::StrCat("there is no engine '", engine, "'"));
  MAYFLY_ASSIGN_OR_RETURN(local::LauncherHandle launcher,
                          local::ForkLauncher({.state_dir = state_dir, .egress_to_host = egress_to_host}));
  return std::make_unique<LocalHost>(std::move(launcher));
}

}  // namespace mayfly::app
