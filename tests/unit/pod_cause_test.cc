// Causes from what clusters say of pods, in their own words, as Kubernetes 1.34 with containerd 2 has them.
#include "server/engine/kubernetes/pod_cause.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/claims.h"
#include "server/engine/kubernetes/client/api_error.h"
#include "server/engine/kubernetes/pod_event.h"
#include "server/engine/kubernetes/rights.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using Kind = PodVerdict::Kind;

constexpr char kImage[] = "192.0.2.1:5000/nobody/nothing:1";

json Pod(const json& state, const std::string& image = kImage) {
  return {{"status",
           {{"phase", "Pending"},
            {"conditions", json::array({{{"type", "PodScheduled"}, {"status", "True"}}})},
            {"containerStatuses", json::array({{{"name", "service"}, {"image", image}, {"state", state}}})}}}};
}

json Waiting(const std::string& reason, const std::string& message, const std::string& image = kImage) {
  return Pod({{"waiting", {{"reason", reason}, {"message", message}}}}, image);
}

json Unscheduled(const std::string& message) {
  return {
      {"status",
       {{"phase", "Pending"},
        {"conditions",
         json::array(
             {{{"type", "PodScheduled"}, {"status", "False"}, {"reason", "Unschedulable"}, {"message", message}}})}}}};
}

struct Expected {
  Kind kind;
  CauseCode code;
  std::string message;
};

void Expect(const json& pod, const Expected& expected) {
  const PodVerdict verdict = JudgePod(pod);
  EXPECT_EQ(verdict.kind, expected.kind) << pod.dump(1);
  EXPECT_EQ(InfoFor(verdict.cause.code).name, InfoFor(expected.code).name) << pod.dump(1);
  EXPECT_EQ(verdict.cause.message, expected.message);
}

Expected Image(Kind kind, CauseCode code, const std::string& what, const std::string& image = kImage) {
  return {kind, code, absl::StrCat("image ", image, ": ", what)};
}

const char kNotFound[] =
    "rpc error: code = NotFound desc = failed to pull and unpack image \"192.0.2.1:5000/nobody/nothing:1\": failed to "
    "resolve reference \"192.0.2.1:5000/nobody/nothing:1\": 192.0.2.1:5000/nobody/nothing:1: not found";
const char kUnauthorized[] =
    "failed to pull and unpack image \"192.0.2.1:5002/shop/web:1\": failed to resolve reference "
    "\"192.0.2.1:5002/shop/web:1\": pull access denied, repository does not exist or may require authorization: "
    "authorization failed: no basic auth credentials";
const char kManifests401[] =
    "failed to pull and unpack image \"192.0.2.1:5002/mayfly/workload:1\": failed to resolve reference "
    "\"192.0.2.1:5002/mayfly/workload:1\": pulling from host 192.0.2.1:5002 failed with status code [manifests 1]: 401 "
    "Unauthorized";
const char kUnknownAuthority[] =
    "failed to pull and unpack image \"192.0.2.1:5001/mayfly/workload:1\": failed to resolve reference "
    "\"192.0.2.1:5001/mayfly/workload:1\": failed to do request: Head "
    "\"https://192.0.2.1:5001/v2/mayfly/workload/manifests/1\": x509: certificate signed by unknown authority";
const char kStatus401[] =
    "failed to resolve image: unexpected status from HEAD request to https://192.0.2.1:5002/v2/shop/web/manifests/404: "
    "401 Unauthorized";
const char kForbidden[] =
    "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
    "https://auth.example/token?scope=repository%3Ashop%3Apull: 403 Forbidden";
const char kUntrusted[] =
    "failed to pull and unpack image \"192.0.2.1:5001/shop/web:1\": failed to do request: Head "
    "\"https://192.0.2.1:5001/v2/shop/web/manifests/1\": tls: failed to verify certificate: x509: certificate signed "
    "by "
    "unknown authority";
const char kRefused[] =
    "failed to pull and unpack image \"192.0.2.1:5404/shop/web:1\": failed to do request: Head "
    "\"https://192.0.2.1:5404/v2/shop/web/manifests/1\": dial tcp 192.0.2.1:5404: connect: connection refused";

