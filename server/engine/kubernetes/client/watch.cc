#include "server/engine/kubernetes/client/watch.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/line_splitter.h"
#include "server/engine/kubernetes/client/lister.h"
#include "server/engine/kubernetes/client/requester.h"
#include "server/engine/kubernetes/client/resource_path.h"

namespace mayfly::kube {
namespace {

using Json = nlohmann::json;

// An object has at most 1.5 MiB in the server's store, and JSON may escape its bytes.
constexpr size_t kMaxEvent = size_t{8} << 20;
// A server that ends watches sooner than this is pausing them, not timing them out.
constexpr absl::Duration kHealthy = absl::Seconds(5);
// The server ends the watch itself; should it forget, we do.
constexpr absl::Duration kOverdue = absl::Seconds(30);

std::optional<WatchEvent> EventOf(absl::string_view type) {
  if (type == "ADDED") return WatchEvent::kAdded;
  if (type == "MODIFIED") return WatchEvent::kModified;
  if (type == "DELETED") return WatchEvent::kDeleted;
  return std::nullopt;
}

}  // namespace

absl::string_view WatchEventName(WatchEvent event) {
  switch (event) {
    case WatchEvent::kAdded:
      return "ADDED";
    case WatchEvent::kModified:
      return "MODIFIED";
    case WatchEvent::kDeleted:
      return "DELETED";
  }
  return "";
}

// Lives on the thread of the streams. Every step is a callback that first asks whether the watch is still wanted, and
// asks again after each callback of the user.
class Watch::State : public std::enable_shared_from_this<State> {
 public:
  State(Requester& requester, WatchOptions options, WatchCallbacks callbacks)
      : requester_(requester),
        options_(std::move(options)),
        callbacks_(std::move(callbacks)),
        what_(Describe("watch", options_.collection)),
        lines_(kMaxEvent),
        version_(options_.resume_from) {}

  void Start() {
    if (version_.empty()) {
      ListAgain();
    } else {
      Connect();
    }
  }

  void Stop() {
    stopped_ = true;
    if (stream_ != 0) requester_.Close(std::exchange(stream_, 0));
    // Callbacks may own what owns the watch. They are kept when one of them is running now.
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

  void ListAgain() {
    if (stopped_) return;
    ListAll(requester_, {options_.collection, options_.label_selector, options_.field_selector},
            [self = shared_from_this()](absl::StatusOr<Json> list) { self->OnList(std::move(list)); });
  }

  void OnList(absl::StatusOr<Json> list) {
    if (stopped_ || absl::IsCancelled(list.status())) return;
    opened_ = absl::InfiniteDuration();
    if (!list.ok()) return Later(list.status(), absl::ZeroDuration(), &State::ListAgain);
    version_ = TextAt(*list, {"metadata", "resourceVersion"});
    std::vector<Json> objects;
    for (Json& object : (*list)["items"]) objects.push_back(std::move(object));
    Tell(callbacks_.on_replace, std::move(objects));
    Connect();
  }

  void Connect() {
    if (stopped_) return;
    const absl::Duration hold = options_.shortest + (options_.longest - options_.shortest) * requester_.Random();
    lines_.Clear();
    opened_ = requester_.Now();
    const std::weak_ptr<State> weak = weak_from_this();
    stream_ = requester_.Open(
        {.verb = "watch",
         .what = what_,
         .target = Target(options_.collection,
                          {{"watch", "1"},
                           {"allowWatchBookmarks", "true"},
                           {"resourceVersion", version_},
                           {"timeoutSeconds", absl::StrCat(std::max<int64_t>(1, absl::ToInt64Seconds(hold)))},
                           {"labelSelector", options_.label_selector},
                           {"fieldSelector", options_.field_selector}}),
         .deadline = hold + kOverdue,
         .idle = options_.idle},
        [] {},
        [weak](absl::string_view data) {
          if (const auto self = weak.lock()) self->OnData(data);
        },
        [weak](const StreamEnd& end) {
          if (const auto self = weak.lock()) self->OnEnd(end);
        });
  }

  void OnData(absl::string_view data) {
    const absl::Status status = lines_.Feed(data, [this](absl::string_view line) { return OnLine(line); });
    if (!status.ok() && !stopped_) GiveUpStream(Annotate(status, what_));
  }

  // False ends the reading of what has come.
  bool OnLine(absl::string_view line) {
    if (stopped_) return false;
    absl::StatusOr<Json> event = ParseJson(line);
    if (!event.ok()) {
      GiveUpStream(absl::UnavailableError(absl::StrCat(what_, ": an event is ", event.status().message())));
      return false;
    }
    const std::string type = TextAt(*event, {"type"});
    Json& object = (*event)["object"];
    if (type == "ERROR") {
      const auto dumped = DumpJson(object);
      const int code = static_cast<int>(NumberAt(object, {"code"}));
      GiveUpStream(StatusOf(ParseFailure(code == 0 ? 500 : code, dumped.ok() ? *dumped : ""), what_));
      return false;
    }
    if (std::string version = TextAt(object, {"metadata", "resourceVersion"}); !version.empty()) {
      version_ = std::move(version);
    }
    failures_ = 0;
    if (const auto known = EventOf(type); known.has_value()) Tell(callbacks_.on_event, *known, std::move(object));
    return !stopped_ && stream_ != 0;
  }

  void GiveUpStream(const absl::Status& why) {
    if (stream_ != 0) requester_.Close(std::exchange(stream_, 0));
    Recover(why, absl::ZeroDuration());
  }

  void OnEnd(const StreamEnd& end) {
    stream_ = 0;
    if (stopped_ || absl::IsCancelled(end.status)) return;
    // The server ends watches after the time that was asked for, and all of them at once when it shuts down.
    if (end.status.ok() && requester_.Now() - opened_ >= kHealthy) return Connect();
    if (end.status.ok()) return Later(absl::OkStatus(), end.retry_after, &State::Connect);
    Recover(end.status, end.retry_after);
  }

  void Recover(const absl::Status& why, absl::Duration retry_after) {
    if (stopped_) return;
    if (absl::IsOutOfRange(why) || FailureOf(why).reason == "Expired") {
      // The server has forgotten that version. Every watch hears so at once, hence a pause before the lists.
      version_.clear();
      return Later(why, retry_after, &State::ListAgain);
    }
    Later(why, retry_after, &State::Connect);
  }

  void Later(const absl::Status& why, absl::Duration retry_after, void (State::*next)()) {
    if (requester_.Now() - opened_ >= kHealthy) failures_ = 0;
    const absl::Duration pause = std::max(requester_.Pause(failures_++), retry_after);
    if (!why.ok()) Tell(callbacks_.on_trouble, why);
    if (stopped_) return;
    requester_.After(pause, [weak = weak_from_this(), next] {
      if (const auto self = weak.lock()) ((*self).*next)();
    });
  }

  Requester& requester_;
  const WatchOptions options_;
  WatchCallbacks callbacks_;
  const std::string what_;
  LineSplitter lines_;
  std::string version_;
  absl::Duration opened_ = absl::InfiniteDuration();  // When the connection that ended last was begun.
  uint64_t stream_ = 0;
  int failures_ = 0;
  bool stopped_ = false;
  bool in_callback_ = false;
};

Watch::Watch(ApiClient& client, WatchOptions options, WatchCallbacks callbacks)
    : state_(std::make_shared<State>(client.streams(), std::move(options), std::move(callbacks))) {
  state_->requester().loop().Post([state = state_] { state->Start(); });
}

Watch::~Watch() {
  state_->requester().RunAndWait([this] { state_->Stop(); });
}

}  // namespace mayfly::kube
