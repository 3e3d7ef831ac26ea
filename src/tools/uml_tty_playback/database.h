// Database: a log as tables of SQLite.
//
//   record    number, offset, time (seconds), kind, tty (name), parent (name), data
//   argument  record, place, text: the command lines of records of kind exec
#pragma once

#include <memory>
#include <string>

#include "tools/uml_tty_playback/record.h"

struct sqlite3;
struct sqlite3_stmt;

namespace umk::uml_tty_playback {

class Database {
 public:
  /// Makes the tables in a new file, or in one that has none of these names. Throws std::runtime_error.
  explicit Database(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void add(const Record& record);
  /// What was added so far is there for others. Also done at the end.
  void commit();

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  void run(const char* text);
  Statement prepare(const char* text);
  void step(sqlite3_stmt* statement);
  [[noreturn]] void fail();

  const std::string path_;
  sqlite3* connection_ = nullptr;
  Statement add_record_, add_argument_;
  bool is_in_transaction_ = false;
};

}  // namespace umk::uml_tty_playback
