#include "server/app/engine_host.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/base/unique_fd.h"
#include "server/engine/local/launcher.h"
#include "server/engine/local/local_engine.h"
#include "server/engine/local/log_reader.h"
#include "server/obs/log.h"

namespace mayfly::app {
namespace {

constexpr int kLauncherEndMs = 10000;

class LocalHost final : public EngineHost {
 public:
  explicit LocalHost(local::LauncherHandle launcher) : launcher_(std::move(launcher)), launcher_pid_(launcher_.pid) {}

  ~LocalHost() override {
    engine_.reset();
    launcher_.channel.Reset();
    // It takes the idle pool down first; once it is gone, so is everything that belonged to no environment.
    mayfly::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, launcher_pid_, 0)));
    pollfd ended{pidfd.get(), POLLIN, 0};
    if (pidfd.valid() && poll(&ended, 1, kLauncherEndMs) == 0) {
      LogWarning("the launcher does not end", {{"pid", launcher_pid_}});
      return;
    }
    waitpid(launcher_pid_, nullptr, 0);
  }

  absl::StatusOr<Engine*> Start(EngineEventSink* sink, const std::string& state_dir, const std::string&) override {
    engine_ = local::LocalEngine::Create({.state_dir = state_dir}, std::move(launcher_), sink);
    return engine_.get();
  }

  LogSource* logs() override { return &logs_; }
  Execer* execer() override { return engine_.get(); }
  Connector* connector() override { return engine_.get(); }
  FileCollector* collector() override { return engine_.get(); }

 private:
  local::LauncherHandle launcher_;
  const pid_t launcher_pid_;
  std::unique_ptr<local::LocalEngine> engine_;
  local::LogReader logs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EngineHost>> MakeEngineHost(const std::string& engine, const std::string& state_dir) {
  if (engine != "local") return absl::InvalidArgumentError(absl::StrCat("there is no engine '", engine, "'"));
  MAYFLY_ASSIGN_OR_RETURN(local::LauncherHandle launcher, local::ForkLauncher({.state_dir = state_dir}));
  return std::make_unique<LocalHost>(std::move(launcher));
}

}  // namespace mayfly::app
