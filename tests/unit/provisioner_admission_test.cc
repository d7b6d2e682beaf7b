// What is accepted, what is refused, and what readers see.
#include "tests/support/run_fixture.h"

namespace mayfly {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ProvisionerAdmissionTest : public RunTest {
 protected:
  ProvisionerAdmissionTest() {
    h.plans["source"] = PlanOf({{"api"}});
    request.name = "env";
    request.source = "source";
  }
  EnvironmentRequest request;
};

TEST_F(ProvisionerAdmissionTest, ABrokenSpecIsRefusedWithItsDiagnosticsAndNothingIsMade) {
  request.source = "nowhere";
  const CreateOutcome outcome = h.Create(request, {});
  EXPECT_THAT(outcome.status, StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
  EXPECT_THAT(outcome.diagnostics, SizeIs(1));
  EXPECT_THAT(h.memory.GetEnvironment("env"), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_F(ProvisionerAdmissionTest, ValidateOnlyMakesNothing) {
  CreateOptions options;
  options.validate_only = true;
  EXPECT_OK(h.Create(request, options).status);
  EXPECT_THAT(h.memory.GetEnvironment("env"), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

TEST_F(ProvisionerAdmissionTest, ARepeatedRequestIdIsTheSameEnvironment) {
  request.request_id = "3f2a";
  const CreateOutcome first = h.Create(request, {});
  h.plans.erase("source");  // Even when the source is gone by then.
  const CreateOutcome again = h.Create(request, {});
  ASSERT_OK(again.status);
  EXPECT_EQ(first.environment->record.uid, again.environment->record.uid);
}

TEST_F(ProvisionerAdmissionTest, ARepeatedRequestIdFindsADeletedEnvironmentToo) {
  request.request_id = "3f2a";
  const CreateOutcome first = h.Create(request, {});
  h.Delete("env").IgnoreError();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  const CreateOutcome again = h.Create(request, {});
  ASSERT_OK(again.status);
  EXPECT_EQ(first.environment->record.uid, again.environment->record.uid);
}

TEST_F(ProvisionerAdmissionTest, AVerbWithAUidDoesNotReachWhoeverTookTheNameSince) {
  const CreateOutcome first = h.Create(request, {});
  h.Delete("env").IgnoreError();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  ASSERT_OK(h.Create(request, {}).status);
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kActive));
  const absl::StatusOr<EnvironmentViewRef> before = h.server().Get("env");
  ASSERT_OK(before.status());

  const std::string gone = first.environment->record.uid;
  const auto is_not_found = StatusIs(absl::StatusCode::kNotFound, testing::_);
  EXPECT_THAT(h.Await([&](auto done) { h.server().Update("env", {.ttl = absl::Hours(1), .uid = gone}, done); }),
              is_not_found);
  EXPECT_THAT(h.Await([&](auto done) { h.server().Restart("env", {{"api"}, gone}, done); }), is_not_found);
  EXPECT_THAT(h.Await([&](auto done) { h.server().RunTests("env", {.uid = gone}, done); }), is_not_found);
  // What is deleted already is deleted.
  EXPECT_OK(h.Await([&](auto done) { h.server().Delete("env", {.uid = gone}, done); }).status());
  EXPECT_EQ((*h.server().Get("env"))->record.etag, (*before)->record.etag);
}

TEST_F(ProvisionerAdmissionTest, ATakenNameIsRefusedWithoutAllowUpdate) {
  ASSERT_OK(h.Create(request, {}).status);
  EXPECT_THAT(h.Create(request, {}).status, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("mayfly down env")));
}

TEST_F(ProvisionerAdmissionTest, AnothersEnvironmentIsNotUpdatedAndKeepsItsOwner) {
  request.owner = "alice";
  ASSERT_OK(h.Create(request, {}).status);
  request.owner = "bob";
  EXPECT_THAT(h.Create(request, {.allow_update = true, .any_owner = false}).status,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("belongs to alice")));
  ASSERT_OK(h.Create(request, {.allow_update = true, .any_owner = true}).status);
  EXPECT_EQ(h.View("env")->record.request.owner, "alice");
}

TEST_F(ProvisionerAdmissionTest, TheEngineIsTheServersWhenNoneIsAskedFor) {
  EXPECT_EQ(h.Create(request, {}).environment->record.request.engine, "fake");
}

TEST_F(ProvisionerAdmissionTest, ARunDoesNotReplaceWhatIsKept) {
  ASSERT_TRUE(Up({{"api"}}));
  EXPECT_THAT(h.Create("source", Keep::kNever, true).status, StatusIs(absl::StatusCode::kAlreadyExists, testing::_));
  EXPECT_EQ(h.world.running(), 1);
}

TEST_F(ProvisionerAdmissionTest, TheNameComesFromTheCatalogueWhenNoneIsGiven) {
  request.name.clear();
  EXPECT_EQ(h.Create(request, {}).environment->record.name, "cat");
}

TEST_F(ProvisionerAdmissionTest, ABadNameSaysWhichRuleItBreaks) {
  request.name = "Not A Label";
  EXPECT_THAT(h.Create(request, {}).status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Not A Label")));
}

TEST_F(ProvisionerAdmissionTest, TheTimeToLiveIsTheRequestsOrTheProfilesOrTheDefault) {
  h.profiles["qa"] = {"qa", absl::Hours(24)};
  const auto lifetime = [&](const std::string& name) {
    request.name = name;
    const EnvironmentRecord record = h.Create(request, {}).environment->record;
    return record.expire_time - record.create_time;
  };
  EXPECT_EQ(lifetime("a"), absl::Hours(8));
  request.profile = "qa";
  EXPECT_EQ(lifetime("b"), absl::Hours(24));
  request.ttl = absl::Hours(1);
  EXPECT_EQ(lifetime("c"), absl::Hours(1));
  request.profile = "nope";
  request.name = "d";
  EXPECT_THAT(h.Create(request, {}).status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("qa")));
}

TEST_F(ProvisionerAdmissionTest, SecretsAreNeverStored) {
  request.secrets["TOKEN"] = "s3cret";
  ASSERT_OK(h.Create(request, {}).status);
  EXPECT_THAT(h.memory.GetEnvironment("env")->request.secrets, IsEmpty());
  EXPECT_THAT(Record().request.secrets, IsEmpty());
}

TEST_F(ProvisionerAdmissionTest, AHostThatCannotRunTheEngineSaysWhy) {
  h.KillServer();
  h.engine_usable = false;
  h.StartServer();
  EXPECT_THAT(h.Create(request, {}).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("fake world: stands still; turn it")));
}

TEST_F(ProvisionerAdmissionTest, OverTheLimitOfEnvironmentsIsRefused) {
  h.KillServer();
  h.options.max_environments = 1;
  h.StartServer();
  ASSERT_OK(h.Create(request, {}).status);
  request.name = "second";
  EXPECT_THAT(h.Create(request, {}).status, StatusIs(absl::StatusCode::kResourceExhausted, testing::_));
}

TEST_F(ProvisionerAdmissionTest, AStaleEtagChangesNothing) {
  ASSERT_TRUE(Up({{"api"}}));
  absl::StatusOr<EnvironmentViewRef> answer;
  h.server().Delete("env", {"999", "", false}, [&](auto given) { answer = std::move(given); });
  h.loop.RunReady();
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kAborted, testing::_));
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
}

