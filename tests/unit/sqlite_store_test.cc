// What only a store on disk has: files, a lock, other processes, damage, a disk that fills.
#include "server/store/sqlite_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/database.h"
#include "server/store/schema.h"
#include "tests/support/child.h"
#include "tests/support/status_matchers.h"
#include "tests/support/store_records.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class SqliteStoreTest : public testing::Test {
 protected:
  std::unique_ptr<Store> Open(SqliteStoreOptions options = {}) {
    auto store = OpenSqliteStore(dir_.path(), options);
    EXPECT_OK(store);
    return store.ok() ? *std::move(store) : nullptr;
  }
  // Changes the database behind the store's back.
  void Sql(const std::string& sql) {
    auto db = Database::Open(dir_ / "mayfly.db", Database::Mode::kCreate);
    ASSERT_OK(db);
    ASSERT_OK((*db)->Exec(sql));
  }
  static void Create(Store* store, const std::string& name, int events = 1) {
    ASSERT_OK(store->CreateEnvironment(TestRecord(name), TestEvents(1, events)));
  }

  TempDir dir_;
};

TEST_F(SqliteStoreTest, EverythingIsThereAfterReopening) {
  auto store = Open();
  const std::string installation = store->installation();
  Create(store.get(), "checkout", 3);
  WriteBatch batch;
  batch.put_resources = {{"", "node", "cart", 1, "d", false}};
  batch.measured = {{"shop", "cart", absl::Milliseconds(7)}};
  ASSERT_OK(store->Write("uid-checkout", batch));
  store.reset();
  store = Open();
  EXPECT_EQ(store->installation(), installation);
  EXPECT_EQ(store->GetEnvironment("checkout")->uid, "uid-checkout");
  EXPECT_THAT(*store->ReadEvents("uid-checkout", 0, 10), SizeIs(3));
  EXPECT_THAT(*store->ListResources("uid-checkout"), SizeIs(1));
  EXPECT_THAT(*store->StartTimes("shop"), SizeIs(1));
}

TEST_F(SqliteStoreTest, TheInstallationOutlivesItsDatabase) {
  const std::string installation = Open()->installation();
  for (const char* name : {"mayfly.db", "mayfly.db-wal", "mayfly.db-shm"}) unlink((dir_ / name).c_str());
  EXPECT_EQ(Open()->installation(), installation);
}

TEST_F(SqliteStoreTest, TheInstallationOfADatabaseFromBeforeItsFileIsTakenOver) {
  const std::string installation = Open()->installation();
  unlink((dir_ / "installation").c_str());
  EXPECT_EQ(Open()->installation(), installation);
  unlink((dir_ / "mayfly.db").c_str());
  EXPECT_EQ(Open()->installation(), installation);
}

TEST_F(SqliteStoreTest, AnotherFoldersDatabaseDoesNotBringItsIdentityAlong) {
  const std::string installation = Open()->installation();
  Sql("UPDATE meta SET value = 'another' WHERE key = 'installation'");
  EXPECT_EQ(Open()->installation(), installation);
}

TEST_F(SqliteStoreTest, SkippedGenerationsAreNotGivenOutAndNoneIsGivenTwice) {
  auto store = Open();
  ASSERT_OK(store->SkipGenerations("checkout", 7));
  ASSERT_OK(store->SkipGenerations("checkout", 3));
  Create(store.get(), "checkout");
  EXPECT_EQ(store->GetEnvironment("checkout")->generation, 8);
}

