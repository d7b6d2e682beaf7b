#include "tests/support/fault_scenario.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/client/watch.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/kube_cluster.h"
#include "tests/support/stream_notes.h"

namespace mayfly {
namespace {

using nlohmann::json;

constexpr int kObjects = 40;
constexpr int kChanged = 12;  // The first so many get a second value.
constexpr int kDeleted = 8;   // Of these the first so many go again.
constexpr char kIdentity[] = "fault-scenario/identity";

// Decides each request's fault from a seed, for as long as faults last.
class Chaos {
 public:
  explicit Chaos(uint64_t seed)
      : random_(seed), rate_(Uniform(0.05, 0.5)), budget_(static_cast<int>(Uniform(40, 130))) {
    for (double& weight : weights_) weight = Uniform(0, 1) < 0.4 ? 0 : Uniform(0.1, 1);
    weights_[0] = std::max(weights_[0], 0.01);
  }

  // One thread at a time.
  Fault Next(const HttpRequest& request) {
    if (over_ || budget_-- <= 0 || Uniform(0, 1) > rate_) return {};
    const bool watch = request.query.count("watch") > 0;
    const bool list = request.method == "GET" && !watch && request.query.count("limit") > 0;
    Fault fault;
    switch (std::discrete_distribution<int>(std::begin(weights_), std::end(weights_))(random_)) {
      case 0:
        fault.kind = Fault::Kind::kReset;
        break;
      case 1:
        fault.kind = watch ? Fault::Kind::kCut : Fault::Kind::kLoseAnswer;
        fault.bytes = static_cast<size_t>(Uniform(0, 20000));
        break;
      case 2:
        fault = {.kind = Fault::Kind::kRefuse, .status = 429, .retry_after = Uniform(0, 1) < 0.5 ? 1 : 0};
        break;
      case 3:
        fault = {.kind = Fault::Kind::kRefuse, .status = Uniform(0, 1) < 0.5 ? 500 : 503};
        break;
      case 4:
        fault = {.kind = watch ? Fault::Kind::kReset : Fault::Kind::kLie, .status = 504};
        break;
      case 5:
        fault = {.kind = Fault::Kind::kSlow, .delay = absl::Milliseconds(Uniform(10, 2600))};
        break;
      case 6:
        fault = {.kind = watch ? Fault::Kind::kSlow : Fault::Kind::kSlowAnswer,
                 .delay = absl::Milliseconds(Uniform(10, 2600))};
        break;
      case 7:
        fault.kind = Fault::Kind::kCut;
        fault.bytes = static_cast<size_t>(Uniform(0, 2000));
        break;
      default:
        // History that the server has forgotten; nothing else is ever answered so.
        if (!watch && !list) return {};
        fault = {.kind = watch && Uniform(0, 1) < 0.5 ? Fault::Kind::kGoneEvent : Fault::Kind::kRefuse, .status = 410};
        if (list) fault.status = 503;
        break;
    }
    ++counts_[Name(fault)];
    return fault;
  }
  void End() { over_ = true; }
  void CountPartition() { ++counts_["partition"]; }
  double Uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  static std::string Name(const Fault& fault) {
    switch (fault.kind) {
      case Fault::Kind::kReset:
        return "reset";
      case Fault::Kind::kLoseAnswer:
        return "lose-answer";
      case Fault::Kind::kRefuse:
        return absl::StrCat("refuse-", fault.status);
      case Fault::Kind::kLie:
        return "done-but-504";
      case Fault::Kind::kSlow:
        return "slow";
      case Fault::Kind::kSlowAnswer:
        return "slow-answer";
      case Fault::Kind::kCut:
        return "cut";
      default:
        return "gone-event";
    }
  }

  std::mt19937_64 random_;
  const double rate_;
  int budget_;
  double weights_[9];
  bool over_ = false;
  std::map<std::string, int> counts_;
};

// Brings the objects to where they are wanted, each by its own steps, and again where a step failed.
class Driver {
 public:
  Driver(kube::ApiClient& client, std::string collection, uint64_t seed)
      : client_(client), collection_(std::move(collection)), label_(absl::StrCat(seed)), objects_(kObjects) {}

  void Start() {
    for (int i = 0; i < kObjects; ++i) Step(i);
  }

  // True when all objects are where they are wanted.
  bool AwaitAll(absl::Time end) {
    MutexLock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(end - absl::Now());
    while (left_ > 0 && changed_.WaitUntil(mutex_, until)) {
    }
    return left_ == 0;
  }

