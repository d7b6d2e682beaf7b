#include "server/report/junit.h"

#include <map>
#include <utility>

namespace mayfly {

JunitTotals JunitFile::Totals() const {
  JunitTotals totals;
  for (const JunitSuite& suite : suites) {
    for (const JunitCase& test : suite.cases) {
      ++totals.tests;
      totals.failures += test.outcome == JunitCase::Outcome::kFailed;
      totals.errors += test.outcome == JunitCase::Outcome::kError;
      totals.skipped += test.outcome == JunitCase::Outcome::kSkipped;
      totals.seconds += test.seconds;
    }
  }
  return totals;
}

JunitFile MergeJunit(const std::vector<JunitFile>& files) {
  JunitFile merged;
  std::map<std::string, size_t> index;
  for (const JunitFile& file : files) {
    for (const JunitSuite& suite : file.suites) {
      const auto [it, is_new] = index.emplace(suite.name, merged.suites.size());
      if (is_new) {
        merged.suites.push_back(suite);
        continue;
      }
      JunitSuite& into = merged.suites[it->second];
      into.seconds += suite.seconds;
      into.cases.insert(into.cases.end(), suite.cases.begin(), suite.cases.end());
    }
  }
  return merged;
}

}  // namespace mayfly
