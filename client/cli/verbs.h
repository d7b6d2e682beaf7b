// One function per verb, each in its own verb_<name>.cc. What they return is the exit code.
#ifndef MAYFLY_CLIENT_CLI_VERBS_H_
#define MAYFLY_CLIENT_CLI_VERBS_H_

#include <string>

#include "client/cli/exit_codes.h"
#include "client/cli/session.h"

namespace mayfly {

ExitCode VerbUp(Session& session);
ExitCode VerbRun(Session& session);
ExitCode VerbTest(Session& session);
ExitCode VerbDown(Session& session);
ExitCode VerbGet(Session& session);
ExitCode VerbList(Session& session);
ExitCode VerbLogs(Session& session);
ExitCode VerbEvents(Session& session);
ExitCode VerbWatch(Session& session);
ExitCode VerbPlan(Session& session);
ExitCode VerbReport(Session& session);
ExitCode VerbExec(Session& session);
ExitCode VerbPortForward(Session& session);
ExitCode VerbExtend(Session& session);
ExitCode VerbRestart(Session& session);
ExitCode VerbLint(Session& session);
ExitCode VerbSchema(Session& session);
ExitCode VerbExplain(Session& session);
ExitCode VerbInit(Session& session);
ExitCode VerbDoctor(Session& session);
ExitCode VerbServerStatus(Session& session);
ExitCode VerbServerStop(Session& session);
ExitCode VerbVersion(Session& session);
ExitCode VerbCompletion(Session& session);

struct VerbEntry {
  const char* name;  // As Options::verb.
  ExitCode (*run)(Session& session);
  bool catches_interrupts;  // Ctrl-C has a meaning of its own; else it ends the program.
};

// nullptr for a name that is no verb.
const VerbEntry* FindVerb(const std::string& name);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_VERBS_H_
