#include "server/http/websocket.h"

#include <curl/curl.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>
#include <utility>

#include "mayfly/base/mutex.h"
#include "server/http/websocket_session.h"

namespace mayfly::http {
namespace {

absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

// Lives as long as the client or any handle; its thread as long as the client.
class WebSocketClient::Core : public std::enable_shared_from_this<Core> {
 public:
  explicit Core(const WebSocketClientOptions& options) {
    options_.user_agent = options.user_agent;
    options_.dead_peer = options.dead_peer;
    static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)once;
    multi_ = curl_multi_init();
    // A connection that the peer closed must not end the process; libcurl leaves that to us.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_ = std::thread([this] { Run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void Stop() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      curl_multi_wakeup(multi_);
    }
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  // Runs `fn` on the thread; drops it once that has ended.
  void Post(std::function<void()> fn) {
    MutexLock lock(mutex_);
    if (stopped_) return;
    posted_.push_back(std::move(fn));
    curl_multi_wakeup(multi_);
  }

  void Start(uint64_t id, WebSocketRequest request, WebSocketEvents events) {
    auto session = std::make_unique<WsSession>(std::move(request), std::move(events), options_);
    if (absl::Status status = session->Prepare(SteadyNow()); !status.ok()) {
      session->EndWith(std::move(status));
    } else {
      curl_multi_add_handle(multi_, session->easy());
    }
    sessions_.emplace(id, std::move(session));
  }

  // Calls `fn` with the session of that number, unless it has ended.
  void With(uint64_t id, const std::function<void(WsSession&)>& fn) {
    if (const auto found = sessions_.find(id); found != sessions_.end()) fn(*found->second);
  }

  std::unique_ptr<WebSocket> Open(WebSocketRequest request, WebSocketEvents events);
  bool OnThread() const { return std::this_thread::get_id() == thread_id_.load(); }

 private:
  bool RunPosted() {
    std::vector<std::function<void()>> batch;
    bool stopping = false;
    {
      MutexLock lock(mutex_);
      batch.swap(posted_);
      stopping = stopping_;
    }
    for (std::function<void()>& fn : batch) {
      fn();
      fn = nullptr;
    }
    return !stopping;
  }

  void CollectConnected() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      for (const auto& [id, session] : sessions_) {
        if (session->easy() == message->easy_handle) {
          session->OnConnected(code, SteadyNow());
          break;
        }
      }
    }
  }

  void CollectEnded() {
    for (auto next = sessions_.begin(); next != sessions_.end();) {
      const auto entry = next++;
      if (!entry->second->ended()) continue;
      const std::unique_ptr<WsSession> session = std::move(entry->second);
      sessions_.erase(entry);
      if (session->easy() != nullptr) curl_multi_remove_handle(multi_, session->easy());
      session->Finish();
    }
  }

  // Waits for sockets, libcurl, posts and the next due time; what may be ready is served.
  void Wait() {
    absl::Duration due = SteadyNow() + absl::Minutes(1);
    std::vector<curl_waitfd> fds;
    std::vector<uint64_t> ids;
    for (const auto& [id, session] : sessions_) {
      due = session->has_more() ? absl::ZeroDuration() : std::min(due, session->due());
      const int events =
          (session->wants_read() ? CURL_WAIT_POLLIN : 0) | (session->wants_write() ? CURL_WAIT_POLLOUT : 0);
      // libcurl tells of nothing but what is asked for: a socket that nothing is asked of would wake us for ever.
      if (session->socket() == CURL_SOCKET_BAD || events == 0) continue;
      fds.push_back({session->socket(), static_cast<short>(events), 0});
      ids.push_back(id);
    }
    const absl::Duration wait = absl::Ceil(due - SteadyNow(), absl::Milliseconds(1));
    const auto milliseconds = std::clamp<int64_t>(absl::ToInt64Milliseconds(wait), 0, 60000);
    curl_multi_poll(multi_, fds.data(), static_cast<unsigned>(fds.size()), static_cast<int>(milliseconds), nullptr);
    for (size_t i = 0; i < fds.size(); ++i) {
      With(ids[i], [&](WsSession& session) {
        if (fds[i].revents != 0 || session.has_more()) session.OnReady(SteadyNow());
      });
    }
  }

  void Run() {
    thread_id_ = std::this_thread::get_id();
    while (RunPosted()) {
      int running = 0;
      curl_multi_perform(multi_, &running);
      CollectConnected();
      for (const auto& [id, session] : sessions_) session->OnDue(SteadyNow());
      CollectEnded();
      Wait();
      CollectEnded();
    }
    // Callbacks may open more; that ends at once, too.
    do {
      for (const auto& [id, session] : sessions_) session->EndWith(absl::CancelledError("the client ended"));
      CollectEnded();
      RunPosted();
    } while (!sessions_.empty());
    std::vector<std::function<void()>> dropped;
    MutexLock lock(mutex_);
    stopped_ = true;
    dropped.swap(posted_);
  }

  ClientOptions options_;
  CURLM* multi_ = nullptr;
  std::map<uint64_t, std::unique_ptr<WsSession>> sessions_;

  Mutex mutex_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_;

  class Handle;
};

class WebSocketClient::Core::Handle final : public WebSocket {
 public:
  Handle(std::shared_ptr<Core> core, uint64_t id) : core_(std::move(core)), id_(id) {}
  ~Handle() override {
    Do([](WsSession& session) { session.Abandon(); }, true);
  }
  void Send(std::string message, bool text) override {
    Do([message = std::move(message), text](WsSession& session) { session.Send(message, text); }, false);
  }
  void Taken(size_t bytes) override {
    Do([bytes](WsSession& session) { session.Taken(bytes, SteadyNow()); }, false);
  }
  void Close(uint16_t code, std::string reason) override {
    Do([code, reason = std::move(reason)](WsSession& session) { session.Close(code, reason, SteadyNow()); }, false);
  }

 private:
  void Do(std::function<void(WsSession&)> fn, bool at_once_here) {
    if (at_once_here && core_->OnThread()) return core_->With(id_, fn);
    core_->Post([core = core_.get(), id = id_, fn = std::move(fn)] { core->With(id, fn); });
  }

  const std::shared_ptr<Core> core_;
  const uint64_t id_;
};

std::unique_ptr<WebSocket> WebSocketClient::Core::Open(WebSocketRequest request, WebSocketEvents events) {
  uint64_t id = 0;
  {
    MutexLock lock(mutex_);
    id = ++last_id_;
  }
  auto both = std::make_shared<std::pair<WebSocketRequest, WebSocketEvents>>(std::move(request), std::move(events));
  Post([this, id, both] { Start(id, std::move(both->first), std::move(both->second)); });
  return std::make_unique<Handle>(shared_from_this(), id);
}

WebSocketClient::WebSocketClient(WebSocketClientOptions options) : core_(std::make_shared<Core>(options)) {}
WebSocketClient::~WebSocketClient() {
  core_->Stop();
}
WebSocketClient::Poster WebSocketClient::MakePoster() const {
  return [core = core_](std::function<void()> fn) { core->Post(std::move(fn)); };
}

bool WebSocketClient::OnThread() const {
  return core_->OnThread();
}

std::unique_ptr<WebSocket> WebSocketClient::Open(WebSocketRequest request, WebSocketEvents events) {
  return core_->Open(std::move(request), std::move(events));
}

}  // namespace mayfly::http