  std::string Name(int i) const { return absl::StrCat("f", label_, "-", i); }
  std::string Selector() const { return "fault-seed=" + label_; }
  // What should be there in the end: value by name.
  std::map<std::string, std::string> Wanted() const {
    std::map<std::string, std::string> wanted;
    for (int i = kDeleted; i < kObjects; ++i) wanted[Name(i)] = i < kChanged ? "second" : "first";
    return wanted;
  }
  std::string uid(int i) const {
    MutexLock lock(mutex_);
    return objects_[static_cast<size_t>(i)].uid;
  }
  std::vector<std::string> defects() const {
    MutexLock lock(mutex_);
    return defects_;
  }

 private:
  enum class Stage { kCreate, kChange, kDelete, kDone };
  struct Object {
    Stage stage = Stage::kCreate;
    std::string uid;
  };

  json Manifest(int i, const std::string& value) const {
    return {{"apiVersion", "v1"},
            {"kind", "ConfigMap"},
            {"metadata",
             {{"name", Name(i)},
              {"labels", {{"fault-seed", label_}}},
              {"annotations", {{kIdentity, absl::StrCat(label_, "/", i)}}}}},
            {"data", {{"v", value}}}};
  }

  void Step(int i) {
    Object object;
    {
      MutexLock lock(mutex_);
      object = objects_[static_cast<size_t>(i)];
    }
    const auto done = [this, i](const absl::StatusOr<json>& result) { OnDone(i, result); };
    const std::string path = absl::StrCat(collection_, "/", Name(i));
    switch (object.stage) {
      case Stage::kCreate:
        return client_.Create(collection_, Manifest(i, "first"), done);
      case Stage::kChange: {
        json manifest = Manifest(i, "second");
        manifest["metadata"]["uid"] = object.uid;
        return client_.Apply(path, std::move(manifest), done);
      }
      case Stage::kDelete:
        return client_.Delete(path, {.uid = object.uid}, done);
      case Stage::kDone:
        return;
    }
  }

  // On the client's thread.
  void OnDone(int i, const absl::StatusOr<json>& result) {
    if (absl::IsCancelled(result.status())) return;
    {
      MutexLock lock(mutex_);
      Object& object = objects_[static_cast<size_t>(i)];
      if (result.ok()) {
        Advance(i, object, *result);
      } else if (!absl::IsUnavailable(result.status()) && !absl::IsDeadlineExceeded(result.status()) &&
                 !absl::IsResourceExhausted(result.status())) {
        defects_.push_back(result.status().ToString());
        object.stage = Stage::kDone;
        --left_;
      }
      changed_.NotifyAll();
    }
    Step(i);
  }

  void Advance(int i, Object& object, const json& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (object.stage == Stage::kCreate) object.uid = kube::TextAt(result, {"metadata", "uid"});
    if (object.stage == Stage::kCreate && i < kChanged) {
      object.stage = Stage::kChange;
    } else if (object.stage == Stage::kChange && i < kDeleted) {
      object.stage = Stage::kDelete;
    } else {
      object.stage = Stage::kDone;
      --left_;
    }
  }

