// The Report as a fold of the EventLog.
#ifndef MAYFLY_SERVER_REPORT_REPORT_BUILDER_H_
#define MAYFLY_SERVER_REPORT_REPORT_BUILDER_H_

#include <vector>

#include "mayfly/report/event.h"
#include "mayfly/report/report.h"

namespace mayfly {

// Pure: the same events give the same report. `events` are in order, from the first; a log that goes on gives a report
// of what happened so far. Any list of events is accepted, also one that no orchestrator would write.
//
// The log does not hold the environment's name: the caller sets `environment` (attribute "environment" of kAccepted is
// taken when it is there). After an update in place or another test run, the chain, `explained` and `overhead` are
// about the latest plan, and every offset is still from acceptance.
Report BuildReport(const std::vector<Event>& events);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_REPORT_REPORT_BUILDER_H_
