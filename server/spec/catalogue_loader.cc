#include "server/spec/catalogue_loader.h"

#include <memory>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/spec/builtin_types.h"
#include "server/spec/catalogue_checks.h"
#include "server/spec/merge.h"
#include "server/spec/service_finish.h"
#include "server/spec/shape_check.h"
#include "server/spec/spec_files.h"
#include "server/spec/tables.h"
#include "server/spec/yaml_reader.h"

namespace mayfly {
namespace {

constexpr const char* kReserved[] = {"env", "self", "localhost"};

// A type with everything below it, lowest first.
struct TypeChain {
  std::vector<Layer> layers;
  std::string base;
  bool known = false;
  bool broken = false;  // One of the types has errors of its own.
};

class Loader {
 public:
  Loader(absl::string_view path, absl::string_view below) : files_(path, below, sink_) {}
  explicit Loader(std::shared_ptr<const CatalogueSource> recorded) : files_(std::move(recorded)) {}

  LoadedCatalogue Load() {
    catalogue_.root = files_.root();
    if (!files_.main().empty()) {
      if (files_.main_is_service()) {
        catalogue_.name = FolderName(catalogue_.root);
        context_.alone = true;
        ServiceFile("", {});
      } else {
        Envspec();
      }
      SettleConditions();
      CheckCatalogue(catalogue_, context_, sink_);
    }
    catalogue_.digest = files_.Digest();
    catalogue_.texts = files_.Texts();
    if (!files_.main().empty()) catalogue_.source = files_.Source();
    return {std::move(catalogue_), sink_.Take(), files_.access()};
  }

 private:
  // The folder's name made a name: what "my_Shop" is called when nobody said.
  static std::string FolderName(absl::string_view root) {
    std::string name = absl::AsciiStrToLower(root.substr(root.rfind('/') + 1));
    for (char& c : name) c = absl::ascii_isalnum(c) ? c : '-';
    name = std::string(absl::StripPrefix(name.substr(0, 40), "-"));
    return CheckName(name).ok() ? name : "catalogue";
  }

  // A job is never ready, it completes: that is what needing it means.
  void SettleConditions() {
    const auto settle = [&](std::vector<Dependency>& needs) {
      for (Dependency& need : needs) {
        const ServiceSpec* service = catalogue_.FindService(need.node);
        const bool job = absl::StrContains(need.node, ".") || (service != nullptr && service->one_shot);
        if (job && need.condition == Condition::kReady) need.condition = Condition::kCompleted;
      }
    };
    for (auto& [name, service] : catalogue_.services) {
      settle(service.needs);
      for (JobSpec& job : service.before) settle(job.needs);
    }
    for (auto& [name, test] : catalogue_.tests) settle(test.needs);
  }

  void Envspec() {
    const SourceFileRef file = files_.Read(files_.main(), {}, sink_);
    const YamlRef root = file == nullptr ? nullptr : ReadYaml(file, sink_);
    if (root == nullptr) {
      context_.incomplete = true;
      return;
    }
    if (!root->IsMap()) {
      sink_.Error(root->Pos(), absl::StrCat("an envspec is a map of keys, not ", DescribeKind(*root)),
                  "begin with name: shop");
      context_.incomplete = true;
      return;
    }
    CheckShape(Object(EnvspecTable()), *root, "the envspec", sink_);
    CheckRequired(Object(EnvspecTable()), *root, sink_);
    catalogue_.name = EnvspecTable().Bind(*root, {FolderName(catalogue_.root)}).name;
    envspec_ = root;
    Types();
    Services();
    Tests();
    Profiles();
  }

