// The tables of the format: every key of service.yml and envspec.yml.
#ifndef MAYFLY_SERVER_SPEC_TABLES_H_
#define MAYFLY_SERVER_SPEC_TABLES_H_

#include <string>
#include <utility>
#include <vector>

#include "mayfly/spec/catalogue.h"
#include "server/spec/shape.h"

namespace mayfly {

// The two files, and what is written inside an envspec. Tables are made once and live for ever.
const Table<ServiceSpec>& ServiceTable();
const Table<TestJobSpec>& TestTable();
const Table<Profile>& ProfileTable();
struct EnvspecHead {
  std::string name;
};
const Table<EnvspecHead>& EnvspecTable();

// Maps inside a service.
const Table<Port>& PortTable();
const Table<Probe>& HealthTable();
const Table<Resources>& ResourcesTable();
const Table<StopPolicy>& StopTable();
const Table<FileSpec>& FileTable();
const Table<JobSpec>& BeforeTable();
const Table<ServiceSpec>& RestartTable();
const Table<Volume>& VolumeTable();
const Table<SidecarSpec>& SidecarTable();

// All tables, in the order of the reference page.
std::vector<const TableInfo*> AllTables();

// `./run --now` or `[./run, --now]`; and `[postgres, {migrate: completed}]`.
const Shape& CommandShape();
const Shape& NeedsShape();

// A table for a function-local static.
template <class T>
Table<T>& NewTable(std::string name, std::string noun, std::string doc) {
  return *new Table<T>(std::move(name), std::move(noun), std::move(doc));
}

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_TABLES_H_
