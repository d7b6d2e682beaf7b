// What every Store promises, tried on each of them. A new store is one more line at the end.
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mayfly/base/ids.h"
#include "server/store/memory_store.h"
#include "server/store/sqlite_store.h"
#include "tests/support/status_matchers.h"
#include "tests/support/store_records.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Kind {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Store>>(const std::string& dir)> open;
};

void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class StoreConformanceTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto store = GetParam().open(dir_.path());
    ASSERT_OK(store);
    store_ = *std::move(store);
  }

  EnvironmentRecord Create(const std::string& name, int events = 1) {
    auto created = store_->CreateEnvironment(TestRecord(name), TestEvents(1, events));
    EXPECT_OK(created);
    return created.ok() ? created->record : EnvironmentRecord();
  }
  // Writes `record` with its state changed; the record's etag follows.
  EnvironmentRecord Move(EnvironmentRecord record, EnvironmentState state, int delete_seconds = 0) {
    record.state = state;
    if (state == EnvironmentState::kDeleted) record.delete_time = TestTime(delete_seconds);
    WriteBatch batch;
    batch.environment = record;
    EXPECT_OK(store_->Write(record.uid, batch));
    record.etag++;
    return record;
  }
  EnvironmentRecord CreateNext(const std::string& name, const std::string& uid) {
    EnvironmentRecord record = TestRecord(name);
    record.uid = uid;
    auto created = store_->CreateEnvironment(record, {});
    EXPECT_OK(created);
    return created.ok() ? created->record : EnvironmentRecord();
  }
  std::vector<std::string> List(const ListFilter& filter) {
    const auto page = store_->ListEnvironments(filter, 0, "");
    EXPECT_OK(page);
    std::vector<std::string> names;
    if (!page.ok()) return names;
    for (const EnvironmentRecord& record : page->environments) names.push_back(record.name);
    return names;
  }

  TempDir dir_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreConformanceTest, CreateFillsGenerationScopeAndEtag) {
  const EnvironmentRecord record = Create("checkout");
  EXPECT_EQ(record.generation, 1);
  EXPECT_EQ(record.scope, ScopeId(store_->installation(), "checkout", 1));
  EXPECT_EQ(record.etag, 1);
}

TEST_P(StoreConformanceTest, WhatWasCreatedIsReadBackWhole) {
  EnvironmentRecord record = TestRecord("checkout");
  record.request = {.request_id = "req-1",
                    .name = "checkout",
                    .source = "/src/shop",
                    .source_below = "/src",
                    .services = {"cart"},
                    .tests = {"e2e"},
                    .all_tests = true,
                    .keep = Keep::kOnFailure,
                    .profile = "pr",
                    .ttl = absl::Minutes(5),
                    .variables = {{"KEY", "va\"lue\n"}},
                    .engine = "local",
                    .owner = "ci"};
  record.delete_requested = true;
  record.verdict = Verdict::kError;
  record.cause = FullEvent(1).cause;
  ASSERT_OK(store_->CreateEnvironment(record, {}));
  const auto read = store_->GetEnvironment("checkout");
  ASSERT_OK(read);
  EXPECT_EQ(read->request.request_id, "req-1");
  EXPECT_EQ(read->request.source, "/src/shop");
  EXPECT_EQ(read->request.source_below, "/src");
  EXPECT_THAT(read->request.services, ElementsAre("cart"));
  EXPECT_THAT(read->request.tests, ElementsAre("e2e"));
  EXPECT_TRUE(read->request.all_tests);
  EXPECT_EQ(read->request.keep, Keep::kOnFailure);
  EXPECT_EQ(read->request.profile, "pr");
  EXPECT_EQ(read->request.ttl, absl::Minutes(5));
  EXPECT_EQ(read->request.variables, record.request.variables);
  EXPECT_EQ(read->request.engine, "local");
  EXPECT_EQ(read->request.owner, "ci");
  EXPECT_EQ(read->verdict, Verdict::kError);
  EXPECT_EQ(read->cause, record.cause);
  EXPECT_TRUE(read->delete_requested);
  EXPECT_EQ(read->create_time, record.create_time);
  EXPECT_EQ(read->expire_time, record.expire_time);
  EXPECT_EQ(read->delete_time, absl::InfiniteFuture());
}

