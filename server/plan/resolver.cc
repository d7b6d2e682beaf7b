#include "server/plan/resolver.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

// `path` behind `folder`, unless it is absolute; without "." and empty parts.
std::string Absolute(const std::string& folder, const std::string& path) {
  if (path.empty() || path == ".") return folder;
  if (path[0] == '/') return path;
  absl::string_view rest = path;
  while (absl::StartsWith(rest, "./")) rest.remove_prefix(2);
  return absl::StrCat(folder, folder == "/" ? "" : "/", rest);
}

int PortNumber(const ServiceSpec& service, const std::string& name) {
  for (const Port& port : service.ports) {
    if (name.empty() || port.name == name) return port.number;
  }
  return 0;
}

}  // namespace

Resolver::Resolver(const Catalogue& catalogue, const EnvironmentRequest& request, bool images)
    : catalogue_(catalogue),
      request_(request),
      images_(images),
      environment_(request.name.empty() ? catalogue.name : request.name) {}

ProcessSpec Resolver::Resolve(const Declared& declared) {
  ProcessSpec process;
  process.source_root = catalogue_.root;
  const ServiceSpec* service = declared.service;
  const TestJobSpec* test = declared.test;
  const std::vector<Template>& run = test != nullptr           ? test->run
                                     : declared.job != nullptr ? declared.job->run
                                                               : service->run;
  for (const Template& word : run) process.argv.push_back(Fill(word, service));
  if (test != nullptr) {
    if (images_) process.image = Fill(test->image, nullptr);
    process.workdir = Absolute(catalogue_.root, test->workdir);
    process.image_workdir = test->workdir;
    FillVariables(test->variables, nullptr, process);
    process.resources = test->resources;
    process.egress = test->egress;
    process.probe.within = test->within;
  } else {
    if (images_) process.image = Fill(service->image, service);
    process.workdir = Absolute(service->folder, declared.job != nullptr ? declared.job->workdir : service->workdir);
    process.image_workdir = declared.job != nullptr ? declared.job->workdir : service->workdir;
    process.user = service->user;
    FillVariables(service->variables, service, process);
    FillSecrets(*service, process);
    for (const FileSpec& file : service->files)
      process.files.push_back({file.path, Fill(file.content, service), file.mode});
    process.resources = service->resources;
    process.stop = service->stop;
    process.egress = service->egress;
    process.variables["MAYFLY_SERVICE"] = service->name;
  }
  if (declared.job != nullptr) {
    FillVariables(declared.job->variables, service, process);
    process.probe.within = declared.job->within;
  } else if (service != nullptr) {
    process.ports = service->ports;
    // What the type says about its `port` is known here for the last time, and makes a URL of its address.
    const bool spoken = service->base == "http" || service->base == "redis" || service->base == "postgres";
    for (Port& port : process.ports) {
      if (port.name == "main" && spoken) port.name = service->base;
    }
    process.probe = service->probe;
    FillParts(*service, process);
  }
  process.variables["MAYFLY_ENVIRONMENT"] = environment_;
  return process;
}

void Resolver::FillParts(const ServiceSpec& service, ProcessSpec& process) {
  process.volumes = service.volumes;
  process.replicas = service.replicas;
  for (const SidecarSpec& declared : service.sidecars) {
    Sidecar sidecar;
    sidecar.name = declared.name;
    sidecar.image = Fill(declared.image, &service);
    for (const Template& word : declared.run) sidecar.argv.push_back(Fill(word, &service));
    for (const auto& [name, text] : declared.variables) sidecar.variables[name] = Fill(text, &service);
    process.sidecars.push_back(std::move(sidecar));
  }
}

void Resolver::FillVariables(const std::map<std::string, Template>& variables, const ServiceSpec* self,
                             ProcessSpec& process) {
  for (const auto& [name, text] : variables) {
    // What the request sets is taken as it is: it was written for this environment and may hold any text.
    const auto set = request_.variables.find(name);
    process.variables[name] = set != request_.variables.end() ? set->second : Fill(text, self);
  }
}

void Resolver::FillSecrets(const ServiceSpec& service, ProcessSpec& process) {
  for (const auto& [variable, secret] : service.secrets) {
    const auto given = request_.secrets.find(secret);
    if (given != request_.secrets.end()) {
      process.variables[variable] = given->second;
      process.secrets.insert(variable);
      continue;
    }
    SourcePos pos = service.pos;
    for (const Origin& origin : service.origins) {
      if (origin.key == absl::StrCat("secrets.", variable) && !origin.pos.file.empty()) pos = origin.pos;
    }
    Complain(pos, absl::StrCat("'", service.name, "' needs the secret '", secret, "', which was not given"),
             absl::StrCat("give it with --secret ", secret, ", which takes it from your variable of that name"));
  }
}