const std::string kWantsOther = "the registry wants other credentials";
const std::string kNoSuch = "the registry has no such image";
const std::string kNotTrusted = "the registry's certificate is not trusted";
const std::string kNotYet = "it cannot be pulled yet";

TEST(PodCauseTest, APullThatFailsIsToldByWhatTheRegistrySaid) {
  Expect(Waiting("ErrImagePull", kNotFound), Image(Kind::kFailed, CauseCode::kImageNotFound, kNoSuch));
  Expect(Waiting("ErrImagePull", kUnauthorized), Image(Kind::kFailed, CauseCode::kRegistryAccess, kWantsOther));
  Expect(Waiting("ErrImagePull", kStatus401), Image(Kind::kFailed, CauseCode::kRegistryAccess, kWantsOther));
  Expect(Waiting("ErrImagePull", kManifests401), Image(Kind::kFailed, CauseCode::kRegistryAccess, kWantsOther));
  Expect(Waiting("ErrImagePull", kUnknownAuthority),
         Image(Kind::kFailed, CauseCode::kRegistryUnreachable, kNotTrusted));
  Expect(Waiting("ErrImagePull", kForbidden), Image(Kind::kFailed, CauseCode::kRegistryAccess, kWantsOther));
  Expect(Waiting("ErrImagePull", kUntrusted), Image(Kind::kFailed, CauseCode::kRegistryUnreachable, kNotTrusted));
  Expect(Waiting("ErrImagePull", "http: server gave HTTP response to HTTPS client"),
         Image(Kind::kFailed, CauseCode::kRegistryUnreachable, kNotTrusted));
  Expect(Waiting("ErrImagePull", kRefused), Image(Kind::kWaiting, CauseCode::kRegistryUnreachable, kNotYet));
  Expect(Waiting("ErrImagePull", "pull QPS exceeded"), Image(Kind::kWaiting, CauseCode::kRegistryUnreachable, kNotYet));
  EXPECT_EQ(JudgePod(Waiting("ErrImagePull", kNotFound)).cause.evidence, std::vector<std::string>{kNotFound});
}

TEST(PodCauseTest, ABackOffSaysWhatTheLastTrySaid) {
  const auto after = [](const char* error) {
    return Waiting("ImagePullBackOff", absl::StrCat("Back-off pulling image \"", kImage, "\": ErrImagePull: ", error));
  };
  Expect(after(kNotFound), Image(Kind::kFailed, CauseCode::kImageNotFound, kNoSuch));
  Expect(after(kUnauthorized), Image(Kind::kFailed, CauseCode::kRegistryAccess, kWantsOther));
  Expect(after(kUntrusted), Image(Kind::kFailed, CauseCode::kRegistryUnreachable, kNotTrusted));
  Expect(after(kRefused), Image(Kind::kWaiting, CauseCode::kRegistryUnreachable, kNotYet));
}

TEST(PodCauseTest, ABackOffWithoutAReasonIsNoOtherCauseThanTheTryBefore) {
  const json vague = Waiting("ImagePullBackOff", absl::StrCat("Back-off pulling image \"", kImage, "\""));
  Expect(vague, Image(Kind::kWaiting, CauseCode::kRegistryUnreachable, kNotYet));
  const Cause before = JudgePod(Waiting("ErrImagePull", kRefused)).cause;
  const Cause after = JudgePod(vague).cause;
  EXPECT_EQ(before.code, after.code);
  EXPECT_EQ(before.message, after.message);
  EXPECT_TRUE(after.evidence.empty()) << "it has nothing new to say, so what was said before is kept";
  EXPECT_FALSE(before.evidence.empty());
}

