// Random graphs with random delays, failures, cancels and updates, judged by run_checker.h. Every seed is repeatable:
// MAYFLY_SEED=n runs one, MAYFLY_SEEDS=n sets how many.
#include <cstdlib>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/run_checker.h"
#include "tests/support/run_harness.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

class RandomRun {
 public:
  explicit RandomRun(int seed) : random_(seed) {
    h_.KillServer();
    h_.options.start_slots = Pick({0, 0, 1, 2, 4, 8});
    h_.options.test_slots = Pick({1, 2, 4});
    h_.world.script = [this](const NodeRef& ref, const ProcessSpec&, bool one_shot) { return Behave(ref, one_shot); };
    h_.StartServer();
  }

  // Runs it to its end; what is wrong.
  std::vector<std::string> Run(bool crash) {
    failing_ = Chance(0.6) ? Between(0, 15) : 0;
    MakeWorldHard();
    SetPlan(RandomPlan(Between(1, 25)));
    const Keep keep = static_cast<Keep>(Between(0, 2));
    crash_ = crash;
    if (crash) h_.world.fuse.Arm(Between(1, 400));
    const CreateOutcome created = h_.Create("source", keep);
    if (!created.status.ok() && !h_.world.fuse.blown()) return {std::string(created.status.message())};
    if (h_.memory.GetEnvironment("env").status().code() == absl::StatusCode::kNotFound) return {};  // Died before.
    for (int i = Chance(0.4) ? Between(1, 4) : 0; i > 0; --i) {
      Advance(absl::Milliseconds(Between(0, 3000)));
      Disturb();
    }
    // Long enough for every deadline and back-off.
    Advance(absl::Minutes(20));
    for (int tries = 0; tries < 20 && State() != EnvironmentState::kDeleted; ++tries) {
      const bool settled = State() == EnvironmentState::kActive || State() == EnvironmentState::kFailed ||
                           State() == EnvironmentState::kDeleting;
      if (!settled) return {absl::StrCat("stuck in ", EnvironmentStateName(State()))};
      h_.Delete("env", Chance(0.5)).IgnoreError();
      Advance(absl::Minutes(20));
    }
    return Judge();
  }

  // What happened, for whoever looks into one seed.
  void Print() {
    for (const FakeHistory& entry : h_.world.history()) {
      std::cout << absl::FormatDuration(entry.when) << " world " << static_cast<int>(entry.kind) << " "
                << entry.node.node << "#" << entry.node.attempt << "\n";
    }
    for (const NodeView& node : h_.View("env")->nodes) {
      std::cout << node.planned.name << "#" << node.attempt << " " << NodeStateName(node.state) << " needs "
                << absl::StrJoin(node.planned.needs, ",") << "\n";
    }
    for (const Event& event : h_.Events("env")) {
      std::cout << absl::FormatDuration(event.offset) << " event " << static_cast<int>(event.kind) << " " << event.node
                << "#" << event.attempt << " "
                << (event.kind == EventKind::kNode    ? NodeStateName(event.node_state)
                    : event.kind == EventKind::kState ? EnvironmentStateName(event.environment_state)
                                                      : VerdictName(event.verdict))
                << " " << event.message << " " << FormatCause(event.cause) << "\n";
    }
  }

 private:
  int Between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool Chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
  int Pick(std::vector<int> values) { return values[Between(0, values.size() - 1)]; }
  absl::Duration Millis(int low, int high) { return absl::Milliseconds(Between(low, high)); }

  EnvironmentState State() {
    const absl::StatusOr<EnvironmentRecord> record = h_.memory.GetEnvironment("env");
    return record.ok() ? record->state : EnvironmentState::kDeleted;
  }

