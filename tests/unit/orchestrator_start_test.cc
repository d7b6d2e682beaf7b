// How environments come up: order, priorities, slots, conditions, what decides that a node is usable.
#include "tests/support/run_harness.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using testing::IsEmpty;
using testing::Optional;

class OrchestratorStartTest : public testing::Test {
 protected:
  // Ready after so long; what is not named is ready at once.
  std::map<std::string, absl::Duration> ready_;

  OrchestratorStartTest() {
    h_.world.script = [this](const NodeRef& ref, const ProcessSpec&, bool one_shot) {
      FakeRun run;
      const auto found = ready_.find(ref.node);
      if (found != ready_.end()) (one_shot ? run.end : run.ready) = found->second;
      else if (one_shot) run.end = absl::ZeroDuration();
      return run;
    };
  }
  RunHarness h_;
};

TEST_F(OrchestratorStartTest, ComesUpAndGoesAway) {
  h_.plans["shop"] = PlanOf({{"db"}, {"api", {"db"}}});
  const CreateOutcome created = h_.Create("shop");
  ASSERT_OK(created.status);
  EXPECT_EQ(created.environment->record.state, EnvironmentState::kCreating);
  ASSERT_TRUE(h_.RunUntil("env", EnvironmentState::kActive));
  EXPECT_EQ(h_.world.running(), 2);
  EXPECT_EQ(h_.View("env")->record.verdict, Verdict::kNone);
  ASSERT_OK(h_.Delete("env"));
  ASSERT_TRUE(h_.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_THAT(h_.world.scopes(), IsEmpty());
  const std::vector<Event> events = h_.Events("env");
  EXPECT_EQ(events.back().environment_state, EnvironmentState::kDeleted);
  EXPECT_EQ(events[events.size() - 2].kind, EventKind::kReceipt);
}

TEST_F(OrchestratorStartTest, StartsANodeAsSoonAsItsOwnNeedsAreMet) {
  // Waves would hold `quick` back until `slow` is ready.
  h_.plans["shop"] = PlanOf({{"slow"}, {"fast"}, {"quick", {"fast"}}, {"last", {"slow", "quick"}}});
  ready_ = {{"slow", absl::Seconds(10)}, {"fast", absl::Seconds(1)}, {"quick", absl::Seconds(2)}};
  ASSERT_OK(h_.Create("shop").status);
  ASSERT_TRUE(h_.RunUntil("env", EnvironmentState::kActive));
  EXPECT_THAT(h_.When("env", "quick", NodeState::kReady), Optional(absl::Seconds(3)));
  EXPECT_THAT(h_.When("env", "last", NodeState::kReady), Optional(absl::Seconds(10)));
}

}  // namespace
}  // namespace mayfly
