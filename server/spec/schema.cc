#include "server/spec/schema.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/spec/tables.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNamePattern[] = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$";
constexpr char kVariablePattern[] = "^[A-Za-z_][A-Za-z0-9_]*$";
// What a map of keys must have: a service written under its name needs no `name`, and a type may not have one.
enum class Variant { kWhole, kInline, kType };

Json Pattern(absl::string_view pattern) {
  return Json::object({{"type", "string"}, {"pattern", std::string(pattern)}});
}

Json Number(const char* type, const Shape& shape) {
  // Whole limits without ".0", as a person would write them.
  Json out = Json::object({{"type", type}});
  const auto put = [&](const char* key, double value) {
    if (value == static_cast<double>(static_cast<int64_t>(value))) {
      out[key] = static_cast<int64_t>(value);
    } else {
      out[key] = value;
    }
  };
  put("minimum", shape.min);
  put("maximum", shape.max);
  return out;
}

class Schema {
 public:
  Json File(const TableInfo& table) {
    Json out;
    out["$schema"] = "http://json-schema.org/draft-07/schema#";
    out["title"] = absl::StrCat("mayfly ", table.name(), ".yml");
    const Json keys = Keys(table, Variant::kWhole);
    for (const auto& [key, value] : keys.items()) out[key] = value;
    out["definitions"] = Json::object();
    for (auto& [name, definition] : definitions_) out["definitions"][name] = std::move(definition);
    return out;
  }

 private:
  Json Keys(const TableInfo& table, Variant variant) {
    Json out = Json::object({{"description", table.doc()}, {"type", "object"}, {"additionalProperties", false}});
    Json required = Json::array();
    out["properties"] = Json::object();
    for (const FieldInfo& field : table.fields()) {
      const bool name = field.key == "name";
      if (variant == Variant::kType && name) continue;
      const bool may_lack = variant == Variant::kType || (variant == Variant::kInline && name);
      if (field.required && !may_lack) required.push_back(field.key);
      Json value = Value(field.shape);
      // Draft-07 ignores what stands beside a $ref.
      if (value.contains("$ref")) value = Json::object({{"allOf", Json::array({value})}});
      value["description"] =
          absl::StrCat(field.doc, field.fallback.empty() ? "" : absl::StrCat(" Default: ", field.fallback, "."));
      out["properties"][field.key] = std::move(value);
    }
    if (!required.empty()) out["required"] = std::move(required);
    return out;
  }

  Json Define(const std::string& name, const TableInfo& table, Variant variant) {
    if (definitions_.try_emplace(name).second) {
      Json keys = Keys(table, variant);
      definitions_[name] = std::move(keys);
    }
    return Json::object({{"$ref", absl::StrCat("#/definitions/", name)}});
  }

  Json Value(const Shape& shape) {
    switch (shape.form) {
      case Form::kName:
        return Pattern(kNamePattern);
      case Form::kVariable:
        return Pattern(kVariablePattern);
      case Form::kBool:
        return Json::object({{"type", "boolean"}});
      case Form::kInt:
        return Number("integer", shape);
      case Form::kNumber:
        return Number("number", shape);
      case Form::kDuration:
        return Pattern("^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d|w))+$");
      case Form::kSize:
        return Pattern("^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T|B)$");
      case Form::kMode:
        return Pattern("^[0-7]{3,5}$");
      case Form::kHttpPath:
        return Pattern("^/");
      case Form::kHostPort:
        return Pattern("^.+:[0-9]+$");
      case Form::kWord:
        return Json::object({{"enum", shape.words}});
      case Form::kTemplate:
        return Json::object({{"type", Json::array({"string", "number", "boolean"})}});
      case Form::kGrpcService:
        return Json::object({{"type", Json::array({"string", "boolean"})}});
      case Form::kCommand:
        return {
            {"anyOf",
             Json::array({Json::object({{"type", "string"}}),
                          Json::object({{"type", "array"}, {"minItems", 1}, {"items", Value(Of(Form::kTemplate))}})})}};
      case Form::kList:
        return Json::object({{"type", "array"}, {"items", Value(*shape.item)}});
      case Form::kMap:
        return Map(shape);
      case Form::kTable:
        return Define(shape.table->name(), *shape.table, Variant::kWhole);
      case Form::kEither:
        return Json::object({{"anyOf", Json::array({Value(*shape.item), Value(*shape.other)})}});
      default:
        return Json::object({{"type", "string"}});
    }
  }

  Json Map(const Shape& shape) {
    Json out = Json::object({{"type", "object"}});
    if (shape.key == Form::kName) out["propertyNames"] = Json::object({{"pattern", kNamePattern}});
    if (shape.key == Form::kVariable) out["propertyNames"] = Json::object({{"pattern", kVariablePattern}});
    out["additionalProperties"] = shape.partial ? Define("type", *shape.item->table, Variant::kType)
                                  : shape.item->deferred
                                      ? Define("inline_service", *shape.item->table, Variant::kInline)
                                      : Value(*shape.item);
    return out;
  }

  std::map<std::string, Json> definitions_;
};

}  // namespace

std::string JsonSchema(SpecKind kind) {
  const TableInfo& table = kind == SpecKind::kService ? static_cast<const TableInfo&>(ServiceTable()) : EnvspecTable();
  return absl::StrCat(Schema().File(table).dump(2), "\n");
}

}  // namespace mayfly
