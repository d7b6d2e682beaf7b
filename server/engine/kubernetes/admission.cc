#include "server/engine/kubernetes/admission.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/admission_given.h"
#include "server/engine/kubernetes/admission_shape.h"
#include "server/engine/kubernetes/admission_traffic.h"
#include "server/engine/kubernetes/pull_secret.h"
#include "server/engine/kubernetes/scope_notes.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
// NOLINTNEXTLINE(google-build-using-namespace): without a prefix before each word the tables below can be read.
using namespace shape;

constexpr bool kMust = true;
constexpr int64_t kMostSeconds = 3600;
constexpr int64_t kHighestId = 2147483647;
constexpr size_t kLongestLabel = 256;

Shape PortNumber() {
  return Whole(1, 65535);
}

Shape Protocol() {
  return Among({"TCP", "UDP"});
}

Shape Amounts() {
  return Fields({{"cpu", Text()}, {"memory", Text()}, {"ephemeral-storage", Text()}});
}

Shape Variable() {
  const Shape key = Fields({{"name", Name(), kMust}, {"key", Text(), kMust}, {"optional", Flag()}});
  // Any other field tells of the machine under the pod.
  const Shape own_name = Fields({{"fieldPath", Is("metadata.name"), kMust}});
  return Fields({{"name", Text(), kMust},
                 {"value", AnyText()},
                 {"valueFrom", OneOf({{"secretKeyRef", key}, {"configMapKeyRef", key}, {"fieldRef", own_name}})}});
}

Shape ContainerSecurity() {
  return Fields({{"allowPrivilegeEscalation", Is(false), kMust},
                 {"capabilities", Fields({{"drop", Is(json::array({"ALL"})), kMust}}), kMust},
                 {"readOnlyRootFilesystem", Flag()},
                 {"runAsNonRoot", Is(true)},
                 {"runAsUser", Whole(1, kHighestId)},
                 {"runAsGroup", Whole(1, kHighestId)}});
}

// Not probes and hooks: the kubelet sends them from the machine's own network, to any address that they name.
Shape Container() {
  const Shape mount =
      Fields({{"name", Name(), kMust}, {"mountPath", Text(), kMust}, {"subPath", Inside()}, {"readOnly", Flag()}});
  return Fields(
      {{"name", Name(), kMust},
       {"image", Text(), kMust},
       {"imagePullPolicy", Among({"IfNotPresent", "Always"})},
       {"command", ListOf(AnyText())},
       {"args", ListOf(AnyText())},
       {"workingDir", Text()},
       {"env", ListOf(Variable())},
       {"volumeMounts", ListOf(mount)},
       {"resources", Fields({{"limits", Amounts()}, {"requests", Amounts()}})},
       {"ports", ListOf(Fields({{"containerPort", PortNumber(), kMust}, {"name", Text()}, {"protocol", Protocol()}}))},
       {"securityContext", ContainerSecurity(), kMust}});
}

Shape VolumeShape() {
  const Shape mode = Whole(0, 0777);
  const Shape items = ListOf(Fields({{"key", Text(), kMust}, {"path", Inside(), kMust}, {"mode", mode}}));
  const Shape scratch = Fields({{"sizeLimit", Text()}, {"medium", Is("Memory")}});
  const Shape claim = Fields({{"claimName", Name(), kMust}, {"readOnly", Flag()}});
  const Shape config = Fields({{"name", Name(), kMust}, {"defaultMode", mode}, {"items", items}});
  const Shape secret = Fields({{"secretName", Name(), kMust}, {"defaultMode", mode}, {"items", items}});
  return Fields({{"name", Name(), kMust},
                 {"configMap", config},
                 {"secret", secret},
                 {"emptyDir", scratch},
                 {"persistentVolumeClaim", claim}});
}

Shape PodSecurity() {
  const Shape sysctl = Fields({{"name", Is("net.ipv4.ip_unprivileged_port_start"), kMust}, {"value", Is("0"), kMust}});
  return Fields({{"runAsNonRoot", Is(true), kMust},
                 {"runAsUser", Whole(1, kHighestId), kMust},
                 {"runAsGroup", Whole(1, kHighestId)},
                 {"fsGroup", Whole(1, kHighestId)},
                 {"seccompProfile", Fields({{"type", Is("RuntimeDefault"), kMust}}), kMust},
                 {"sysctls", ListOf(sysctl)}});
}

