// Environments made again as they were.
#include "absl/strings/str_cat.h"
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using absl::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

class ProvisionerReplayTest : public RunTest {
 protected:
  ProvisionerReplayTest() {
    h.KillServer();
    h.records_sources = h.needs_images = true;
    h.StartServer();
    h.world.registry = {{"web:1", "sha256:old"}};
  }

  // One service of that image whose command is `word`.
  static Plan WebPlan(const std::string& word, const std::string& image = "web:1") {
    Plan plan = PlanOf({{"web"}});
    plan.nodes[0].process.image = image;
    plan.nodes[0].process.argv = {word};
    plan.nodes[0].digest = word;
    return plan;
  }
  void UpOnce(const std::string& word) {
    h.plans["source"] = WebPlan(word);
    ASSERT_OK(h.Create("source").status);
    ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  }
  void TakeDown() {
    ASSERT_OK(h.Delete("env"));
    ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  }
  CreateOutcome Replay(const std::string& former, const std::string& name, const std::string& owner = "") {
    EnvironmentRequest request;
    request.name = name;
    request.owner = owner;
    return h.Create(request, {.any_owner = owner.empty(), .replay = former});
  }
  // What runs of that environment: the command, and the digest of its image.
  std::string RunsAs(const std::string& name) {
    const FakeWorld::Scope& scope = h.world.scopes().at(h.View(name)->record.scope);
    return scope.nodes.at("web").process.argv[0] + " " + scope.images.at("web:1");
  }
};

TEST_F(ProvisionerReplayTest, IsWhatItWasWhateverBecameOfTagsAndFiles) {
  UpOnce("then");
  TakeDown();
  h.world.registry["web:1"] = "sha256:new";
  h.plans["source"] = WebPlan("now");
  ASSERT_OK(Replay("env", "again").status);
  ASSERT_TRUE(h.RunUntil("again", EnvironmentState::kActive));
  EXPECT_EQ(RunsAs("again"), "then sha256:old");
  ASSERT_OK(Replay("env", "").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_EQ(RunsAs("env"), "then sha256:old");
  // And that can be made again, too.
  ASSERT_OK(Replay("again", "third").status);
  ASSERT_TRUE(h.RunUntil("third", EnvironmentState::kActive));
  EXPECT_EQ(RunsAs("third"), "then sha256:old");
}

TEST_F(ProvisionerReplayTest, IsOfTheLatestChangeInPlace) {
  UpOnce("first");
  h.plans["source"] = WebPlan("second");
  ASSERT_OK(h.Create("source", Keep::kAlways, /*allow_update=*/true).status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  h.plans["source"] = WebPlan("third");
  ASSERT_OK(Replay("env", "again").status);
  ASSERT_TRUE(h.RunUntil("again", EnvironmentState::kActive));
  EXPECT_EQ(RunsAs("again"), "second sha256:old");
}

TEST_F(ProvisionerReplayTest, GoesOnAfterAServersDeathThoughTheFilesSaySomethingElse) {
  UpOnce("then");
  TakeDown();
  h.plans["source"] = WebPlan("now");
  h.world.registry["web:1"] = "sha256:new";
  runs["web"] = Ready(absl::Seconds(10));
  ASSERT_OK(Replay("env", "again").status);
  ASSERT_FALSE(h.RunUntil("again", EnvironmentState::kActive, absl::Seconds(1)));
  h.KillServer();
  h.StartServer();
  ASSERT_TRUE(h.RunUntil("again", EnvironmentState::kActive));
  EXPECT_EQ(RunsAs("again"), "then sha256:old");
}

TEST_F(ProvisionerReplayTest, DoesNotTakeTheNameOfOneThatIsUp) {
  UpOnce("then");
  EXPECT_THAT(Replay("env", "").status, StatusIs(StatusCode::kAlreadyExists, HasSubstr("--name")));
}

TEST_F(ProvisionerReplayTest, NeedsARecordWithEverythingInIt) {
  EXPECT_THAT(Replay("nobody", "again").status, StatusIs(StatusCode::kNotFound, HasSubstr("nobody")));
  h.world.registry.clear();
  UpOnce("then");
  EXPECT_THAT(Replay("env", "again").status,
              StatusIs(StatusCode::kNotFound,
                       AllOf(HasSubstr("no digest was recorded of image web:1 of web"), HasSubstr("up -f source"))));
  TakeDown();
  h.KillServer();
  h.records_sources = false;
  h.StartServer();
  UpOnce("then");
  EXPECT_THAT(Replay("env", "again").status, StatusIs(StatusCode::kNotFound, HasSubstr("its specs were not recorded")));
}

TEST_F(ProvisionerReplayTest, AnImageThatIsNamedByDigestNeedsNoRecord) {
  h.world.registry.clear();
  h.plans["source"] = WebPlan("then", "web@sha256:fixed");
  ASSERT_OK(h.Create("source").status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  EXPECT_OK(Replay("env", "again").status);
}

TEST_F(ProvisionerReplayTest, IsNotForOthers) {
  UpOnce("then");
  EXPECT_THAT(Replay("env", "again", "somebody").status,
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("somebody")));
}

TEST_F(ProvisionerReplayTest, WithoutImagesItIsTheSpecsAloneAndSaysSo) {
  h.KillServer();
  h.needs_images = false;
  h.StartServer();
  UpOnce("then");
  h.plans["source"] = WebPlan("now");
  ASSERT_OK(Replay("env", "again").status);
  ASSERT_TRUE(h.RunUntil("again", EnvironmentState::kActive));
  std::string told;
  for (const Event& event : h.Events("again")) absl::StrAppend(&told, event.message, "\n");
  EXPECT_THAT(told, AllOf(HasSubstr("this is 'env' again by its specs of then only"), HasSubstr("as they are now")));
  EXPECT_EQ(RunsAs("again"), "then sha256:old");
}

}  // namespace
}  // namespace mayfly