  // Every type once by itself, so that a type that no service uses is checked too.
  void Types() {
    const YamlValue* types = envspec_->Find("types");
    if (types == nullptr) return;
    for (const YamlEntry& entry : types->entries) {
      if (!entry.value->IsMap()) continue;
      const size_t before = sink_.size();
      CheckShape(Object(ServiceTable()), *entry.value, "the type", sink_);
      if (sink_.size() != before) broken_types_.insert(entry.key);
      if (const YamlEntry* name = entry.value->FindEntry("name")) {
        sink_.Error({entry.value->Pos().file, name->line, name->column}, "a type has no 'name'",
                    "remove it: every service has its own");
      }
      Resolve(entry.key, entry.value->Pos(), {});
    }
  }

  // The layers of `type`. `above` are the types on the way, to find circles.
  TypeChain Resolve(const std::string& type, const SourcePos& pos, std::vector<std::string> above) {
    const YamlValue* types = envspec_ == nullptr ? nullptr : envspec_->Find("types");
    const YamlEntry* own = types == nullptr ? nullptr : types->FindEntry(type);
    const auto builtin = BuiltinTypes().find(type);
    const bool is_builtin = builtin != BuiltinTypes().end();
    TypeChain chain;
    if (own == nullptr) {
      if (!is_builtin) {
        sink_.Error(pos, absl::StrCat("unknown type '", EscapeLine(absl::string_view(type).substr(0, 60)), "'"),
                    DidYouMean(type, TypeNames(types), "types"));
        return chain;
      }
      chain.layers.push_back({builtin->second, absl::StrCat("type ", type, " (built in)")});
      chain.base = type;
      chain.known = true;
      return chain;
    }
    if (absl::c_linear_search(above, type)) {
      above.push_back(type);
      if (absl::c_any_of(above, [&](const std::string& one) { return circular_types_.count(one) > 0; })) return chain;
      circular_types_.insert(above.begin(), above.end());
      sink_.Error({own->value->Pos().file, own->line, own->column},
                  absl::StrCat("types are based on each other in a circle: ", absl::StrJoin(above, " -> ")),
                  "base one of them on a built-in type");
      return chain;
    }
    if (!own->value->IsMap()) return chain;
    const YamlValue* base = own->value->Find("type");
    above.push_back(type);
    if (base != nullptr && base->text == type && is_builtin) base = nullptr;
    if (base != nullptr) {
      chain = Resolve(base->text, base->Pos(), above);
    } else if (is_builtin) {
      chain.layers.push_back({builtin->second, absl::StrCat("type ", type, " (built in)")});
      chain.base = type;
      chain.known = true;
    } else {
      chain.known = true;
    }
    chain.broken |= broken_types_.count(type) > 0;
    chain.layers.push_back({own->value, absl::StrCat("type ", type, " (", files_.main(), ")")});
    return chain;
  }

  static std::vector<std::string> TypeNames(const YamlValue* types) {
    std::vector<std::string> names;
    for (const auto& [name, value] : BuiltinTypes()) names.push_back(name);
    if (types != nullptr) {
      for (const YamlEntry& entry : types->entries) {
        if (!absl::c_linear_search(names, entry.key)) names.push_back(entry.key);
      }
    }
    return names;
  }

  void Services() {
    const YamlValue* services = envspec_->Find("services");
    if (services == nullptr) return;
    for (const YamlEntry& entry : services->entries) {
      if (!entry.value->IsMap() || TooMany(services->Pos())) continue;
      const YamlValue* name = entry.value->Find("name");
      if (name != nullptr && name->text != entry.key) {
        sink_.Error(name->Pos(),
                    absl::StrCat("the name '", EscapeLine(name->text), "' differs from its key '", entry.key, "'"),
                    "remove it: the key is the name");
      }
      Service(entry.value, "", entry.key, {entry.value->Pos().file, entry.line, entry.column});
    }
    for (const YamlRef& item : services->items) {
      if (item->IsScalar()) Folders(*item);
      if (item->IsMap() && !TooMany(item->Pos())) Service(item, "", "", item->Pos());
    }
    if (services->items.empty() && services->entries.empty() && !services->IsScalar() && !services->IsNull()) {
      sink_.Error(services->Pos(), "there is no service in 'services'", "name a folder: [services/*]");
    }
  }

