#include "tests/support/stub_interactive.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace mayfly {

Capabilities StubEngine::Describe() {
  Capabilities capabilities;
  capabilities.engine = "stub";
  capabilities.usable = true;
  capabilities.checks.push_back({"user namespaces", CapabilityCheck::Result::kOk, "available", ""});
  capabilities.checks.push_back({"cgroups", CapabilityCheck::Result::kDegraded, "version 1", "mount version 2"});
  return capabilities;
}

void StubLogs::Append(const std::string& log_dir, const std::string& node, LogLine line) {
  const std::string path = absl::StrCat(log_dir, "/", node, ".log");
  MutexLock lock(mutex_);
  std::ofstream(path, std::ios::app) << line.text << "\n";
  logs_[path].push_back(std::move(line));
}

absl::StatusOr<LogSource::Chunk> StubLogs::ReadLog(const std::string& log_dir, const std::string& node, int64_t offset,
                                                   int64_t) {
  MutexLock lock(mutex_);
  ++reads_;
  const auto log = logs_.find(absl::StrCat(log_dir, "/", node, ".log"));
  if (log == logs_.end()) return absl::NotFoundError("never ran");
  Chunk chunk;
  const auto size = static_cast<int64_t>(log->second.size());
  chunk.next_offset = std::min(size, offset + 100);
  chunk.lines.assign(log->second.begin() + offset, log->second.begin() + chunk.next_offset);
  chunk.end = chunk.next_offset == size;
  return chunk;
}

int StubLogs::reads() {
  MutexLock lock(mutex_);
  return reads_;
}

class EchoStreams::Echo final : public Stream {
 public:
  Echo(EchoStreams* owner, Callbacks callbacks) : owner_(owner), callbacks_(std::move(callbacks)) {
    MutexLock lock(owner_->mutex_);
    ++owner_->open_;
  }
  ~Echo() override {
    MutexLock lock(owner_->mutex_);
    --owner_->open_;
  }
  void Write(std::string bytes) override {
    const bool to_stderr = absl::StartsWith(bytes, "stderr:");
    callbacks_.on_data(std::move(bytes), to_stderr);
  }
  void CloseWrite() override { callbacks_.on_close(absl::OkStatus(), 7); }
  void Resize(int columns, int rows) override { callbacks_.on_data(absl::StrCat(columns, "x", rows), false); }

 private:
  EchoStreams* const owner_;
  const Callbacks callbacks_;
};

absl::StatusOr<std::unique_ptr<Stream>> EchoStreams::Exec(const ExecRequest& request, Stream::Callbacks callbacks) {
  if (request.argv[0] == "missing") return absl::NotFoundError("no such command: missing");
  return std::make_unique<Echo>(this, std::move(callbacks));
}

absl::StatusOr<std::unique_ptr<Stream>> EchoStreams::Connect(const NodeRef&, int, Stream::Callbacks callbacks) {
  return std::make_unique<Echo>(this, std::move(callbacks));
}

int EchoStreams::open() {
  MutexLock lock(mutex_);
  return open_;
}

}  // namespace mayfly
