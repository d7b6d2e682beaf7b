#include "client/cli/verbs.h"

namespace mayfly {

const VerbEntry* FindVerb(const std::string& name) {
  static constexpr VerbEntry kVerbs[] = {
      {"up", VerbUp, true},
      {"run", VerbRun, true},
      {"test", VerbTest, true},
      {"down", VerbDown, true},
      {"get", VerbGet, false},
      {"list", VerbList, false},
      {"logs", VerbLogs, false},
      {"events", VerbEvents, true},
      {"watch", VerbWatch, true},
      {"plan", VerbPlan, false},
      {"report", VerbReport, false},
      {"exec", VerbExec, false},
      {"port-forward", VerbPortForward, true},
      {"extend", VerbExtend, false},
      {"restart", VerbRestart, true},
      {"lint", VerbLint, false},
      {"schema", VerbSchema, false},
      {"explain", VerbExplain, false},
      {"init", VerbInit, false},
      {"doctor", VerbDoctor, false},
      {"server status", VerbServerStatus, false},
      {"server stop", VerbServerStop, false},
      {"version", VerbVersion, false},
      {"completion", VerbCompletion, false},
  };
  for (const VerbEntry& verb : kVerbs) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

}  // namespace mayfly
