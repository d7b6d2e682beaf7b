// What somebody asked for, validated and free of any wire format.
#ifndef MAYFLY_SPEC_ENVIRONMENT_REQUEST_H_
#define MAYFLY_SPEC_ENVIRONMENT_REQUEST_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mayfly {

// What happens to the environment once its verdict is known.
enum class Keep {
  kAlways,     // `up`: it stays until its ttl, `down`, or an update.
  kNever,      // `run`: it is torn down whatever the verdict.
  kOnFailure,  // `run --keep-on-failure`: torn down only when PASSED.
};

struct EnvironmentRequest {
  std::string request_id;    // Same id, same environment: a repeated create returns the first one's. Empty: none.
  std::string name;          // Empty: derived from the catalogue's name.
  std::string source;        // Absolute path of a folder or an envspec.yml on the server's machine.
  std::string source_below;  // Nothing outside of this folder is read for it. Absolute, resolved; empty: any folder.
  std::vector<std::string> services;  // Chosen services; closure is added. Both lists empty: all services.
  std::vector<std::string> tests;     // Chosen test jobs.
  bool all_tests = false;             // Every test job; with `services`: those covering them.
  Keep keep = Keep::kAlways;
  std::string profile;                // Name of one of the catalogue's profiles, or empty.
  std::optional<absl::Duration> ttl;  // Over the profile's; default 8 h.
  std::map<std::string, std::string>
      variables;  // --set and --env-file: ${env.KEY} and the services' variables of that name.
  std::map<std::string, std::string> secrets;  // By secret name. Never stored, never logged.
  std::map<std::string, std::string> labels;   // What it is for ("pr": "123"); shown by engines and in lists.
  // What images stand for, by name -> digest: filled in as the engine finds out, kept for the environment's life.
  std::map<std::string, std::string> images;
  std::string engine;  // "local"; empty: the server's default.
  std::string owner;   // Who asks, as the server knows it.
  // Ids of the requests to run tests that were taken, newest last: a repeated one starts nothing.
  std::vector<std::string> test_requests;
};

}  // namespace mayfly

#endif  // MAYFLY_SPEC_ENVIRONMENT_REQUEST_H_
