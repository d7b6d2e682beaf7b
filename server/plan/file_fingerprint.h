// The Fingerprint of real files.
#ifndef MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_
#define MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_

#include <string>

namespace mayfly {

// Size and time of modification of the ordinary file at `path`; empty for anything else. One stat, no reading: a plan
// of 1,000 services must not read 1,000 binaries.
std::string FileFingerprint(const std::string& path);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_FILE_FINGERPRINT_H_