  void Folders(const YamlValue& pattern) {
    const std::string& text = pattern.text;
    const std::vector<std::string> parts = absl::StrSplit(text, '/');
    if (absl::StartsWith(text, "/") || absl::c_linear_search(parts, "..")) {
      sink_.Error(pattern.Pos(), absl::StrCat("'", EscapeLine(text), "' leads out of the root folder"),
                  "name folders below the envspec.yml");
      return;
    }
    if (absl::c_linear_search(parts, "**")) {
      sink_.Error(pattern.Pos(), "'**' is not known here: '*' stands for one folder name",
                  "write one pattern for each depth: [services/*, services/*/*]");
      return;
    }
    if (parts.back() == "service.yml") {
      sink_.Error(pattern.Pos(), absl::StrCat("'", EscapeLine(text), "' is a file"), "name its folder");
      return;
    }
    const bool glob = text.find_first_of("*?[") != std::string::npos;
    int found = 0;
    const std::vector<std::string> folders = files_.Folders(text);
    for (const std::string& folder : folders) {
      if (glob && !files_.Exists(JoinPath(folder, "service.yml"))) continue;
      if (TooMany(pattern.Pos())) return;
      ++found;
      if (!files_.Exists(JoinPath(folder, "service.yml"))) {
        context_.incomplete = true;
        sink_.Error(pattern.Pos(), absl::StrCat("the folder '", EscapeLine(folder), "' holds no service.yml"),
                    files_.HintForFolder(folder));
        continue;
      }
      if (seen_folders_.insert(folder).second) ServiceFile(folder, pattern.Pos());
    }
    if (found > 0) return;
    context_.incomplete = true;
    if (glob) {
      sink_.Error(pattern.Pos(), absl::StrCat("no folder that matches '", EscapeLine(text), "' holds a service.yml"),
                  "folders are relative to the envspec.yml");
    } else {
      sink_.Error(pattern.Pos(), absl::StrCat("there is no folder '", EscapeLine(text), "'"),
                  "folders are relative to the envspec.yml");
    }
  }

  bool TooMany(const SourcePos& pos) {
    if (catalogue_.services.size() < kMaxServices) return false;
    sink_.Error(pos, absl::StrCat("more than ", kMaxServices, " services, the limit of one catalogue"));
    context_.incomplete = true;
    return true;
  }

  void ServiceFile(const std::string& folder, const SourcePos& wanted) {
    const std::string path = JoinPath(folder, folder.empty() ? files_.main() : "service.yml");
    const SourceFileRef file = files_.Read(path, wanted, sink_);
    const YamlRef root = file == nullptr ? nullptr : ReadYaml(file, sink_);
    if (root == nullptr) {
      context_.incomplete = true;
      return;
    }
    if (!root->IsMap()) {
      sink_.Error(root->Pos(), absl::StrCat("a service is a map of keys, not ", DescribeKind(*root)),
                  "begin with name: checkout");
      context_.incomplete = true;
      return;
    }
    if (folder.empty() && root->Find("services") != nullptr) {
      sink_.Error(root->Pos(), "this looks like an envspec, but the file is called service.yml",
                  "rename it to envspec.yml");
      context_.incomplete = true;
      return;
    }
    Service(root, folder, "", root->Pos());
  }

