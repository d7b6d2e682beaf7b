// Who gets a slot first, when there are fewer slots than nodes that could start.
#include "server/run/start_order.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/seed.h"

namespace mayfly {
namespace {

// Nodes are added in topological order, as a planner leaves them.
class PlanOf {
 public:
  int Add(double seconds, const std::vector<int>& needs = {}, NodeKind kind = NodeKind::kService) {
    const int at = static_cast<int>(plan_.nodes.size());
    PlanNode node;
    node.name = "n" + std::to_string(at);
    node.kind = kind;
    node.expected = absl::Seconds(seconds);
    for (const int need : needs) {
      node.needs.push_back({need, Condition::kReady, {}});
      plan_.nodes[need].needed_by.push_back(at);
    }
    plan_.nodes.push_back(std::move(node));
    return at;
  }
  operator const Plan&() const { return plan_; }  // NOLINT(google-explicit-constructor)

 private:
  Plan plan_;
};

TEST(StartOrderTest, WithoutALimitTheCriticalPathComesFirst) {
  PlanOf plan;
  const int quick = plan.Add(1), root = plan.Add(1);
  plan.Add(5, {root});
  const std::vector<double> ranks = StartOrder(plan, 0);
  EXPECT_GT(ranks[root], ranks[quick]);
  EXPECT_DOUBLE_EQ(ranks[root], 6);
}

TEST(StartOrderTest, ALongTaskDoesNotWaitForShortOnes) {
  PlanOf plan;
  for (int i = 0; i < 4; ++i) plan.Add(1);
  plan.Add(4);
  EXPECT_EQ(ExpectedReady(plan, 2, StartOrder(plan, 2)), absl::Seconds(4));
}

// Critical path first puts 3, 3 and then 2, 2, 2 on two slots: 7 seconds, where 3 + 3 beside 2 + 2 + 2 takes 6.
TEST(StartOrderTest, FindsABetterOrderThanTheCriticalPath) {
  PlanOf plan;
  for (const double seconds : {3.0, 3.0, 2.0, 2.0, 2.0}) plan.Add(seconds);
  EXPECT_EQ(ExpectedReady(plan, 2, StartOrder(plan, 0)), absl::Seconds(7));
  EXPECT_EQ(ExpectedReady(plan, 2, StartOrder(plan, 2)), absl::Seconds(6));
}

TEST(StartOrderTest, ATestJobDoesNotTakeAServicesSlot) {
  PlanOf plan;
  const int service = plan.Add(1);
  plan.Add(1);
  plan.Add(100, {service}, NodeKind::kTestJob);
  EXPECT_EQ(ExpectedReady(plan, 2, StartOrder(plan, 2)), absl::Seconds(1));
}

TEST(StartOrderTest, AnEmptyPlanIsReadyAtOnce) {
  EXPECT_TRUE(StartOrder(Plan(), 2).empty());
  EXPECT_EQ(ExpectedReady(Plan(), 2, {}), absl::ZeroDuration());
}

TEST(StartOrderTest, IsNeverWorseThanTheCriticalPathNorBetterThanPossibleAndAlwaysTheSame) {
  std::mt19937 random(TestSeed());
  for (int round = 0; round < 50; ++round) {
    PlanOf plan;
    const int count = 2 + static_cast<int>(random() % 30), slots = 1 + static_cast<int>(random() % 4);
    double total = 0;
    for (int i = 0; i < count; ++i) {
      std::vector<int> needs;
      for (int need = 0; need < i; ++need) {
        if (random() % 8 == 0) needs.push_back(need);
      }
      const double seconds = 1 + static_cast<double>(random() % 9);
      total += seconds;
      plan.Add(seconds, needs);
    }
    const std::vector<double> paths = StartOrder(plan, 0), ranks = StartOrder(plan, slots);
    const absl::Duration bound = absl::Seconds(std::max(*std::max_element(paths.begin(), paths.end()), total / slots));
    EXPECT_LE(ExpectedReady(plan, slots, ranks), ExpectedReady(plan, slots, paths));
    EXPECT_GE(ExpectedReady(plan, slots, ranks) + absl::Nanoseconds(1), bound);
    EXPECT_EQ(StartOrder(plan, slots), ranks);
  }
}

}  // namespace
}  // namespace mayfly
