// How environments come up: order, priorities, slots, conditions, what decides that a node is usable.
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

using OrchestratorStartTest = RunTest;

TEST_F(OrchestratorStartTest, ComesUpAndGoesAway) {
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  EXPECT_EQ(h.world.running(), 2);
  EXPECT_EQ(Record().verdict, Verdict::kNone);
  ASSERT_OK(h.Delete("env"));
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  EXPECT_THAT(h.world.scopes(), IsEmpty());
  const std::vector<Event> events = h.Events("env");
  EXPECT_EQ(events.back().environment_state, EnvironmentState::kDeleted);
  EXPECT_EQ(events[events.size() - 2].kind, EventKind::kReceipt);
}

TEST_F(OrchestratorStartTest, IsCreatingAndDurableWhenAccepted) {
  h.plans["source"] = PlanOf({{"db"}});
  const CreateOutcome created = h.Create("source");
  EXPECT_EQ(created.environment->record.state, EnvironmentState::kCreating);
  EXPECT_OK(h.memory.GetByUid(created.environment->record.uid));
}

TEST_F(OrchestratorStartTest, WaitingForAPlaceIsToldAndNoFailure) {
  h.world.scope_waits = "waiting for one of 2 places";
  h.world.scope_takes = absl::Minutes(9);  // Longer than an engine may be silent.
  ASSERT_TRUE(Up({{"db"}}));
  const std::vector<Event> events = h.Events("env");
  EXPECT_EQ(std::count_if(events.begin(), events.end(),
                          [](const Event& event) { return event.message == "waiting for one of 2 places"; }),
            1);
  EXPECT_THAT(h.When("env", "db", NodeState::kReady), Optional(absl::Minutes(9)));
}

TEST_F(OrchestratorStartTest, ANodeStartsAsSoonAsItsOwnNeedsAreMet) {
  // Waves would hold `quick` back until `slow` is ready.
  runs = {{"slow", Ready(absl::Seconds(10))}, {"fast", Ready(absl::Seconds(1))}, {"quick", Ready(absl::Seconds(2))}};
  ASSERT_TRUE(Up({{"slow"}, {"fast"}, {"quick", {"fast"}}, {"last", {"slow", "quick"}}}));
  EXPECT_THAT(h.When("env", "quick", NodeState::kReady), Optional(absl::Seconds(3)));
  EXPECT_THAT(h.When("env", "last", NodeState::kReady), Optional(absl::Seconds(10)));
}

TEST_F(OrchestratorStartTest, EverythingIsPreparedBeforeItsNeedsAreMet) {
  runs["db"] = Ready(absl::Seconds(5));
  runs["api"].prepare = absl::Seconds(1);
  ASSERT_TRUE(Up({{"db"}, {"api", {"db"}}}));
  EXPECT_THAT(h.When("env", "api", NodeState::kReady), Optional(absl::Seconds(5)));
}

TEST_F(OrchestratorStartTest, StartedIsEnoughWhereTheNeedSaysSo) {
  runs["db"] = Ready(absl::Seconds(5));
  ASSERT_TRUE(Up({{"db"}, {"watcher", {"db:started"}}}));
  EXPECT_THAT(h.When("env", "watcher", NodeState::kReady), Optional(absl::ZeroDuration()));
}

TEST_F(OrchestratorStartTest, AJobsExit0MeetsWhoWaitsForItsCompletion) {
  runs["migrate"] = Exit(absl::Seconds(2), 0);
  ASSERT_TRUE(Up({{"db"}, Job("migrate", {"db"}), {"api", {"migrate:completed"}}}));
  EXPECT_EQ(h.Node("env", "migrate").state, NodeState::kSucceeded);
  EXPECT_THAT(h.When("env", "api", NodeState::kReady), Optional(absl::Seconds(2)));
}

