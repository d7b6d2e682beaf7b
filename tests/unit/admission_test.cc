// What mayfly refuses to send to a cluster, and that it refuses nothing of what it makes.
#include "server/engine/kubernetes/admission.h"

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/kubernetes/egress_objects.h"
#include "server/engine/kubernetes/ingress_objects.h"
#include "server/engine/kubernetes/pod_cause.h"
#include "server/engine/kubernetes/pull_secret.h"
#include "server/engine/kubernetes/workload_objects.h"
#include "tests/support/random_process.h"
#include "tests/support/seed.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

const Place kPlace{"mf-shop-1", "test", "0123456789abcdef"};

ProcessSpec Process() {
  ProcessSpec process;
  process.argv = {"/bin/app"};
  process.image = "app:1";
  process.variables = {{"A", "b"}, {"PASSWORD", "secret"}};
  process.secrets = {"PASSWORD"};
  process.files = {{"/etc/app.conf", "x", 0444}};
  process.ports = {{"http", 80}};
  process.resources.memory_bytes = 64 << 20;
  return process;
}

PodOptions Options() {
  return {"192.0.2.1:7000", "token", "192.0.2.1:5000"};
}

Creation Like(const Creation& other, const char* api, const char* kind, const char* path, const char* spec) {
  Creation made{absl::StrCat(path, "/namespaces/", kPlace.scope, "/", kind), other.object};
  const std::string name = kind == std::string("ingresses") ? "Ingress" : "PersistentVolumeClaim";
  made.object["apiVersion"] = api;
  made.object["kind"] = name;
  made.object["spec"] = json::parse(spec);
  return made;
}

// One valid object of each kind.
std::map<std::string, Creation> Valid() {
  std::vector<Creation> all = ScopeObjects(kPlace, "gate", "192.0.2.1:7000");
  ScopeSpec scope{.id = "mf-shop-1", .environment = "shop", .owner = "me"};
  scope.expires = absl::UnixEpoch();
  scope.labels = {{"pr", "7"}, {"branch", "søm/é"}};
  all.push_back({"/api/v1/namespaces", NamespaceObject(kPlace, scope)});
  for (Creation& one : PodObjects(kPlace, {kPlace.scope, "web", 1}, Process(), Options())) all.push_back(one);
  for (const bool stateful : {false, true}) {
    ProcessSpec process = Process();
    process.replicas = 3;
    if (stateful) process.volumes = {{"data", "/data", 0}};
    all.push_back(WorkloadObjects(kPlace, {kPlace.scope, "web", 1}, process, Options()).back());
  }
  for (Creation& one : NameObjects(kPlace, "web", Process())) {
    all.push_back(Like(one, "networking.k8s.io/v1", "ingresses", "/apis/networking.k8s.io/v1",
                       R"({"ingressClassName": "nginx", "rules": [{"host": "shop.example", "http": {"paths": [
                         {"path": "/", "pathType": "Prefix",
                          "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}],
                         "tls": [{"hosts": ["shop.example"], "secretName": "tls"}]})"));
    all.push_back(Like(one, "v1", "persistentvolumeclaims", "/api/v1",
                       R"({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})"));
    all.push_back(one);
  }
  all.push_back(EndpointsObject(kPlace, "web", Process(), "10.1.2.3"));
  std::map<std::string, Creation> by_kind;
  for (Creation& one : all) by_kind[one.object["kind"]] = one;
  return by_kind;
}

// "/spec/containers/0/image" -> "spec.containers[0].image".
std::string FieldOf(const std::string& pointer) {
  std::string out;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(pointer.substr(1), '/'))) {
    const std::string key = absl::StrReplaceAll(part, {{"~1", "/"}});
    int index = 0;
    if (absl::SimpleAtoi(key, &index)) {
      absl::StrAppend(&out, "[", key, "]");
    } else if (absl::StrContains(key, '/') || absl::StrContains(key, '.')) {
      absl::StrAppend(&out, "['", key, "']");
    } else {
      absl::StrAppend(&out, out.empty() ? "" : ".", key);
    }
  }
  return out;
}