std::string Resolver::Fill(const Template& text, const ServiceSpec* self) {
  if (!absl::StrContains(text.text, "${")) return text.text;
  std::string out;
  for (const TemplatePiece& piece : ParseTemplate(text.text).pieces) {
    out += piece.literal;
    if (piece.has_reference) out += Value(piece.reference, text, self);
  }
  return out;
}

std::string Resolver::Value(const Reference& reference, const Template& text, const ServiceSpec* self) {
  if (reference.target == "env")
    return reference.property == "name" ? environment_ : Variable(reference.property, text);
  const ServiceSpec* target = reference.target == "self" ? self : catalogue_.FindService(reference.target);
  if (target == nullptr) return "";
  if (reference.property == "host") return target->name;
  if (reference.property == "port") return absl::StrCat(PortNumber(*target, reference.port));
  if (reference.property == "address") return absl::StrCat(target->name, ":", PortNumber(*target, reference.port));
  const std::string key = absl::StrCat(target->name, ".", reference.property);
  if (const auto known = outputs_.find(key); known != outputs_.end()) return known->second;
  const auto output = target->outputs.find(reference.property);
  if (output == target->outputs.end() || !filling_.insert(key).second) return "";
  std::string value = Fill(output->second, target);
  filling_.erase(key);
  return outputs_[key] = std::move(value);
}

std::string Resolver::Variable(const std::string& name, const Template& text) {
  const auto set = request_.variables.find(name);
  if (set != request_.variables.end()) return set->second;
  Complain(text.pos, absl::StrCat("${env.", name, "} is not set"),
           absl::StrCat("give it with --set ", name, "=... or --env-file"));
  return "";
}

void Resolver::Complain(const SourcePos& pos, std::string message, std::string hint) {
  if (!complained_.insert(absl::StrCat(FormatPos(pos), " ", message)).second) return;
  diagnostics_.push_back({Severity::kError, pos, std::move(message), std::move(hint)});
}

std::string DigestOf(const ProcessSpec& process, const std::vector<std::string>& sources,
                     const Fingerprint& fingerprint) {
  std::string all;
  // Each part with its length: no two different processes give the same text.
  const auto add = [&all](absl::string_view part) { absl::StrAppend(&all, part.size(), ":", part); };
  const auto add_file = [&](const std::string& word) {
    if (!fingerprint || word.empty()) return;
    const std::string path = Absolute(process.workdir, word);
    if (absl::StartsWith(path, process.source_root + "/")) add(fingerprint(path));
  };
  for (const std::string& word : process.argv) {
    add(word);
    const size_t value = absl::StartsWith(word, "-") ? word.find('=') : std::string::npos;
    add_file(value == std::string::npos ? word : word.substr(value + 1));
  }
  add("|");
  add(process.image);
  add(process.workdir);
  add(process.source_root);
  for (const auto& [name, value] : process.variables) {
    add(name);
    add(value);
    add_file(value);
  }
  add("|");
  for (const RenderedFile& file : process.files)
    add(absl::StrCat(file.mode, " ", file.path.size(), " ", file.path, file.content));
  add("|");
  for (const Port& port : process.ports)
    add(absl::StrCat(port.name, " ", port.number, " ", port.expose, " ", port.host_port));
  const Resources& r = process.resources;
  add(absl::StrCat(r.memory_bytes, " ", r.disk_bytes, " ", r.processes, " ", r.cpus));
  add(absl::StrJoin(process.egress, " "));
  add("|");
  for (const Volume& volume : process.volumes)
    add(absl::StrCat("volume ", volume.name, " ", volume.size_bytes, " ", volume.path));
  for (const Sidecar& sidecar : process.sidecars) {
    add(absl::StrCat("sidecar ", sidecar.argv.size(), " ", sidecar.name));
    add(sidecar.image);
    for (const std::string& word : sidecar.argv) add(word);
    for (const auto& [name, value] : sidecar.variables) {
      add(name);
      add(value);
    }
  }
  if (process.replicas > 1) add(absl::StrCat("replicas ", process.replicas));
  add("|");
  for (const std::string& path : sources) {
    if (fingerprint) add(fingerprint(path));
  }
  return Sha256Hex(all);
}

}  // namespace mayfly