TEST_P(StoreConformanceTest, SecretsAreNotKept) {
  EnvironmentRecord record = TestRecord("checkout");
  record.request.secrets = {{"token", "hunter2"}};
  const auto created = store_->CreateEnvironment(record, {});
  ASSERT_OK(created);
  EXPECT_THAT(created->record.request.secrets, IsEmpty());
  WriteBatch batch;
  batch.environment = created->record;
  batch.environment->request.secrets = {{"token", "hunter2"}};
  ASSERT_OK(store_->Write(record.uid, batch));
  EXPECT_THAT(store_->GetByUid(record.uid)->request.secrets, IsEmpty());
}

TEST_P(StoreConformanceTest, ARepeatedRequestIdGivesTheFirstEnvironment) {
  EnvironmentRecord record = TestRecord("checkout");
  record.request.request_id = "req-1";
  ASSERT_OK(store_->CreateEnvironment(record, TestEvents(1, 1)));
  record.uid = "another";
  record.name = "another";
  const auto again = store_->CreateEnvironment(record, TestEvents(1, 1));
  ASSERT_OK(again);
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->record.uid, "uid-checkout");
  EXPECT_THAT(store_->GetByUid("another"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("another")));
}

TEST_P(StoreConformanceTest, ARequestIdOfADeletedEnvironmentStillGivesIt) {
  EnvironmentRecord record = TestRecord("checkout");
  record.request.request_id = "req-1";
  auto created = store_->CreateEnvironment(record, {});
  ASSERT_OK(created);
  Move(created->record, EnvironmentState::kDeleted);
  const auto again = store_->CreateEnvironment(record, {});
  ASSERT_OK(again);
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->record.state, EnvironmentState::kDeleted);
}

TEST_P(StoreConformanceTest, RequestIdsOfTwoOwnersAreApart) {
  EnvironmentRecord record = TestRecord("checkout");
  record.request.request_id = "1";
  ASSERT_OK(store_->CreateEnvironment(record, {}));
  EnvironmentRecord other = TestRecord("cart");
  other.request.request_id = "1";
  other.request.owner = "somebody else";
  const auto created = store_->CreateEnvironment(other, {});
  ASSERT_OK(created);
  EXPECT_TRUE(created->created);
}

TEST_P(StoreConformanceTest, ALiveNameIsTaken) {
  Create("checkout");
  EnvironmentRecord second = TestRecord("checkout");
  second.uid = "second";
  EXPECT_THAT(store_->CreateEnvironment(second, {}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("'checkout' exists (uid uid-checkout)")));
}

TEST_P(StoreConformanceTest, ADeletedNameIsFreeAndTheNextGenerationHasAnotherScope) {
  const EnvironmentRecord first = Move(Create("checkout"), EnvironmentState::kDeleted);
  EXPECT_EQ(store_->GetEnvironment("checkout")->uid, first.uid);
  const EnvironmentRecord second = CreateNext("checkout", "second");
  EXPECT_EQ(second.generation, 2);
  EXPECT_NE(second.scope, first.scope);
  EXPECT_EQ(store_->GetEnvironment("checkout")->uid, "second");
  Move(second, EnvironmentState::kDeleted);
  EXPECT_EQ(store_->GetEnvironment("checkout")->uid, "second") << "the latest of the deleted ones";
  EXPECT_EQ(store_->GetByUid(first.uid)->generation, 1);
}

