#include "server/engine/parts/fd_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "mayfly/base/status.h"
#include "server/engine/parts/terminal.h"

namespace mayfly {
namespace {

constexpr size_t kMostPending = 8 << 20;
constexpr int64_t kMostAtEnd = 1 << 20;
constexpr char kEndOfFileKey = 4;

// What lives on the reactor's thread. Everything but the constructor is called there; the destructor, too, unless all
// is closed by then.
class Ends : public std::enable_shared_from_this<Ends> {
 public:
  Ends(FdStreamOptions options, Stream::Callbacks callbacks)
      : options_(std::move(options)), callbacks_(std::move(callbacks)) {
    outputs_[0] = options_.output;
    outputs_[1] = options_.error;
    // A number of its own, so that reading and writing can be watched apart.
    input_ = options_.kind == FdStreamOptions::Kind::kPipes ? options_.input : fcntl(outputs_[0], F_DUPFD_CLOEXEC, 3);
    for (const int fd : {outputs_[0], outputs_[1], input_}) {
      if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
  }
  ~Ends() { CloseAll(); }

  void Start() {
    if (const absl::Status status = WatchOutputs(); !status.ok()) Finish(status, -1);
  }

  void Taken(size_t bytes) {
    untaken_ -= std::min(untaken_, bytes);
    if (closed_ || Held()) return;
    if (const absl::Status status = WatchOutputs(); !status.ok()) Finish(status, -1);
  }

  void Write(const std::string& bytes) {
    if (closed_ || input_ < 0 || closing_input_) return Written(bytes.size());
    pending_ += bytes;
    if (pending_.size() > kMostPending) {
      return Finish(absl::ResourceExhaustedError("what was typed is not read"), -1);
    }
    Flush();
  }

  void CloseWrite() {
    if (closed_ || input_ < 0 || closing_input_) return;
    closing_input_ = true;
    if (options_.kind == FdStreamOptions::Kind::kTerminal) pending_ += kEndOfFileKey;
    Flush();
  }

  void Resize(int columns, int rows) {
    if (closed_ || options_.kind != FdStreamOptions::Kind::kTerminal) return;
    ResizeTerminal(outputs_[0], columns, rows).IgnoreError();
  }

  void Abandon() {
    callbacks_ = {};
    if (closed_) return;
    closed_ = true;
    CloseAll();
    if (options_.on_abandoned) options_.on_abandoned();
  }

  void Finish(const absl::Status& status, int exit_code) {
    if (closed_) return;
    const std::shared_ptr<Ends> alive = shared_from_this();
    for (int i = 0; i < 2; ++i) {
      for (int64_t taken = 0; taken < kMostAtEnd && !closed_ && outputs_[i] >= 0;) {
        const ssize_t size = Read(i);
        if (size <= 0) break;
        taken += size;
      }
    }
    if (closed_) return;
    closed_ = true;
    CloseAll();
    const Stream::Callbacks callbacks = std::exchange(callbacks_, {});
    if (callbacks.on_close) callbacks.on_close(status, exit_code);
  }

 private:
  void OnOutput(int i) {
    if (Read(i) != 0) return;
    CloseOutput(i);
    // A command's end is told by whoever reaps it; a connection's is this.
    if (options_.kind == FdStreamOptions::Kind::kSocket) Finish(absl::OkStatus(), 0);
  }

  // Bytes passed on; 0 at the end, -1 when there is nothing now.
  ssize_t Read(int i) {
    char buffer[32 * 1024];
    const ssize_t size = read(outputs_[i], buffer, sizeof buffer);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return -1;
    if (size <= 0) return 0;  // A terminal whose other end was closed says EIO.
    untaken_ += static_cast<size_t>(size);
    if (Held()) UnwatchOutputs();
    if (callbacks_.on_data) callbacks_.on_data(std::string(buffer, static_cast<size_t>(size)), i == 1);
    return size;
  }

  // Whoever is told reads too slowly: what is printed from now on waits in the pipe, and then its writer waits.
  bool Held() const { return callbacks_.window > 0 && untaken_ >= callbacks_.window; }

  absl::Status WatchOutputs() {
    for (int i = 0; i < 2; ++i) {
      if (outputs_[i] < 0 || std::exchange(watching_output_[i], true)) continue;
      absl::Status status = options_.reactor->Add(outputs_[i], EPOLLIN, [this, i](uint32_t) { OnOutput(i); });
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void UnwatchOutputs() {
    for (int i = 0; i < 2; ++i) {
      if (std::exchange(watching_output_[i], false)) options_.reactor->Remove(outputs_[i]);
    }
  }

  void Written(size_t bytes) {
    if (bytes > 0 && callbacks_.on_written) callbacks_.on_written(bytes);
  }

  void Flush() {
    while (!pending_.empty()) {
      const ssize_t size = options_.kind == FdStreamOptions::Kind::kSocket
                               ? send(input_, pending_.data(), pending_.size(), MSG_NOSIGNAL)
                               : write(input_, pending_.data(), pending_.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) return WatchInput(true);
      // Nobody reads any more. What is printed still counts.
      if (size < 0) return CloseInput();
      pending_.erase(0, static_cast<size_t>(size));
      Written(static_cast<size_t>(size));
    }
    WatchInput(false);
    if (!closing_input_ || options_.kind == FdStreamOptions::Kind::kTerminal) return;
    if (options_.kind == FdStreamOptions::Kind::kSocket) shutdown(input_, SHUT_WR);
    CloseInput();
  }

  void WatchInput(bool on) {
    if (on == watching_input_) return;
    watching_input_ = on;
    if (!on) return options_.reactor->Remove(input_);
    options_.reactor->Add(input_, EPOLLOUT, [this](uint32_t) { Flush(); }).IgnoreError();
  }

  void CloseInput() {
    if (input_ < 0) return;
    WatchInput(false);
    close(input_);
    input_ = -1;
    const size_t dropped = pending_.size();
    pending_.clear();
    Written(dropped);
  }

  void CloseOutput(int i) {
    if (outputs_[i] < 0) return;
    if (std::exchange(watching_output_[i], false)) options_.reactor->Remove(outputs_[i]);
    close(outputs_[i]);
    outputs_[i] = -1;
  }

  void CloseAll() {
    CloseInput();
    CloseOutput(0);
    CloseOutput(1);
  }

  FdStreamOptions options_;
  Stream::Callbacks callbacks_;
  int outputs_[2] = {-1, -1};
  int input_ = -1;
  bool watching_output_[2] = {false, false};
  size_t untaken_ = 0;
  std::string pending_;
  bool watching_input_ = false;
  bool closing_input_ = false;
  bool closed_ = false;
};

class FdStream final : public Stream {
 public:
  FdStream(std::shared_ptr<Ends> ends, std::function<void(std::function<void()>)> post)
      : ends_(std::move(ends)), post_(std::move(post)) {}
  ~FdStream() override {
    post_([ends = ends_] { ends->Abandon(); });
  }
  void Write(std::string bytes) override {
    post_([ends = ends_, bytes = std::move(bytes)] { ends->Write(bytes); });
  }
  void Taken(size_t bytes) override {
    post_([ends = ends_, bytes] { ends->Taken(bytes); });
  }
  void CloseWrite() override {
    post_([ends = ends_] { ends->CloseWrite(); });
  }
  void Resize(int columns, int rows) override {
    post_([ends = ends_, columns, rows] { ends->Resize(columns, rows); });
  }

 private:
  const std::shared_ptr<Ends> ends_;
  const std::function<void(std::function<void()>)> post_;
};

}  // namespace

StartedStream StartFdStream(FdStreamOptions options, Stream::Callbacks callbacks) {
  const auto post = options.post;
  auto ends = std::make_shared<Ends>(std::move(options), std::move(callbacks));
  post([ends] { ends->Start(); });
  StartedStream started;
  started.stream = std::make_unique<FdStream>(ends, post);
  started.finish = [ends](const absl::Status& status, int exit_code) { ends->Finish(status, exit_code); };
  return started;
}

}  // namespace mayfly
