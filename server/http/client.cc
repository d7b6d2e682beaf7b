#include "server/http/client.h"

#include <curl/curl.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/text.h"
#include "server/http/transfer.h"

namespace mayfly::http {
namespace {

absl::Duration SteadyTime() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

// libcurl's own state for the whole process; it asks to be set up before the first thread uses it.
void InitLibrary() {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)once;
}

}  // namespace

class Client::Impl : public Loop {
 public:
  explicit Impl(ClientOptions options) : options_(std::move(options)) {
    InitLibrary();
    multi_ = curl_multi_init();
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS, static_cast<long>(options_.max_host_connections));
    curl_multi_setopt(multi_, CURLMOPT_MAX_CONCURRENT_STREAMS, 100L);
    // A connection that the peer closed must not end the process; libcurl leaves that to us.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_ = std::thread([this] { Run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Impl() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  void Post(std::function<void()> fn) override {
    {
      MutexLock lock(mutex_);
      if (stopped_) return;
      posted_.push_back(std::move(fn));
    }
    Wake();
  }

  TimerId PostAfter(absl::Duration delay, std::function<void()> fn) override {
    MutexLock lock(mutex_);
    if (stopped_) return 0;
    const TimerId id = ++last_timer_;
    const absl::Duration due = SteadyTime() + std::max(delay, absl::ZeroDuration());
    due_.emplace(id, due);
    timers_.emplace(std::make_pair(due, id), std::move(fn));
    Wake();
    return id;
  }

  void Cancel(TimerId timer) override {
    std::function<void()> dropped;  // Released outside the lock: it may own what calls here.
    MutexLock lock(mutex_);
    const auto found = due_.find(timer);
    if (found == due_.end()) return;
    const auto entry = timers_.find({found->second, timer});
    dropped = std::move(entry->second);
    timers_.erase(entry);
    due_.erase(found);
  }

  absl::Duration Monotonic() const override { return SteadyTime(); }
  absl::Time Wall() const override { return absl::Now(); }

  bool OnThread() const { return std::this_thread::get_id() == thread_id_.load(); }

  RequestId Begin(Request request, Sinks sinks) {
    const RequestId id = ++last_request_;
    auto shared = std::make_shared<std::pair<Request, Sinks>>(std::move(request), std::move(sinks));
    Post([this, id, shared] { Start(id, std::move(shared->first), std::move(shared->second)); });
    return id;
  }

  void CancelRequest(RequestId id) {
    if (OnThread()) {
      if (auto found = transfers_.find(id); found != transfers_.end()) found->second->transfer.Mute();
    }
    Post([this, id] { End(id, absl::CancelledError("cancelled")); });
  }

 private:
  struct Running {
    Running(Request request, Sinks sinks, const ClientOptions& options, std::function<void()> on_bytes)
        : transfer(std::move(request), std::move(sinks), options, std::move(on_bytes)) {}
    Transfer transfer;
    TimerId deadline = 0;
    TimerId idle = 0;
    absl::Duration last_byte;
    bool in_multi = false;
    bool has_bytes = false;
  };

  void Wake() {
    if (!OnThread()) curl_multi_wakeup(multi_);
  }

  void Start(RequestId id, Request request, Sinks sinks) {
    auto running = std::make_unique<Running>(std::move(request), std::move(sinks), options_, [this, id] { Note(id); });
    Transfer& transfer = running->transfer;
    running->last_byte = SteadyTime();
    if (Stopping()) {
      transfer.Finish(absl::CancelledError("the client ended"));
      return;
    }
    if (absl::Status status = transfer.Prepare(); !status.ok()) {
      transfer.Finish(std::move(status));
      return;
    }
    const Request& sent = transfer.request();
    if (sent.deadline < absl::InfiniteDuration()) {
      running->deadline = PostAfter(sent.deadline, [this, id] {
        EndLate(id, "no complete answer", [](const Request& request) { return request.deadline; });
      });
    }
    if (sent.idle < absl::InfiniteDuration()) {
      running->idle = PostAfter(sent.idle, [this, id] { CheckIdle(id); });
    }
    curl_multi_add_handle(multi_, transfer.easy());
    running->in_multi = true;
    transfers_.emplace(id, std::move(running));
  }

  // Inside libcurl: takes a note only.
  void Note(RequestId id) {
    Running& running = *transfers_.at(id);
    running.last_byte = SteadyTime();
    if (!running.has_bytes) with_bytes_.push_back(id);
    running.has_bytes = true;
  }

  void CheckIdle(RequestId id) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    Running& running = *found->second;
    const absl::Duration left = running.last_byte + running.transfer.request().idle - SteadyTime();
    if (left > absl::ZeroDuration()) {
      running.idle = PostAfter(left, [this, id] { CheckIdle(id); });
    } else {
      EndLate(id, "nothing came", [](const Request& request) { return request.idle; });
    }
  }

  void EndLate(RequestId id, absl::string_view what, absl::Duration (*limit)(const Request&)) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    const Request& request = found->second->transfer.request();
    End(id, absl::DeadlineExceededError(
                absl::StrCat(OriginOf(request.url), ": ", what, " within ", HumanDuration(limit(request)))));
  }

  void End(RequestId id, absl::Status status) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) return;
    const std::unique_ptr<Running> running = std::move(found->second);
    transfers_.erase(found);
    Cancel(running->deadline);
    Cancel(running->idle);
    if (running->in_multi) curl_multi_remove_handle(multi_, running->transfer.easy());
    running->transfer.Finish(std::move(status));
  }

  void DeliverAll() {
    for (const RequestId id : std::exchange(with_bytes_, {})) {
      const auto found = transfers_.find(id);
      if (found == transfers_.end()) continue;
      found->second->has_bytes = false;
      found->second->transfer.Deliver();
    }
  }

  void CollectEnded() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      CURL* const easy = message->easy_handle;
      const auto found = std::find_if(transfers_.begin(), transfers_.end(),
                                      [easy](const auto& entry) { return entry.second->transfer.easy() == easy; });
      if (found != transfers_.end()) End(found->first, found->second->transfer.Translate(code));
    }
  }

  bool Stopping() {
    MutexLock lock(mutex_);
    return stopping_;
  }

  // What was posted up to now, then timers that are due; true when something ran.
  bool RunPosted() {
    std::deque<std::function<void()>> batch;
    {
      MutexLock lock(mutex_);
      batch.swap(posted_);
    }
    for (std::function<void()>& fn : batch) {
      fn();
      fn = nullptr;  // Releases what it captured before the next one runs.
    }
    bool ran = !batch.empty();
    const absl::Duration now = SteadyTime();
    for (;;) {
      std::function<void()> fn;
      {
        MutexLock lock(mutex_);
        if (timers_.empty() || timers_.begin()->first.first > now || stopping_) return ran;
        fn = std::move(timers_.begin()->second);
        due_.erase(timers_.begin()->first.second);
        timers_.erase(timers_.begin());
      }
      fn();
      ran = true;
    }
  }

  int PollMilliseconds() {
    MutexLock lock(mutex_);
    if (!posted_.empty() || stopping_) return 0;
    if (timers_.empty()) return 60000;
    const absl::Duration wait = timers_.begin()->first.first - SteadyTime();
    return static_cast<int>(
        std::clamp<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1))), 0, 60000));
  }

  void Run() {
    thread_id_ = std::this_thread::get_id();
    while (!Stopping()) {
      RunPosted();
      int running = 0;
      curl_multi_perform(multi_, &running);
      DeliverAll();
      CollectEnded();
      curl_multi_poll(multi_, nullptr, 0, PollMilliseconds(), nullptr);
    }
    Drain();
  }

  // Ends what runs. Last callbacks may post and send again; that ends at once, too.
  void Drain() {
    do {
      while (!transfers_.empty()) End(transfers_.begin()->first, absl::CancelledError("the client ended"));
    } while (RunPosted());
    std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> timers;
    std::deque<std::function<void()>> posted;
    {
      MutexLock lock(mutex_);
      stopped_ = true;
      timers.swap(timers_);
      posted.swap(posted_);
    }
  }

  const ClientOptions options_;
  CURLM* multi_ = nullptr;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_;
  std::atomic<RequestId> last_request_ = 0;

  // Of the thread alone.
  std::map<RequestId, std::unique_ptr<Running>> transfers_;
  std::vector<RequestId> with_bytes_;

  Mutex mutex_;
  std::deque<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<absl::Duration, TimerId>, std::function<void()>> timers_ ABSL_GUARDED_BY(mutex_);
  std::map<TimerId, absl::Duration> due_ ABSL_GUARDED_BY(mutex_);
  TimerId last_timer_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

RequestId Client::Send(Request request, Done done) {
  return impl_->Begin(std::move(request), {.done = std::move(done)});
}

RequestId Client::Open(Request request, OnHead on_head, OnData on_data, OnEnd on_end) {
  return impl_->Begin(std::move(request),
                      {.on_head = std::move(on_head), .on_data = std::move(on_data), .on_end = std::move(on_end)});
}

void Client::Cancel(RequestId id) {
  impl_->CancelRequest(id);
}

Loop& Client::loop() {
  return *impl_;
}

bool Client::OnThread() const {
  return impl_->OnThread();
}

void Client::RunAndWait(const std::function<void()>& fn) {
  if (OnThread()) {
    fn();
    return;
  }
  Mutex mutex;
  CondVar ran;
  bool done = false;
  impl_->Post([&] {
    fn();
    MutexLock lock(mutex);
    done = true;
    ran.NotifyOne();
  });
  MutexLock lock(mutex);
  while (!done) ran.Wait(mutex);
}

}  // namespace mayfly::http