class AdmissionTest : public testing::Test {
 protected:
  // `changed` is refused because of `pointer`, in words that a user finds it by.
  void ExpectRefused(const Creation& changed, const std::string& pointer) {
    ++refused_;
    const absl::Status status = Admit(kPlace, changed);
    const json& metadata = changed.object["metadata"];
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << pointer << "\n" << changed.object.dump(1);
    EXPECT_THAT(std::string(status.message()),
                StartsWith(absl::StrCat(changed.object.value("kind", ""), " '", metadata.value("name", ""),
                                        "': ", FieldOf(pointer), ": ")));
    EXPECT_EQ(CauseOfRefusal(status).code, CauseCode::kAdmissionDenied);
    EXPECT_THAT(CauseOfRefusal(status).message, HasSubstr(FieldOf(pointer)));
  }
  void ExpectRefused(const std::string& kind, const std::string& pointer, const json& value) {
    Creation changed = valid_.at(kind);
    changed.object[json::json_pointer(pointer)] = value;
    ExpectRefused(changed, pointer);
  }

  static void TearDownTestSuite() {
    std::cout << refused_ << " forbidden inputs tried\n";
    if (GTEST_FLAG_GET(filter) == "*") {
      EXPECT_GE(refused_, 300);
    }
  }

  const std::map<std::string, Creation> valid_ = Valid();
  static inline int refused_ = 0;
};

// Kind, place, value: a valid object with just this set.
constexpr char kValues[] =
    R"(
