#include "mayfly/base/cause.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"

namespace mayfly {

const std::vector<CauseInfo>& CauseTable() {
  using C = CauseCode;
  static const auto& table = *new std::vector<CauseInfo>{
      {C::kNone, "NONE", "Nothing failed.", ""},
      {C::kCommandNotFound, "COMMAND_NOT_FOUND", "The command of `run` does not exist inside the environment.",
       "Check the path; a name without '/' is searched in PATH, and the caller's home is not visible inside."},
      {C::kNotExecutable, "NOT_EXECUTABLE", "The file is there but cannot be executed on this machine.",
       "Build it for this machine, set its execute bit, or give a script a '#!' line."},
      {C::kExited, "EXITED", "A service ended although it should keep running.",
       "Read its last lines with `mayfly logs`; if it is meant to end, give it `type: job`."},
      {C::kSignaled, "SIGNALED", "The process was ended by a signal that mayfly did not send.",
       "A crash most likely: read its last lines with `mayfly logs`."},
      {C::kJobFailed, "JOB_FAILED", "A one-shot job exited non-zero.", "Read its last lines with `mayfly logs`."},
      {C::kStartFailed, "START_FAILED", "The process could not be started.",
       "See the message: it names the file or folder."},
      {C::kImageNotFound, "IMAGE_NOT_FOUND", "The registry has no such image.",
       "Check name and tag of `image`, and that it was pushed."},
      {C::kRegistryAccess, "REGISTRY_ACCESS", "The registry wants other credentials for the image.",
       "Give the server credentials with --registry-config, or check that the cluster's machines may pull it."},
      {C::kImageName, "IMAGE_NAME_INVALID", "What `image` says is no name of an image.",
       "Write it as registry/repository:tag, in lower case."},
      {C::kRegistryUnreachable, "REGISTRY_UNREACHABLE",
       "The registry does not answer, or its certificate is not trusted.",
       "Check from a machine of the cluster that it can be reached and that its authority is trusted there."},
      {C::kConfigMissing, "CONFIG_MISSING", "Something that the container is configured with is not there.",
       "The message names the Secret or ConfigMap and its key."},
      {C::kNeverListened, "NEVER_LISTENED", "The service ran, but nothing listened on its port before the deadline.",
       "Check that it binds the declared `port` on 0.0.0.0, or give it more time with `health: {within: ...}`."},
      {C::kWrongPort, "WRONG_PORT", "The service listens, but on another port than declared.",
       "Set `port` to the port it listens on."},
      {C::kProbeFailing, "PROBE_FAILING",
       "The service listens, but its health probe did not succeed before the deadline.",
       "Check the probe's answer in the evidence, and the `health` key of its service.yml."},
      {C::kDeadline, "DEADLINE", "A deadline passed.", "Raise `within`, or find out what it waits for in its log."},
      {C::kOutOfMemory, "OUT_OF_MEMORY", "The process needed more memory than its limit.", "Raise `resources.memory`."},
      {C::kDiskFull, "DISK_FULL", "The process filled its private writable layer.", "Raise `resources.disk`."},
      {C::kPortTaken, "PORT_TAKEN", "A port asked for on the host is in use.",
       "Free the port, or leave `host_port` out so that a free one is chosen."},
      {C::kTooManyProcesses, "TOO_MANY_PROCESSES", "The process limit was reached.", "Raise `resources.processes`."},
      {C::kQuotaExceeded, "QUOTA_EXCEEDED", "A quota of the cluster leaves no room for it.",
       "Take down what is not needed, or have the quota raised that the message names."},
      {C::kUnschedulable, "UNSCHEDULABLE", "No machine of the cluster takes it.",
       "The message says what each machine lacks: lower `resources`, or add machines."},
      {C::kEvicted, "EVICTED", "Its machine ran out of something and ended it.",
       "The message names what; give it a limit that it keeps, or use larger machines."},
      {C::kVolumePending, "VOLUME_PENDING", "A volume that it needs is not there.",
       "See the message: usually no provisioner serves the storage class."},
      {C::kTestsFailed, "TESTS_FAILED", "A test job ended with failed tests.", "Read the report and the job's log."},
      {C::kTestDeadline, "TEST_DEADLINE", "A test job did not end before its deadline.",
       "Raise `within` of the test, or find in its log what hangs."},
      {C::kTestBroken, "TEST_BROKEN", "A test job could not run to its end.", "Read the job's log."},
      {C::kEngineUnavailable, "ENGINE_UNAVAILABLE", "The engine cannot create environments on this host.",
       "Run `mayfly doctor`."},
      {C::kScopeLost, "ENVIRONMENT_LOST", "The environment's place vanished without being asked to.",
       "The machine was restarted or somebody killed it: create it again."},
      {C::kTeardownBlocked, "TEARDOWN_BLOCKED", "Something could not be removed.",
       "The message names it; mayfly goes on trying."},
      {C::kDependencyFailed, "DEPENDENCY_FAILED", "Not started because something it needs failed.",
       "Mend the named node first."},
      {C::kHostLimit, "HOST_LIMIT", "The host refused a resource.",
       "See the message: descriptors, processes or disk of the host."},
      {C::kAdmissionDenied, "ADMISSION_DENIED", "A policy of the cluster, or of mayfly for clusters, refuses it.",
       "The message names the policy; change the service, or talk to who runs the cluster."},
      {C::kScopeTerminating, "NAMESPACE_TERMINATING", "Somebody else is deleting the environment's kube namespace.",
       "Create the environment again."},
      {C::kAccountMissing, "SERVICE_ACCOUNT_MISSING", "The environment's service account is not there.",
       "Somebody has deleted it: create the environment again."},
      {C::kMachineLost, "MACHINE_LOST", "The machine under it does not answer any more.",
       "Create the environment again; the cluster will choose another machine."},
      {C::kServerUnreached, "SERVER_UNREACHED", "Its pod runs, but cannot call the server.",
       "Start the server with --gate-relay (MAYFLY_GATE_RELAY=1), or with --gate-listen and an address that pods "
       "reach."},
      {C::kSpecInvalid, "SPEC_INVALID", "The spec has errors.", "Run `mayfly lint`."},
      {C::kUnsupported, "UNSUPPORTED", "The spec asks for something that this engine cannot do.", "See the message."},
      {C::kCancelled, "CANCELLED", "Somebody cancelled it.", ""},
      {C::kSuperseded, "SUPERSEDED", "A newer request for the same environment took its place.", ""},
      {C::kExpired, "EXPIRED", "Its time to live passed.", "Give it more with `mayfly extend` or `--ttl`."},
      {C::kInternal, "INTERNAL", "A defect in mayfly.", "Please report it with the report and the server's log."},
  };
  return table;
}

const CauseInfo& InfoFor(CauseCode code) {
  const auto& table = CauseTable();
  const auto it = std::find_if(table.begin(), table.end(), [&](const CauseInfo& info) { return info.code == code; });
  return it == table.end() ? table.back() : *it;
}

CauseCode CauseCodeFromName(absl::string_view name) {
  for (const CauseInfo& info : CauseTable()) {
    if (info.name == name) return info.code;
  }
  return CauseCode::kNone;
}

std::string FormatCause(const Cause& cause) {
  if (cause.empty()) return "";
  std::string out;
  if (!cause.node.empty()) absl::StrAppend(&out, EscapeLine(cause.node), ": ");
  absl::StrAppend(&out, InfoFor(cause.code).name, cause.inferred ? " (inferred)" : "");
  if (!cause.message.empty()) absl::StrAppend(&out, ": ", EscapeLine(cause.message));
  return out;
}

}  // namespace mayfly
