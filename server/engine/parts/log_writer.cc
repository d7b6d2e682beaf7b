#include "server/engine/parts/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "absl/time/clock.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr size_t kReadBytes = 32 * 1024;
constexpr int64_t kMostAtDrain = 1 << 20;
constexpr size_t kTailLines = 100;
constexpr size_t kTailLineBytes = 1024;
constexpr absl::Duration kPartialAfter = absl::Milliseconds(100);
// Making files is slow, and an environment that is being started has better things to do.
constexpr absl::Duration kCreateAfter = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<LogWriter>> LogWriter::Create(Reactor& reactor, Options options, int stdout_fd,
                                                             int stderr_fd) {
  absl::Status status = CheckLogNode(options.node);
  if (!status.ok()) {
    if (stdout_fd >= 0) close(stdout_fd);
    if (stderr_fd >= 0) close(stderr_fd);
    return status;
  }
  auto writer = std::unique_ptr<LogWriter>(new LogWriter(reactor, std::move(options)));
  status = writer->Watch(writer->streams_[0], stdout_fd);
  status.Update(writer->Watch(writer->streams_[1], stderr_fd));
  MAYFLY_RETURN_IF_ERROR(status);
  writer->create_timer_ = reactor.AddTimer(kCreateAfter, [w = writer.get()] { w->file_.Create(); });
  return writer;
}

LogWriter::LogWriter(Reactor& reactor, Options options)
    : reactor_(reactor), options_(std::move(options)), file_(options_.dir_fd, options_.node, options_.max_segments) {
  streams_[1].is_stderr = true;
}

LogWriter::~LogWriter() {
  reactor_.CancelTimer(create_timer_);
  for (Stream& stream : streams_) {
    WritePartial(stream);
    Close(stream);
  }
}

absl::Status LogWriter::Watch(Stream& stream, int fd) {
  stream.fd = fd;
  if (fd < 0) return absl::OkStatus();
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return reactor_.Add(fd, EPOLLIN, [this, &stream](uint32_t) {
    Read(stream);
    file_.Flush();
    EndWhenBothDid();
  });
}

bool LogWriter::Read(Stream& stream) {
  char buffer[kReadBytes];
  const ssize_t size = read(stream.fd, buffer, sizeof buffer);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) {
    Close(stream);
    return false;
  }
  Take(stream, absl::string_view(buffer, static_cast<size_t>(size)));
  return true;
}

void LogWriter::Take(Stream& stream, absl::string_view bytes) {
  const absl::Time now = absl::Now();
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const size_t room = kMaxRecordText - stream.line.size();
    const size_t part = std::min({end, bytes.size(), room});
    stream.line.append(bytes.data(), part);
    bytes.remove_prefix(part);
    if (part == end) {
      bytes.remove_prefix(1);
      EndLine(stream, now);
    } else if (stream.line.size() == kMaxRecordText) {
      WritePartial(stream);
      Remember(stream.line);
      stream.line.clear();
      stream.written = 0;
    }
  }
  reactor_.CancelTimer(std::exchange(stream.timer, 0));
  if (stream.line.size() == stream.written) return;
  stream.timer = reactor_.AddTimer(kPartialAfter, [this, &stream] {
    stream.timer = 0;
    WritePartial(stream);
    file_.Flush();
  });
}

void LogWriter::Feed(absl::string_view bytes, bool stderr_stream) {
  Take(streams_[stderr_stream ? 1 : 0], bytes);
  file_.Flush();
}

void LogWriter::EndLine(Stream& stream, absl::Time now) {
  file_.Append(stream.is_stderr ? LogRecordHeader::kStderr : 0, now,
               absl::string_view(stream.line).substr(stream.written));
  if (options_.on_line) options_.on_line(stream.line, stream.is_stderr);
  Remember(stream.line);
  stream.line.clear();
  stream.written = 0;
}

void LogWriter::WritePartial(Stream& stream) {
  const absl::string_view rest = absl::string_view(stream.line).substr(stream.written);
  if (rest.empty()) return;
  file_.Append(LogRecordHeader::kPartial | (stream.is_stderr ? LogRecordHeader::kStderr : 0), absl::Now(), rest);
  stream.written = stream.line.size();
  if (options_.on_line) options_.on_line(stream.line, stream.is_stderr);
}

void LogWriter::Remember(absl::string_view line) {
  if (tail_.size() == kTailLines) tail_.pop_front();
  tail_.emplace_back(line.substr(0, kTailLineBytes));
}

void LogWriter::Close(Stream& stream) {
  reactor_.CancelTimer(std::exchange(stream.timer, 0));
  if (stream.fd < 0) return;
  reactor_.Remove(stream.fd);
  close(stream.fd);
  stream.fd = -1;
  // The end of the stream is the end of its last line.
  if (!stream.line.empty()) EndLine(stream, absl::Now());
}

void LogWriter::EndWhenBothDid() {
  if (!ended() || !options_.on_end) return;
  const std::function<void()> on_end = std::exchange(options_.on_end, nullptr);
  on_end();
}

void LogWriter::Drain() {
  for (Stream& stream : streams_) {
    for (int64_t taken = 0; stream.fd >= 0 && taken < kMostAtDrain; taken += kReadBytes) {
      if (!Read(stream)) break;
    }
    WritePartial(stream);
  }
  file_.Flush();
  file_.Create();
}

std::vector<std::string> LogWriter::Tail(size_t count) const {
  std::vector<std::string> lines(tail_.begin(), tail_.end());
  for (const Stream& stream : streams_) {
    if (!stream.line.empty()) lines.push_back(stream.line.substr(0, kTailLineBytes));
  }
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<ptrdiff_t>(count));
  return lines;
}

}  // namespace mayfly
