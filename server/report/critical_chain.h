// Why it took as long as it did: the one sequence of nodes, each released by the one before it, that ends where the
// waiting ended. Pure.
#ifndef MAYFLY_SERVER_REPORT_CRITICAL_CHAIN_H_
#define MAYFLY_SERVER_REPORT_CRITICAL_CHAIN_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/report/report.h"
#include "server/report/node_track.h"

namespace mayfly {

// The stretch of time to explain, as offsets from acceptance.
struct ChainScope {
  absl::Duration begin;    // Acceptance, or the plan of the latest change.
  absl::Duration planned;  // When that plan was there.
  absl::Duration end;      // The verdict, or ACTIVE without one, or the last event.
  std::string blamed;      // The node that the verdict's cause names; it ends the chain when it failed.
  bool cut_short = false;  // Cancelled: what was still on its way at the end may be the last link.
};

// Fills `released` of every node whose needs were all met: the latest of them, and not before the plan.
void Release(const ChainScope& scope, std::vector<NodeTrack>& nodes);

// In order of time, without gaps and overlaps, from scope.begin to scope.end. Links of nodes are "start" (a service
// until it is ready), "run" (a one-shot job, and a ready service until it broke) and "test"; "plan" stands before the
// first of them and "wait" (with the node that waited, or none at the end) between them.
std::vector<ChainLink> CriticalChain(const ChainScope& scope, const std::vector<NodeTrack>& nodes);

// The time of the links of nodes.
absl::Duration NodeTime(const std::vector<ChainLink>& chain);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_CRITICAL_CHAIN_H_
