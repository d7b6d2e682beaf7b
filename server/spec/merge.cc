#include "server/spec/merge.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/spec/shape_check.h"

namespace mayfly {
namespace {

std::shared_ptr<YamlValue> Copy(const YamlValue& value, const std::string& layer) {
  auto copy = std::make_shared<YamlValue>(value);
  copy->layer = layer;
  return copy;
}

// {key: value} in the place of `value`.
YamlRef Wrap(const std::string& key, const YamlValue& value, YamlRef inner) {
  auto map = std::make_shared<YamlValue>();
  map->kind = YamlValue::Kind::kMap;
  map->file = value.file;
  map->line = value.line;
  map->column = value.column;
  map->entries.push_back({key, value.line, value.column, std::move(inner)});
  return map;
}

YamlRef SpellOut(const Shape& shape, const YamlRef& value) {
  if (shape.shorthand.empty() || &Chosen(shape, *value) != shape.item.get()) return value;
  if (shape.shorthand != "*") return Wrap(shape.shorthand, *value, value);
  auto yes = std::make_shared<YamlValue>(*value);
  yes->text = "true";
  return Wrap(value->text, *value, std::move(yes));
}

class Merger {
 public:
  YamlRef Merge(const Shape& shape, const YamlRef& lower, const YamlRef& upper, const std::string& layer) const {
    if (shape.form == Form::kEither) {
      const YamlRef plain = SpellOut(shape, upper);
      return Merge(Chosen(shape, *plain), lower, plain, layer);
    }
    const bool map = (shape.form == Form::kTable || shape.form == Form::kMap) && upper->IsMap();
    if (!map) return Copy(*upper, layer);
    auto merged = std::make_shared<YamlValue>(*upper);
    merged->entries.clear();
    // What a higher layer adds comes behind what the lower ones have, except that a first layer keeps its order.
    if (lower != nullptr && lower->IsMap()) {
      for (const YamlEntry& entry : lower->entries) {
        if (!Dropped(shape, entry.key, *upper)) merged->entries.push_back(entry);
      }
    }
    for (const YamlEntry& entry : upper->entries) {
      const FieldInfo* field = shape.form == Form::kTable ? shape.table->Find(entry.key) : nullptr;
      if (shape.form == Form::kTable && field == nullptr) continue;
      const Shape& inner = field != nullptr ? field->shape : *shape.item;
      auto at = absl::c_find_if(merged->entries, [&](const YamlEntry& e) { return e.key == entry.key; });
      const YamlRef below = at == merged->entries.end() ? nullptr : at->value;
      YamlEntry result = {entry.key, entry.line, entry.column, Merge(inner, below, entry.value, layer)};
      if (at == merged->entries.end()) {
        merged->entries.push_back(std::move(result));
      } else {
        *at = std::move(result);
      }
    }
    return merged;
  }

 private:
  static bool Dropped(const Shape& shape, const std::string& key, const YamlValue& upper) {
    if (shape.form != Form::kTable) return false;
    const auto& exclusive = shape.table->exclusive();
    return upper.Find(key) == nullptr && absl::c_linear_search(exclusive, key) &&
           absl::c_any_of(exclusive, [&](const std::string& other) { return upper.Find(other) != nullptr; });
  }
};

void Collect(const YamlValue& value, const std::string& key, std::vector<Origin>& out) {
  if (value.IsMap() && !value.entries.empty()) {
    for (const YamlEntry& entry : value.entries) {
      Collect(*entry.value, key.empty() ? entry.key : absl::StrCat(key, ".", entry.key), out);
    }
    return;
  }
  out.push_back({key, FlowText(value), value.Pos(), value.layer});
}

}  // namespace

YamlRef Merge(const Shape& shape, const std::vector<Layer>& layers) {
  YamlRef merged;
  for (const Layer& layer : layers) merged = Merger().Merge(shape, merged, layer.value, layer.name);
  return merged;
}

std::vector<Origin> Origins(const YamlValue& merged) {
  std::vector<Origin> out;
  Collect(merged, "", out);
  std::stable_sort(out.begin(), out.end(), [](const Origin& a, const Origin& b) { return a.key < b.key; });
  return out;
}

}  // namespace mayfly
