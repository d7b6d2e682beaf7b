// Remembers loaded catalogues as long as nothing on the disk says that they may have changed, so that accepting an
// environment costs a few dozen stat calls and not the reading of every file.
#ifndef MAYFLY_SERVER_RUN_CATALOGUE_CACHE_H_
#define MAYFLY_SERVER_RUN_CATALOGUE_CACHE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

using CatalogueRef = std::shared_ptr<const LoadedCatalogue>;

// Not thread-safe: belongs to the worker. What it watches: every file that a service or test job came from, and, for
// folders that appear or go, every folder on the way from the root to a service and their direct sub-folders. A
// catalogue whose files are younger than a second is not remembered: the next change might leave the same time stamp.
class CatalogueCache {
 public:
  // `now` tells the time by the clock that the file system stamps files with.
  using Loader = std::function<LoadedCatalogue(const std::string& source, const std::string& below)>;
  explicit CatalogueCache(Loader load, std::function<absl::Time()> now = absl::Now)
      : load_(std::move(load)), now_(std::move(now)) {}

  // What was read for one `below` is not given out for another: the same source may lead elsewhere.
  CatalogueRef Load(const std::string& source, const std::string& below);
  size_t size() const { return entries_.size(); }  // Bounded.

 private:
  struct Entry {
    CatalogueRef catalogue;
    std::string stamp;  // Of everything watched.
  };
  const Loader load_;
  const std::function<absl::Time()> now_;
  std::map<std::pair<std::string, std::string>, Entry> entries_;  // By source and `below`.
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_CATALOGUE_CACHE_H_
