#include "server/engine/kubernetes/objects.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/claims.h"
#include "server/engine/kubernetes/egress_objects.h"
#include "server/engine/kubernetes/object_parts.h"
#include "server/engine/kubernetes/scope_notes.h"
#include "server/engine/kubernetes/sidecars.h"
#include "server/engine/kubernetes/workload_objects.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

constexpr char kGateFolder[] = "/.mayfly";
constexpr char kNotifySocket[] = "@mayfly-notify";  // gate.c binds it.
constexpr int kDefaultUser = 65532;                 // "nonroot" of common base images.

json Metadata(const Place& place, absl::string_view name) {
  return {{"name", std::string(name)},
          {"labels", {{kManagedBy, "mayfly"}, {kInstallation, place.installation}, {kScope, place.scope}}},
          {"annotations", {{kIdentity, place.identity}}}};
}

json Policy(const Place& place, absl::string_view gate_address) {
  const std::vector<std::string> gate = absl::StrSplit(gate_address, ':');
  int port = 0;
  if (gate.size() != 2 || !absl::SimpleAtoi(gate[1], &port)) port = 0;
  const json own = OwnPods(place);
  const json inside = json::array({{{"podSelector", own}}});
  const json dns = json::array({{{"protocol", "UDP"}, {"port", 53}}, {{"protocol", "TCP"}, {"port", 53}}});
  json object = Object(place, "networking.k8s.io/v1", "NetworkPolicy", "mayfly");
  json egress = json::array({{{"to", inside}}, {{"ports", dns}}});
  // Where a relay passes on what gates say, they call a pod inside.
  if (!gate_address.empty()) {
    egress.push_back({{"to", json::array({{{"ipBlock", {{"cidr", absl::StrCat(gate[0], "/32")}}}}})},
                      {"ports", json::array({{{"protocol", "TCP"}, {"port", port}}})}});
  }
  object["spec"] = {{"podSelector", own},
                    {"policyTypes", {"Ingress", "Egress"}},
                    {"ingress", json::array({{{"from", inside}}})},
                    {"egress", egress}};
  return object;
}

json Quota(const Place& place) {
  json object = Object(place, "v1", "ResourceQuota", "mayfly");
  object["spec"]["hard"] = {{"services.loadbalancers", "0"}, {"services.nodeports", "0"}, {"pods", "500"}};
  return object;
}

json Limits(const Place& place) {
  json object = Object(place, "v1", "LimitRange", "mayfly");
  // What is asked of the scheduler is small: environments idle most of the time.
  object["spec"]["limits"] = json::array({{{"type", "Container"},
                                           {"default", {{"memory", "1Gi"}}},
                                           {"defaultRequest", {{"cpu", "10m"}, {"memory", "32Mi"}}}}});
  return object;
}

json Resources(const struct Resources& r) {
  json limits = json::object(), requests = json::object();
  if (r.memory_bytes > 0) {
    limits["memory"] = absl::StrCat(r.memory_bytes);
    requests["memory"] =
        absl::StrCat(std::min<int64_t>(r.memory_bytes, std::max<int64_t>(r.memory_bytes / 4, 32 << 20)));
  }
  if (r.cpus > 0) {
    const int64_t milli = std::max<int64_t>(static_cast<int64_t>(r.cpus * 1000), 1);
    limits["cpu"] = absl::StrCat(milli, "m");
    requests["cpu"] = absl::StrCat(std::min<int64_t>(milli, 10), "m");
  }
  if (r.disk_bytes > 0) {
    // Machines that do not measure it have none of it to ask for.
    limits["ephemeral-storage"] = absl::StrCat(r.disk_bytes);
    requests["ephemeral-storage"] = "0";
  }
  json out = json::object();
  if (!limits.empty()) out["limits"] = limits;
  if (!requests.empty()) out["requests"] = requests;
  return out;
}

std::string SecretName(const NodeRef& node) {
  return PodName(node.node, node.attempt);
}

// Where a file of the spec is in the container.
std::string FilePath(const RenderedFile& file, const ProcessSpec& process) {
  if (absl::StartsWith(file.path, "/")) return file.path;
  return absl::StrCat(process.image_workdir, "/", file.path);
}