TEST(PodCauseTest, WordsInNamesOfImagesAreNoReasons) {
  for (const std::string image : {"shop/forbidden:404", "192.0.2.1:401/x509/certificate:403", "unauthorized",
                                  "errors/manifest-unknown:tls", "host:404/a:401"}) {
    const std::string dial = absl::StrCat("failed to resolve reference \"", image, "\": ", image,
                                          ": dial tcp 192.0.2.1:404: connect: connection refused");
    const Expected later = Image(Kind::kWaiting, CauseCode::kRegistryUnreachable, kNotYet, image);
    Expect(Waiting("ErrImagePull", dial, image), later);
    Expect(Waiting("ImagePullBackOff", absl::StrCat("Back-off pulling image \"", image, "\""), image), later);
    Expect(Waiting("ErrImagePull", absl::StrCat("failed to pull \"", image, "\": ", image, ": not found"), image),
           Image(Kind::kFailed, CauseCode::kImageNotFound, kNoSuch, image));
  }
}

TEST(PodCauseTest, WhatCanNeverRunHasFailed) {
  Expect(Waiting("InvalidImageName",
                 "Failed to apply default image tag \"UPPER:::x\": couldn't parse image name \"UPPER:::x\": invalid "
                 "reference format",
                 "UPPER:::x"),
         {Kind::kFailed, CauseCode::kImageName, "'UPPER:::x' is no name of an image"});
  Expect(Waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"),
         {Kind::kFailed, CauseCode::kImageNotFound, absl::StrCat("image ", kImage, " is not on the machine")});
  Expect(Waiting("CreateContainerConfigError", "secret \"web-1\" not found"),
         {Kind::kFailed, CauseCode::kConfigMissing, "secret \"web-1\" not found"});
  Expect(Waiting("CreateContainerConfigError", "couldn't find key env.PASSWORD in Secret mf-shop-1/web-1"),
         {Kind::kFailed, CauseCode::kConfigMissing, "couldn't find key env.PASSWORD in Secret mf-shop-1/web-1"});
  const std::string no_program = "failed to create containerd task: exec: \"/.mayfly/gate\": permission denied";
  for (const char* reason : {"CreateContainerError", "RunContainerError", "StartError"}) {
    Expect(Waiting(reason, no_program), {Kind::kFailed, CauseCode::kStartFailed, no_program});
  }
}

TEST(PodCauseTest, WhatIsOnItsWayIsFine) {
  Expect(Waiting("ContainerCreating", ""), {Kind::kFine, CauseCode::kNone, ""});
  Expect(Waiting("PodInitializing", ""), {Kind::kFine, CauseCode::kNone, ""});
  Expect(Pod({{"running", {{"startedAt", "2026-01-01T00:00:00Z"}}}}), {Kind::kFine, CauseCode::kNone, ""});
  for (const json& odd : {json(), json(7), json::array(), json{{"status", 7}}, json{{"status", {{"conditions", 7}}}}}) {
    Expect(odd, {Kind::kFine, CauseCode::kNone, ""});
  }
}

TEST(PodCauseTest, AnEndNamesItsReason) {
  const json killed = Pod({{"terminated", {{"exitCode", 137}, {"reason", "OOMKilled"}}}});
  Expect(killed, {Kind::kEnded, CauseCode::kOutOfMemory, "used all of its memory and was ended by the kernel"});
  EXPECT_EQ(JudgePod(killed).signal, 9);

  const json failed = Pod({{"terminated", {{"exitCode", 3}, {"reason", "Error"}}}});
  Expect(failed, {Kind::kEnded, CauseCode::kNone, ""});
  EXPECT_EQ(JudgePod(failed).exit_code, 3);
  EXPECT_EQ(JudgePod(failed).signal, 0);

  Expect(Pod({{"terminated", {{"exitCode", 128}, {"reason", "StartError"}, {"message", "no such file"}}}}),
         {Kind::kEnded, CauseCode::kStartFailed, "no such file"});

  json evicted = Pod({{"terminated", {{"exitCode", 137}, {"reason", "Error"}}}});
  evicted["status"]["phase"] = "Failed";
  evicted["status"]["reason"] = "Evicted";
  evicted["status"]["message"] = "The node was low on resource: memory.";
  Expect(evicted, {Kind::kEnded, CauseCode::kEvicted, "The node was low on resource: memory."});
  evicted["status"].erase("containerStatuses");
  Expect(evicted, {Kind::kEnded, CauseCode::kEvicted, "The node was low on resource: memory."});

  evicted["status"]["reason"] = "NodeShutdown";
  evicted["status"]["message"] = "Pod was terminated in response to imminent node shutdown.";
  Expect(evicted, {Kind::kEnded, CauseCode::kMachineLost, "Pod was terminated in response to imminent node shutdown."});

  evicted["status"]["reason"] = "SysctlForbidden";
  evicted["status"]["message"] = "forbidden sysctl";
  Expect(evicted, {Kind::kEnded, CauseCode::kStartFailed, "SysctlForbidden: forbidden sysctl"});
}

