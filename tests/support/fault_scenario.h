// Forty objects made, changed and taken away through a proxy that fails at random, and whether the world is then as it
// was wanted.
#ifndef MAYFLY_TESTS_SUPPORT_FAULT_SCENARIO_H_
#define MAYFLY_TESTS_SUPPORT_FAULT_SCENARIO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/kubernetes/client/endpoint.h"

namespace mayfly {

struct FaultResult {
  std::vector<std::string> defects;  // Empty: all is as it was wanted.
  int requests = 0;                  // Of the client, all attempts, lists and watches.
  int faults = 0;                    // Requests that met one, and partitions.
  int duplicates = 0;                // Objects that were created more than once.
  absl::Duration converged;          // After the faults' end.
  std::string kinds;                 // "reset 3, lose-answer 2, partition 1"
};

// Everything random follows from `seed`. `collection` is that of config maps in a namespace, `watched` the same or that
// of all namespaces; the objects are labelled with the seed and gone afterwards. Thread-safe for different seeds.
FaultResult RunFaultScenario(const kube::Endpoint& upstream, const std::string& collection, const std::string& watched,
                             uint64_t seed, bool with_faults);

// RunFaultScenario for `count` seeds from `first`, a few at a time: 0 defects and duplicates, at most three times the
// requests of a run without faults, converged within 60 s. Prints the worst; failures are GoogleTest's, with the seed.
// Odd seeds watch `wide`, the collection of all namespaces, unless it is empty; even ones the namespace's alone.
void CheckFaultSeeds(const kube::Endpoint& upstream, const std::string& collection, const std::string& wide,
                     uint64_t first, int count);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAULT_SCENARIO_H_
