#include "server/engine/kubernetes/client/log_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/requester.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

// Whole seconds: the API server passes no more on to the node. What comes twice is dropped by its exact time.
std::string SinceText(absl::Time time) {
  if (time == absl::InfinitePast()) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

}  // namespace

class LogStream::State : public std::enable_shared_from_this<State> {
 public:
  State(Requester& requester, LogOptions options, LogCallbacks callbacks)
      : requester_(requester),
        options_(std::move(options)),
        callbacks_(std::move(callbacks)),
        path_(absl::StrCat("/api/v1/namespaces/", options_.kube_namespace, "/pods/", options_.pod, "/log")),
        what_(Describe("read", path_)),
        reached_(requester.Now()) {}

  void Start() { Connect(); }

  void Stop() {
    stopped_ = true;
    if (stream_ != 0) requester_.Close(std::exchange(stream_, 0));
    if (!in_callback_) callbacks_ = {};
  }

  Requester& requester() { return requester_; }

 private:
  template <typename Fn, typename... Args>
  void Tell(const Fn& callback, Args&&... args) {
    if (stopped_ || !callback) return;
    in_callback_ = true;
    callback(std::forward<Args>(args)...);
    in_callback_ = false;
    if (stopped_) callbacks_ = {};
  }

  bool Follows() const { return options_.follow && !options_.previous; }

  void Connect() {
    if (stopped_) return;
    rest_.clear();
    in_line_ = false;
    drop_line_ = false;
    new_lines_ = false;
    resumed_at_ = last_time_;
    to_skip_ = at_last_time_;
    const absl::Time since = last_time_ == absl::InfinitePast() ? options_.since : last_time_;
    const bool tail = options_.tail_lines.has_value() && last_time_ == absl::InfinitePast();
    const std::weak_ptr<State> weak = weak_from_this();
    stream_ = requester_.Open(
        {.verb = "log",
         .what = what_,
         .target = Target(path_, {{"container", options_.container},
                                  {"follow", Follows() ? "true" : ""},
                                  {"previous", options_.previous ? "true" : ""},
                                  {"timestamps", "true"},
                                  {"sinceTime", SinceText(since)},
                                  {"tailLines", tail ? absl::StrCat(*options_.tail_lines) : ""}})},
        [weak] {
          if (const auto self = weak.lock()) self->reached_ = self->requester_.Now();
        },
        [weak](absl::string_view data) {
          if (const auto self = weak.lock()) self->OnData(data);
        },
        [weak](const StreamEnd& end) {
          if (const auto self = weak.lock()) self->OnEnd(end);
        });
  }

  void OnData(absl::string_view data) {
    while (!data.empty() && !stopped_) {
      const size_t end = data.find('\n');
      absl::StrAppend(&rest_, data.substr(0, end));
      if (end == absl::string_view::npos) {
        if (rest_.size() >= options_.max_line) Emit(false);
        return;
      }
      data.remove_prefix(end + 1);
      Emit(true);
    }
  }

  // Hands on what `rest_` holds of a line: all of it, or as much as is kept of a line without end.
  void Emit(bool line_ends) {
    absl::string_view text = rest_;
    if (!in_line_) {
      const size_t space = text.find(' ');
      absl::Time time;
      std::string error;
      if (absl::ParseTime(absl::RFC3339_full, text.substr(0, space), &time, &error)) {
        text.remove_prefix(space == absl::string_view::npos ? text.size() : space + 1);
        drop_line_ = SeenBefore(time);
        if (!drop_line_) Remember(time);
      } else {
        // The node itself speaks, such as of a log that was rotated away: told at the time of the line before.
        drop_line_ = last_time_ == absl::InfinitePast() && text.empty();
      }
    }
    in_line_ = !line_ends;
    const std::string line(text);
    rest_.clear();
    if (!drop_line_) Tell(callbacks_.on_line, last_time_, absl::string_view(line));
  }

  bool SeenBefore(absl::Time time) {
    if (time < options_.since) return true;
    if (resumed_at_ == absl::InfinitePast() || time > resumed_at_) return false;
    if (time < resumed_at_) return true;
    if (to_skip_ == 0) return false;
    --to_skip_;
    return true;
  }

  void Remember(absl::Time time) {
    new_lines_ = true;
    failures_ = 0;
    at_last_time_ = time == last_time_ ? at_last_time_ + 1 : 1;
    last_time_ = time;
  }

  void OnEnd(const StreamEnd& end) {
    stream_ = 0;
    if (stopped_) return;
    if (end.status.ok() && !rest_.empty()) Emit(true);
    if (stopped_) return;
    if (end.status.ok()) {
      reached_ = requester_.Now();
      // A server that shuts down ends its streams as properly as a container that ended does: asked again, the second
      // has nothing more to say.
      if (!Follows() || (ended_before_ && !new_lines_)) return End(absl::OkStatus());
      ended_before_ = true;
      return Again(absl::OkStatus(), end.retry_after);
    }
    const int http = FailureOf(end.status).http;
    if (ended_before_ && (http == 400 || http == 404)) return End(absl::OkStatus());
    const bool mends = http == 0 ? absl::IsUnavailable(end.status) || absl::IsDeadlineExceeded(end.status)
                                 : http == 401 || http == 429 || http >= 500;
    if (!mends || (http == 401 && std::exchange(refused_, true))) return End(end.status);
    if (http == 0) ended_before_ = false;
    Again(end.status, end.retry_after);
  }

  void Again(const absl::Status& why, absl::Duration retry_after) {
    const absl::Duration pause = std::max(requester_.Pause(failures_++), retry_after);
    if (requester_.Now() + pause - reached_ > requester_.options().deadline) return End(why);
    if (!why.ok()) Tell(callbacks_.on_trouble, why);
    if (stopped_) return;
    requester_.After(pause, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->Connect();
    });
  }

  void End(const absl::Status& status) {
    Tell(callbacks_.on_end, status);
    stopped_ = true;
  }

  Requester& requester_;
  const LogOptions options_;
  LogCallbacks callbacks_;
  const std::string path_;
  const std::string what_;
  absl::Duration reached_;  // When the server last answered.
  uint64_t stream_ = 0;
  int failures_ = 0;
  bool refused_ = false;
  bool stopped_ = false;
  bool in_callback_ = false;

  std::string rest_;
  bool in_line_ = false;    // The start of the line that comes has been handed on.
  bool drop_line_ = false;  // It came before the break, too.
  bool new_lines_ = false;  // Of this connection.
  bool ended_before_ = false;

  // The last line that was handed on, and how many of the same time; what was so when the connection was made.
  absl::Time last_time_ = absl::InfinitePast();
  int64_t at_last_time_ = 0;
  absl::Time resumed_at_ = absl::InfinitePast();
  int64_t to_skip_ = 0;
};

LogStream::LogStream(ApiClient& client, LogOptions options, LogCallbacks callbacks)
    : state_(std::make_shared<State>(client.streams(), std::move(options), std::move(callbacks))) {
  state_->requester().loop().Post([state = state_] { state->Start(); });
}

LogStream::~LogStream() {
  state_->requester().RunAndWait([this] { state_->Stop(); });
}

}  // namespace mayfly::kube