TEST_F(OrchestratorStartTest, FewSlotsGoToTheLongestPathFirst) {
  h.KillServer();
  h.options.start_slots = 1;
  h.StartServer();
  for (const char* name : {"a", "b", "long"}) runs[name] = Ready(absl::Seconds(1));
  TestNode tail{"tail", {"long"}};
  tail.expected = absl::Seconds(9);
  ASSERT_TRUE(Up({{"a"}, {"b"}, {"long"}, tail}));
  EXPECT_THAT(Story(), ElementsAre("+long#1", "+tail#1", "+a#1", "+b#1"));
}

TEST_F(OrchestratorStartTest, StartTimesAreLearnt) {
  runs["db"] = Ready(absl::Seconds(4));
  runs["migrate"] = Exit(absl::Seconds(2), 0);
  ASSERT_TRUE(Up({{"db"}, Job("migrate", {"db"})}));
  const auto times = h.memory.StartTimes("cat");
  ASSERT_OK(times);
  ASSERT_EQ(times->size(), 2);
  EXPECT_EQ((*times)[0].start_time, absl::Seconds(4));
  EXPECT_EQ((*times)[1].start_time, absl::Seconds(2));
}

TEST_F(OrchestratorStartTest, ExposedPortsAreToldWithTheirUrl) {
  Plan plan = PlanOf({{"web"}});
  plan.nodes[0].process.ports = {Port{"http", 8080, true}, Port{"sql", 5432, true}};
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  h.loop.RunReady();
  const std::vector<Event> exposed = EventsOf(EventKind::kExposed);
  ASSERT_EQ(exposed.size(), 2);
  const auto& now = h.Node("env", "web").endpoints;
  EXPECT_EQ(now.at(8080).url, "http://" + now.at(8080).address);
  EXPECT_EQ(now.at(5432).url, now.at(5432).address);
  for (const Event& event : exposed) {
    EXPECT_EQ(event.attributes.at("url"), now.at(event.attributes.at("port") == "8080" ? 8080 : 5432).url);
  }
}

TEST_F(OrchestratorStartTest, WhatImagesAreIsPartOfTheEnvironmentFromThenOn) {
  h.world.registry = {{"web:1", "sha256:old"}};
  Plan plan = PlanOf({{"web"}, {"plain"}});
  plan.nodes[0].process.image = "web:1";
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  const std::map<std::string, std::string> known = {{"web:1", "sha256:old"}};
  EXPECT_EQ(Record().request.images, known);
  EXPECT_EQ(h.world.scopes().begin()->second.spec.images.count("web:1"), 1) << "the engine may look them up at once";
  h.world.registry["web:1"] = "sha256:new";
  plan.nodes[0].digest = "changed";
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source", Keep::kAlways, /*allow_update=*/true).status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_EQ(Record().request.images, known);
  int told = 0;
  for (const Event& event : EventsOf(EventKind::kNote)) {
    if (event.attributes.count("image web:1") == 0) continue;
    ++told;
    EXPECT_EQ(event.node, "web");
    EXPECT_EQ(event.attributes.at("image web:1"), "sha256:old");
  }
  EXPECT_EQ(told, 2) << "once per attempt";
}

TEST_F(OrchestratorStartTest, AnEnvironmentIsActiveWhenItIsKnownHowItIsReached) {
  h.world.FailVerb("Expose", "web", absl::UnavailableError("busy"), 3);
  Plan plan = PlanOf({{"web"}});
  plan.nodes[0].process.ports = {Port{"http", 8080, true}};
  h.plans["source"] = plan;
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_EQ(h.Node("env", "web").endpoints.count(8080), 1);
}

TEST_F(OrchestratorStartTest, ABusyEngineIsAskedAgain) {
  h.world.FailVerb("CreateScope", "", absl::UnavailableError("busy"), 3);
  h.world.FailVerb("Start", "db", absl::UnavailableError("busy"), 3);
  ASSERT_TRUE(Up({{"db"}}));
  EXPECT_EQ(h.world.CountStarted("db"), 1);
}

TEST_F(OrchestratorStartTest, AnEmptyPlanIsActiveAtOnce) {
  EXPECT_TRUE(Up({}));
}

}  // namespace
}  // namespace mayfly