Pod /spec/serviceAccountName "default"
Pod /spec/automountServiceAccountToken true
Pod /spec/enableServiceLinks true
Pod /spec/restartPolicy "Always"
Pod /spec/terminationGracePeriodSeconds -1
Pod /spec/terminationGracePeriodSeconds 100000
Pod /spec/hostname 7
Pod /spec/containers []
Pod /spec/containers {}
Pod /spec/securityContext/runAsNonRoot false
Pod /spec/securityContext/runAsUser 0
Pod /spec/securityContext/runAsUser -1
Pod /spec/securityContext/runAsUser "1000"
Pod /spec/securityContext/runAsUser 18446744073709551615
Pod /spec/securityContext/runAsGroup 0
Pod /spec/securityContext/fsGroup 0
Pod /spec/securityContext/seccompProfile/type "Unconfined"
Pod /spec/securityContext/seccompProfile/type "Localhost"
Pod /spec/securityContext/seccompProfile/localhostProfile "x"
Pod /spec/securityContext/sysctls/0/name "kernel.msgmax"
Pod /spec/securityContext/sysctls/0/name "net.ipv4.ip_forward"
Pod /spec/securityContext/sysctls/0/value "1024"
Pod /spec/containers/0/image ""
Pod /spec/containers/0/image null
Pod /spec/containers/0/name "../x"
Pod /spec/containers/0/imagePullPolicy "Never"
Pod /spec/containers/0/command "sh"
Pod /spec/containers/0/args/0 7
Pod /spec/containers/0/ports/0/hostPort 80
Pod /spec/containers/0/ports/0/hostIP "0.0.0.0"
Pod /spec/containers/0/ports/0/containerPort 0
Pod /spec/containers/0/ports/0/protocol "SCTP"
Pod /spec/containers/0/securityContext/allowPrivilegeEscalation true
Pod /spec/containers/0/securityContext/privileged true
Pod /spec/containers/0/securityContext/privileged false
Pod /spec/containers/0/securityContext/procMount "Unmasked"
Pod /spec/containers/0/securityContext/runAsUser 0
Pod /spec/containers/0/securityContext/runAsGroup 0
Pod /spec/containers/0/securityContext/runAsNonRoot false
Pod /spec/containers/0/securityContext/seccompProfile {"type":"Unconfined"}
Pod /spec/containers/0/securityContext/seLinuxOptions {}
Pod /spec/containers/0/securityContext/appArmorProfile {"type":"Unconfined"}
Pod /spec/containers/0/securityContext/windowsOptions {"hostProcess":true}
Pod /spec/containers/0/securityContext/capabilities/add ["NET_ADMIN"]
Pod /spec/containers/0/securityContext/capabilities/add ["SYS_ADMIN"]
Pod /spec/containers/0/securityContext/capabilities/add ["NET_BIND_SERVICE"]
Pod /spec/containers/0/securityContext/capabilities/add []
Pod /spec/containers/0/securityContext/capabilities/drop []
Pod /spec/containers/0/securityContext/capabilities/drop ["NET_RAW"]
Pod /spec/containers/0/resources/claims [{"name":"gpu"}]
Pod /spec/containers/0/resources/limits/hugepages-2Mi "1Gi"
Pod /spec/containers/0/resources/limits/nvidia.com~1gpu "1"
Pod /spec/containers/0/volumeMounts/0/mountPropagation "Bidirectional"
Pod /spec/containers/0/volumeMounts/0/subPathExpr "x"
Pod /spec/containers/0/volumeMounts/0/subPath "/etc"
Pod /spec/containers/0/volumeMounts/0/subPath "a/../../b"
Pod /spec/containers/0/volumeMounts/0/recursiveReadOnly "Enabled"
Pod /spec/containers/0/env/0/valueFrom/fieldRef/fieldPath "status.hostIP"
Pod /spec/containers/0/env/0/valueFrom/fieldRef/fieldPath "spec.nodeName"
Pod /spec/containers/0/env/0/valueFrom {"fieldRef":{"fieldPath":"metadata.name"},"secretKeyRef":{"name":"a","key":"b"}}
Deployment /spec/template/spec/hostNetwork true
Deployment /spec/template/spec/restartPolicy "Never"
Deployment /spec/template/spec/containers/0/securityContext/privileged true
Deployment /spec/template/spec/serviceAccountName "default"
Deployment /spec/template/metadata/labels/mayfly.dev~1scope "another"
Deployment /spec/template/metadata/labels/example.com~1label "x"
Deployment /spec/template/metadata/annotations/mayfly.dev~1identity "another"
Deployment /spec/template/metadata/annotations/sidecar.istio.io~1inject "true"
Deployment /spec/template/metadata/name "x"
Deployment /spec/replicas 0
Deployment /spec/replicas 101
Deployment /spec/selector/matchLabels/app "x"
Deployment /spec/selector/matchExpressions []
Deployment /spec/strategy {}
StatefulSet /spec/template/spec/hostPID true
StatefulSet /spec/volumeClaimTemplates/0/spec/volumeName "of-another"
StatefulSet /spec/volumeClaimTemplates/0/spec/dataSource {}
StatefulSet /spec/volumeClaimTemplates/0/metadata/namespace "kube-system"
StatefulSet /spec/volumeClaimTemplates/0/metadata/annotations/mayfly.dev~1identity "another"
StatefulSet /spec/volumeClaimTemplates/0/metadata/annotations/volume.kubernetes.io~1selected-node "another"
StatefulSet /spec/podManagementPolicy "OrderedReady"
StatefulSet /spec/persistentVolumeClaimRetentionPolicy {}
Pod /spec/containers/0/env/0/valueFrom {"resourceFieldRef":{"resource":"limits.cpu"}} .resourceFieldRef
Pod /spec/containers/0/env/0/valueFrom {"fileKeyRef":{}} .fileKeyRef
Pod /spec/containers/0/env/0/valueFrom {}
Pod /spec/containers/1 {"name":"other","image":"x"} .securityContext
Pod /spec/volumes/0/configMap/defaultMode 2048
Pod /spec/volumes/0/configMap/name "../other"
Pod /spec/volumes/1/emptyDir/medium "HugePages"
Pod /spec/volumes/2/secret/items/0/path "../../etc/passwd"
Pod /spec/volumes/2/secret/items/0/path "/etc/passwd"
Pod /spec/volumes/2/secret/items/0/mode 2541
Pod /metadata/labels/mayfly.dev~1node 7
Service /spec/type "NodePort"
Service /spec/type "LoadBalancer"
Service /spec/type "ExternalName"
Service /spec/clusterIP "10.96.0.1"
Service /spec/clusterIPs ["10.96.0.1"]
Service /spec/externalIPs ["192.0.2.7"]
Service /spec/externalName "example.com"
Service /spec/loadBalancerIP "192.0.2.7"
Service /spec/loadBalancerClass "x"
Service /spec/loadBalancerSourceRanges []
Service /spec/externalTrafficPolicy "Local"
Service /spec/internalTrafficPolicy "Local"
Service /spec/allocateLoadBalancerNodePorts true
Service /spec/healthCheckNodePort 30000
Service /spec/ipFamilies ["IPv6"]
Service /spec/ipFamilyPolicy "PreferDualStack"
Service /spec/sessionAffinity "ClientIP"
Service /spec/sessionAffinityConfig {}
Service /spec/trafficDistribution "PreferClose"
Service /spec/ports/0/nodePort 30080
Service /spec/ports/0/port 0
Service /spec/ports/0/port 65536
Service /spec/ports/0/protocol "SCTP"
Service /spec/selector/app {}
EndpointSlice /addressType "FQDN"
EndpointSlice /addressType "IPv6"
EndpointSlice /endpoints/0/addresses []
EndpointSlice /endpoints/0/addresses/0 "127.0.0.1"
EndpointSlice /endpoints/0/addresses/0 "169.254.169.254"
EndpointSlice /endpoints/0/addresses/0 "0.0.0.0"
EndpointSlice /endpoints/0/addresses/0 "224.0.0.1"
EndpointSlice /endpoints/0/addresses/0 "255.255.255.255"
EndpointSlice /endpoints/0/addresses/0 "example.com"
EndpointSlice /endpoints/0/addresses/0 "10.1"
EndpointSlice /endpoints/0/targetRef {"kind":"Pod"}
EndpointSlice /endpoints/0/nodeName "node"
EndpointSlice /endpoints/0/zone "zone"
EndpointSlice /metadata/labels/kubernetes.io~1service-name "kubernetes"
EndpointSlice /metadata/labels/endpointslice.kubernetes.io~1managed-by "endpointslice-controller.k8s.io"
ServiceAccount /automountServiceAccountToken true
ServiceAccount /secrets [{"name":"token"}]
ServiceAccount /imagePullSecrets []
ServiceAccount /imagePullSecrets [{"name":"mayfly-pull-x"}]
Pod /spec/imagePullSecrets []
Pod /spec/imagePullSecrets [{"name":"other"}] [0].name
Pod /spec/imagePullSecrets [{"name":"mayfly-gate"}] [0].name
Pod /spec/imagePullSecrets [{"name":"mayfly-pull-x","namespace":"other"}] [0].namespace
Pod /spec/imagePullSecrets [{"name":"mayfly-pull-x"},{"name":"mayfly-pull-y"}]
Secret /type "kubernetes.io/dockerconfigjson"
Secret /type "kubernetes.io/dockercfg"
Secret /type "kubernetes.io/service-account-token"
Secret /type "bootstrap.kubernetes.io/token"
Secret /type "helm.sh/release.v1"
Secret /data "x"
ConfigMap /data {"a":1} .a
NetworkPolicy /spec/podSelector {"matchLabels":{"a":"b"}}
NetworkPolicy /spec/policyTypes ["Ingress"]
NetworkPolicy /spec/policyTypes []
NetworkPolicy /spec/ingress/0 {} .from
NetworkPolicy /spec/ingress/0/from []
NetworkPolicy /spec/ingress/0/from/0 {"namespaceSelector":{}} .namespaceSelector
NetworkPolicy /spec/ingress/0/from/0 {"ipBlock":{"cidr":"0.0.0.0/0"}} .ipBlock
NetworkPolicy /spec/egress/0 {} .ports
NetworkPolicy /spec/egress/0/to []
NetworkPolicy /spec/egress/0/to/0 {"namespaceSelector":{}} .namespaceSelector
NetworkPolicy /spec/egress/1/ports/0/port 80
NetworkPolicy /spec/egress/1/ports/0/endPort 100
NetworkPolicy /spec/egress/2/to/0/ipBlock/cidr "0.0.0.0/0"
NetworkPolicy /spec/egress/2/to/0/ipBlock/cidr "10.0.0.0/8"
NetworkPolicy /spec/egress/2/to/0/ipBlock/except []
ResourceQuota /spec/hard/services.nodeports "10"
ResourceQuota /spec/hard/services.loadbalancers "1"
ResourceQuota /spec/scopes ["BestEffort"]
ResourceQuota /spec/scopeSelector {}
LimitRange /spec/limits/0/type "Node"
LimitRange /spec/limits/0/maxLimitRequestRatio {}
PersistentVolumeClaim /spec/volumeName "of-somebody-else"
PersistentVolumeClaim /spec/selector {}
PersistentVolumeClaim /spec/dataSource {}
PersistentVolumeClaim /spec/dataSourceRef {}
PersistentVolumeClaim /spec/volumeMode "Block"
PersistentVolumeClaim /spec/accessModes ["ReadWriteMany"] [0]
PersistentVolumeClaim /spec/accessModes []
PersistentVolumeClaim /spec/volumeAttributesClassName "x"
Ingress /spec/defaultBackend {}
Ingress /spec/rules []
Ingress /spec/rules/0/host ""
Ingress /spec/rules/0/host "*.example.com"
Ingress /spec/rules/0/http/paths/0/backend/resource {}
Ingress /spec/rules/0/http/paths/0/pathType "ImplementationSpecific"
Ingress /spec/tls/0/hosts ["*"] [0]
Namespace /metadata/name "kube-system"
Namespace /metadata/name "default"
Namespace /metadata/labels/pod-security.kubernetes.io~1enforce "privileged"
Namespace /metadata/labels/pod-security.kubernetes.io~1audit "baseline"
Namespace /metadata/labels/pod-security.kubernetes.io~1enforce-version "v1.0"
Namespace /metadata/labels/mayfly.dev~1environment "../x"
Namespace /metadata/labels/mayfly.dev~1environment ""
Namespace /metadata/annotations/mayfly.dev~1label.a*b "x"
Namespace /metadata/annotations/mayfly.dev~1label. "x"
Namespace /metadata/annotations/mayfly.dev~1label.line "x\ny"
Namespace /metadata/annotations/mayfly.dev~1label.1234567890123456789012345678901234567890123456789012345678 "x"
Namespace /spec {"finalizers":[]}
)";