Shape Pod(const char* restart = "Never") {
  return Fields({{"serviceAccountName", Is(kAccount), kMust},
                 {"automountServiceAccountToken", Is(false), kMust},
                 {"enableServiceLinks", Is(false)},
                 {"restartPolicy", Is(restart), kMust},
                 {"terminationGracePeriodSeconds", Whole(0, kMostSeconds)},
                 {"activeDeadlineSeconds", Whole(1, int64_t{30} * 24 * kMostSeconds)},
                 {"hostname", Text()},
                 {"hostAliases", WaysOutOfPod()},
                 {"subdomain", Name()},
                 {"securityContext", PodSecurity(), kMust},
                 {"imagePullSecrets", PullSecretsOfPod()},
                 {"containers", ListOf(Container(), 1), kMust},
                 {"volumes", ListOf(VolumeShape())}});
}

Shape ServicePorts(const char* number) {
  return ListOf(Fields({{"name", Text()},
                        {"protocol", Protocol()},
                        {"appProtocol", Text()},
                        {number, PortNumber(), kMust},
                        {"targetPort", PortNumber()}}));
}

Shape Service() {
  return Fields({{"clusterIP", Is("None")},
                 {"type", Is("ClusterIP")},
                 {"selector", MapOf(Text())},
                 {"publishNotReadyAddresses", Flag()},
                 {"ports", ServicePorts("port")}});
}

Shape Endpoints() {
  const Shape conditions = Fields({{"ready", Flag()}, {"serving", Flag()}, {"terminating", Flag()}});
  return ListOf(
      Fields({{"addresses", ListOf(PodAddress(), 1), kMust}, {"conditions", conditions}, {"hostname", Name()}}));
}

// Only pods of the same kube namespace and, outward, names and single addresses.
Shape NetworkPolicy() {
  const Shape pods = Fields({{"podSelector", Fields({{"matchLabels", MapOf(Text())}}), kMust}});
  const Shape single = [](const json& value, const std::string& at) {
    const bool fits = value.is_string() && absl::EndsWith(value.get_ref<const std::string&>(), "/32");
    return fits ? absl::OkStatus() : Refuse(at, "must be a single address, \"a.b.c.d/32\"");
  };
  const Shape target = OneOf(
      {{"podSelector", Fields({{"matchLabels", MapOf(Text())}})}, {"ipBlock", Fields({{"cidr", single, kMust}})}});
  const Shape ports = ListOf(Fields({{"protocol", Protocol()}, {"port", PortNumber(), kMust}}), 1);
  const Shape names = ListOf(Fields({{"protocol", Protocol(), kMust}, {"port", Is(53), kMust}}), 1);
  const Shape to = Fields({{"to", ListOf(target, 1), kMust}, {"ports", ports}});
  const Shape anywhere = Fields({{"ports", names, kMust}});
  const Shape out = [to, anywhere](const json& value, const std::string& at) {
    return value.is_object() && !value.contains("to") ? anywhere(value, at) : to(value, at);
  };
  return Fields({{"podSelector", Fields({{"matchLabels", MapOf(Text())}}), kMust},  // See CheckSelectors.
                 {"policyTypes", Is(json::array({"Ingress", "Egress"})), kMust},
                 {"ingress", ListOf(Fields({{"from", ListOf(pods, 1), kMust}, {"ports", ports}}))},
                 {"egress", ListOf(out)}});
}

Shape Quota() {
  const Shape none = Both(MapOf(Text()), [](const json& value, const std::string& at) {
    for (const char* kind : {"services.loadbalancers", "services.nodeports"}) {
      if (value.value(kind, "") != "0") return Refuse(absl::StrCat(at, "['", kind, "']"), "must be \"0\"");
    }
    return absl::OkStatus();
  });
  return Fields({{"hard", none, kMust}});
}

