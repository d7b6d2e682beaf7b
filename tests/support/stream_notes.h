// What a Watch or a LogStream told, to be waited for.
#ifndef MAYFLY_TESTS_SUPPORT_STREAM_NOTES_H_
#define MAYFLY_TESTS_SUPPORT_STREAM_NOTES_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/log_stream.h"
#include "server/engine/kubernetes/client/watch.h"

namespace mayfly {

// Thread-safe; outlives the Watch. Objects are told as "name=data.v".
class WatchNotes {
 public:
  using State = std::map<std::string, std::string>;

  kube::WatchCallbacks callbacks() {
    return {[this](const std::vector<nlohmann::json>& objects) { Replace(objects); },
            [this](kube::WatchEvent event, const nlohmann::json& object) { Event(event, object); },
            [this](const absl::Status& status) { Trouble(status); }};
  }

  // Fails the test after a minute.
  void Await(const std::string& note) {
    Until([&] { return std::find(all_.begin(), all_.end(), note) != all_.end(); }, note);
  }
  void AwaitState(const State& state) {
    Until([&] { return state_ == state; }, absl::StrJoin(state, " ", absl::PairFormatter("=")));
  }

  std::vector<std::string> all() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return all_;
  }
  State state() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return state_;
  }
  std::vector<absl::Status> troubles() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return troubles_;
  }
  int replaces() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return replaces_;
  }

 private:
  static std::string Name(const nlohmann::json& object) { return kube::TextAt(object, {"metadata", "name"}); }
  static std::string Value(const nlohmann::json& object) { return kube::TextAt(object, {"data", "v"}); }

  void Replace(const std::vector<nlohmann::json>& objects) {
    std::lock_guard<std::mutex> lock(mutex_);
    state_.clear();
    for (const nlohmann::json& object : objects) state_[Name(object)] = Value(object);
    all_.push_back(absl::StrCat("replace ", absl::StrJoin(state_, " ", absl::PairFormatter("="))));
    ++replaces_;
    changed_.notify_all();
  }
  void Event(kube::WatchEvent event, const nlohmann::json& object) {
    std::lock_guard<std::mutex> lock(mutex_);
    state_[Name(object)] = Value(object);
    if (event == kube::WatchEvent::kDeleted) state_.erase(Name(object));
    all_.push_back(absl::StrCat(kube::WatchEventName(event), " ", Name(object), "=", Value(object)));
    changed_.notify_all();
  }
  void Trouble(const absl::Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    // A value of its own: ThreadSanitizer does not see how copies of a Status share theirs.
    troubles_.emplace_back(status.code(), status.message());
  }
  template <typename Predicate>
  void Until(Predicate predicate, const std::string& what) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::minutes(1), predicate)) return;
    ADD_FAILURE() << "never came: " << what << "\nbut: " << absl::StrJoin(all_, "\n") << "\n"
                  << absl::StrJoin(troubles_, "\n", [](std::string* out, const absl::Status& status) {
                       absl::StrAppend(out, status.ToString());
                     });
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> all_;
  State state_;
  std::vector<absl::Status> troubles_;
  int replaces_ = 0;
};

// Thread-safe; outlives the LogStream.
class LogNotes {
 public:
  kube::LogCallbacks callbacks() {
    return {[this](absl::Time, absl::string_view line) {
              std::lock_guard<std::mutex> lock(mutex_);
              lines_.emplace_back(line);
              changed_.notify_all();
            },
            [this](const absl::Status& status) {
              std::lock_guard<std::mutex> lock(mutex_);
              end_ = absl::Status(status.code(), status.message());
              changed_.notify_all();
            },
            [this](const absl::Status&) {
              std::lock_guard<std::mutex> lock(mutex_);
              ++troubles_;
            }};
  }
  absl::Status AwaitEnd() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::minutes(1), [&] { return end_.has_value(); });
    return end_.value_or(absl::DeadlineExceededError("the log did not end"));
  }
  void AwaitLines(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::minutes(1), [&] { return lines_.size() >= count; }));
  }
  std::vector<std::string> lines() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return lines_;
  }
  int troubles() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return troubles_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::optional<absl::Status> end_;
  int troubles_ = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_STREAM_NOTES_H_
