// Changes in place: only what must be is restarted, in order.
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class OrchestratorUpdateTest : public RunTest {
 protected:
  static TestNode Version(TestNode node, const std::string& digest) {
    node.digest = digest;
    return node;
  }
  // What happened in the world since the last call.
  std::vector<std::string> News() {
    const std::vector<std::string> story = Story();
    std::vector<std::string> news(story.begin() + seen_, story.end());
    seen_ = story.size();
    return news;
  }
  size_t seen_ = 0;
};

TEST_F(OrchestratorUpdateTest, NothingChangedRestartsNothing) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  News();
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  EXPECT_THAT(News(), IsEmpty());
  EXPECT_EQ(Record().generation, 1);
}

TEST_F(OrchestratorUpdateTest, AChangedServiceRestartsAndItsDependantsRunOn) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  News();
  ASSERT_TRUE(Up({Version({"db"}, "v2"), {"api", {"db"}}}));
  EXPECT_THAT(News(), ElementsAre("-db#1", "+db#2"));
}

TEST_F(OrchestratorUpdateTest, ChangedServicesStopInReverseAndStartInOrder) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"web", {"api"}}}));
  News();
  ASSERT_TRUE(Up({Version({"db"}, "v2"), {"api", {"db"}}, Version({"web", {"api"}}, "v2")}));
  EXPECT_THAT(News(), ElementsAre("-web#1", "-db#1", "+db#2", "+web#2"));
}

TEST_F(OrchestratorUpdateTest, WhatIsNewStartsAndWhatIsGoneStops) {
  ASSERT_TRUE(Up({{"db"}, {"old", {"db"}}}));
  News();
  ASSERT_TRUE(Up({{"db"}, {"new", {"db"}}}));
  EXPECT_THAT(News(), testing::UnorderedElementsAre("-old#1", "+new#1"));
  EXPECT_EQ(h.View("env")->nodes.size(), 2);
}

TEST_F(OrchestratorUpdateTest, WhatComesBackIsANewAttempt) {
  ASSERT_TRUE(Up({{"db"}, {"extra"}}));
  ASSERT_TRUE(Up({{"db"}}));
  ASSERT_TRUE(Up({{"db"}, {"extra"}}));
  EXPECT_EQ(h.Node("env", "extra").attempt, 2);
}

TEST_F(OrchestratorUpdateTest, AChangedJobRunsAgainAndAnUnchangedOneDoesNot) {
  ASSERT_TRUE(Up({Job("seed"), Job("migrate"), {"api", {"migrate:completed"}}}));
  News();
  ASSERT_TRUE(Up({Job("seed"), Version(Job("migrate"), "v2"), {"api", {"migrate:completed"}}}));
  EXPECT_THAT(News(), ElementsAre("+migrate#2", "-migrate#2"));
}

TEST_F(OrchestratorUpdateTest, UpAfterAFailureStartsWhatFailedAndWasSkipped) {
  runs["db#1"].start_failure = {CauseCode::kCommandNotFound, "", "no such file"};
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"other"}}, Keep::kAlways, EnvironmentState::kFailed));
  News();
  ASSERT_TRUE(Up({Version({"db"}, "mended"), {"api", {"db"}}, {"other"}}));
  EXPECT_THAT(News(), ElementsAre("+db#2", "+api#1"));
  EXPECT_TRUE(Record().cause.empty());
}

TEST_F(OrchestratorUpdateTest, AnUpdateDuringTheStartIsAppliedToo) {
  runs["db"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"db"}, {"api", {"db"}}});
  ASSERT_OK(h.Create("source").status);
  h.loop.Advance(absl::Seconds(1));
  ASSERT_TRUE(Up({Version({"db"}, "v2"), {"api", {"db"}}}));
  EXPECT_THAT(Story(), ElementsAre("+db#1", "-db#1", "+db#2", "+api#1"));
}

TEST_F(OrchestratorUpdateTest, RestartTakesTheNamedServicesInOrder) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"web", {"api"}}}));
  News();
  ASSERT_OK(h.Restart("env", {"db", "web"}));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_THAT(News(), ElementsAre("-web#1", "-db#1", "+db#2", "+web#2"));
}

TEST_F(OrchestratorUpdateTest, RestartDoesNotWaitForWhatWasPreparedAndNeverStarted) {
  runs["api"].start_failure = {CauseCode::kCommandNotFound, "", "no such file"};
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}, {"web", {"api"}}}, Keep::kAlways, EnvironmentState::kFailed));
  runs.clear();
  News();
  ASSERT_OK(h.Restart("env", {"db"}));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_THAT(News(), ElementsAre("-db#1", "+db#2", "+api#2", "+web#1"));
}

TEST_F(OrchestratorUpdateTest, RestartOfAnUnknownServiceSuggestsTheNearest) {
  ASSERT_TRUE(Up({{"checkout"}}));
  EXPECT_THAT(h.Restart("env", {"chekout"}),
              StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("did you mean 'checkout'?")));
}

TEST_F(OrchestratorUpdateTest, RunTestsRunsThemAgainAndNothingElse) {
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}));
  h.loop.Advance(absl::Seconds(1));
  News();
  ASSERT_OK(h.RunTests("env", {}));
  h.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(News(), ElementsAre("+e2e#2", "-e2e#2"));
  EXPECT_EQ(Record().verdict, Verdict::kPassed);
}

TEST_F(OrchestratorUpdateTest, ARepeatedRequestToRunTestsStartsNothingAlsoAfterARestart) {
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}));
  h.loop.Advance(absl::Seconds(1));
  News();
  ASSERT_OK(h.RunTests("env", {}, "first"));
  ASSERT_OK(h.RunTests("env", {}, "first"));
  h.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(News(), ElementsAre("+e2e#2", "-e2e#2"));
  h.KillServer();
  h.StartServer();
  h.loop.Advance(absl::Seconds(1));
  const auto again = h.RunTests("env", {}, "first");
  ASSERT_OK(again);
  EXPECT_EQ((*again)->record.verdict, Verdict::kPassed);
  h.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(News(), ElementsAre());
  ASSERT_OK(h.RunTests("env", {}, "second"));
  h.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(News(), ElementsAre("+e2e#3", "-e2e#3"));
}

TEST_F(OrchestratorUpdateTest, AnUpdateDoesNotForgetWhichTestsWereAskedFor) {
  ASSERT_TRUE(Up({{"api"}, TestJob("e2e", {"api"})}));
  ASSERT_OK(h.RunTests("env", {}, "first"));
  h.loop.Advance(absl::Seconds(1));
  ASSERT_OK(h.Create("source", Keep::kAlways, true).status);
  h.loop.Advance(absl::Seconds(1));
  News();
  ASSERT_OK(h.RunTests("env", {}, "first"));
  h.loop.Advance(absl::Seconds(1));
  EXPECT_THAT(News(), ElementsAre());
}

TEST_F(OrchestratorUpdateTest, RunTestsInAnEnvironmentThatIsNotActiveIsRefused) {
  runs["api"] = Ready(absl::Seconds(5));
  h.plans["source"] = PlanOf({{"api"}, TestJob("e2e", {"api"})});
  ASSERT_OK(h.Create("source").status);
  EXPECT_THAT(h.RunTests("env", {}), StatusIs(absl::StatusCode::kFailedPrecondition, testing::HasSubstr("CREATING")));
}

}  // namespace
}  // namespace mayfly
