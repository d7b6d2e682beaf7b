#include "server/store/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

absl::StatusCode CodeOf(int extended, int system_errno) {
  switch (extended & 0xFF) {
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_IOERR:
      return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG
                 ? absl::StatusCode::kResourceExhausted
                 : absl::StatusCode::kInternal;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return system_errno == ENOSPC ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kPermissionDenied;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::string_view AdviceFor(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return "; free space on its disk, what was stored before is intact";
    case absl::StatusCode::kDataLoss:
      return "; move it aside to begin with an empty one (the environments in it are then taken down), or restore it "
             "from a "
             "copy";
    default:
      return "";
  }
}

// SQLite gives the -wal and -shm files the mode of the database, so it is made first, for its owner only.
absl::Status MakePrivateFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("database '", EscapeLine(path), "' cannot be opened"));
  close(fd);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  if (mode == Mode::kCreate) MAYFLY_RETURN_IF_ERROR(MakePrivateFile(path));
  sqlite3* db = nullptr;
  const int access = mode == Mode::kCreate ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  const int code = sqlite3_open_v2(path.c_str(), &db, access | SQLITE_OPEN_NOMUTEX, nullptr);
  if (db == nullptr) return absl::ResourceExhaustedError("no memory for a database connection");
  std::unique_ptr<Database> out(new Database(db, path));
  sqlite3_extended_result_codes(db, 1);
  if (code != SQLITE_OK) return out->Error(code, "opening");
  // Only recovery and a checkpoint that restarts the log make one connection wait for another.
  sqlite3_busy_timeout(db, 5000);
  return out;
}

Database::~Database() {
  sqlite3_close_v2(db_);
}

absl::Status Database::Error(int code, absl::string_view what) const {
  const absl::StatusCode status = CodeOf(code, sqlite3_system_errno(db_));
  return absl::Status(status, absl::StrCat("database '", EscapeLine(path_), "': ", what, ": ",
                                           EscapeLine(sqlite3_errmsg(db_)), " (", code, ")", AdviceFor(status)));
}

absl::Status Database::Exec(const std::string& sql) {
  const int code = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code, sql.substr(0, 60));
}

absl::StatusOr<std::optional<int64_t>> Database::QueryInt(const std::string& sql) {
  Statement statement(this, sql.c_str());
  Query query(statement);
  std::optional<int64_t> out;
  if (query.Next()) out = query.Int(0);
  MAYFLY_RETURN_IF_ERROR(query.status());
  return out;
}

absl::StatusOr<std::optional<std::string>> Database::QueryText(const std::string& sql) {
  Statement statement(this, sql.c_str());
  Query query(statement);
  std::optional<std::string> out;
  if (query.Next()) out = query.Text(0);
  MAYFLY_RETURN_IF_ERROR(query.status());
  return out;
}

Query::Query(Statement* statement) : statement_(statement) {
  if (statement->stmt_ != nullptr) return;
  Check(sqlite3_prepare_v3(statement->db_->handle(), statement->sql_, -1, SQLITE_PREPARE_PERSISTENT, &statement->stmt_,
                           nullptr));
}

Query::~Query() {
  if (stmt() == nullptr) return;
  sqlite3_reset(stmt());
  sqlite3_clear_bindings(stmt());
}

void Query::Check(int code) {
  if (code != SQLITE_OK && status_.ok()) {
    status_ = statement_->db_->Error(code, absl::string_view(statement_->sql_).substr(0, 60));
  }
}

void Query::Bind(int index, int64_t value) {
  if (status_.ok()) Check(sqlite3_bind_int64(stmt(), index, value));
}

void Query::Bind(int index, absl::string_view value) {
  // A null pointer would bind NULL.
  const char* data = value.data() == nullptr ? "" : value.data();
  if (status_.ok()) Check(sqlite3_bind_text64(stmt(), index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

bool Query::Next() {
  if (!status_.ok()) return false;
  const int code = sqlite3_step(stmt());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) Check(code);
  return false;
}

absl::Status Query::Run() {
  while (Next()) {
  }
  return status_;
}

absl::string_view Query::View(int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(stmt(), column));
  if (text == nullptr) return "";
  return absl::string_view(text, sqlite3_column_bytes(stmt(), column));
}

absl::Status Transaction::Commit() {
  const absl::Status status = Query(statements_.commit).Run();
  if (status.ok()) open_ = false;
  return status;
}

Transaction::~Transaction() {
  // A full disk may have rolled it back already; then this says so, and nobody needs to know.
  if (open_) Query(statements_.rollback).Run().IgnoreError();
}

}  // namespace mayfly
