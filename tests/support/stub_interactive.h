// Engine-side interfaces that work in memory, for tests of what serves them.
#ifndef MAYFLY_TESTS_SUPPORT_STUB_INTERACTIVE_H_
#define MAYFLY_TESTS_SUPPORT_STUB_INTERACTIVE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "mayfly/engine/engine.h"
#include "mayfly/engine/interactive.h"

namespace mayfly {

// An engine that can do nothing but say so.
class StubEngine final : public Engine {
 public:
  Capabilities Describe() override;
  absl::StatusOr<std::vector<FoundScope>> Recover() override { return std::vector<FoundScope>(); }
  absl::Status CreateScope(const ScopeSpec&) override { return Unsupported(); }
  absl::Status Prepare(const NodeRef&, const ProcessSpec&) override { return Unsupported(); }
  absl::Status Start(const NodeRef&, bool) override { return Unsupported(); }
  absl::Status Stop(const NodeRef&) override { return Unsupported(); }
  absl::Status Expose(const NodeRef&, int, int) override { return Unsupported(); }
  absl::Status Destroy(const std::string&) override { return Unsupported(); }

 private:
  static absl::Status Unsupported() { return absl::UnimplementedError("a stub"); }
};

// Lines given by the test; the "offset" is a line's index. Touches `<log_dir>/<node>.log` so that watchers see growth.
class StubLogs final : public LogSource {
 public:
  void Append(const std::string& log_dir, const std::string& node, LogLine line);
  absl::StatusOr<Chunk> ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                int64_t max_bytes) override;
  int reads();

 private:
  Mutex mutex_;
  std::map<std::string, std::vector<LogLine>> logs_ ABSL_GUARDED_BY(mutex_);
  int reads_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A command, or a connection, that echoes what it is sent. "stderr:..." comes back on stderr; closing the write side
// ends it with exit code 7. A command named "missing" cannot be run; "yes" prints without end, as much as it may;
// "sleep" reads nothing.
class EchoStreams final : public Execer, public Connector {
 public:
  absl::StatusOr<std::unique_ptr<Stream>> Exec(const ExecRequest& request, Stream::Callbacks callbacks) override;
  absl::StatusOr<std::unique_ptr<Stream>> Connect(const NodeRef& node, int port, Stream::Callbacks callbacks) override;
  int open();
  size_t received();  // Bytes that clients sent.
  size_t sent();      // Bytes that "yes" printed.

 private:
  class Echo;
  Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t received_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_STUB_INTERACTIVE_H_