TEST_F(AdmissionTest, AValueThatReachesFurtherIsRefusedWithItsPlace) {
  std::istringstream lines(kValues);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    SCOPED_TRACE(line);
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 2));
    // After the value may stand where inside it the fault is.
    json value = json::parse(parts[2], nullptr, false);
    std::string below;
    if (value.is_discarded()) {
      const size_t cut = parts[2].rfind(' ');
      value = json::parse(parts[2].substr(0, cut));
      below = parts[2].substr(cut + 1);
    }
    if (!below.empty())
      below = absl::StrCat("/", absl::StrReplaceAll(below, {{"].", "/"}, {".", ""}, {"[", ""}, {"]", ""}}));
    Creation changed = valid_.at(parts[0]);
    changed.object[json::json_pointer(parts[1])] = value;
    ExpectRefused(changed, absl::StrCat(parts[1], below));
  }
}

TEST_F(AdmissionTest, CredentialsOfRegistriesStandAloneUnderTheirName) {
  const Creation good =
      PullSecretObject(kPlace, {{"r.example", {"user", "password"}}, {"s.example", {"u", "p"}}}, "salt");
  EXPECT_EQ(Admit(kPlace, good), absl::OkStatus());
  const auto with = [](const char* text) { return json{{".dockerconfigjson", absl::Base64Escape(text)}}; };
  for (const auto& [pointer, value] : std::vector<std::pair<const char*, json>>{
           {"/type", "Opaque"},
           {"/type", "kubernetes.io/service-account-token"},
           {"/metadata/name", "other"},
           {"/data", {{".dockerconfigjson", "e30="}, {"token", "e30="}}},
           {"/data", {{"token", "e30="}}},
           {"/data", {{".dockerconfigjson", "no base64!"}}},
           {"/data", with("{}")},
           {"/data", with("{\"auths\": {}, \"credsStore\": \"x\"}")},
           {"/data", with("{\"auths\": {\"r.example\": {\"auth\": \"eA==\", \"identitytoken\": \"x\"}}}")},
           {"/stringData", {{".dockerconfigjson", "{}"}}}}) {
    Creation changed = good;
    changed.object[json::json_pointer(pointer)] = value;
    const absl::Status refused = Admit(kPlace, changed);
    EXPECT_EQ(absl::StatusCode::kPermissionDenied, refused.code()) << pointer << value;
    EXPECT_FALSE(absl::StrContains(refused.message(), "eA==")) << refused;
  }
  const auto name_of = [](const char* password, const char* salt) {
    return PullSecretObject(kPlace, {{"r.example", {"user", password}}}, salt).object["metadata"]["name"];
  };
  EXPECT_NE(name_of("a", "salt"), name_of("b", "salt"));
  EXPECT_NE(name_of("a", "salt"), name_of("a", "other salt"));
}