  Plan RandomPlan(int count) {
    std::vector<TestNode> nodes;
    for (int i = 0; i < count; ++i) {
      TestNode node;
      const int kind = Between(0, 9);
      const bool test = i > count * 3 / 4 && kind < 4;
      node.kind = test ? NodeKind::kTestJob : kind < 2 ? NodeKind::kJob : NodeKind::kService;
      node.name = absl::StrCat(test ? "t" : node.kind == NodeKind::kJob ? "j" : "s", i);
      node.digest = absl::StrCat(node.name, Between(0, 1));
      node.expected = Millis(1, 1000);
      node.within = absl::Seconds(Between(3, 20));
      for (int j = i == 0 ? 0 : Between(0, 3); j > 0; --j) {
        const TestNode& need = nodes[Between(0, i - 1)];
        if (need.kind == NodeKind::kTestJob) continue;
        const bool job = need.kind == NodeKind::kJob;
        const std::string text = absl::StrCat(need.name, job ? ":completed" : Chance(0.2) ? ":started" : "");
        bool known = false;
        for (const std::string& other : node.needs) known |= other.substr(0, other.find(':')) == need.name;
        if (!known) node.needs.push_back(text);
      }
      nodes.push_back(std::move(node));
    }
    Plan plan = PlanOf(nodes);
    for (PlanNode& node : plan.nodes) {
      node.process.stop.grace = Millis(10, 2000);
      if (Chance(0.2)) node.restart = RestartPolicy::kOnFailure;
      node.max_restarts = Between(0, 3);
      if (node.kind == NodeKind::kTestJob) node.retries = Pick({0, 0, 2});
      if (node.kind == NodeKind::kTestJob) node.flaky = Chance(0.2);
      if (Chance(0.1)) node.process.ports = {Port{"http", 80, true}};
    }
    return plan;
  }

  void SetPlan(Plan plan) {
    h_.plans["source"] = plan;
    plans_.push_back({h_.loop.Monotonic(), std::move(plan)});
  }

  // What a node does depends on the seed and the node only, so that a repeated question has the same answer.
  FakeRun Behave(const NodeRef& ref, bool one_shot) {
    const std::string key = absl::StrCat(ref.node, "#", ref.attempt, one_shot);
    const auto known = behaviour_.find(key);
    if (known != behaviour_.end()) return known->second;
    FakeRun run;
    run.prepare = Millis(0, 5);
    run.launch = Millis(0, 3);
    run.stop = Millis(0, 300);
    run.ignores_term = Chance(0.1);
    if (one_shot)
      run.end = Millis(0, 1500);
    else
      run.ready = Millis(0, 1500);
    if (Between(0, 99) < failing_) Misbehave(run, one_shot);
    return behaviour_[key] = run;
  }

  void Misbehave(FakeRun& run, bool one_shot) {
    switch (Between(0, 5)) {
      case 0:
        run.start_failure = {CauseCode::kCommandNotFound, "", "no such file"};
        break;
      case 1:
        run.end = Millis(0, 3000);
        run.exit_code = Between(one_shot ? 1 : 0, 3);
        break;
      case 2:
        run.end = Millis(0, 3000);
        run.signal = Pick({6, 9, 11});
        break;
      case 3:
        (one_shot ? run.end : run.ready) = absl::InfiniteDuration();
        run.probe_cause = {CauseCode::kNeverListened, "", "nothing listens"};
        break;
      case 4:
        run.prepare = absl::Seconds(Between(0, 40));
        break;
      default:
        run.launch = absl::Seconds(Between(0, 40));
    }
  }

  void MakeWorldHard() {
    h_.world.scope_takes = Millis(0, 30);
    h_.world.destroy_takes = Millis(0, 50);
    if (failing_ == 0) return;
    if (Chance(0.03)) h_.world.scope_failure = {CauseCode::kHostLimit, "", "no more processes"};
    if (Chance(0.1)) h_.world.blocked_destroys = Between(1, 3);
    if (Chance(0.1)) h_.world.lost_destroys = Between(1, 2);
    for (const char* verb : {"CreateScope", "Prepare", "Start", "Stop", "Destroy", "Expose"}) {
      if (Chance(0.1)) h_.world.FailVerb(verb, "", absl::UnavailableError("busy"), Between(1, 4));
      if (Chance(0.03)) h_.world.FailVerb(verb, "", absl::InternalError("broken"), 1);
    }
  }

  void Disturb() {
    if (State() == EnvironmentState::kDeleted) return;
    const int what = Between(0, 9);
    if (what < 2) {
      h_.Delete("env", Chance(0.5)).IgnoreError();
    } else if (what < 5) {
      Update();
    } else if (what < 7 && !plans_.back().plan.nodes.empty()) {
      const std::vector<PlanNode>& nodes = plans_.back().plan.nodes;
      h_.Restart("env", {nodes[Between(0, nodes.size() - 1)].name}).IgnoreError();
    } else if (what == 7) {
      h_.RunTests("env", {}).IgnoreError();
    } else if (what == 8 && Chance(0.3)) {
      const auto& scopes = h_.world.scopes();
      if (!scopes.empty()) h_.world.LoseScope(scopes.begin()->first);
    }
  }

