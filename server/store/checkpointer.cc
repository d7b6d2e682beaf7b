#include "server/store/checkpointer.h"

#include <utility>

#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr int kPages = 1000;               // 4 MiB: worth a checkpoint.
constexpr int kTooManyPages = 4 * kPages;  // The thread cannot keep up: the writer itself must wait for one.

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpointer>> Checkpointer::Start(const std::string& path, Database* writer) {
  MAYFLY_ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(path, Database::Mode::kCreate));
  return std::unique_ptr<Checkpointer>(new Checkpointer(std::move(db), writer));
}

Checkpointer::Checkpointer(std::unique_ptr<Database> db, Database* writer)
    : db_(std::move(db)), writer_(writer), thread_([this] { Run(); }) {
  sqlite3_wal_hook(writer_->handle(), &Checkpointer::OnCommit, this);
}

Checkpointer::~Checkpointer() {
  sqlite3_wal_hook(writer_->handle(), nullptr, nullptr);
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

int Checkpointer::OnCommit(void* self, sqlite3* db, const char* name, int pages) {
  if (pages < kPages) return SQLITE_OK;
  auto* checkpointer = static_cast<Checkpointer*>(self);
  if (pages > kTooManyPages) {
    // A failure is met again by the next checkpoint; the commit itself is done.
    sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    return SQLITE_OK;
  }
  MutexLock lock(checkpointer->mutex_);
  checkpointer->due_ = true;
  checkpointer->wake_.NotifyOne();
  return SQLITE_OK;
}

void Checkpointer::Run() {
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!due_ && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
      due_ = false;
    }
    sqlite3_wal_checkpoint_v2(db_->handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }
}

}  // namespace mayfly