TEST_F(SqliteStoreTest, FilesAreForTheirOwnerOnly) {
  auto store = Open();
  Create(store.get(), "checkout");
  for (const char* name : {"mayfly.db", "mayfly.db-wal", "mayfly.db-shm", "lock", "installation"}) {
    struct stat info = {};
    ASSERT_EQ(stat((dir_ / name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(SqliteStoreTest, NoSecretReachesTheDisk) {
  auto store = Open();
  EnvironmentRecord record = TestRecord("checkout");
  record.request.secrets = {{"token", "hunter2-is-secret"}};
  ASSERT_OK(store->CreateEnvironment(record, {}));
  for (const char* name : {"mayfly.db", "mayfly.db-wal"}) {
    std::ifstream file(dir_ / name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_FALSE(absl::StrContains(bytes, "hunter2")) << name;
  }
}

TEST_F(SqliteStoreTest, ASecondServerOnTheSameStateIsRefusedAndToldTheHolder) {
  Child holder({MAYFLY_STORE_HELPER, "hold", dir_.path()});
  ASSERT_EQ(holder.ReadLine(), "held");
  EXPECT_THAT(OpenSqliteStore(dir_.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(dir_.path()), HasSubstr(absl::StrCat("pid ", holder.pid(), " (start ")),
                             HasSubstr("mayfly server stop"))));
  holder.CloseStdin();
  EXPECT_EQ(holder.Wait(), 0);
  EXPECT_OK(OpenSqliteStore(dir_.path()));
}

TEST_F(SqliteStoreTest, AKilledHolderHoldsNothing) {
  Child holder({MAYFLY_STORE_HELPER, "hold", dir_.path()});
  ASSERT_EQ(holder.ReadLine(), "held");
  holder.Kill();
  EXPECT_EQ(holder.Wait(), 128 + SIGKILL);
  EXPECT_OK(OpenSqliteStore(dir_.path()));
}

TEST_F(SqliteStoreTest, NothingAcknowledgedIsLostWhenTheServerIsKilled) {
  std::mt19937 random(20261121);
  for (int round = 0; round < 25; ++round) {
    Child writer({MAYFLY_STORE_HELPER, "write", dir_.path()});
    // The writer runs on while its first lines are read, so that it is killed anywhere in a write.
    const int lines = std::uniform_int_distribution<int>(1, 60)(random);
    std::map<std::string, int64_t> acknowledged;
    int read = 0;
    for (std::string line = writer.ReadLine(); !line.empty(); line = writer.ReadLine()) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      ASSERT_EQ(words.size(), 2u);
      ASSERT_TRUE(absl::SimpleAtoi(words[1], &acknowledged[words[0]]));
      if (++read == lines) writer.Kill();
    }
    ASSERT_EQ(writer.Wait(), 128 + SIGKILL);
    auto store = Open();
    for (const auto& [name, events] : acknowledged) {
      ASSERT_OK(store->GetEnvironment(name)) << "round " << round;
      const size_t stored = store->ReadEvents("uid-" + name, 0, 100)->size();
      ASSERT_GE(stored, static_cast<size_t>(events)) << name << " in round " << round;
      // A batch is there whole or not at all.
      ASSERT_TRUE(stored == 2 || stored == 6) << stored;
      ASSERT_EQ(store->ListResources("uid-" + name)->size(), stored == 6 ? 1u : 0u);
    }
  }
}

TEST_F(SqliteStoreTest, ADatabaseOfTheFirstSchemaIsBroughtUpToDate) {
  {
    // As the first version wrote it.
    auto db = Database::Open(dir_ / "mayfly.db", Database::Mode::kCreate);
    ASSERT_OK(db);
    std::ifstream file("tests/golden/store/schema-1.sql");
    const std::string sql((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    ASSERT_FALSE(sql.empty());
    ASSERT_OK((*db)->Exec(sql));
  }
  auto store = Open();
  EXPECT_EQ(store->installation(), "5f1b2c3d-0000-4000-8000-000000000001");
  const auto record = store->GetEnvironment("checkout");
  ASSERT_OK(record);
  EXPECT_EQ(record->scope, "checkout-aaaaaaaaaa");
  EXPECT_EQ(record->request.source, "/src/shop");
  EXPECT_EQ(record->cause.code, CauseCode::kOutOfMemory);
  EXPECT_EQ((*store->ReadEvents(record->uid, 0, 10))[1].node, "cart");
  EXPECT_THAT(*store->Quarantined(), IsEmpty());
  WriteBatch batch;
  batch.events = TestEvents(3, 3);
  EXPECT_OK(store->Write(record->uid, batch));
}

TEST_F(SqliteStoreTest, ADatabaseOfANewerServerIsRefusedAndLeftAlone) {
  Create(Open().get(), "checkout");
  Sql("PRAGMA user_version = 99");
  EXPECT_THAT(OpenSqliteStore(dir_.path()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer mayfly (schema 99")));
  Sql(absl::StrCat("PRAGMA user_version = ", kSchemaVersion));
  EXPECT_OK(Open()->GetEnvironment("checkout"));
}

TEST_F(SqliteStoreTest, AFileThatIsNoDatabaseIsRefusedAndLeftAlone) {
  const std::string junk = absl::StrCat("not a database ", std::string(5000, 'j'));
  std::ofstream(dir_ / "mayfly.db") << junk;
  EXPECT_THAT(OpenSqliteStore(dir_.path()),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("mayfly.db"), HasSubstr("move it aside"))));
  std::ifstream file(dir_ / "mayfly.db");
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>()), junk);
}

TEST_F(SqliteStoreTest, AFolderThatCannotBeMadeIsNamed) {
  std::ofstream(dir_ / "file") << "x";
  EXPECT_THAT(OpenSqliteStore(dir_ / "file").status().ToString(), HasSubstr("file"));
}

// Sets aside 100 of 200 records, each damaged in one of these ways.
constexpr const char* kPoison[] = {
    "request = 'no JSON'",
    "request = '[1,2]'",
    "request = '{\"tests\": [1]}'",
    "request = ''",
    "cause = '{\"code\":'",
    "cause = '\"text\"'",
    "state = 77",
    "verdict = -1",
    "request = '{\"keep\": 9}'",
    "request = json_set(request, '$.variables', 'x')",
};

TEST_F(SqliteStoreTest, AHundredUnreadableRecordsAreSetAsideAndTheOthersGoOn) {
  auto store = Open();
  for (int i = 0; i < 200; ++i) Create(store.get(), absl::StrCat("env-", i));
  store.reset();
  for (int i = 0; i < 100; ++i) {
    Sql(absl::StrCat("UPDATE environments SET ", kPoison[i % std::size(kPoison)], " WHERE name = 'env-", 2 * i, "'"));
  }
  for (int opened = 0; opened < 2; ++opened) {
    store = Open();
    EXPECT_THAT(*store->Quarantined(), SizeIs(100));
    EXPECT_THAT(store->ListEnvironments({}, 0, "")->environments, SizeIs(100));
    EXPECT_OK(store->GetEnvironment("env-1"));
    EXPECT_FALSE(store->GetEnvironment("env-0").ok());
    store.reset();
  }
  store = Open();
  EXPECT_THAT((*store->Quarantined())[0], HasSubstr("env-0 (uid uid-env-0): request: not JSON"));
  EnvironmentRecord next = TestRecord("env-0");
  next.uid = "next";
  EXPECT_EQ(store->CreateEnvironment(next, {})->record.generation, 2) << "the name is free again";
}

TEST_F(SqliteStoreTest, ARecordThatBreaksWhileTheServerRunsIsDataLossThenSetAside) {
  auto store = Open();
  Create(store.get(), "checkout");
  Create(store.get(), "cart");
  Sql("UPDATE environments SET request = '{' WHERE name = 'checkout'");
  EXPECT_THAT(store->GetEnvironment("checkout"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("'checkout' (uid uid-checkout) cannot be read")));
  EXPECT_THAT(store->ListEnvironments({}, 0, "")->environments, SizeIs(1));
  EXPECT_THAT(*store->Quarantined(), ElementsAre(HasSubstr("checkout")));
  EnvironmentRecord next = TestRecord("checkout");
  next.uid = "next";
  EXPECT_OK(store->CreateEnvironment(next, {}));
  EXPECT_EQ(store->GetEnvironment("checkout")->uid, "next");
}

TEST_F(SqliteStoreTest, WhatWasSetAsideIsPurgedByItsAge) {
  Create(Open().get(), "checkout");
  Sql("UPDATE environments SET request = '{'");
  auto store = Open();
  EXPECT_THAT(*store->Purge(absl::Now() - absl::Hours(1)), IsEmpty());
  EXPECT_THAT(*store->Purge(absl::Now() + absl::Hours(1)), ElementsAre("uid-checkout"));
  EXPECT_THAT(*store->Quarantined(), IsEmpty());
}

TEST_F(SqliteStoreTest, PurgeLeavesNoRowBehind) {
  auto store = Open();
  Create(store.get(), "checkout", 5);
  WriteBatch batch;
  batch.environment = *store->GetEnvironment("checkout");
  batch.environment->state = EnvironmentState::kDeleted;
  batch.environment->delete_time = TestTime();
  batch.put_resources = {{"", "node", "cart", 1, "d", true}};
  ASSERT_OK(store->Write("uid-checkout", batch));
  ASSERT_THAT(*store->Purge(TestTime(1)), ElementsAre("uid-checkout"));
  auto db = Database::Open(dir_ / "mayfly.db", Database::Mode::kReadOnly);
  ASSERT_OK(db);
  for (const char* table : {"environments", "events", "resources", "quarantine"}) {
    EXPECT_EQ(**(*db)->QueryInt(absl::StrCat("SELECT count(*) FROM ", table)), 0) << table;
  }
}

TEST_F(SqliteStoreTest, AnUnreadableEventBecomesANoteWithItsNumber) {
  auto store = Open();
  Create(store.get(), "checkout", 5);
  Sql("UPDATE events SET detail = '{]' WHERE sequence = 2; UPDATE events SET kind = 66 WHERE sequence = 4");
  const auto events = store->ReadEvents("uid-checkout", 0, 10);
  ASSERT_OK(events);
  ASSERT_THAT(*events, SizeIs(5));
  EXPECT_EQ((*events)[1].kind, EventKind::kNote);
  EXPECT_EQ((*events)[1].sequence, 2);
  EXPECT_THAT((*events)[1].message, HasSubstr("cannot be read"));
  EXPECT_THAT((*events)[3].message, HasSubstr("kind 66"));
  EXPECT_EQ((*events)[4].message, "event 5");
  EXPECT_THAT(*store->Quarantined(), SizeIs(2));
}

TEST_F(SqliteStoreTest, AFullDatabaseRefusesWritesAndKeepsWhatItHas) {
  auto store = Open({.max_bytes = 300 << 10});
  Create(store.get(), "checkout", 0);
  int64_t stored = 0;
  absl::Status status;
  while (status.ok() && stored < 10000) {
    WriteBatch batch;
    batch.events = TestEvents(stored + 1, stored + 1);
    batch.events[0].message = std::string(1000, 'x');
    status = store->Write("uid-checkout", batch);
    if (status.ok()) ++stored;
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("what was stored before is intact")));
  EXPECT_GT(stored, 50);
  EXPECT_THAT(*store->ReadEvents("uid-checkout", 0, 10000), SizeIs(stored));
  store.reset();
  store = Open();
  EXPECT_THAT(*store->ReadEvents("uid-checkout", 0, 10000), SizeIs(stored));
  WriteBatch batch;
  batch.events = TestEvents(stored + 1, stored + 1);
  EXPECT_OK(store->Write("uid-checkout", batch));
}

TEST_F(SqliteStoreTest, AFullDiskTakesNothingNewButLetsTeardownsEndAndRecovers) {
  Child child({MAYFLY_STORE_HELPER, "full", dir_.path()});
  const int code = child.Wait();
  if (code == 77) GTEST_SKIP() << "this host allows no mount namespace";
  EXPECT_EQ(code, 0);
}

TEST_F(SqliteStoreTest, OthersReadWhileOneWrites) {
  auto store = Open();
  Create(store.get(), "checkout", 0);
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      size_t seen = 0;
      while (!done) {
        const auto events = store->ReadEvents("uid-checkout", 0, 1000);
        EXPECT_OK(events);
        EXPECT_GE(events->size(), seen);
        seen = events->size();
        EXPECT_OK(store->GetEnvironment("checkout"));
        EXPECT_THAT(store->ListEnvironments({}, 10, "")->environments, SizeIs(1));
      }
    });
  }
  for (int64_t i = 1; i <= 300; ++i) {
    WriteBatch batch;
    batch.events = TestEvents(i, i);
    EXPECT_OK(store->Write("uid-checkout", batch));
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_THAT(*store->ReadEvents("uid-checkout", 0, 1000), SizeIs(300));
}

TEST_F(SqliteStoreTest, TheWriteAheadLogDoesNotGrowForEver) {
  auto store = Open();
  Create(store.get(), "checkout", 0);
  int64_t wal = 0;
  for (int64_t i = 0; i < 700; ++i) {
    WriteBatch batch;
    batch.events = TestEvents(i * 10 + 1, i * 10 + 10);
    for (Event& event : batch.events) event.message = std::string(4000, 'x');
    ASSERT_OK(store->Write("uid-checkout", batch));
    struct stat info = {};
    stat((dir_ / "mayfly.db-wal").c_str(), &info);
    wal = std::max<int64_t>(wal, info.st_size);
  }
  EXPECT_LT(wal, 24 << 20) << "of about 60 MiB written";
}

TEST_F(SqliteStoreTest, TextThatIsNotUtf8IsStoredWithReplacementCharacters) {
  auto store = Open();
  Create(store.get(), "checkout", 0);
  WriteBatch batch;
  batch.events = TestEvents(1, 1);
  batch.events[0].message = "a\xff\xfe z";
  batch.events[0].cause = {CauseCode::kExited, "x", "\xc3", "", {std::string("\0b", 2)}, false};
  ASSERT_OK(store->Write("uid-checkout", batch));
  const auto events = store->ReadEvents("uid-checkout", 0, 1);
  ASSERT_OK(events);
  EXPECT_EQ((*events)[0].message, "a\uFFFD\uFFFD z");
  EXPECT_EQ((*events)[0].cause.evidence[0], std::string("\0b", 2));
}

}  // namespace
}  // namespace mayfly
