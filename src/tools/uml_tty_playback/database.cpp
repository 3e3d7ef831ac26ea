#include "tools/uml_tty_playback/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <stdexcept>

namespace umk::uml_tty_playback {

namespace format = tty_log_format;

void Database::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Database::Database(const std::string& path) : path_(path) {
  try {
    if (sqlite3_open(path.c_str(), &connection_) != SQLITE_OK) fail();
    run("CREATE TABLE record (number INTEGER PRIMARY KEY, offset INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL, tty TEXT, "
        "parent TEXT, data BLOB)");
    run("CREATE TABLE argument (record INTEGER NOT NULL REFERENCES record (number), place INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY "
        "KEY (record, place))");
    add_record_ = prepare("INSERT INTO record (offset, time, kind, tty, parent, data) VALUES (?, ?, ?, ?, ?, ?)");
    add_argument_ = prepare("INSERT INTO argument (record, place, text) VALUES (?, ?, ?)");
  } catch (...) {
    sqlite3_close(connection_);
    throw;
  }
}

Database::~Database() {
  if (is_in_transaction_) sqlite3_exec(connection_, "COMMIT", nullptr, nullptr, nullptr);
  add_record_ = nullptr;
  add_argument_ = nullptr;
  sqlite3_close(connection_);
}

void Database::fail() { throw std::runtime_error(fmt::format("{}: {}", path_, sqlite3_errmsg(connection_))); }

void Database::run(const char* text) {
  if (sqlite3_exec(connection_, text, nullptr, nullptr, nullptr) != SQLITE_OK) fail();
}

Database::Statement Database::prepare(const char* text) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(connection_, text, -1, &statement, nullptr) != SQLITE_OK) fail();
  return Statement(statement);
}

void Database::step(sqlite3_stmt* statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) fail();
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
}

void Database::add(const Record& record) {
  if (!is_in_transaction_) run("BEGIN");
  is_in_transaction_ = true;
  sqlite3_stmt* const statement = add_record_.get();
  const auto bind_terminal = [&](int place, uint64_t id) {
    if (id == 0) return;  // stays NULL
    const std::string name = name_of_terminal(id);
    sqlite3_bind_text(statement, place, name.data(), static_cast<int>(name.size()), SQLITE_TRANSIENT);
  };
  sqlite3_bind_int64(statement, 1, static_cast<sqlite3_int64>(record.offset));
  sqlite3_bind_double(statement, 2, static_cast<double>(record.microseconds()) / 1e6);
  sqlite3_bind_text(statement, 3, kind_of(record), -1, SQLITE_STATIC);
  bind_terminal(4, record.head.tty);
  if (record.is(format::What::Open)) bind_terminal(5, record.parent());
  if (record.is(format::What::Write))
    sqlite3_bind_blob(statement, 6, record.data.data(), static_cast<int>(record.data.size()), SQLITE_STATIC);
  step(statement);
  if (!record.is(format::What::Exec)) return;
  const sqlite3_int64 number = sqlite3_last_insert_rowid(connection_);
  int place = 0;
  for (const std::string_view argument : record.arguments()) {
    sqlite3_bind_int64(add_argument_.get(), 1, number);
    sqlite3_bind_int(add_argument_.get(), 2, place++);
    sqlite3_bind_text(add_argument_.get(), 3, argument.data(), static_cast<int>(argument.size()), SQLITE_STATIC);
    step(add_argument_.get());
  }
}

void Database::commit() {
  if (!is_in_transaction_) return;
  run("COMMIT");
  is_in_transaction_ = false;
}

}  // namespace umk::uml_tty_playback