TEST_F(AdmissionTest, AFieldThatMayflyNeverSetsIsRefusedAtEveryLevel) {
  const std::map<std::string, std::string> unknown = {
      {"/spec",
       "affinity dnsConfig dnsPolicy ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers "
       "hostnameOverride initContainers nodeName nodeSelector os overhead preemptionPolicy priority "
       "priorityClassName readinessGates resourceClaims resources runtimeClassName schedulerName schedulingGates "
       "serviceAccount setHostnameAsFQDN shareProcessNamespace tolerations topologySpreadConstraints fieldOfTomorrow"},
      {"/spec/securityContext",
       "appArmorProfile fsGroupChangePolicy seLinuxChangePolicy seLinuxOptions supplementalGroups "
       "supplementalGroupsPolicy windowsOptions fieldOfTomorrow"},
      {"/spec/containers/0",
       "envFrom lifecycle livenessProbe readinessProbe startupProbe resizePolicy restartPolicy restartPolicyRules "
       "stdin "
       "stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices fieldOfTomorrow"},
      {"/spec/volumes/1",
       "hostPath projected downwardAPI csi nfs iscsi cephfs rbd glusterfs gitRepo flexVolume flocker fc cinder "
       "awsElasticBlockStore gcePersistentDisk azureDisk azureFile vsphereVolume quobyte portworxVolume scaleIO "
       "storageos photonPersistentDisk ephemeral image fieldOfTomorrow"}};
  for (const auto& [where, names] : unknown) {
    for (const std::string& name : std::vector<std::string>(absl::StrSplit(names, ' '))) {
      ExpectRefused("Pod", absl::StrCat(where, "/", name), json::object());
    }
  }
}