  kube::ApiClient& client_;
  const std::string collection_;
  const std::string label_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Object> objects_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> defects_ ABSL_GUARDED_BY(mutex_);
  int left_ ABSL_GUARDED_BY(mutex_) = kObjects;
};

kube::ApiClientOptions Hasty() {
  return {.identity_annotation = kIdentity,
          .attempt = absl::Seconds(2),
          .deadline = absl::Seconds(8),
          .first_pause = absl::Milliseconds(30),
          .longest_pause = absl::Seconds(1),
          .connections = 16,
          .stream_connections = 8};
}

int CountDuplicates(const FaultProxy& proxy) {
  std::map<std::string, int> made;
  for (const FaultProxy::Passed& passed : proxy.passed()) {
    if (passed.method != "POST" || passed.status != 201) continue;
    ++made[kube::TextAt(json::parse(passed.body), {"metadata", "name"})];
  }
  return static_cast<int>(std::count_if(made.begin(), made.end(), [](const auto& entry) { return entry.second > 1; }));
}

// The world itself, without the proxy.
void CompareWorld(const kube::Endpoint& upstream, const std::string& collection, const Driver& driver,
                  std::vector<std::string>& defects) {
  kube::ApiClient direct(upstream);
  const auto list = Wait([&](auto done) { direct.List(collection, driver.Selector(), "", done); });
  if (!list.ok()) {
    defects.push_back(list.status().ToString());
    return;
  }
  std::map<std::string, std::string> found;
  std::map<std::string, std::string> uids;
  for (const json& object : (*list)["items"]) {
    const std::string name = kube::TextAt(object, {"metadata", "name"});
    found[name] = kube::TextAt(object, {"data", "v"});
    uids[name] = kube::TextAt(object, {"metadata", "uid"});
  }
  if (found != driver.Wanted()) {
    defects.push_back(absl::StrCat("the world is ", absl::StrJoin(found, " ", absl::PairFormatter("="))));
  }
  for (int i = kDeleted; i < kObjects; ++i) {
    if (uids[driver.Name(i)] != driver.uid(i))
      defects.push_back(driver.Name(i) + " is another object than the one made");
  }
  const auto gone = Wait([&](auto done) { direct.DeleteCollection(collection, driver.Selector(), {}, done); });
  if (!gone.ok()) defects.push_back(gone.status().ToString());
}

}  // namespace

FaultResult RunFaultScenario(const kube::Endpoint& upstream, const std::string& collection, const std::string& watched,
                             uint64_t seed, bool with_faults) {
  FaultResult result;
  Chaos chaos(seed);
  FaultProxy proxy(upstream);
  http::Client clock;
  absl::Duration faults_last;
  if (with_faults) {
    faults_last = absl::Milliseconds(chaos.Uniform(500, 2500));
    if (chaos.Uniform(0, 1) < 0.5) {
      const absl::Duration from = absl::Milliseconds(chaos.Uniform(0, 600));
      const absl::Duration length = absl::Milliseconds(chaos.Uniform(200, 1800));
      chaos.CountPartition();
      faults_last = std::max(faults_last, from + length);
      clock.loop().PostAfter(from, [&] { proxy.SetPartition(true); });
      clock.loop().PostAfter(from + length, [&] { proxy.SetPartition(false); });
    }
    proxy.SetPlan([&chaos](const HttpRequest& request) { return chaos.Next(request); });
  }
  const absl::Time faults_end = absl::Now() + faults_last;
  clock.loop().PostAfter(faults_last, [&] { proxy.SetPlan(nullptr); });
  {
    WatchNotes notes;
    auto client = std::make_unique<kube::ApiClient>(proxy.endpoint(), Hasty());
    Driver driver(*client, collection, seed);
    auto watch = std::make_unique<kube::Watch>(
        *client,
        kube::WatchOptions{.collection = watched, .label_selector = driver.Selector(), .idle = absl::Seconds(4)},
        notes.callbacks());
    driver.Start();
    if (!driver.AwaitAll(faults_end + absl::Seconds(60))) result.defects.push_back("not converged in time");
    notes.AwaitState(driver.Wanted());
    result.converged = std::max(absl::Now() - faults_end, absl::ZeroDuration());
    result.requests = proxy.requests();
    for (const std::string& defect : driver.defects()) result.defects.push_back(defect);
    // Their last callbacks use the driver.
    watch.reset();
    client.reset();
    CompareWorld(upstream, collection, driver, result.defects);
  }
  clock.RunAndWait([&] { proxy.SetPlan(nullptr); });
  result.duplicates = CountDuplicates(proxy);
  for (const auto& [kind, count] : chaos.counts()) result.faults += count;
  result.kinds = absl::StrJoin(chaos.counts(), ", ", absl::PairFormatter(" "));
  return result;
}

void CheckFaultSeeds(const kube::Endpoint& upstream, const std::string& collection, const std::string& wide,
                     uint64_t first, int count) {
  constexpr int kAtATime = 4;
  const FaultResult free =
      RunFaultScenario(upstream, collection, collection, first + static_cast<uint64_t>(count), false);
  ASSERT_TRUE(free.defects.empty()) << absl::StrJoin(free.defects, "\n");
  Mutex mutex;
  FaultResult worst;
  int64_t faults = 0;
  std::atomic<int> next = 0;
  const auto work = [&] {
    for (int i = next++; i < count; i = next++) {
      const uint64_t seed = first + static_cast<uint64_t>(i);
      const std::string& watched = seed % 2 == 1 && !wide.empty() ? wide : collection;
      const FaultResult result = RunFaultScenario(upstream, collection, watched, seed, true);
      MutexLock lock(mutex);
      EXPECT_TRUE(result.defects.empty()) << "seed " << seed << " (" << result.kinds << "):\n"
                                          << absl::StrJoin(result.defects, "\n");
      EXPECT_EQ(0, result.duplicates) << "seed " << seed << " (" << result.kinds << ")";
      EXPECT_LE(result.requests, 3 * free.requests) << "seed " << seed << " (" << result.kinds << ")";
      EXPECT_LE(result.converged, absl::Seconds(60)) << "seed " << seed << " (" << result.kinds << ")";
      worst.requests = std::max(worst.requests, result.requests);
      worst.converged = std::max(worst.converged, result.converged);
      faults += result.faults;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kAtATime; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  std::cout << count << " seeds from " << first << ", " << faults << " faults; requests without faults "
            << free.requests << ", at most " << worst.requests << "; converged at most " << worst.converged
            << " after the faults' end\n";
}

}  // namespace mayfly
