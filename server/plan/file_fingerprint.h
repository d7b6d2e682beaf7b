// The Fingerprint of real files.
#ifndef MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_
#define MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_

#include <sys/stat.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "mayfly/base/mutex.h"
#include "server/base/folder.h"

namespace mayfly {

// Fingerprints by content: a rebuild that gives the same size within the same tick of the clock is seen, and a binary
// that was only touched is the same. A file is read once and then known by device, inode, size and times, so that a
// plan of 1,000 services costs 1,000 stats. Thread-safe.
class FileFingerprints {
 public:
  // Of the ordinary file at `relative` below `folder`, or of all that lies in the folder there; empty for anything
  // else, for what cannot be read and for what leads out of `folder`. A file of more than 1 GiB is not read: its size
  // and time of modification stand for it. In folders, names that begin with a dot and what tools keep beside sources
  // (node_modules, __pycache__, venv) do not count, links are not followed, and only the first 2,000 files, 8 folders
  // deep, are looked at.
  std::string Of(const Folder& folder, absl::string_view relative);

  int reads() const;  // Files that were read so far, for tests.

 private:
  std::string OfFolder(int folder, int depth, int* left);
  std::string OfOpenFile(int file, const struct stat& info);

  using FileId = std::pair<uint64_t, uint64_t>;  // Device and inode.
  struct Known {
    std::string stamp;  // Size and times.
    std::string fingerprint;
  };
  mutable Mutex mutex_;
  std::map<FileId, Known> known_ ABSL_GUARDED_BY(mutex_);
  int reads_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_