TEST_F(AdmissionTest, MetadataOfEveryKindIsOursAndNothingElse) {
  for (const auto& [kind, creation] : valid_) {
    ASSERT_EQ(Admit(kPlace, creation), absl::OkStatus()) << kind;
    ExpectRefused(kind, "/metadata/ownerReferences", json::array());
    ExpectRefused(kind, "/metadata/finalizers", json::array({"example.com/stay"}));
    ExpectRefused(kind, "/metadata/generateName", "x-");
    ExpectRefused(kind, "/metadata/namespace", "kube-system");
    ExpectRefused(kind, "/metadata/labels/mayfly.dev~1scope", "another");
    ExpectRefused(kind, "/metadata/labels/mayfly.dev~1installation", "another");
    ExpectRefused(kind, "/metadata/labels/app.kubernetes.io~1managed-by", "Helm");
    ExpectRefused(kind, "/metadata/labels/example.com~1label", "x");
    ExpectRefused(kind, "/metadata/annotations/mayfly.dev~1identity", "another");
    ExpectRefused(kind, "/metadata/annotations/nginx.ingress.kubernetes.io~1server-snippet", "x");
    ExpectRefused(kind, "/status", json::object());
    ExpectRefused(kind, "/apiVersion", "v1beta1");
    if (kind != "Namespace") ExpectRefused(kind, "/metadata/name", "../../kube-system");
  }
}

