#include "client/cli/offline_spec.h"

#include <filesystem>

#include "mayfly/base/status.h"
#include "server/plan/lint.h"
#include "server/spec/catalogue_loader.h"

namespace mayfly {

absl::StatusOr<LoadedCatalogue> LoadOffline(Session& session) {
  std::string path = session.options().path;
  MAYFLY_ASSIGN_OR_RETURN(const std::string found, session.Source());
  if (path.empty()) {
    // Positions are shown behind the path as given: relative is what a person here would have written.
    std::error_code error;
    path = std::filesystem::relative(found, error).string();
    if (error || path.empty()) path = found;
  }
  LoadedCatalogue loaded = LoadCatalogue(path);
  Diagnostics more = WithSourceLines(LintPlan(loaded), loaded.catalogue);
  loaded.diagnostics.insert(loaded.diagnostics.end(), more.begin(), more.end());
  return loaded;
}

}  // namespace mayfly