json Secret(const Place& place, const NodeRef& node, const ProcessSpec& process) {
  json object = Object(place, "v1", "Secret", SecretName(node));
  json data = json::object();
  for (const std::string& name : process.secrets)
    data[absl::StrCat("env.", name)] = absl::Base64Escape(process.variables.at(name));
  for (size_t i = 0; i < process.files.size(); ++i)
    data[absl::StrCat("file.", i)] = absl::Base64Escape(process.files[i].content);
  object["data"] = data;
  object["immutable"] = true;
  return object;
}

std::string GateIdentity(const NodeRef& node, const ProcessSpec& process) {
  return process.replicas > 1 ? WorkloadIdentity(node.node, node.attempt) : PodName(node.node, node.attempt);
}

json Variables(const NodeRef& node, const ProcessSpec& process, const PodOptions& options, absl::string_view scope) {
  json out = json::array();
  const auto add = [&out](const std::string& name, const std::string& value) {
    // Kubernetes expands $(NAME) in values; "$$" keeps a dollar as it is.
    out.push_back({{"name", name}, {"value", absl::StrReplaceAll(value, {{"$(", "$$("}})}});
  };
  if (process.variables.count("HOME") == 0) add("HOME", "/tmp");
  for (const auto& [name, value] : process.variables) {
    if (process.secrets.count(name) == 0) {
      add(name, value);
      continue;
    }
    out.push_back(
        {{"name", name},
         {"valueFrom", {{"secretKeyRef", {{"name", SecretName(node)}, {"key", absl::StrCat("env.", name)}}}}}});
  }
  if (process.probe.kind == Probe::Kind::kNotify) add("NOTIFY_SOCKET", kNotifySocket);
  AddGateVariable(absl::StrCat(options.gate_address, " ", scope, "/"), GateIdentity(node, process), "",
                  options.gate_token, &out);
  add("MAYFLY_GATE_STOP", absl::StrCat(process.stop.signal));
  if (!process.image_workdir.empty() && !absl::StartsWith(process.image_workdir, "/")) {
    add("MAYFLY_GATE_DIR", process.image_workdir);
  }
  if (const std::string ways = GateOutVariable(process); !ways.empty()) add("MAYFLY_GATE_OUT", ways);
  return out;
}

json Container(const NodeRef& node, const ProcessSpec& process, const PodOptions& options, absl::string_view scope) {
  json args = json::array();
  for (const std::string& word : process.argv) args.push_back(absl::StrReplaceAll(word, {{"$(", "$$("}}));
  json mounts = GateMounts();
  for (size_t i = 0; i < process.files.size(); ++i) {
    mounts.push_back({{"name", "files"},
                      {"mountPath", FilePath(process.files[i], process)},
                      {"subPath", absl::StrCat("file.", i)},
                      {"readOnly", true}});
  }
  AddVolumeMounts(process, &mounts);
  json container = {{"name", kContainer},
                    {"image", ImageName(process.image, options.registry)},
                    {"imagePullPolicy", "IfNotPresent"},
                    {"command", {kGateProgram}},
                    {"args", args},
                    {"env", Variables(node, process, options, scope)},
                    {"volumeMounts", mounts},
                    {"securityContext", SecurityContext()}};
  if (absl::StartsWith(process.image_workdir, "/")) container["workingDir"] = process.image_workdir;
  if (const json resources = Resources(process.resources); !resources.empty()) container["resources"] = resources;
  json ports = json::array();
  for (const Port& port : process.ports) ports.push_back({{"containerPort", port.number}});
  if (!ports.empty()) container["ports"] = ports;
  return container;
}

json Volumes(const NodeRef& node, const ProcessSpec& process) {
  json gate = {{"name", "gate"}, {"configMap", {{"name", kGateMap}, {"defaultMode", 0555}}}};
  json volumes = json::array({gate, {{"name", "tmp"}, {"emptyDir", json::object()}}});
  AddVolumes(node.node, process, &volumes);
  if (process.files.empty()) return volumes;
  json items = json::array();
  for (size_t i = 0; i < process.files.size(); ++i) {
    const std::string key = absl::StrCat("file.", i);
    items.push_back({{"key", key}, {"path", key}, {"mode", process.files[i].mode}});
  }
  volumes.push_back({{"name", "files"}, {"secret", {{"secretName", SecretName(node)}, {"items", items}}}});
  return volumes;
}