TEST_F(AdmissionTest, KindsThatMayflyDoesNotMakeAreRefused) {
  const char* const kinds =
      "ClusterRole ClusterRoleBinding Role RoleBinding CustomResourceDefinition MutatingWebhookConfiguration "
      "ValidatingWebhookConfiguration MutatingAdmissionPolicy ValidatingAdmissionPolicy "
      "ValidatingAdmissionPolicyBinding APIService Node PersistentVolume StorageClass CSIDriver VolumeAttachment "
      "PriorityClass RuntimeClass IngressClass CertificateSigningRequest Lease Event Endpoints PodTemplate "
      "ReplicationController DaemonSet ReplicaSet Job CronJob HorizontalPodAutoscaler "
      "PodDisruptionBudget TokenRequest TokenReview SubjectAccessReview Binding Eviction FlowSchema "
      "PriorityLevelConfiguration ResourceClaim DeviceClass ServiceCIDR IPAddress List pod Pods Anything";
  for (const std::string& kind : std::vector<std::string>(absl::StrSplit(kinds, ' '))) {
    ExpectRefused("Pod", "/kind", kind);
  }
}

TEST_F(AdmissionTest, WhatMakesAnObjectSafeMustBeThere) {
  const char* const required =
      "Pod/spec/serviceAccountName Pod/spec/automountServiceAccountToken Pod/spec/restartPolicy Pod/spec/containers "
      "Pod/spec/securityContext Pod/spec/securityContext/runAsNonRoot Pod/spec/securityContext/runAsUser "
      "Pod/spec/securityContext/seccompProfile Pod/spec/securityContext/seccompProfile/type "
      "Pod/spec/containers/0/securityContext Pod/spec/containers/0/securityContext/allowPrivilegeEscalation "
      "Pod/spec/containers/0/securityContext/capabilities Pod/spec/containers/0/securityContext/capabilities/drop "
      "Pod/spec/containers/0/image Pod/spec Pod/metadata/labels Pod/metadata/annotations Pod/metadata/namespace "
      "Pod/apiVersion Pod/metadata/labels/mayfly.dev~1node ServiceAccount/automountServiceAccountToken "
      "NetworkPolicy/spec/policyTypes Ingress/spec/rules/0/host "
      "EndpointSlice/metadata/labels/kubernetes.io~1service-name "
      "Namespace/metadata/labels/pod-security.kubernetes.io~1enforce Namespace/metadata/annotations "
      "ResourceQuota/spec/hard/services.nodeports";
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(required, ' '))) {
    SCOPED_TRACE(line);
    const size_t slash = line.find('/');
    const json::json_pointer at(line.substr(slash));
    Creation changed = valid_.at(line.substr(0, slash));
    changed.object.at(at.parent_pointer()).erase(at.back());
    ExpectRefused(changed, line.substr(slash));
  }
}

TEST_F(AdmissionTest, AnotherPathThanTheObjectsOwnIsRefused) {
  for (const auto& [kind, creation] : valid_) {
    Creation elsewhere = creation;
    elsewhere.collection = "/api/v1/namespaces/kube-system/pods";
    ExpectRefused(elsewhere, "/path");
    elsewhere.collection = absl::StrCat(creation.collection, "/../../secrets");
    ExpectRefused(elsewhere, "/path");
  }
}

TEST_F(AdmissionTest, AClustersOwnNamespacesAreNoPlaceForAnEnvironment) {
  for (const char* scope : {"kube-system", "default", "kube-public", "a/b", "", "UPPER"}) {
    const Place place{scope, "test", "0123"};
    ++refused_;
    EXPECT_EQ(Admit(place, {"/api/v1/namespaces", NamespaceObject(place, {scope, "shop", "me"})}).code(),
              absl::StatusCode::kPermissionDenied);
  }
}

