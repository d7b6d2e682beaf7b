// The other process of sqlite_store_test: one that is killed, one that holds a state folder, one whose disk is full.
//   store_helper write DIR    writes for ever; a line on stdout for each acknowledged write, after it
//   store_helper hold DIR     opens the store, says "held", and ends with its stdin
//   store_helper full DIR     mounts 8 MiB on DIR in a mount namespace of its own and fills it; exit 77: not allowed to
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store/sqlite_store.h"
#include "tests/support/store_records.h"

namespace mayfly {
namespace {

void Require(bool ok, const std::string& what) {
  if (ok) return;
  fprintf(stderr, "%s\n", what.c_str());
  exit(1);
}

void Say(const std::string& line) {
  Require(write(STDOUT_FILENO, line.data(), line.size()) == static_cast<ssize_t>(line.size()), "stdout");
}

int WriteForEver(const std::string& dir) {
  auto store = OpenSqliteStore(dir);
  Require(store.ok(), store.status().ToString());
  for (int i = 0;; ++i) {
    const std::string name = absl::StrCat("env-", getpid(), "-", i);
    const auto created = (*store)->CreateEnvironment(TestRecord(name), TestEvents(1, 2));
    Require(created.ok(), created.status().ToString());
    Say(absl::StrCat(name, " 2\n"));
    WriteBatch batch;
    batch.environment = created->record;
    batch.put_resources = {{created->record.uid, "node", "cart", 1, "d", true}};
    batch.events = TestEvents(3, 6);
    const absl::Status status = (*store)->Write(created->record.uid, batch);
    Require(status.ok(), status.ToString());
    Say(absl::StrCat(name, " 6\n"));
  }
}

int Hold(const std::string& dir) {
  auto store = OpenSqliteStore(dir);
  Require(store.ok(), store.status().ToString());
  Say("held\n");
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

// Root may have a mount namespace by itself; others need a user namespace in which they are root.
bool EnterMountNamespace() {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWNS) == 0) return true;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  return geteuid() == 0;
}

bool MountSmallDisk(const std::string& dir) {
  if (!EnterMountNamespace()) return false;
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=8m,mode=0700") == 0;
}

WriteBatch BigBatch(int64_t first, int64_t last) {
  WriteBatch batch;
  batch.events = TestEvents(first, last);
  for (Event& event : batch.events) event.message = std::string(2000, 'x');
  return batch;
}

// Creates environments until that is refused; those that were acknowledged.
std::vector<EnvironmentRecord> CreateUntilFull(Store* store) {
  std::vector<EnvironmentRecord> out;
  while (true) {
    auto created = store->CreateEnvironment(TestRecord(absl::StrCat("env-", out.size())), BigBatch(1, 5).events);
    if (created.ok()) {
      out.push_back(created->record);
      continue;
    }
    Require(absl::IsResourceExhausted(created.status()), "not RESOURCE_EXHAUSTED: " + created.status().ToString());
    return out;
  }
}

// Writes events until that is refused; the number of the last that was acknowledged.
int64_t WriteUntilFull(Store* store, const std::string& uid, int64_t last) {
  while (true) {
    const absl::Status status = store->Write(uid, BigBatch(last + 1, last + 1));
    if (!status.ok()) {
      Require(absl::IsResourceExhausted(status), "not RESOURCE_EXHAUSTED: " + status.ToString());
      return last;
    }
    ++last;
  }
}

void RequireEvents(Store* store, const std::string& uid, int64_t count) {
  const auto read = store->ReadEvents(uid, 0, 100000);
  Require(read.ok() && static_cast<int64_t>(read->size()) == count, "acknowledged events of " + uid + " are lost");
}

int FillDisk(const std::string& dir) {
  if (!MountSmallDisk(dir)) return 77;
  std::ofstream(dir + "/ballast") << std::string(512 << 10, 'b') << std::flush;
  auto opened = OpenSqliteStore(dir);
  Require(opened.ok(), opened.status().ToString());
  Store* store = opened->get();
  const std::vector<EnvironmentRecord> records = CreateUntilFull(store);
  Require(records.size() > 20, absl::StrCat("only ", records.size(), " environments fitted"));
  for (EnvironmentRecord record : records) {
    WriteBatch batch;
    batch.environment = record;
    batch.environment->state = EnvironmentState::kDeleted;
    batch.events = {FullEvent(6)};
    const absl::Status status = store->Write(record.uid, batch);
    Require(status.ok(), "teardown on a full disk: " + status.ToString());
  }
  const std::string uid = records[0].uid;
  const int64_t last = WriteUntilFull(store, uid, 6);
  RequireEvents(store, uid, last);
  RequireEvents(store, records[1].uid, 6);
  Require(unlink((dir + "/ballast").c_str()) == 0, "ballast");
  const absl::Status again = store->Write(uid, BigBatch(last + 1, last + 1));
  Require(again.ok(), "with space again: " + again.ToString());
  RequireEvents(store, uid, last + 1);
  return 0;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];
  if (mode == "write") return mayfly::WriteForEver(argv[2]);
  if (mode == "hold") return mayfly::Hold(argv[2]);
  if (mode == "full") return mayfly::FillDisk(argv[2]);
  return 2;
}