Shape LimitRange() {
  const Shape limit = Fields({{"type", Among({"Container", "Pod", "PersistentVolumeClaim"}), kMust},
                              {"default", MapOf(Text())},
                              {"defaultRequest", MapOf(Text())},
                              {"min", MapOf(Text())},
                              {"max", MapOf(Text())}});
  return Fields({{"limits", ListOf(limit), kMust}});
}

// Not volumeName, selector and dataSource: they reach for volumes of others.
Shape Claim() {
  const Shape storage = Fields({{"storage", Text(), kMust}});
  return Fields({{"accessModes", ListOf(Among({"ReadWriteOnce", "ReadWriteOncePod"}), 1), kMust},
                 {"resources", Fields({{"requests", storage, kMust}, {"limits", storage}}), kMust},
                 {"storageClassName", Name()},
                 {"volumeMode", Is("Filesystem")}});
}

// Without a host, or with a wildcard, it would take what belongs to other users of the same controller.
Shape Ingress() {
  const Shape port = OneOf({{"number", PortNumber()}, {"name", Text()}});
  const Shape service = Fields({{"name", Name(), kMust}, {"port", port, kMust}});
  const Shape path = Fields({{"path", Text()},
                             {"pathType", Among({"Prefix", "Exact"}), kMust},
                             {"backend", Fields({{"service", service, kMust}}), kMust}});
  const Shape rule = Fields({{"host", Name(), kMust}, {"http", Fields({{"paths", ListOf(path, 1), kMust}}), kMust}});
  const Shape tls = Fields({{"hosts", ListOf(Name(), 1), kMust}, {"secretName", Name()}});
  return Fields({{"ingressClassName", Name()}, {"rules", ListOf(rule, 1), kMust}, {"tls", ListOf(tls)}});
}

// With other volumes than the pods' own there would be one for all of a Deployment's. The metadata of the template is
// looked at apart.
std::vector<Field> Workload(bool stateful) {
  const Shape any = [](const json&, const std::string&) { return absl::OkStatus(); };
  const Shape labels = Fields({{kNode, Text(), kMust}, {kAttempt, Text(), kMust}});
  std::vector<Field> fields = {{"replicas", Whole(1, 100), kMust},
                               {"revisionHistoryLimit", Whole(0, 10)},
                               {"selector", Fields({{"matchLabels", labels, kMust}}), kMust},
                               {"template", Fields({{"metadata", any, kMust}, {"spec", Pod("Always"), kMust}}), kMust}};
  if (stateful) {
    const Shape meta = Fields({{"name", Name(), kMust}, {"annotations", any, kMust}});
    const Shape claim = Fields({{"metadata", meta, kMust}, {"spec", Claim(), kMust}});
    fields.push_back({"serviceName", Name(), kMust});
    fields.push_back({"podManagementPolicy", Is("Parallel"), kMust});
    fields.push_back({"volumeClaimTemplates", ListOf(claim, 1), kMust});
  }
  return {{"spec", Fields(std::move(fields)), kMust}};
}

struct Kind {
  Kind(const char* kind, const char* version, const char* collection, std::vector<Field> rest)
      : api_version(version), plural(collection) {
    // The metadata depends on whose they are, and is looked at apart.
    const Shape any = [](const json&, const std::string&) { return absl::OkStatus(); };
    rest.insert(rest.end(), {{"apiVersion", Is(version), kMust}, {"kind", Is(kind), kMust}, {"metadata", any, kMust}});
    shape = Fields(std::move(rest));
  }
  absl::string_view api_version, plural;
  Shape shape;
};

