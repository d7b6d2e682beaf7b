// One local engine with one scope, a source folder and a log folder, for tests. Whatever it made is gone when it is.
#ifndef MAYFLY_TESTS_SUPPORT_LOCAL_WORLD_H_
#define MAYFLY_TESTS_SUPPORT_LOCAL_WORLD_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/engine/local/local_engine.h"
#include "tests/support/temp_dir.h"

namespace mayfly {

class LocalWorld : public EngineEventSink {
 public:
  // `egress_to_host`: nodes may name the loopback of this host.
  explicit LocalWorld(bool egress_to_host = false);
  ~LocalWorld() override;

  local::LocalEngine& engine() { return *engine_; }
  const std::string& scope() const { return scope_; }
  const std::string& folder() const { return path_; }
  std::string source() const { return folder() + "/source"; }
  // A copy of mayfly-workload inside the source folder: its path tells its processes from those of other tests.
  std::string workload() const { return source() + "/workload"; }

  // Ends the engine and its launcher as kill -9 would leave things, and starts both anew; Recover is the caller's.
  void Restart();

  void Prepare(const std::string& node, ProcessSpec process, int attempt = 1);
  // Prepares, starts and waits for kExited or kStartFailed.
  EngineEvent RunJob(const std::string& node, const ProcessSpec& process, int attempt = 1);
  // Prepares, starts and waits for kStarted.
  EngineEvent StartService(const std::string& node, const ProcessSpec& process, int attempt = 1);
  // The first event, not awaited before, of one of `kinds` about `node` ("" for the scope). Fails the test after 20 s.
  EngineEvent Await(const std::string& node, std::vector<EngineEvent::Kind> kinds);
  EngineEvent Await(const std::string& node, EngineEvent::Kind kind) { return Await(node, std::vector{kind}); }

  std::string Output(const std::string& node);
  // The path of the folder that holds the new file, which is below the source folder.
  std::string WriteSource(const std::string& name, const std::string& text, int mode = 0644);
  std::string ReadSource(const std::string& name);
  // Processes of this world's workload, wherever they hide.
  int Processes();
  // A port of the host's loopback on which the test listens.
  int ListenOnHost();
  // Whether somebody has connected to it since the last call.
  bool AcceptedOnHost();

  void OnEngineEvent(const EngineEvent& event) override;

 private:
  void StartEngine();

  const bool egress_to_host_;
  TempDir folder_;
  const std::string path_;  // Of folder_, in its shortest form.
  const std::string scope_ = "test-scope";
  std::unique_ptr<local::LocalEngine> engine_;
  int host_listener_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<EngineEvent> events_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_LOCAL_WORLD_H_