  void Update() {
    const absl::StatusOr<EnvironmentRecord> record = h_.memory.GetEnvironment("env");
    if (!record.ok() || record->request.keep != Keep::kAlways) return;
    const std::string uid = record->uid;
    const Plan before = h_.plans["source"];
    SetPlan(RandomPlan(Between(1, 25)));
    const absl::Duration since = h_.loop.Monotonic();
    const CreateOutcome outcome = h_.Create("source", Keep::kAlways, true);
    const absl::StatusOr<EnvironmentRecord> now = h_.memory.GetEnvironment("env");
    if (outcome.status.ok() && now.ok() && now->uid == uid) return;
    if (outcome.status.ok() || (now.ok() && now->uid != uid)) {
      // Replaced: the history of the new one begins here.
      begin_ = h_.world.history().size();
      plans_ = {{since, h_.plans["source"]}};
    } else {
      plans_.pop_back();
      h_.plans["source"] = before;
    }
  }

  // Turns the clock; where the server dies meanwhile, it is started again after a while.
  void Advance(absl::Duration duration) {
    const absl::Duration end = h_.loop.Monotonic() + duration;
    while (h_.loop.Step(end - h_.loop.Monotonic())) {
      if (crash_ && h_.world.fuse.blown()) Restart();
    }
  }

  void Restart() {
    h_.KillServer();
    h_.loop.Advance(Millis(0, 2000));
    h_.StartServer();
    if (Chance(0.2) && ++deaths_ < 3) h_.world.fuse.Arm(Between(1, 60));
  }

  std::vector<std::string> Judge() {
    RunToCheck run;
    run.plans = plans_;
    run.history.assign(h_.world.history().begin() + begin_, h_.world.history().end());
    run.events = h_.Events("env");
    run.accepted = run.plans.front().since;
    run.start_slots = h_.options.start_slots;
    run.test_slots = h_.options.test_slots;
    std::vector<std::string> wrong = CheckRun(run);
    if (!h_.world.scopes().empty()) wrong.push_back("a scope is left");
    if (h_.server().live() != 0) wrong.push_back("an environment is still live");
    const absl::StatusOr<EnvironmentRecord> record = h_.memory.GetEnvironment("env");
    if (!h_.memory.ListResources(record->uid).value_or(std::vector<ResourceRecord>(1)).empty()) {
      wrong.push_back("a resource is still recorded");
    }
    return wrong;
  }

  std::mt19937 random_;
  RunHarness h_;
  std::vector<PlanInForce> plans_;
  std::map<std::string, FakeRun> behaviour_;
  size_t begin_ = 0;
  int failing_ = 0;
  int deaths_ = 0;
  bool crash_ = false;
};

void RunSeeds(int count, int base, bool crash) {
  int first = base;
  int value = 0;
  if (const char* text = getenv("MAYFLY_SEEDS"); text != nullptr && absl::SimpleAtoi(text, &value)) count = value;
  if (const char* text = getenv("MAYFLY_SEED"); text != nullptr && absl::SimpleAtoi(text, &value)) {
    first = value;
    count = 1;
  }
  std::cout << "seeds " << first << " to " << first + count - 1 << "\n";
  int bad = 0;
  for (int seed = first; seed < first + count && bad < 10; ++seed) {
    RandomRun run(seed);
    const std::vector<std::string> wrong = run.Run(crash);
    bad += !wrong.empty();
    if (!wrong.empty() && getenv("MAYFLY_SEED") != nullptr) run.Print();
    EXPECT_TRUE(wrong.empty()) << "MAYFLY_SEED=" << seed << "\n  " << absl::StrJoin(wrong, "\n  ");
  }
}

TEST(OrchestratorRandomTest, EveryInvariantHoldsOverRandomGraphs) {
  RunSeeds(2000, 1, false);
}

TEST(OrchestratorRandomTest, EveryInvariantHoldsWhenTheServerIsKilled) {
  RunSeeds(600, 100001, true);
}

}  // namespace
}  // namespace mayfly
