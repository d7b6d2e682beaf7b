// Why something failed: a stable code, one sentence and the evidence. The first line of every failure is a Cause, and
// docs/causes.md is made from the table behind this header by tests/unit/base_values_test.cc.
#ifndef MAYFLY_BASE_CAUSE_H_
#define MAYFLY_BASE_CAUSE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mayfly {

// Codes are shared by all engines, written to the store and read by scripts: names and numbers are never changed or
// reused. Numbers: 1xx the process, 2xx readiness, 3xx resources, 4xx tests, 5xx environment and engine, 6xx requests.
enum class CauseCode {
  kNone = 0,
  kCommandNotFound = 101,
  kNotExecutable = 102,  // Not a program for this machine, or the execute bit is missing.
  kExited = 103,         // Exited (0 included) although it should run on.
  kSignaled = 104,       // Ended by a signal that mayfly did not send.
  kJobFailed = 105,      // A one-shot job exited non-zero.
  kStartFailed = 106,    // Could not be started for another reason: missing workdir, bad file.
  kImageNotFound = 107,
  kRegistryAccess = 108,       // The registry wants other credentials.
  kImageName = 109,            // No name of an image.
  kRegistryUnreachable = 110,  // It does not answer, or not in a way that can be trusted.
  kConfigMissing = 111,        // A Secret or ConfigMap, or a key of one, is not there.
  kNeverListened = 201,        // Ran, but nothing listened on its port until the deadline.
  kWrongPort = 202,            // Listens, but on another port than declared.
  kProbeFailing = 203,         // Listens, but the probe's answer was not healthy until the deadline.
  kDeadline = 204,             // Any other deadline.
  kOutOfMemory = 301,
  kDiskFull = 302,
  kPortTaken = 303,  // A host port that was asked for is in use.
  kTooManyProcesses = 304,
  kQuotaExceeded = 305,
  kUnschedulable = 306,  // No machine of the cluster takes it.
  kEvicted = 307,        // Its machine needed the room.
  kVolumePending = 308,  // A volume is not there.
  kTestsFailed = 401,
  kTestDeadline = 402,
  kTestBroken = 403,  // The test job could not run: no command, killed, out of memory.
  kEngineUnavailable = 501,
  kScopeLost = 502,  // The environment's place vanished: machine restarted, init killed.
  kTeardownBlocked = 503,
  kDependencyFailed = 504,  // SKIPPED: a node it needs failed. `node` names the root cause.
  kHostLimit = 505,         // The host refused: descriptors, processes, disk of the state directory.
  kAdmissionDenied = 506,   // A policy of the cluster refuses it.
  kScopeTerminating = 507,  // The environment's place is being deleted by somebody else.
  kAccountMissing = 508,    // The service account is not there.
  kMachineLost = 509,       // The machine under it does not answer any more.
  kServerUnreached = 510,   // What runs there cannot call the server.
  kSpecInvalid = 601,
  kUnsupported = 602,  // The spec asks for what this engine cannot do.
  kCancelled = 603,
  kSuperseded = 604,
  kExpired = 605,
  kInternal = 699,
};

struct CauseInfo {
  CauseCode code;
  absl::string_view name;     // "OUT_OF_MEMORY", as printed and stored.
  absl::string_view meaning;  // One sentence for the reference page.
  absl::string_view advice;   // What a user does next.
};

// All codes in numeric order. The memory is static.
const std::vector<CauseInfo>& CauseTable();
const CauseInfo& InfoFor(CauseCode code);
// kNone when `name` is no code's name.
CauseCode CauseCodeFromName(absl::string_view name);

struct Cause {
  CauseCode code = CauseCode::kNone;
  std::string node;                   // Root node's name; empty when the environment as a whole is meant.
  std::string message;                // One sentence without node and code: "exited with code 3 after 120 ms".
  std::string hint;                   // The next step with real names; may be empty (then the table's advice is shown).
  std::vector<std::string> evidence;  // Last log lines, the probe's last answer, counters. Untrusted: escape to print.
  bool inferred = false;              // Concluded without direct evidence, such as no memory controller on this host.

  bool empty() const { return code == CauseCode::kNone; }
  friend bool operator==(const Cause&, const Cause&) = default;
};

// "checkout: OUT_OF_MEMORY: used 128 MiB of 128 MiB" (with "(inferred)" behind the code where it is). One line,
// escaped.
std::string FormatCause(const Cause& cause);

}  // namespace mayfly

#endif  // MAYFLY_BASE_CAUSE_H_
