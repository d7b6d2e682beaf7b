// The tables of the format: every key of service.yml and envspec.yml.
#ifndef MAYFLY_SERVER_SPEC_TABLES_H_
#define MAYFLY_SERVER_SPEC_TABLES_H_

#include <vector>

#include "mayfly/spec/catalogue.h"
#include "server/spec/shape.h"

namespace mayfly {

// Tables are made once and live for ever.
const Table<ServiceSpec>& ServiceTable();
const Table<Probe>& HealthTable();
const Table<TestJobSpec>& TestTable();
const Table<Profile>& ProfileTable();

struct EnvspecHead {
  std::string name;
};
const Table<EnvspecHead>& EnvspecTable();

// All tables, in the order of the reference page.
std::vector<const TableInfo*> AllTables();

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_TABLES_H_
