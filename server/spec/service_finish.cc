#include "server/spec/service_finish.h"

#include <map>
#include <set>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "mayfly/spec/reference.h"
#include "server/spec/setters.h"
#include "server/spec/shape_check.h"

namespace mayfly {
namespace {

class Finisher {
 public:
  Finisher(ServiceSpec& service, const YamlValue& merged, Sink& sink)
      : service_(service), merged_(merged), sink_(sink) {}

  void Command() {
    if (!service_.run.empty()) return;
    if (!service_.image.text.empty()) {
      service_.unsupported.push_back("image");
      return;
    }
    sink_.Error(service_.pos,
                absl::StrCat("'", service_.name, "' has neither 'run' nor 'image': there is nothing to start"),
                "write run: ./program");
  }

  void Ports() {
    std::set<int> numbers;
    for (const Port& port : service_.ports) {
      if (!numbers.insert(port.number).second) {
        sink_.Error(Place("ports"), absl::StrCat("two ports of '", service_.name, "' have the number ", port.number),
                    "give one of them another number");
      }
    }
    const YamlValue* expose = merged_.Find("expose");
    if (expose == nullptr) return;
    if (service_.ports.empty() && (expose->IsList() || BoolOf(*expose))) {
      sink_.Error(Place("expose"), absl::StrCat("'", service_.name, "' has no port to expose"),
                  "write port: and the number that it listens on");
      return;
    }
    for (const YamlRef& name : expose->items) {
      if (absl::c_any_of(service_.ports, [&](const Port& port) { return port.name == name->text; })) continue;
      sink_.Error(name->Pos(), absl::StrCat("'", service_.name, "' has no port '", EscapeLine(name->text), "'"),
                  DidYouMean(name->text, PortNames(), "ports"));
    }
  }

  void Probing() {
    Probe& probe = service_.probe;
    const YamlValue* health = merged_.Find("health");
    if (service_.one_shot && probe.kind != Probe::Kind::kNone) {
      sink_.Error(Place("health"), "a job has no probe: it is done when it exits 0", "keep only within: in its health");
      return;
    }
    const bool needs_port =
        probe.kind == Probe::Kind::kTcp || probe.kind == Probe::Kind::kHttp || probe.kind == Probe::Kind::kGrpc;
    const YamlValue* port = health == nullptr ? nullptr : health->Find("port");
    if (port != nullptr && !needs_port) {
      sink_.Error(port->Pos(), "this way of probing uses no port", "remove it, or write tcp: true");
      return;
    }
    if (port != nullptr) {
      ProbePort(*port);
    } else if (needs_port && service_.ports.empty()) {
      sink_.Error(Place("health"), absl::StrCat("the probe of '", service_.name, "' needs a port, and there is none"),
                  "write port: and the number that it listens on, or health: none");
    } else if (needs_port) {
      probe.port = service_.ports.front().number;
    }
    for (std::string& word : probe.command) FillSelf(word);
  }

  void Parts() {
    const YamlValue* map = merged_.Find("volumes");
    std::map<std::string, std::string> paths;
    for (const Volume& volume : service_.volumes) {
      const YamlValue* const entry = map == nullptr ? nullptr : map->Find(volume.name);
      const SourcePos pos = entry == nullptr || entry->file == nullptr ? service_.pos : entry->Pos();
      const auto [same, fresh] = paths.try_emplace(volume.path, volume.name);
      if (!fresh) {
        sink_.Error(pos,
                    absl::StrCat("the volumes '", same->second, "' and '", volume.name, "' have the same path '",
                                 EscapeLine(volume.path), "'"),
                    "give one of them another path");
      } else if (!volume.path.empty() && !MayBeMounted(volume.path)) {
        sink_.Error(pos,
                    absl::StrCat("the volume '", volume.name, "' cannot be mounted at '", EscapeLine(volume.path), "'"),
                    "write the absolute path of a folder such as /var/lib/data, outside of /proc, /sys, /dev and /tmp");
      }
    }
    if (service_.one_shot && service_.replicas > 1) {
      sink_.Error(Place("replicas"), absl::StrCat("'", service_.name, "' is a job, and a job runs once"),
                  "remove replicas:");
    }
  }

