// From files to a Catalogue: reads, merges types, checks everything, and tells all that is wrong at once.
#ifndef MAYFLY_SERVER_SPEC_CATALOGUE_LOADER_H_
#define MAYFLY_SERVER_SPEC_CATALOGUE_LOADER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

// Limits of one catalogue; over one of them there is an error that says so. Those of one file: yaml_reader.h.
constexpr size_t kMaxServices = 1000;
constexpr size_t kMaxEdges = 10000;  // Needs and references together.

// `path` is a folder that holds an envspec.yml (or else a service.yml), or such a file: `service.yml` is one service by
// itself, every other name is an envspec. Positions show file names behind `path` as given. Reads files below the root
// folder only; writes nothing. Never fails otherwise than by diagnostics. Thread-safe.
// Cycles of needs are found when planning: server/plan/lint.h checks both.
//
// With `below`, an absolute folder without symbolic links, `path` is in it by its words, and the root folder must be,
// too, after symbolic links; else `access` is PERMISSION_DENIED, and nothing outside was looked at.
LoadedCatalogue LoadCatalogue(absl::string_view path, absl::string_view below = "");

// The catalogue that these files were, whatever is on the disk by now. `source` must not be nullptr.
LoadedCatalogue LoadCatalogue(std::shared_ptr<const CatalogueSource> source);

// The same diagnostics with the source line where it is missing, as it was when `catalogue` was read: what planning
// finds wrong knows only the place.
Diagnostics WithSourceLines(Diagnostics diagnostics, const Catalogue& catalogue);

// The absolute path of the nearest envspec.yml in `start_dir` or above, or else of the nearest service.yml; looks no
// further up than the folder that holds .git. NOT_FOUND when there is none, with a sentence for the user.
absl::StatusOr<std::string> FindSpec(absl::string_view start_dir);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_CATALOGUE_LOADER_H_
