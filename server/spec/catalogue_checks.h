// Checks across files: names, needs, references, covers, limits.
#ifndef MAYFLY_SERVER_SPEC_CATALOGUE_CHECKS_H_
#define MAYFLY_SERVER_SPEC_CATALOGUE_CHECKS_H_

#include <map>
#include <set>
#include <string>

#include "mayfly/spec/catalogue.h"
#include "server/spec/sink.h"

namespace mayfly {

// What the loader knows beside the catalogue itself.
struct CheckContext {
  std::map<std::string, YamlRef> merged;  // Service -> its merged tree.
  std::map<std::string, YamlRef> tests;   // Test job -> its tree.
  std::set<std::string> broken;  // Services with errors of their own: nothing is concluded from what they lack.
  bool alone = false;            // One service.yml without an envspec.
  bool incomplete = false;       // A file could not be read: names may be missing for that reason.
};

void CheckCatalogue(const Catalogue& catalogue, const CheckContext& context, Sink& sink);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_CATALOGUE_CHECKS_H_