  // `folder` is relative to the root; `key` is the name of an inline service, otherwise empty.
  void Service(const YamlRef& value, const std::string& folder, const std::string& key, const SourcePos& pos) {
    const size_t before = sink_.size();
    CheckShape(Object(ServiceTable()), *value, "the service", sink_);
    const YamlValue* type = value->Find("type");
    TypeChain chain;
    if (type != nullptr && type->IsScalar() && CheckName(type->text).ok()) {
      chain = Resolve(type->text, type->Pos(), {});
    } else if (type == nullptr) {
      sink_.Error(
          pos, "the service has no 'type'",
          absl::StrCat("write type: ",
                       absl::StrJoin(TypeNames(envspec_ == nullptr ? nullptr : envspec_->Find("types")), ", or ")));
    }
    chain.layers.push_back({value, "service"});
    const YamlRef merged = Merge(Object(ServiceTable()), chain.layers);
    for (const FieldInfo& field : ServiceTable().fields()) {
      const YamlValue* set = merged->Find(field.key);
      if (set != nullptr) CheckRequired(field.shape, *set, sink_);
    }
    if (key.empty() && merged->Find("name") == nullptr) {
      sink_.Error(pos, "the service has no 'name'", "write name: checkout");
    }
    ServiceSpec service = ServiceTable().Bind(*merged, {});
    if (!key.empty()) {
      service.name = key;
      service.pos = pos;
    }
    if (!CheckName(service.name)
             .ok()) {  // Has been told, and would be taken for something else: "web.front" for a job.
      context_.incomplete = true;
      return;
    }
    service.base = chain.base;
    service.one_shot = chain.base == "job";
    service.folder = JoinPath(catalogue_.root, folder);
    if (folder.empty()) service.folder = catalogue_.root;
    if (service.paths.empty() && !folder.empty()) service.paths.push_back(folder);
    service.origins = Origins(*merged);
    const bool whole = chain.known && !chain.broken;
    if (sink_.size() == before && whole) FinishService(service, *merged, folder, files_, sink_);
    Keep(std::move(service), merged, sink_.size() != before || !whole);
  }

  void Keep(ServiceSpec service, const YamlRef& merged, bool broken) {
    const std::string name = service.name;
    if (absl::c_linear_search(kReserved, name)) {
      sink_.Error(service.pos,
                  absl::StrCat("'", name, "' cannot be a service's name: it means something of its own in references"),
                  "write another name");
    }
    const auto [kept, fresh] = catalogue_.services.try_emplace(name, std::move(service));
    if (!fresh) {
      // try_emplace has not moved from `service`.
      const std::string first = FormatPos(kept->second.pos);
      sink_.Error(service.pos, absl::StrCat("a second service named '", name, "'"),
                  absl::StrCat("the first one is at ", first));
      return;
    }
    context_.merged[name] = merged;
    if (broken) context_.broken.insert(name);
  }

  void Tests() {
    const YamlValue* tests = envspec_->Find("tests");
    if (tests == nullptr) return;
    for (const YamlEntry& entry : tests->entries) {
      if (!entry.value->IsMap() || !CheckName(entry.key).ok()) continue;
      TestJobSpec test = TestTable().Bind(*entry.value, {});
      test.name = entry.key;
      test.pos = {entry.value->Pos().file, entry.line, entry.column};
      context_.tests[entry.key] = entry.value;
      catalogue_.tests[entry.key] = std::move(test);
    }
  }

  void Profiles() {
    const YamlValue* profiles = envspec_->Find("profiles");
    if (profiles == nullptr) return;
    for (const YamlEntry& entry : profiles->entries) {
      catalogue_.profiles[entry.key] = ProfileTable().Bind(*entry.value, {entry.key});
    }
  }

  Sink sink_;
  SpecFiles files_;
  Catalogue catalogue_;
  CheckContext context_;
  YamlRef envspec_;  // nullptr when a service.yml is loaded by itself.
  std::set<std::string> broken_types_;
  std::set<std::string> circular_types_;
  std::set<std::string> seen_folders_;
};

}  // namespace

LoadedCatalogue LoadCatalogue(absl::string_view path, absl::string_view below) {
  return Loader(path, below).Load();
}

LoadedCatalogue LoadCatalogue(std::shared_ptr<const CatalogueSource> source) {
  return Loader(std::move(source)).Load();
}

}  // namespace mayfly
