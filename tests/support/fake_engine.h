// A small working engine on a FakeWorld. It keeps the contract of engine.h and interactive.h and passes the conformance
// suite; what it does not imitate:
//  - real processes, files and networks: names do not resolve, limits other than `eat` over the memory limit are
//  ignored,
//    resource use is always 1 ms and 1 MiB;
//  - its own death in the middle of a verb: a verb happens as a whole or not at all (Fuse);
//  - engine threads: events come on the loop's thread, through the sink;
//  - terminals: Exec knows mayfly-workload's steps and nothing else, and ends without being spoken to.
#ifndef MAYFLY_TESTS_SUPPORT_FAKE_ENGINE_H_
#define MAYFLY_TESTS_SUPPORT_FAKE_ENGINE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/engine/interactive.h"
#include "tests/support/fake_world.h"

namespace mayfly {

// `world` and `sink` must outlive it. At most one listens to a world at a time; the latest one made.
class FakeEngine final : public Engine, public LogSource, public Execer, public Connector, public FileCollector {
 public:
  FakeEngine(FakeWorld* world, EngineEventSink* sink);
  ~FakeEngine() override;

  // Part of what Describe answers.
  int start_slots = 0;
  bool usable = true;
  bool needs_images = false;

  Capabilities Describe() override;
  absl::StatusOr<std::vector<FoundScope>> Recover() override;
  absl::Status CreateScope(const ScopeSpec& scope) override;
  absl::Status Prepare(const NodeRef& node, const ProcessSpec& process) override;
  absl::Status Start(const NodeRef& node, bool one_shot) override;
  absl::Status Stop(const NodeRef& node) override;
  absl::Status Expose(const NodeRef& node, int port, int host_port) override;
  absl::Status Destroy(const std::string& scope) override;

  absl::StatusOr<Chunk> ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                int64_t max_bytes) override;
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& node, int port, Stream::Callbacks callbacks) override;
  void Collect(const NodeRef& node, std::vector<std::string> paths, std::string destination, int64_t max_bytes,
               std::function<void(absl::Status)> done) override;

 private:
  std::string DigestFor(FakeWorld::Scope& scope, const std::string& image);
  absl::StatusOr<FakeWorld::Node*> RunningNode(const NodeRef& ref);

  FakeWorld* const world_;
  EngineEventSink* const sink_;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAKE_ENGINE_H_