// In a kube namespace that somebody else made, and where others may have objects, too.
TEST_F(AdmissionTest, InAGivenNamespaceOnlyWhatIsTheEnvironmentsIsWritten) {
  const Place given{kPlace.scope, kPlace.installation, kPlace.identity, "team-mf-1"};
  const std::vector<Creation> all = ScopeObjects(given, "gate", "192.0.2.1:7000");
  EXPECT_EQ(AdmitAll(given, all), absl::OkStatus());
  for (const Creation& one : all) {
    EXPECT_THAT(one.collection, HasSubstr("/namespaces/team-mf-1/"));
    EXPECT_EQ(one.object["metadata"]["namespace"], "team-mf-1");
    EXPECT_EQ(one.object["metadata"]["labels"][kScope], kPlace.scope);
    // The same objects belong nowhere else.
    ++refused_;
    EXPECT_EQ(Admit(kPlace, one).code(), absl::StatusCode::kPermissionDenied);
    if (one.object["kind"] != "NetworkPolicy") continue;
    for (const json& pods : {json::object(), json{{"matchLabels", {{kScope, "another"}}}}}) {
      Creation wide = one;
      wide.object["spec"]["podSelector"] = pods;
      ++refused_;
      EXPECT_THAT(std::string(Admit(given, wide).message()), HasSubstr("spec.podSelector"));
    }
  }
  // A service's own policies choose its pods, and the environment's only.
  ProcessSpec process;
  process.egress = {"203.0.113.7:443"};
  std::vector<Creation> own = EgressObjects(given, {kPlace.scope, "web", 1}, process);
  const std::vector<Creation> in = IngressObjects(given, "web", 80, "web-shop", {"example.com", "", "ingress", false});
  own.insert(own.end(), in.begin(), in.end());
  EXPECT_EQ(AdmitAll(given, own), absl::OkStatus());
  for (Creation one : own) {
    if (one.object["kind"] != "NetworkPolicy") continue;
    one.object["spec"]["podSelector"]["matchLabels"].erase(kScope);
    ++refused_;
    EXPECT_THAT(std::string(Admit(given, one).message()), HasSubstr("the environment's pods"));
  }
  for (const char* kind : {"Namespace", "ResourceQuota", "LimitRange"}) {
    Creation wide = valid_.at(kind);
    wide.object["metadata"]["namespace"] = "team-mf-1";
    if (std::string(kind) == "Namespace") {
      wide = {"/api/v1/namespaces", NamespaceObject(given, {kPlace.scope, "shop", "me"})};
    }
    ++refused_;
    EXPECT_EQ(Admit(given, wide).code(), absl::StatusCode::kPermissionDenied) << kind;
  }
}

TEST_F(AdmissionTest, WhatIsNoObjectIsRefused) {
  for (const json& value : {json(), json("x"), json::array(), json(7), json::object(), json{{"kind", "Pod"}},
                            json{{"kind", "Pod"}, {"metadata", 7}}, json{{"kind", 7}}}) {
    EXPECT_EQ(Admit(kPlace, {"/api/v1/namespaces", value}).code(), absl::StatusCode::kPermissionDenied) << value;
  }
}

TEST_F(AdmissionTest, AUserThatIsRootIsRefusedAndTheSpecsWordsDoNotMakeItAnotherCause) {
  ProcessSpec process = Process();
  process.user = "0";
  process.image = "service account not found";
  const absl::Status status = AdmitAll(kPlace, PodObjects(kPlace, {kPlace.scope, "web", 1}, process, Options()));
  EXPECT_EQ(CauseOfRefusal(status).code, CauseCode::kAdmissionDenied);
  EXPECT_EQ(CauseOfRefusal(status).message,
            "Pod 'web-1': spec.securityContext.runAsUser: must be from 1 to 2147483647, not 0");
}

TEST_F(AdmissionTest, EverythingThatIsMadeOfValidSpecsIsAdmitted) {
  std::mt19937 random(TestSeed());
  for (int i = 0; i < 500; ++i) {
    const ProcessSpec process = RandomProcess(random);
    const std::string node = i % 7 == 0 ? "web.seed" : "web";
    std::vector<Creation> all = PodObjects(kPlace, {kPlace.scope, node, 1 + i}, process, Options());
    for (Creation& one : NameObjects(kPlace, node, process)) all.push_back(one);
    all.push_back(EndpointsObject(kPlace, node, process, "10.244.0.7"));
    ASSERT_EQ(AdmitAll(kPlace, all), absl::OkStatus()) << "process " << i;
  }
}

}  // namespace
}  // namespace mayfly::kubernetes