TEST(PodCauseTest, APodThatNoMachineTakesWaitsWithTheSchedulersReason) {
  const std::string taints =
      "0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: ml}. preemption: 0/3 nodes are available: "
      "3 "
      "Preemption is not helpful for scheduling.";
  Expect(Unscheduled(taints), {Kind::kWaiting, CauseCode::kUnschedulable, taints});
  const std::string cpu =
      "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: "
      "1 "
      "No preemption victims found for incoming pod.";
  Expect(Unscheduled(cpu), {Kind::kWaiting, CauseCode::kUnschedulable, cpu});
  const std::string unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";
  Expect(Unscheduled(unbound), {Kind::kWaiting, CauseCode::kVolumePending, unbound});
  const std::string missing = "0/1 nodes are available: persistentvolumeclaim \"data\" not found.";
  Expect(Unscheduled(missing), {Kind::kWaiting, CauseCode::kVolumePending, missing});
}

void ExpectDeletion(const json& pod, CauseCode code, const std::string& message) {
  const Cause cause = CauseOfDeletion(pod);
  EXPECT_EQ(InfoFor(cause.code).name, InfoFor(code).name) << pod.dump(1);
  EXPECT_EQ(cause.message, message);
}

TEST(PodCauseTest, ADeletionSaysWhoseItIs) {
  json pod = Pod({{"running", json::object()}});
  pod["metadata"]["name"] = "web-1";
  ExpectDeletion(pod, CauseCode::kNone, "");
  pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  ExpectDeletion(pod, CauseCode::kScopeLost, "somebody deleted its pod web-1");
  const auto disrupted = [&pod](const char* reason, const char* message) {
    json out = pod;
    out["status"]["conditions"].push_back(
        {{"type", "DisruptionTarget"}, {"status", "True"}, {"reason", reason}, {"message", message}});
    return out;
  };
  const char evicted[] = "Eviction API: evicting";
  ExpectDeletion(disrupted("EvictionByEvictionAPI", evicted), CauseCode::kEvicted,
                 absl::StrCat("its pod was evicted on request, as when a machine is drained: ", evicted));
  const char tainted[] = "Taint manager: deleting due to NoExecute taint";
  ExpectDeletion(disrupted("DeletionByTaintManager", tainted), CauseCode::kMachineLost,
                 absl::StrCat("its machine does not answer or is being emptied: ", tainted));
  const char orphaned[] = "PodGC: node no longer exists";
  ExpectDeletion(disrupted("DeletionByPodGC", orphaned), CauseCode::kMachineLost,
                 absl::StrCat("its machine is gone: ", orphaned));
  const char pressed[] = "The node was low on resource: memory.";
  ExpectDeletion(disrupted("TerminationByKubelet", pressed), CauseCode::kEvicted, pressed);
  ExpectDeletion(json(7), CauseCode::kNone, "");
}

void ExpectRefusal(int http, const char* reason, const std::string& message, CauseCode code) {
  kube::ApiFailure failure;
  failure.http = http;
  failure.reason = reason;
  failure.message = message;
  const Cause cause = CauseOfRefusal(kube::StatusOf(failure, "create pods/web-1 in ns/mf-shop-1"));
  EXPECT_EQ(InfoFor(cause.code).name, InfoFor(code).name) << message;
  EXPECT_EQ(cause.message, message);
}