  void Files(const std::string& folder, SpecFiles& files) {
    const YamlValue* map = merged_.Find("files");
    for (FileSpec& file : service_.files) {
      const YamlValue* entry = map->Find(file.path);
      const YamlValue* from = entry == nullptr ? nullptr : entry->Find("from");
      if (from == nullptr) {
        if (entry != nullptr && entry->Find("content") == nullptr)
          sink_.Error(entry->Pos(), absl::StrCat("the file '", EscapeLine(file.path), "' has no content"),
                      "write content: or from:");
        continue;
      }
      const SourceFileRef source = files.Read(JoinPath(folder, from->text), from->Pos(), sink_);
      if (source != nullptr) file.content = {source->text, {source->name, 1, 1}};
    }
  }

 private:
  static bool MayBeMounted(const std::string& path) {
    if (path[0] != '/' || path.find_first_not_of('/') == std::string::npos || absl::StrContains(path, ':'))
      return false;
    for (const absl::string_view part : absl::StrSplit(path, '/')) {
      if (part == ".." || part == ".") return false;
    }
    for (const absl::string_view taken : {"/proc", "/sys", "/dev", "/tmp", "/.mayfly"}) {
      if (path == taken || absl::StartsWith(path, absl::StrCat(taken, "/"))) return false;
    }
    return true;
  }

  // Of a key that is set; of the service itself when a type set it.
  SourcePos Place(absl::string_view key) const {
    const YamlEntry* entry = merged_.FindEntry(key);
    if (entry == nullptr || entry->value->file == nullptr) return service_.pos;
    return {entry->value->file->name, entry->line, entry->column};
  }

  std::vector<std::string> PortNames() const {
    std::vector<std::string> names;
    for (const Port& port : service_.ports) names.push_back(port.name);
    return names;
  }

  void ProbePort(const YamlValue& port) {
    if (absl::SimpleAtoi(port.text, &service_.probe.port)) return;
    for (const Port& own : service_.ports) {
      if (own.name == port.text) service_.probe.port = own.number;
    }
    if (service_.probe.port == 0) {
      sink_.Error(port.Pos(), absl::StrCat("'", service_.name, "' has no port '", EscapeLine(port.text), "'"),
                  DidYouMean(port.text, PortNames(), "ports"));
    }
  }

  // A probe runs beside its service and knows nothing of the others.
  void FillSelf(std::string& word) {
    const ParsedTemplate parsed = ParseTemplate(word);
    const SourcePos pos = Place("health");
    for (const ParsedTemplate::Problem& problem : parsed.problems)
      sink_.Error(sink_.Locate(pos, problem.at), problem.message, problem.hint);
    std::string filled;
    for (const TemplatePiece& piece : parsed.pieces) {
      filled += piece.literal;
      if (!piece.has_reference) continue;
      const Reference& reference = piece.reference;
      const bool port = reference.property == "port" && reference.port.empty() && !service_.ports.empty();
      if (reference.target != "self" || (!port && reference.property != "host")) {
        sink_.Error(
            sink_.Locate(pos, reference.text),
            absl::StrCat("a probe's command knows only ${self.host} and ${self.port}, not '", reference.text, "'"));
        continue;
      }
      filled += port ? absl::StrCat(service_.ports.front().number) : service_.name;
    }
    word = filled;
  }

  ServiceSpec& service_;
  const YamlValue& merged_;
  Sink& sink_;
};

}  // namespace

void FinishService(ServiceSpec& service, const YamlValue& merged, const std::string& folder, SpecFiles& files,
                   Sink& sink) {
  Finisher finisher(service, merged, sink);
  finisher.Command();
  finisher.Ports();
  finisher.Probing();
  finisher.Parts();
  finisher.Files(folder, files);
}

}  // namespace mayfly