const Kind* FindKind(const std::string& kind) {
  static const auto& kinds = *[] {
    auto* made = new std::map<std::string, Kind>();
    const auto add = [made](const char* name, const char* api_version, const char* plural, std::vector<Field> fields) {
      made->emplace(name, Kind(name, api_version, plural, std::move(fields)));
    };
    const Shape texts = MapOf(AnyText());
    add("Namespace", "v1", "namespaces", {});
    add("ServiceAccount", "v1", "serviceaccounts", {{"automountServiceAccountToken", Is(false), kMust}});
    add("ConfigMap", "v1", "configmaps", {{"data", texts}, {"binaryData", texts}, {"immutable", Flag()}});
    // A Secret of another type may make the cluster fill it with a token.
    add("Secret", "v1", "secrets",
        {{"type", Among({"Opaque", "kubernetes.io/dockerconfigjson"})},
         {"data", texts},
         {"stringData", texts},
         {"immutable", Flag()}});
    add("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", {{"spec", OfNodeOr(NetworkPolicy()), kMust}});
    add("ResourceQuota", "v1", "resourcequotas", {{"spec", Quota(), kMust}});
    add("LimitRange", "v1", "limitranges", {{"spec", LimitRange(), kMust}});
    add("Service", "v1", "services", {{"spec", Service(), kMust}});
    add("EndpointSlice", "discovery.k8s.io/v1", "endpointslices",
        {{"addressType", Is("IPv4"), kMust}, {"endpoints", Endpoints(), kMust}, {"ports", ServicePorts("port")}});
    add("Pod", "v1", "pods", {{"spec", Pod(), kMust}});
    add("Deployment", "apps/v1", "deployments", Workload(/*stateful=*/false));
    add("StatefulSet", "apps/v1", "statefulsets", Workload(/*stateful=*/true));
    add("PersistentVolumeClaim", "v1", "persistentvolumeclaims", {{"spec", Claim(), kMust}});
    add("Ingress", "networking.k8s.io/v1", "ingresses", {{"spec", Ingress(), kMust}});
    return made;
  }();
  const auto it = kinds.find(kind);
  return it == kinds.end() ? nullptr : &it->second;
}