TEST(PodCauseTest, ARefusalSaysWhoRefused) {
  ExpectRefusal(
      403, "Forbidden",
      "pods \"web-1\" is forbidden: exceeded quota: mayfly, requested: pods=1, used: pods=500, limited: pods=500",
      CauseCode::kQuotaExceeded);
  ExpectRefusal(403, "Forbidden",
                "pods \"web-1\" is forbidden: failed quota: mem: must specify limits.memory for: service",
                CauseCode::kQuotaExceeded);
  ExpectRefusal(403, "Forbidden",
                "pods \"web-1\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi",
                CauseCode::kQuotaExceeded);
  ExpectRefusal(403, "Forbidden",
                "pods \"web-1\" is forbidden: error looking up service account mf-shop-1/mayfly: serviceaccount "
                "\"mayfly\" not found",
                CauseCode::kAccountMissing);
  ExpectRefusal(403, "Forbidden",
                "pods \"web-1\" is forbidden: unable to create new content in namespace mf-shop-1 because it is being "
                "terminated",
                CauseCode::kScopeTerminating);
  ExpectRefusal(500, "InternalError",
                "Internal error occurred: failed calling webhook \"policy.example.com\": failed to call webhook: Post "
                "\"https://policy.example:443/?timeout=10s\": dial tcp: connection refused",
                CauseCode::kAdmissionDenied);
  ExpectRefusal(404, "NotFound", "namespaces \"mf-shop-1\" not found", CauseCode::kScopeTerminating);
  ExpectRefusal(403, "Forbidden",
                "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces "
                "(hostNetwork=true)",
                CauseCode::kAdmissionDenied);
  ExpectRefusal(400, "", "admission webhook \"policy.example.com\" denied the request: images need a signature",
                CauseCode::kAdmissionDenied);
  ExpectRefusal(422, "Invalid",
                "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                CauseCode::kAdmissionDenied);
  ExpectRefusal(503, "ServiceUnavailable", "the server is currently unable to handle the request",
                CauseCode::kEngineUnavailable);
  ExpectRefusal(401, "Unauthorized", "Unauthorized", CauseCode::kEngineUnavailable);
  ExpectRefusal(422, "Invalid", "Pod \"web-1\" is invalid: spec.hostname: Invalid value", CauseCode::kStartFailed);
}

TEST(PodCauseTest, AWebhooksWordsAreNoQuotaAndNoAccount) {
  for (const char* words : {"exceeded quota of team a", "service account mayfly not found", "is being terminated"}) {
    ExpectRefusal(403, "Forbidden", absl::StrCat("admission webhook \"x.example\" denied the request: ", words),
                  CauseCode::kAdmissionDenied);
  }
}

json ClaimEvent(const char* type, const char* reason, const char* message) {
  return {{"type", type},
          {"reason", reason},
          {"message", message},
          {"involvedObject", {{"kind", "PersistentVolumeClaim"}, {"name", "db.data"}}}};
}

TEST(PodCauseTest, AClaimsEventsSayWhyItsVolumeIsNotThere) {
  const auto judge = [](const char* type, const char* reason, const char* message, Kind kind) {
    const PodVerdict verdict = JudgeClaimEvent(ClaimEvent(type, reason, message));
    EXPECT_EQ(verdict.kind, kind) << reason;
    if (kind == Kind::kFine) return;
    EXPECT_EQ(verdict.cause.code, CauseCode::kVolumePending);
    EXPECT_EQ(verdict.cause.message, absl::StrCat("its volume db.data is not there: ", message));
    EXPECT_EQ(verdict.cause.evidence,
              std::vector<std::string>{absl::StrCat("PersistentVolumeClaim db.data: ", reason, ": ", message)});
  };
  judge("Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding", Kind::kFine);
  judge("Normal", "ProvisioningSucceeded", "Successfully provisioned volume pvc-1", Kind::kFine);
  judge("Normal", "ExternalProvisioning", "Waiting for a volume to be created", Kind::kWaiting);
  judge("Warning", "ProvisioningFailed", "the disk is full", Kind::kWaiting);
  judge("Warning", "ProvisioningFailed", "storageclass.storage.k8s.io \"x\" not found", Kind::kFailed);
  judge("Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set",
        Kind::kFailed);
}

TEST(PodCauseTest, EventsOfOtherThingsAreNoTroubleOfAClaim) {
  json event = ClaimEvent("Warning", "Failed", "x");
  event["involvedObject"]["kind"] = "Pod";
  for (const json& other : {event, json(), json("x"), json::array(), json{{"involvedObject", 1}}}) {
    EXPECT_EQ(JudgeClaimEvent(other).kind, Kind::kFine) << other;
  }
}

PodEventVerdict OfWarning(const std::string& reason, const std::string& message) {
  return JudgePodEvent({{"type", "Warning"},
                        {"reason", reason},
                        {"message", message},
                        {"involvedObject", {{"kind", "Pod"}, {"name", "web-1"}}}});
}

TEST(PodEventTest, AnObjectThatIsNotThereIsNamedForALookAtIt) {
  const PodEventVerdict gate =
      OfWarning("FailedMount", "MountVolume.SetUp failed for volume \"gate\" : configmap \"mayfly-gate\" not found");
  EXPECT_EQ(gate.missing, "configmaps/mayfly-gate");
  EXPECT_EQ(gate.verdict.kind, PodVerdict::Kind::kFailed);
  EXPECT_EQ(gate.verdict.cause.code, CauseCode::kConfigMissing);
  EXPECT_EQ(OfWarning("FailedMount", "x : secret \"web-1\" not found").missing, "secrets/web-1");
  // Nothing but a name becomes part of a path.
  for (const char* name : {"../x", "", "a/b", "A?b"}) {
    EXPECT_EQ(OfWarning("FailedMount", absl::StrCat("x : secret \"", name, "\" not found")).missing, "") << name;
  }
}

TEST(PodEventTest, WhatMayPassIsWaitedForAndWhatPassesByItselfIsFine) {
  using Kind = PodVerdict::Kind;
  EXPECT_EQ(
      OfWarning("FailedMount", "failed to sync configmap cache: timed out waiting for the condition").verdict.kind,
      Kind::kFine);
  EXPECT_EQ(OfWarning("FailedMount", "object \"x\"/\"y\" not registered").verdict.kind, Kind::kFine);
  EXPECT_EQ(OfWarning("FailedMount", "nfs: no route").verdict.cause.code, CauseCode::kVolumePending);
  EXPECT_EQ(OfWarning("FailedAttachVolume", "in use by another node").verdict.kind, Kind::kWaiting);
  EXPECT_EQ(OfWarning("FailedCreatePodSandBox", "plugin type=\"bridge\" failed").verdict.kind, Kind::kWaiting);
  EXPECT_EQ(OfWarning("FailedScheduling", "0/1 nodes are available").verdict.cause.code, CauseCode::kUnschedulable);
  EXPECT_EQ(OfWarning("Unhealthy", "x").verdict.kind, Kind::kFine);
  EXPECT_EQ(JudgePodEvent(nlohmann::json()).verdict.kind, Kind::kFine);
}

TEST(RightsTest, WhatNoRuleAllowsIsNamed) {
  const auto missing = [](const json& rules) { return MissingRights({{"resourceRules", rules}}); };
  EXPECT_TRUE(missing({{{"apiGroups", {"*"}}, {"resources", {"*"}}, {"verbs", {"*"}}}}).empty());
  const json core = {{"apiGroups", {""}}, {"resources", {"*"}}, {"verbs", {"*"}}};
  const json slices = {
      {"apiGroups", {"discovery.k8s.io"}}, {"resources", {"endpointslices"}}, {"verbs", {"get", "create"}}};
  const json policies = {{"apiGroups", {"networking.k8s.io"}}, {"resources", {"networkpolicies"}}, {"verbs", {"*"}}};
  const json workloads = {{"apiGroups", {"apps"}}, {"resources", {"*"}}, {"verbs", {"*"}}};
  EXPECT_EQ(missing({core, slices, policies, workloads}),
            std::vector<std::string>{"patch endpointslices.discovery.k8s.io"});
  // A rule for one object by its name says nothing of the others.
  json named = core;
  named["resourceNames"] = {"x"};
  EXPECT_EQ(missing({named, slices, policies}).front(), "get namespaces");
  EXPECT_FALSE(MissingRights(json()).empty());
}

}  // namespace
}  // namespace mayfly::kubernetes