TEST_P(StoreConformanceTest, UnknownNamesAndUidsAreNotFound) {
  EXPECT_THAT(store_->GetEnvironment("x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no environment 'x'")));
  EXPECT_THAT(store_->GetByUid("u"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'u'")));
  EXPECT_THAT(store_->Write("u", {}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'u'")));
  EXPECT_THAT(store_->ReadEvents("u", 0, 10), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'u'")));
  EXPECT_THAT(store_->ListResources("u"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'u'")));
}

TEST_P(StoreConformanceTest, AnEnvironmentWithoutNameOrUidIsRefused) {
  EnvironmentRecord record = TestRecord("checkout");
  record.name.clear();
  EXPECT_THAT(store_->CreateEnvironment(record, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
  record = TestRecord("checkout");
  record.uid.clear();
  EXPECT_THAT(store_->CreateEnvironment(record, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("uid")));
}

TEST_P(StoreConformanceTest, AUidIsNeverUsedTwice) {
  Move(Create("checkout"), EnvironmentState::kDeleted);
  EXPECT_THAT(store_->CreateEnvironment(TestRecord("checkout"), {}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("uid-checkout")));
}

TEST_P(StoreConformanceTest, AWriteCountsTheEtagAndAStaleOneChangesNothing) {
  const EnvironmentRecord record = Create("checkout");
  EXPECT_EQ(Move(record, EnvironmentState::kActive).etag, 2);
  EXPECT_EQ(store_->GetByUid(record.uid)->etag, 2);
  WriteBatch stale;
  stale.environment = record;
  stale.environment->state = EnvironmentState::kFailed;
  stale.events = TestEvents(2, 2);
  EXPECT_THAT(store_->Write(record.uid, stale), StatusIs(absl::StatusCode::kAborted, HasSubstr("etag is 2, not 1")));
  EXPECT_EQ(store_->GetByUid(record.uid)->state, EnvironmentState::kActive);
  EXPECT_EQ(store_->ReadEvents(record.uid, 0, 10)->size(), 1u);
}

TEST_P(StoreConformanceTest, TheLatestSourceIsKeptAsLongAsTheRecord) {
  const EnvironmentRecord record = Create("checkout");
  EXPECT_EQ(*store_->ReadSource(record.uid), "");
  WriteBatch batch;
  batch.source = "first";
  ASSERT_OK(store_->Write(record.uid, batch));
  batch.source = "second";
  ASSERT_OK(store_->Write(record.uid, batch));
  ASSERT_OK(store_->Write(record.uid, WriteBatch()));
  EXPECT_EQ(*store_->ReadSource(record.uid), "second");
  EXPECT_THAT(store_->ReadSource("u"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("'u'")));
}

TEST_P(StoreConformanceTest, AWriteCannotTurnOneEnvironmentIntoAnother) {
  WriteBatch batch;
  batch.environment = Create("checkout");
  batch.environment->name = "cart";
  EXPECT_THAT(store_->Write("uid-checkout", batch),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be changed")));
}

TEST_P(StoreConformanceTest, EventsComeBackWholeAndInOrder) {
  const EnvironmentRecord record = Create("checkout", 0);
  WriteBatch batch;
  batch.events = {FullEvent(1), Event{.sequence = 2, .time = TestTime(1)}};
  ASSERT_OK(store_->Write(record.uid, batch));
  const auto events = store_->ReadEvents(record.uid, 0, 10);
  ASSERT_OK(events);
  ASSERT_EQ(events->size(), 2u);
  EXPECT_EQ(EventText((*events)[0]), EventText(FullEvent(1)));
  EXPECT_EQ(EventText((*events)[1]), EventText(batch.events[1]));
}

TEST_P(StoreConformanceTest, ReadEventsResumesAfterANumberAndStopsAtTheLimit) {
  const EnvironmentRecord record = Create("checkout", 5);
  const auto numbers = [&](int64_t after, int limit) {
    const auto events = store_->ReadEvents(record.uid, after, limit);
    EXPECT_OK(events);
    std::vector<int64_t> out;
    for (const Event& event : *events) out.push_back(event.sequence);
    return out;
  };
  EXPECT_THAT(numbers(0, 2), ElementsAre(1, 2));
  EXPECT_THAT(numbers(3, 10), ElementsAre(4, 5));
  EXPECT_THAT(numbers(5, 10), IsEmpty());
  EXPECT_THAT(numbers(99, 10), IsEmpty());
  EXPECT_THAT(numbers(0, 0), IsEmpty());
}

TEST_P(StoreConformanceTest, EventNumbersHaveNoGapAndNoRepetition) {
  const EnvironmentRecord record = Create("checkout", 2);
  WriteBatch batch;
  batch.events = TestEvents(4, 4);
  EXPECT_THAT(store_->Write(record.uid, batch),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("event 4 must be numbered 3")));
  batch.events = TestEvents(2, 3);
  EXPECT_THAT(store_->Write(record.uid, batch), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("event 2")));
  EXPECT_THAT(store_->CreateEnvironment(TestRecord("cart"), TestEvents(2, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("numbered 1")));
  batch.events = TestEvents(3, 4);
  EXPECT_OK(store_->Write(record.uid, batch));
}

TEST_P(StoreConformanceTest, ABatchIsAppliedWholeOrNotAtAll) {
  const EnvironmentRecord record = Create("checkout");
  WriteBatch batch;
  batch.environment = record;
  batch.environment->state = EnvironmentState::kActive;
  batch.put_resources = {{record.uid, "node", "cart", 1, "d1", false}};
  batch.measured = {{"shop", "cart", absl::Seconds(1)}};
  batch.events = TestEvents(7, 7);
  EXPECT_FALSE(store_->Write(record.uid, batch).ok());
  EXPECT_EQ(store_->GetByUid(record.uid)->state, EnvironmentState::kCreating);
  EXPECT_THAT(*store_->ListResources(record.uid), IsEmpty());
  EXPECT_THAT(*store_->StartTimes("shop"), IsEmpty());
}

TEST_P(StoreConformanceTest, ResourcesAreIntendedConfirmedAndRemoved) {
  const EnvironmentRecord record = Create("checkout");
  const auto write = [&](std::vector<ResourceRecord> put, std::vector<ResourceRecord> remove) {
    WriteBatch batch;
    batch.put_resources = std::move(put);
    batch.remove_resources = std::move(remove);
    ASSERT_OK(store_->Write(record.uid, batch));
  };
  write({{record.uid, "scope", record.scope, 1, "", false}, {record.uid, "node", "cart", 1, "d1", false}}, {});
  write({{record.uid, "node", "cart", 2, "d2", true}}, {});
  auto resources = store_->ListResources(record.uid);
  ASSERT_OK(resources);
  ASSERT_EQ(resources->size(), 2u);
  EXPECT_EQ((*resources)[0].kind, "node");
  EXPECT_EQ((*resources)[0].uid, record.uid);
  EXPECT_EQ((*resources)[0].attempt, 2);
  EXPECT_EQ((*resources)[0].digest, "d2");
  EXPECT_TRUE((*resources)[0].confirmed);
  EXPECT_FALSE((*resources)[1].confirmed);
  write({}, {{record.uid, "node", "cart"}, {record.uid, "node", "never was"}});
  EXPECT_EQ(store_->ListResources(record.uid)->size(), 1u);
}

TEST_P(StoreConformanceTest, ListFiltersByDeletedOwnerPrefixAndState) {
  Move(Create("cart"), EnvironmentState::kActive);
  Move(Create("cart-old"), EnvironmentState::kDeleted);
  EnvironmentRecord other = TestRecord("other");
  other.request.owner = "qa";
  ASSERT_OK(store_->CreateEnvironment(other, {}));
  EXPECT_THAT(List({}), ElementsAre("cart", "other"));
  EXPECT_THAT(List({.include_deleted = true}), ElementsAre("cart", "cart-old", "other"));
  EXPECT_THAT(List({.owner = "qa"}), ElementsAre("other"));
  EXPECT_THAT(List({.include_deleted = true, .name_prefix = "cart"}), ElementsAre("cart", "cart-old"));
  EXPECT_THAT(List({.states = {EnvironmentState::kActive, EnvironmentState::kFailed}}), ElementsAre("cart"));
  EXPECT_THAT(List({.name_prefix = "zzz"}), IsEmpty());
}

TEST_P(StoreConformanceTest, PagesTogetherAreTheWholeListInOrder) {
  for (int i = 9; i >= 0; --i) Create(absl::StrCat("env-", i));
  Move(*store_->GetEnvironment("env-3"), EnvironmentState::kDeleted);
  CreateNext("env-3", "next");
  std::vector<std::string> seen;
  std::string token;
  int pages = 0;
  do {
    const auto page = store_->ListEnvironments({.include_deleted = true}, 4, token);
    ASSERT_OK(page);
    EXPECT_LE(page->environments.size(), 4u);
    for (const auto& record : page->environments) seen.push_back(absl::StrCat(record.name, "/", record.generation));
    token = page->next_page_token;
  } while (!token.empty() && ++pages < 10);
  EXPECT_THAT(seen, ElementsAre("env-0/1", "env-1/1", "env-2/1", "env-3/1", "env-3/2", "env-4/1", "env-5/1", "env-6/1",
                                "env-7/1", "env-8/1", "env-9/1"));
}

TEST_P(StoreConformanceTest, AFullLastPageHasNoNext) {
  for (int i = 0; i < 4; ++i) Create(absl::StrCat("env-", i));
  const auto page = store_->ListEnvironments({}, 4, "");
  ASSERT_OK(page);
  EXPECT_EQ(page->environments.size(), 4u);
  EXPECT_EQ(page->next_page_token, "");
}

TEST_P(StoreConformanceTest, AMadeUpPageTokenIsRefused) {
  EXPECT_THAT(store_->ListEnvironments({}, 4, "x\x1b[31m"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'x\\x1b[31m' is not a page token")));
}

TEST_P(StoreConformanceTest, StartTimesAreSmoothedThreePartsNewOnePartOld) {
  const EnvironmentRecord record = Create("checkout");
  const auto measure = [&](const std::string& catalogue, const std::string& node, int ms) {
    WriteBatch batch;
    batch.measured = {{catalogue, node, absl::Milliseconds(ms)}};
    ASSERT_OK(store_->Write(record.uid, batch));
  };
  measure("shop", "cart", 100);
  measure("shop", "cart", 200);
  measure("shop", "api", 10);
  measure("bank", "cart", 5);
  const auto times = store_->StartTimes("shop");
  ASSERT_OK(times);
  ASSERT_EQ(times->size(), 2u);
  EXPECT_EQ((*times)[0].node, "api");
  EXPECT_EQ((*times)[0].start_time, absl::Milliseconds(10));
  EXPECT_EQ((*times)[1].node, "cart");
  EXPECT_EQ((*times)[1].start_time, absl::Milliseconds(175));
}

TEST_P(StoreConformanceTest, PurgeForgetsWhatWasDeletedLongAgoAndNothingElse) {
  Move(Create("old", 3), EnvironmentState::kDeleted, 10);
  Move(Create("young"), EnvironmentState::kDeleted, 20);
  Create("alive");
  const auto purged = store_->Purge(TestTime(20));
  ASSERT_OK(purged);
  EXPECT_THAT(*purged, ElementsAre("uid-old"));
  EXPECT_THAT(List({.include_deleted = true}), ElementsAre("alive", "young"));
  EXPECT_THAT(store_->ReadEvents("uid-old", 0, 10), StatusIs(absl::StatusCode::kNotFound, HasSubstr("uid-old")));
  EXPECT_EQ(CreateNext("old", "next").generation, 2) << "generations go on counting";
}

TEST_P(StoreConformanceTest, AHealthyStoreHasNothingInQuarantine) {
  Create("checkout");
  EXPECT_THAT(*store_->Quarantined(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreConformanceTest,
                         testing::Values(Kind{"memory",
                                              [](const std::string&) -> absl::StatusOr<std::unique_ptr<Store>> {
                                                return std::make_unique<MemoryStore>();
                                              }},
                                         Kind{"sqlite", [](const std::string& dir) { return OpenSqliteStore(dir); }},
                                         Kind{"sqlite_full",
                                              [](const std::string& dir) {
                                                return OpenSqliteStore(dir, {.sync_full = true});
                                              }}),
                         [](const testing::TestParamInfo<Kind>& info) { return info.param.name; });

}  // namespace
}  // namespace mayfly
