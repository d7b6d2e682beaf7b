#include "server/store/source_codec.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace mayfly {
namespace {

using Json = nlohmann::json;

bool TakeText(const Json& json, const char* key, std::string* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_string()) return false;
  *out = it->get<std::string>();
  return true;
}

}  // namespace

std::string EncodeSource(const CatalogueSource* source) {
  if (source == nullptr) return "";
  size_t bytes = 0;
  for (const auto& [path, text] : source->files) bytes += path.size() + text->size();
  if (bytes > kMostSource) return "";
  Json files = Json::object();
  for (const auto& [path, text] : source->files) files[path] = *text;
  const Json json = {{"root", source->root}, {"shown", source->shown}, {"main", source->main}, {"files", files}};
  std::string encoded = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return encoded.size() > kMostSource ? "" : encoded;
}

absl::StatusOr<std::shared_ptr<const CatalogueSource>> DecodeSource(absl::string_view text) {
  const absl::Status bad = absl::DataLossError("the recorded files of its source cannot be read");
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return bad;
  auto source = std::make_shared<CatalogueSource>();
  const auto files = json.find("files");
  if (!TakeText(json, "root", &source->root) || !TakeText(json, "shown", &source->shown) ||
      !TakeText(json, "main", &source->main) || files == json.end() || !files->is_object()) {
    return bad;
  }
  for (const auto& [path, content] : files->items()) {
    if (!content.is_string()) return bad;
    source->files[path] = std::make_shared<const std::string>(content.get<std::string>());
  }
  return std::shared_ptr<const CatalogueSource>(std::move(source));
}

}  // namespace mayfly