TEST_F(ProvisionerAdmissionTest, DeletingByUidSparesALaterEnvironmentOfThatName) {
  const std::string old = h.Create(request, {}).environment->record.uid;
  h.Delete("env").IgnoreError();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  ASSERT_OK(h.Create(request, {}).status);
  absl::StatusOr<EnvironmentViewRef> answer;
  h.server().Delete("env", {"", old, false}, [&](auto given) { answer = std::move(given); });
  h.loop.RunReady();
  ASSERT_OK(answer);
  EXPECT_EQ((*answer)->record.uid, old);
  EXPECT_EQ(Record().state, EnvironmentState::kActive);
}

TEST_F(ProvisionerAdmissionTest, EveryCallIsAnsweredWhenTheServerStops) {
  absl::Status answer;
  h.server().Create(request, {}, [&](CreateOutcome outcome) { answer = outcome.status; });
  h.server().Shutdown();
  h.loop.RunReady();
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kUnavailable, testing::_));
}

TEST_F(ProvisionerAdmissionTest, WatchersSeeEveryEventOnceAndTheEnd) {
  ASSERT_OK(h.Create(request, {}).status);
  int woken = 0;
  auto subscription = h.server().events().Subscribe(h.View("env")->record.uid, 0, [&] { ++woken; });
  ASSERT_OK(subscription);
  h.RunUntil("env", EnvironmentState::kActive);
  h.Delete("env").IgnoreError();
  int64_t last = 0;
  while (!(*subscription)->finished()) {
    for (const auto& event : (*subscription)->Read(2)) EXPECT_EQ(event->event.sequence, ++last);
    ASSERT_TRUE(h.loop.Step(absl::Hours(1)) || (*subscription)->finished());
  }
  EXPECT_EQ(last, static_cast<int64_t>(h.Events("env").size()));
  EXPECT_GT(woken, 0);
}

TEST_F(ProvisionerAdmissionTest, WatchersOfADeletedEnvironmentReadItsPast) {
  ASSERT_OK(h.Create(request, {}).status);
  h.Delete("env").IgnoreError();
  ASSERT_TRUE(h.RunUntil("env", EnvironmentState::kDeleted));
  h.loop.RunReady();
  auto subscription = h.server().events().Subscribe(h.View("env")->record.uid, 1, [] {});
  ASSERT_OK(subscription);
  EXPECT_EQ((*subscription)->Read(1)[0]->event.sequence, 2);
  (*subscription)->Read(1000);
  EXPECT_TRUE((*subscription)->finished());
}

}  // namespace
}  // namespace mayfly
