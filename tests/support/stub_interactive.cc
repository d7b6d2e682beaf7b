#include "tests/support/stub_interactive.h"

#include <algorithm>
#include <fstream>
#include <thread>
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
    if (flood_.joinable()) {
      {
        MutexLock lock(mutex_);
        ended_ = true;
      }
      changed_.NotifyAll();
      flood_.join();
    }
    MutexLock lock(owner_->mutex_);
    --owner_->open_;
  }
  void Write(std::string bytes) override {
    const bool to_stderr = absl::StartsWith(bytes, "stderr:");
    const size_t size = bytes.size();
    if (!deaf_) callbacks_.on_data(std::move(bytes), to_stderr);
    MutexLock lock(owner_->mutex_);
    owner_->received_ += size;
    if (!deaf_ && callbacks_.on_written) callbacks_.on_written(size);
  }
  void Taken(size_t bytes) override {
    MutexLock lock(mutex_);
    untaken_ -= bytes;
    changed_.NotifyAll();
  }
  // Prints without end, as much as may come.
  void Flood() {
    flood_ = std::thread([this] {
      while (true) {
        {
          MutexLock lock(mutex_);
          while (!ended_ && untaken_ >= callbacks_.window) changed_.Wait(mutex_);
          if (ended_) return;
          untaken_ += kChunk;
        }
        callbacks_.on_data(std::string(kChunk, 'y'), false);
        MutexLock lock(owner_->mutex_);
        owner_->sent_ += kChunk;
      }
    });
  }
  void TurnDeaf() { deaf_ = true; }
  void CloseWrite() override { callbacks_.on_close(absl::OkStatus(), 7); }
  void Resize(int columns, int rows) override { callbacks_.on_data(absl::StrCat(columns, "x", rows), false); }

 private:
  static constexpr size_t kChunk = 32 << 10;
  EchoStreams* const owner_;
  const Callbacks callbacks_;
  bool deaf_ = false;
  Mutex mutex_;
  CondVar changed_;
  size_t untaken_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread flood_;
};

absl::StatusOr<std::unique_ptr<Stream>> EchoStreams::Exec(const ExecRequest& request, Stream::Callbacks callbacks) {
  if (request.argv[0] == "missing") return absl::NotFoundError("no such command: missing");
  auto echo = std::make_unique<Echo>(this, std::move(callbacks));
  if (request.argv[0] == "yes") echo->Flood();
  if (request.argv[0] == "sleep") echo->TurnDeaf();
  return echo;
}

absl::StatusOr<std::unique_ptr<Stream>> EchoStreams::Connect(const NodeRef&, int, Stream::Callbacks callbacks) {
  return std::make_unique<Echo>(this, std::move(callbacks));
}

size_t EchoStreams::received() {
  MutexLock lock(mutex_);
  return received_;
}

size_t EchoStreams::sent() {
  MutexLock lock(mutex_);
  return sent_;
}

int EchoStreams::open() {
  MutexLock lock(mutex_);
  return open_;
}

}  // namespace mayfly