json PodSecurity(const ProcessSpec& process) {
  int user = kDefaultUser;
  if (!process.user.empty() && !absl::SimpleAtoi(process.user, &user)) user = kDefaultUser;
  json security = {{"runAsNonRoot", true},
                   {"runAsUser", user},
                   {"runAsGroup", user},
                   {"fsGroup", user},
                   {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  const bool low =
      std::any_of(process.ports.begin(), process.ports.end(), [](const Port& p) { return p.number < 1024; });
  if (low || HasLowWayOut(process))
    security["sysctls"] = json::array({{{"name", "net.ipv4.ip_unprivileged_port_start"}, {"value", "0"}}});
  return security;
}

std::string ProcessNote(const ProcessSpec& process) {
  json ports = json::array();
  for (const Port& port : process.ports) ports.push_back({{"name", port.name}, {"number", port.number}});
  const Probe& probe = process.probe;
  json volumes = json::array();
  for (const Volume& volume : process.volumes) volumes.push_back(volume.name);
  const json note = {
      {"image", process.image},
      {"egress", process.egress},
      {"stable_address", process.stable_address},
      {"ports", ports},
      {"replicas", process.replicas},
      {"volumes", volumes},
      {"stop", {{"signal", process.stop.signal}, {"grace_ms", absl::ToInt64Milliseconds(process.stop.grace)}}},
      {"probe",
       {{"kind", static_cast<int>(probe.kind)},
        {"port", probe.port},
        {"path", probe.path},
        {"service", probe.service},
        {"command", probe.command},
        {"pattern", probe.pattern},
        {"within_ms", absl::ToInt64Milliseconds(probe.within)}}}};
  return note.dump(-1, ' ', false, json::error_handler_t::replace);
}

json Pod(const Place& place, const NodeRef& node, const ProcessSpec& process, const PodOptions& options) {
  json object = Object(place, "v1", "Pod", PodName(node.node, node.attempt));
  object["metadata"]["labels"][kNode] = node.node;
  object["metadata"]["labels"][kAttempt] = absl::StrCat(node.attempt);
  object["metadata"]["annotations"][kProcess] = ProcessNote(process);
  object["spec"] = {{"serviceAccountName", kAccount},
                    {"automountServiceAccountToken", false},
                    {"enableServiceLinks", false},
                    {"restartPolicy", "Never"},
                    {"terminationGracePeriodSeconds", 1},
                    {"hostname", absl::StrReplaceAll(node.node, {{".", "-"}}).substr(0, 63)},
                    {"securityContext", PodSecurity(process)},
                    {"containers", json::array({Container(node, process, options, place.scope)})},
                    {"volumes", Volumes(node, process)}};
  if (!options.pull_secret.empty()) {
    object["spec"]["imagePullSecrets"] = json::array({{{"name", options.pull_secret}}});
  }
  for (const Sidecar& sidecar : process.sidecars) {
    object["spec"]["containers"].push_back(SidecarObject(place, GateIdentity(node, process), sidecar, options));
  }
  if (const json aliases = HostAliases(process); !aliases.empty()) object["spec"]["hostAliases"] = aliases;
  return object;
}

std::string PortName(const Port& port, size_t index) {
  // At most 15 characters; a spec's names may be longer.
  return port.name.size() <= 15 && !port.name.empty() ? port.name : absl::StrCat("p", index);
}

}  // namespace

std::string Collection(const Place& place, absl::string_view kinds, absl::string_view api) {
  return absl::StrCat(api, "/namespaces/", place.space(), "/", kinds);
}

json Object(const Place& place, const char* api, const char* kind, absl::string_view name) {
  json object = {{"apiVersion", api}, {"kind", kind}, {"metadata", Metadata(place, name)}};
  object["metadata"]["namespace"] = place.space();
  return object;
}

json OwnPods(const Place& place, json labels) {
  if (!place.given.empty()) labels[kScope] = place.scope;
  return labels.empty() ? json::object() : json{{"matchLabels", std::move(labels)}};
}

json SecurityContext() {
  return {{"allowPrivilegeEscalation", false}, {"capabilities", {{"drop", {"ALL"}}}}};
}

void AddGateVariable(const std::string& before, absl::string_view pod, const std::string& behind,
                     const std::string& token, json* env) {
  const bool workload = absl::EndsWith(pod, "@");
  if (workload) {
    env->push_back({{"name", "MAYFLY_POD"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "metadata.name"}}}}}});
  }
  env->push_back({{"name", "MAYFLY_GATE"},
                  {"value", absl::StrCat(before, pod, workload ? "$(MAYFLY_POD)" : "", behind, " ", token)}});
}

