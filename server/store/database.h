// SQLite's C API with statuses and scopes: a connection, a prepared statement, one execution of it, a transaction.
// Nothing outside server/store includes this. Not thread-safe: the owner of a Database guards it.
#ifndef MAYFLY_SERVER_STORE_DATABASE_H_
#define MAYFLY_SERVER_STORE_DATABASE_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// One connection. Errors by code: RESOURCE_EXHAUSTED (disk or quota full), DATA_LOSS (the file is damaged or no
// database), UNAVAILABLE (another process holds it), PERMISSION_DENIED, INTERNAL.
class Database {
 public:
  enum class Mode { kCreate, kReadOnly };
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs statements without results.
  absl::Status Exec(const std::string& sql);
  // The first column of the first row; nullopt when there is none.
  absl::StatusOr<std::optional<int64_t>> QueryInt(const std::string& sql);
  absl::StatusOr<std::optional<std::string>> QueryText(const std::string& sql);

  int64_t last_insert_id() const { return sqlite3_last_insert_rowid(db_); }
  // Status of the latest failed call on this connection.
  absl::Status Error(int code, absl::string_view what) const;
  sqlite3* handle() { return db_; }

 private:
  Database(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}

  sqlite3* const db_;
  const std::string path_;
};

// Prepared at its first use. `sql` must be a literal; `db` must outlive it.
class Statement {
 public:
  Statement(Database* db, const char* sql) : db_(db), sql_(sql) {}
  ~Statement() { sqlite3_finalize(stmt_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

 private:
  friend class Query;
  Database* const db_;
  const char* const sql_;
  sqlite3_stmt* stmt_ = nullptr;
};

// One execution of a statement: binds `args` in order, steps, and resets when it goes. One at a time per statement.
//   Query rows(by_name_, name);
//   while (rows.Next()) use(rows.Text(0));
//   MAYFLY_RETURN_IF_ERROR(rows.status());
class Query {
 public:
  template <typename... Args>
  explicit Query(Statement& statement, const Args&... args) : Query(&statement) {
    int index = 0;
    (Bind(++index, args), ...);
  }
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Moves to the next row; false at the end and on an error.
  bool Next();
  // Runs to the end; for statements without rows.
  absl::Status Run();
  const absl::Status& status() const { return status_; }

  bool IsNull(int column) { return sqlite3_column_type(stmt(), column) == SQLITE_NULL; }
  int64_t Int(int column) { return sqlite3_column_int64(stmt(), column); }
  std::string Text(int column) { return std::string(View(column)); }
  // Valid until the next row.
  absl::string_view View(int column);

 private:
  // So that the template delegates to something that does no binding.
  explicit Query(Statement* statement);
  void Bind(int index, int64_t value);
  void Bind(int index, int value) { Bind(index, int64_t{value}); }
  void Bind(int index, bool value) { Bind(index, int64_t{value}); }
  void Bind(int index, absl::string_view value);
  void Bind(int index, const std::string& value) { Bind(index, absl::string_view(value)); }
  void Bind(int index, const char* value) { Bind(index, absl::string_view(value)); }
  void Bind(int index, std::nullopt_t) { Check(sqlite3_bind_null(stmt(), index)); }
  template <typename T>
  void Bind(int index, const std::optional<T>& value) {
    value.has_value() ? Bind(index, *value) : Bind(index, std::nullopt);
  }
  void Check(int code);
  sqlite3_stmt* stmt() { return statement_->stmt_; }

  Statement* const statement_;
  absl::Status status_;
};

// Rolled back unless Commit returned OK.
class Transaction {
 public:
  // `begin`, `commit` and `rollback` are prepared once by the owner, for speed.
  struct Statements {
    explicit Statements(Database* db) : begin(db, "BEGIN IMMEDIATE"), commit(db, "COMMIT"), rollback(db, "ROLLBACK") {}
    Statement begin;
    Statement commit;
    Statement rollback;
  };
  explicit Transaction(Statements& statements) : statements_(statements), status_(Query(statements.begin).Run()) {
    open_ = status_.ok();
  }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Of the begin.
  const absl::Status& status() const { return status_; }
  absl::Status Commit();

 private:
  Statements& statements_;
  absl::Status status_;
  bool open_ = false;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_DATABASE_H_