std::string TextIn(const json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

absl::Status CheckLabels(const Place& place, const std::string& kind, const std::string& name, const json& labels,
                         const std::string& at) {
  std::vector<Field> fields = {{kManagedBy, Is("mayfly"), kMust},
                               {kInstallation, Is(place.installation), kMust},
                               {kScope, Is(place.scope), kMust},
                               {kNode, Text(), kind == "Pod"},
                               {kAttempt, Text(), kind == "Pod"}};
  if (kind == "Namespace" || !place.given.empty()) fields.push_back({kEnvironment, Name()});
  if (kind == "Namespace") {
    for (const char* mode : {"enforce", "audit", "warn"}) {
      fields.push_back({absl::StrCat("pod-security.kubernetes.io/", mode), Is("restricted"), kMust});
    }
  }
  if (kind == "EndpointSlice") {
    fields.push_back({"kubernetes.io/service-name", Is(name), kMust});
    fields.push_back({"endpointslice.kubernetes.io/managed-by", Is("mayfly.dev"), kMust});
  }
  return Fields(std::move(fields))(labels, at);
}

// What somebody put on an environment: the API server's rule for keys, and no more than a line of text.
absl::Status CheckLabelNote(const std::string& key, const std::string& value, const std::string& at) {
  const std::string where = absl::StrCat(at, "['", EscapeLine(key), "']");
  const std::string name = key.substr(std::string(kLabelNote).find('/') + 1);
  const auto inside = [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; };
  if (name.size() > 63 || !std::all_of(name.begin(), name.end(), inside) ||
      !absl::ascii_isalnum(static_cast<unsigned char>(name.back()))) {
    return Refuse(where, "is not a name for an annotation");
  }
  if (value.size() > kLongestLabel || EscapeLine(value) != value) {
    return Refuse(where, absl::StrCat("must be one line of at most ", kLongestLabel, " bytes"));
  }
  return absl::OkStatus();
}

// Annotations of others are orders to their controllers.
absl::Status CheckNotes(const Place& place, const json& notes, const std::string& at) {
  MAYFLY_RETURN_IF_ERROR(MapOf(AnyText())(notes, at));
  for (const auto& [key, value] : notes.items()) {
    if (!absl::StartsWith(key, "mayfly.dev/")) {
      return Refuse(absl::StrCat(at, "['", EscapeLine(key), "']"), "mayfly never sets this");
    }
    if (absl::StartsWith(key, kLabelNote)) MAYFLY_RETURN_IF_ERROR(CheckLabelNote(key, TextIn(notes, key.c_str()), at));
  }
  // Its value is a secret of the journal: not to be shown.
  if (place.identity.empty() || TextIn(notes, kIdentity) != place.identity) {
    return Refuse(absl::StrCat(at, "['", kIdentity, "']"), "must be the environment's");
  }
  return absl::OkStatus();
}

absl::Status CheckMetadata(const Place& place, const std::string& kind, const json& metadata, const std::string& at) {
  const bool whole = kind == "Namespace";
  const std::string name = TextIn(metadata, "name");
  const Shape labels = [&](const json& value, const std::string& where) {
    return CheckLabels(place, kind, name, value, where);
  };
  const Shape notes = [&](const json& value, const std::string& where) { return CheckNotes(place, value, where); };
  std::vector<Field> fields = {
      {"name", whole ? Is(place.space()) : Name(), kMust}, {"labels", labels, kMust}, {"annotations", notes, kMust}};
  if (!whole) fields.push_back({"namespace", Is(place.space()), kMust});
  return Fields(std::move(fields))(metadata, at);
}

absl::Status CheckTemplate(const Place& place, const json& spec) {
  const Shape labels = [&](const json& value, const std::string& where) {
    return CheckLabels(place, "Pod", "", value, where);
  };
  const Shape notes = [&](const json& value, const std::string& where) { return CheckNotes(place, value, where); };
  const json claims = spec.value("volumeClaimTemplates", json::array());
  for (size_t i = 0; i < claims.size(); ++i) {
    MAYFLY_RETURN_IF_ERROR(notes(claims[i]["metadata"]["annotations"],
                                 absl::StrCat("spec.volumeClaimTemplates[", i, "].metadata.annotations")));
  }
  return Fields({{"labels", labels, kMust}, {"annotations", notes, kMust}})(spec["template"]["metadata"],
                                                                            "spec.template.metadata");
}

// Which of a cluster's own places no environment may be.
absl::Status CheckScope(const std::string& scope) {
  if (!CheckName(scope, 63).ok() || scope == "default" || absl::StartsWith(scope, "kube-")) {
    return Refuse("metadata.namespace", absl::StrCat("'", EscapeLine(scope), "' is no place for an environment"));
  }
  return absl::OkStatus();
}

std::string PathOf(const Place& place, const Kind& kind) {
  const std::string root = kind.api_version == "v1" ? "/api/v1" : absl::StrCat("/apis/", kind.api_version);
  if (kind.plural == "namespaces") return absl::StrCat(root, "/namespaces");
  return absl::StrCat(root, "/namespaces/", place.space(), "/", kind.plural);
}

absl::Status Check(const Place& place, const Creation& creation, const std::string& name) {
  const std::string kind = TextIn(creation.object, "kind");
  const Kind* const known = FindKind(kind);
  if (known == nullptr) return Refuse("kind", "mayfly never makes one of these");
  MAYFLY_RETURN_IF_ERROR(CheckScope(place.space()));
  MAYFLY_RETURN_IF_ERROR(known->shape(creation.object, ""));
  MAYFLY_RETURN_IF_ERROR(CheckMetadata(place, kind, creation.object["metadata"], "metadata"));
  if (kind == "Secret") MAYFLY_RETURN_IF_ERROR(CheckSecretKind(creation.object));
  if (known->api_version == "apps/v1") {
    MAYFLY_RETURN_IF_ERROR(CheckTemplate(place, creation.object["spec"]));
  }
  MAYFLY_RETURN_IF_ERROR(CheckGiven(place, kind, creation.object));
  const std::string path = PathOf(place, *known);
  if (creation.collection != path && creation.collection != absl::StrCat(path, "/", name)) {
    return Refuse("path", absl::StrCat("must be ", path, ", not ", EscapeLine(creation.collection)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Admit(const Place& place, const Creation& creation) {
  const json& object = creation.object;
  const std::string kind = TextIn(object, "kind");
  const bool named = object.is_object() && object.contains("metadata");
  const std::string name = named ? TextIn(object["metadata"], "name") : "";
  return Annotate(Check(place, creation, name),
                  absl::StrCat(kind.empty() ? "an object" : EscapeLine(kind), " '", EscapeLine(name), "'"));
}

absl::Status AdmitAll(const Place& place, const std::vector<Creation>& creations) {
  for (const Creation& creation : creations) MAYFLY_RETURN_IF_ERROR(Admit(place, creation));
  return absl::OkStatus();
}

}  // namespace mayfly::kubernetes