json GateMounts() {
  return json::array(
      {{{"name", "gate"}, {"mountPath", kGateFolder}, {"readOnly", true}}, {{"name", "tmp"}, {"mountPath", "/tmp"}}});
}

ProcessSpec ProcessOf(const std::string& annotation) {
  ProcessSpec process;
  const json note = json::parse(annotation, nullptr, /*allow_exceptions=*/false);
  // Somebody may have edited it: whatever is of another type than we wrote is as if nothing was there.
  const auto number = [](const json& object, const char* key, int64_t otherwise) {
    const auto it = object.is_object() ? object.find(key) : object.end();
    return it != object.end() && it->is_number_integer() ? it->get<int64_t>() : otherwise;
  };
  const auto text = [](const json& object, const char* key) {
    const auto it = object.is_object() ? object.find(key) : object.end();
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto part = [&note](const char* key) { return note.is_object() && note.contains(key) ? note[key] : json(); };
  process.image = text(note, "image");
  process.stable_address = part("stable_address") == true;
  for (const json& target : part("egress")) {
    if (target.is_string()) process.egress.push_back(target);
  }
  for (const json& port : part("ports")) {
    process.ports.push_back({text(port, "name"), static_cast<int>(number(port, "number", 0))});
  }
  for (const json& volume : part("volumes")) {
    if (volume.is_string()) process.volumes.push_back({volume.get<std::string>(), "", 0});
  }
  process.replicas = static_cast<int>(number(note, "replicas", 1));
  const json stop = part("stop"), probe = part("probe");
  process.stop.signal = static_cast<int>(number(stop, "signal", process.stop.signal));
  process.stop.grace = absl::Milliseconds(number(stop, "grace_ms", absl::ToInt64Milliseconds(process.stop.grace)));
  const int64_t kind = number(probe, "kind", 0);
  if (kind >= 0 && kind <= static_cast<int64_t>(Probe::Kind::kNotify))
    process.probe.kind = static_cast<Probe::Kind>(kind);
  process.probe.port = static_cast<int>(number(probe, "port", 0));
  process.probe.path = text(probe, "path");
  process.probe.service = text(probe, "service");
  process.probe.pattern = text(probe, "pattern");
  process.probe.within = absl::Milliseconds(number(probe, "within_ms", 60000));
  if (probe.is_object() && probe.contains("command")) {
    for (const json& word : probe["command"]) {
      if (word.is_string()) process.probe.command.push_back(word.get<std::string>());
    }
  }
  return process;
}

std::string NamespacePath(absl::string_view space) {
  return absl::StrCat("/api/v1/namespaces/", space);
}

std::string PodsPath(absl::string_view space) {
  return absl::StrCat(NamespacePath(space), "/pods");
}

json NamespaceObject(const Place& place, const ScopeSpec& spec) {
  json object = {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", Metadata(place, place.space())}};
  for (const char* mode : {"enforce", "audit", "warn"}) {
    object["metadata"]["labels"][absl::StrCat("pod-security.kubernetes.io/", mode)] = "restricted";
  }
  AddScopeNotes(spec, &object);
  return object;
}

std::vector<Creation> ScopeObjects(const Place& place, absl::string_view gate, absl::string_view gate_address) {
  json account = Object(place, "v1", "ServiceAccount", kAccount);
  account["automountServiceAccountToken"] = false;
  json program = Object(place, "v1", "ConfigMap", kGateMap);
  program["binaryData"]["gate"] = absl::Base64Escape(gate);
  program["immutable"] = true;
  std::vector<Creation> out = {
      {Collection(place, "serviceaccounts"), account},
      {Collection(place, "configmaps"), program},
      {Collection(place, "networkpolicies", "/apis/networking.k8s.io/v1"), Policy(place, gate_address)}};
  if (!place.given.empty()) return out;
  out.push_back({Collection(place, "resourcequotas"), Quota(place)});
  out.push_back({Collection(place, "limitranges"), Limits(place)});
  return out;
}

std::string PodName(absl::string_view node, int attempt) {
  return absl::StrCat(node, "-", attempt);
}

std::string ImageName(absl::string_view image, absl::string_view registry) {
  const size_t slash = image.find('/');
  const absl::string_view first = image.substr(0, slash == absl::string_view::npos ? 0 : slash);
  const bool named = absl::StrContains(first, '.') || absl::StrContains(first, ':') || first == "localhost";
  return named || registry.empty() ? std::string(image) : absl::StrCat(registry, "/", image);
}

absl::Status CheckProcess(const ProcessSpec& process) {
  if (process.image.empty()) {
    return absl::InvalidArgumentError("there is no image to run: on Kubernetes every service needs `image:`");
  }
  if (process.argv.empty()) return absl::InvalidArgumentError("there is no command: give it with `run:`");
  if (int user = 0; !process.user.empty() && !absl::SimpleAtoi(process.user, &user)) {
    return absl::InvalidArgumentError(absl::StrCat("user '", EscapeLine(process.user),
                                                   "': names are known to the image only; on Kubernetes give its "
                                                   "number, and not 0, as nothing runs as root there"));
  }
  for (const Sidecar& sidecar : process.sidecars) {
    if (!sidecar.image.empty() && !sidecar.argv.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("sidecar '", sidecar.name, "' has no ",
                     sidecar.image.empty() ? "image: give it with `image:`" : "command: give it with `run:`"));
  }
  return CheckEgress(process);
}

std::vector<Creation> PodObjects(const Place& place, const NodeRef& node, const ProcessSpec& process,
                                 const PodOptions& options) {
  std::vector<Creation> out;
  if (!process.files.empty() || !process.secrets.empty()) {
    out.push_back({Collection(place, "secrets"), Secret(place, node, process)});
  }
  for (Creation& claim : ClaimObjects(place, node.node, process)) out.push_back(std::move(claim));
  for (Creation& policy : EgressObjects(place, node, process)) out.push_back(std::move(policy));
  out.push_back({PodsPath(place.space()), Pod(place, node, process, options)});
  return out;
}

std::vector<Creation> NameObjects(const Place& place, absl::string_view node, const ProcessSpec& process) {
  if (process.ports.empty() || absl::StrContains(node, '.')) return {};
  json object = Object(place, "v1", "Service", node);
  json ports = json::array();
  for (size_t i = 0; i < process.ports.size(); ++i) {
    ports.push_back({{"name", PortName(process.ports[i], i)}, {"port", process.ports[i].number}});
  }
  object["spec"]["ports"] = ports;
  if (!process.stable_address) object["spec"]["clusterIP"] = "None";
  return {{Collection(place, "services"), object}};
}

Creation EndpointsObject(const Place& place, absl::string_view node, const ProcessSpec& process,
                         absl::string_view address) {
  json object = Object(place, "discovery.k8s.io/v1", "EndpointSlice", node);
  object["metadata"]["labels"]["kubernetes.io/service-name"] = std::string(node);
  object["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "mayfly.dev";
  object["addressType"] = "IPv4";
  object["endpoints"] =
      json::array({{{"addresses", json::array({std::string(address)})}, {"conditions", {{"ready", true}}}}});
  json ports = json::array();
  for (size_t i = 0; i < process.ports.size(); ++i) {
    ports.push_back({{"name", PortName(process.ports[i], i)}, {"port", process.ports[i].number}});
  }
  object["ports"] = ports;
  return {absl::StrCat(Collection(place, "endpointslices", "/apis/discovery.k8s.io/v1"), "/", node), object};
}

}  // namespace mayfly::kubernetes
