// The provisioner on its real threads: run loop, worker, callers and watchers at the same time. For the sanitizers.
#include <atomic>
#include <chrono>
#include <thread>

#include "server/base/real_loop.h"
#include "tests/support/run_harness.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

class ProvisionerThreadsTest : public testing::Test {
 protected:
  ProvisionerThreadsTest() {
    ProvisionerDependencies dependencies;
    dependencies.loop = &loop_;
    dependencies.engine = &engine_;
    dependencies.engine_events = &queue_;
    dependencies.store = &store_;
    dependencies.load = [](const std::string&, const std::string&) {
      LoadedCatalogue loaded;
      loaded.catalogue.name = "cat";
      return loaded;
    };
    dependencies.plan = [](const Catalogue&, const EnvironmentRequest&, const Capabilities&,
                           const std::vector<Store::StartTime>&) {
      return PlanOutcome{absl::OkStatus(), PlanOf({{"db"}, {"api", {"db"}}}), {}};
    };
    provisioner_ = CreateProvisioner({testing::TempDir() + "/mayfly-threads"}, std::move(dependencies));
  }
  ~ProvisionerThreadsTest() override {
    provisioner_.reset();
    loop_.Stop();
  }

  // Creates an environment, watches it to its end, deleting it once it is ACTIVE.
  void LiveOnce(const std::string& name) {
    EnvironmentRequest request;
    request.name = name;
    request.source = "/nowhere";
    provisioner_->Create(request, {}, [this, name](CreateOutcome outcome) {
      EXPECT_OK(outcome.status);
      if (!outcome.status.ok()) return;
      MutexLock lock(mutex_);
      uids_[name] = outcome.environment->record.uid;
      changed_.NotifyAll();
    });
    auto watch = provisioner_->events().Subscribe(UidOf(name), 0, [this] {
      MutexLock lock(mutex_);
      ++wakes_;
      changed_.NotifyAll();
    });
    ASSERT_OK(watch);
    for (bool deleted = false; !(*watch)->finished();) {
      const int64_t seen = Wakes();
      const auto events = (*watch)->Read(3);
      for (const auto& event : events) {
        if (deleted || event->event.environment_state != EnvironmentState::kActive) continue;
        deleted = true;
        provisioner_->Delete(name, {}, [](absl::StatusOr<EnvironmentViewRef> view) { EXPECT_OK(view); });
      }
      if (events.empty() && !(*watch)->finished()) WaitForWake(seen);
    }
  }

  std::string UidOf(const std::string& name) {
    MutexLock lock(mutex_);
    while (uids_.count(name) == 0) changed_.Wait(mutex_);
    return uids_[name];
  }
  int64_t Wakes() {
    MutexLock lock(mutex_);
    return wakes_;
  }
  void WaitForWake(int64_t seen) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    MutexLock lock(mutex_);
    while (wakes_ == seen && changed_.WaitUntil(mutex_, end)) {
    }
  }

  RealLoop loop_;
  FakeWorld world_{&loop_};
  EngineEventQueue queue_;
  FakeEngine engine_{&world_, &queue_};
  MemoryStore store_;
  std::unique_ptr<Provisioner> provisioner_;
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, std::string> uids_ ABSL_GUARDED_BY(mutex_);
  int64_t wakes_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST_F(ProvisionerThreadsTest, ManyCallersLiveThroughManyEnvironments) {
  ASSERT_OK(provisioner_->Recover());
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      EXPECT_OK(provisioner_->List({}, 100, ""));
      provisioner_->Get("env-0-1").status().IgnoreError();
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([this, caller] {
      for (int i = 0; i < 10; ++i) LiveOnce("env-" + std::to_string(caller) + "-" + std::to_string(i));
    });
  }
  for (std::thread& caller : callers) caller.join();
  done = true;
  reader.join();
  EXPECT_EQ(provisioner_->live(), 0);
}

TEST_F(ProvisionerThreadsTest, StopsInTheMiddleOfEverything) {
  ASSERT_OK(provisioner_->Recover());
  std::atomic<int> answered{0};
  for (int i = 0; i < 50; ++i) {
    EnvironmentRequest request;
    request.name = "env-" + std::to_string(i);
    request.source = "/nowhere";
    provisioner_->Create(request, {}, [&answered](CreateOutcome) { ++answered; });
  }
  provisioner_.reset();
  loop_.Stop();
  EXPECT_EQ(answered, 50);
}

}  // namespace
}  // namespace mayfly
