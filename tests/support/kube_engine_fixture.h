// An engine on the real cluster with one scope of its own, for tests that look at what it says and at what it makes.
#ifndef MAYFLY_TESTS_SUPPORT_KUBE_ENGINE_FIXTURE_H_
#define MAYFLY_TESTS_SUPPORT_KUBE_ENGINE_FIXTURE_H_

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/watch.h"
#include "server/engine/kubernetes/kubernetes_engine.h"
#include "server/engine/kubernetes/objects.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/temp_dir.h"

namespace mayfly::kubernetes {

using nlohmann::json;
using testing::HasSubstr;
using Kind = EngineEvent::Kind;
using Clock = std::chrono::steady_clock;

inline constexpr char kWorkload[] = "mayfly/workload:1";
// Far below every deadline of the engine's own: what takes as long was not told by evidence.
inline constexpr auto kPatience = std::chrono::seconds(60);

class KubeEvents final : public EngineEventSink {
 public:
  void OnEngineEvent(const EngineEvent& event) override {
    MutexLock lock(mutex_);
    events_.push_back(event);
    more_.NotifyAll();
  }
  // The first event that is wanted; kScopeGone without any when none came in time.
  EngineEvent Await(const std::function<bool(const EngineEvent&)>& wanted) {
    const auto end = Clock::now() + kPatience;
    MutexLock lock(mutex_);
    for (size_t seen = 0;;) {
      for (; seen < events_.size(); ++seen) {
        if (wanted(events_[seen])) return events_[seen];
      }
      if (more_.WaitUntil(mutex_, end) || events_.size() > seen) continue;
      ADD_FAILURE() << "it did not come; what came: " << Told();
      return EngineEvent{Kind::kScopeGone};
    }
  }

 private:
  std::string Told() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string out;
    for (const EngineEvent& event : events_) {
      absl::StrAppend(&out, "\n  ", static_cast<int>(event.kind), " ", event.node.node, " ", FormatCause(event.cause));
    }
    return out;
  }

  Mutex mutex_;
  CondVar more_;
  std::vector<EngineEvent> events_ ABSL_GUARDED_BY(mutex_);
};

inline ProcessSpec Workload(std::vector<std::string> steps) {
  ProcessSpec process;
  process.image = kWorkload;
  process.argv = std::move(steps);
  process.argv.insert(process.argv.begin(), "/work/mayfly-workload");
  process.stop.grace = absl::Seconds(5);
  return process;
}

inline ProcessSpec OfImage(const std::string& image) {
  ProcessSpec process = Workload({"sleep", "60"});
  process.image = image;
  return process;
}

class KubeEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::optional<kube::Endpoint> endpoint = TestCluster();
    if (!endpoint.has_value()) GTEST_SKIP() << "no cluster";
    client_ = std::make_unique<kube::ApiClient>(*endpoint);
    endpoint_ = endpoint;
    Restart();
    static int number = 0;
    scope_ = absl::StrCat("engine-", getpid(), "-", ++number);
    ASSERT_EQ(engine_->CreateScope({scope_, "engine", "tester", logs_.path(), "", 1}), absl::OkStatus());
    ASSERT_EQ(AwaitKinds({Kind::kScopeReady, Kind::kScopeFailed}).kind, Kind::kScopeReady);
  }

  // The server dies, and another one comes. Recover was not called yet.
  void Restart() {
    engine_.reset();
    KubernetesEngineOptions options;
    options.state_dir = state_.path();
    options.installation = absl::StrCat("engine-", getpid());
    options.endpoint = *endpoint_;
    options.registry = "192.0.2.1:5000";
    auto engine = KubernetesEngine::Create(options, &events_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  void TearDown() override {
    if (engine_ == nullptr) return;
    EXPECT_EQ(engine_->Destroy(scope_), absl::OkStatus());
    AwaitKinds({Kind::kScopeReleased});
    engine_.reset();
  }

  // What is told of images' digests does not count.
  EngineEvent AwaitKinds(const std::vector<Kind>& kinds, int attempt = 0) {
    return events_.Await([&](const EngineEvent& event) {
      const bool of_image = event.kind == Kind::kProbe && absl::StartsWith(event.message, "image ");
      const bool wanted = !of_image && std::find(kinds.begin(), kinds.end(), event.kind) != kinds.end();
      return wanted && (attempt == 0 || event.node.attempt == attempt);
    });
  }

  NodeRef Prepare(const ProcessSpec& process, int attempt = 1) {
    const NodeRef web{scope_, "web", attempt};
    began_ = Clock::now();
    EXPECT_EQ(engine_->Prepare(web, process), absl::OkStatus());
    return web;
  }

  NodeRef Launch(const ProcessSpec& process, int attempt = 1) {
    const NodeRef web = Prepare(process, attempt);
    EXPECT_EQ(AwaitKinds({Kind::kPrepared, Kind::kStartFailed}, attempt).kind, Kind::kPrepared);
    EXPECT_EQ(engine_->Start(web, false), absl::OkStatus());
    EXPECT_EQ(AwaitKinds({Kind::kStarted, Kind::kStartFailed}, attempt).kind, Kind::kStarted);
    return web;
  }

  void Expect(const EngineEvent& event, Kind kind, CauseCode code, const std::string& named) {
    const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
    std::cout << absl::StreamFormat("%s after %.2f s: %s\n", InfoFor(event.cause.code).name, seconds,
                                    FormatCause(event.cause));
    for (const std::string& line : event.cause.evidence) std::cout << "  | " << line << "\n";
    EXPECT_EQ(event.kind, kind);
    EXPECT_EQ(InfoFor(event.cause.code).name, InfoFor(code).name);
    EXPECT_THAT(event.cause.message.substr(0, event.cause.message.find('\n')), HasSubstr(named));
  }

  // That the attempt ends before it was ever prepared.
  void ExpectStartFailed(const ProcessSpec& process, CauseCode code, const std::string& named) {
    Prepare(process);
    const EngineEvent event = AwaitKinds({Kind::kStartFailed, Kind::kExited, Kind::kPrepared});
    Expect(event, Kind::kStartFailed, code, named);
    EXPECT_EQ(event.cause.node, "web");
  }

  std::string Path(const std::string& rest) const { return absl::StrCat(NamespacePath(scope_), "/", rest); }

  void Delete(const std::string& path) {
    began_ = Clock::now();
    EXPECT_EQ(Wait([&](auto done) { client_->Delete(path, {}, done); }).status(), absl::OkStatus()) << path;
  }

  // Until `holds` of the objects of a collection, by name.
  void AwaitObjects(const std::string& collection, std::function<bool(const std::map<std::string, json>&)> holds) {
    std::promise<void> promise;
    std::map<std::string, json> objects;
    bool told = false;
    const auto look = [&] {
      if (!told && holds(objects)) {
        told = true;
        promise.set_value();
      }
    };
    const auto name = [](const json& object) { return object.at("metadata").at("name").get<std::string>(); };
    kube::WatchOptions options;
    options.collection = Path(collection);
    const kube::Watch watch(*client_, options,
                            {[&](const std::vector<json>& all) {
                               objects.clear();
                               for (const json& object : all) objects[name(object)] = object;
                               look();
                             },
                             [&](kube::WatchEvent event, const json& object) {
                               if (event == kube::WatchEvent::kDeleted) {
                                 objects.erase(name(object));
                               } else {
                                 objects[name(object)] = object;
                               }
                               look();
                             },
                             nullptr});
    EXPECT_EQ(promise.get_future().wait_for(kPatience), std::future_status::ready) << collection;
  }

  std::optional<kube::Endpoint> endpoint_;
  TempDir state_, logs_;
  KubeEvents events_;
  std::unique_ptr<kube::ApiClient> client_;
  std::unique_ptr<KubernetesEngine> engine_;
  std::string scope_;
  Clock::time_point began_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_TESTS_SUPPORT_KUBE_ENGINE_FIXTURE_H_
