#include "server/engine/kubernetes/client/kubeconfig_yaml.h"

#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace mayfly::kube {
namespace {

struct Refused : std::exception {
  Refused(const YAML::Mark& mark, std::string message) : mark(mark), message(std::move(message)) {}
  YAML::Mark mark;
  std::string message;
};

nlohmann::json PlainScalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  // "017" and "0x1F" are numbers to some readers of YAML and text to others: left as text.
  const bool digits = text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  const size_t first = text[0] == '-' ? 1 : 0;
  const bool octal = text.size() > first + 1 && text[first] == '0' && text[first + 1] != '.';
  if (!digits || octal || text.find_first_of("0123456789") == std::string::npos) return text;
  int64_t whole = 0;
  if (absl::SimpleAtoi(text, &whole)) return whole;
  double number = 0;
  if (absl::SimpleAtod(text, &number)) return number;
  return text;
}

class Converter {
 public:
  nlohmann::json Convert(const YAML::Node& node, int depth) {
    if (depth > kMaxKubeconfigDepth) {
      throw Refused(node.Mark(), absl::StrCat("nested deeper than ", kMaxKubeconfigDepth, " levels"));
    }
    // Aliases share their nodes: it is what they expand to that costs.
    if (++nodes_ > kMaxKubeconfigNodes) {
      throw Refused(node.Mark(), absl::StrCat("more than ", kMaxKubeconfigNodes, " values"));
    }
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        return nullptr;
      case YAML::NodeType::Scalar:
        return node.Tag() == "?" ? PlainScalar(node.Scalar()) : nlohmann::json(node.Scalar());
      case YAML::NodeType::Sequence: {
        nlohmann::json list = nlohmann::json::array();
        for (const YAML::Node& item : node) list.push_back(Convert(item, depth + 1));
        return list;
      }
      case YAML::NodeType::Map:
        return ConvertMap(node, depth);
    }
    return nullptr;
  }

 private:
  nlohmann::json ConvertMap(const YAML::Node& node, int depth) {
    nlohmann::json map = nlohmann::json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw Refused(entry.first.Mark(), "a key must be text");
      const std::string& key = entry.first.Scalar();
      if (map.contains(key)) {
        throw Refused(entry.first.Mark(), absl::StrCat("the key '", EscapeLine(key), "' stands here twice"));
      }
      map[key] = Convert(entry.second, depth + 1);
    }
    return map;
  }

  size_t nodes_ = 0;
};

}  // namespace

absl::StatusOr<nlohmann::json> KubeconfigYamlToJson(const std::string& text, const std::string& name) {
  if (text.size() > kMaxKubeconfigBytes) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": larger than ", HumanSize(kMaxKubeconfigBytes)));
  }
  const auto error = [&name](const YAML::Mark& mark, absl::string_view message) {
    const std::string place = mark.is_null() ? "" : absl::StrCat(":", mark.line + 1, ":", mark.column + 1);
    return absl::InvalidArgumentError(absl::StrCat(name, place, ": ", message));
  };
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty()) return nlohmann::json::object();
    if (documents.size() > 1)
      return error(documents[1].Mark(), "a second document in one file; make it a file of its own");
    nlohmann::json json = Converter().Convert(documents[0], 0);
    if (json.is_null()) return nlohmann::json::object();
    if (!json.is_object()) return error(documents[0].Mark(), "not a kubeconfig: a map was expected");
    return json;
  } catch (const Refused& e) {
    return error(e.mark, e.message);
  } catch (const YAML::Exception& e) {
    return error(e.mark, absl::StrCat("not valid YAML: ", EscapeLine(e.msg)));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": cannot be read as YAML: ", EscapeLine(e.what())));
  }
}

}  // namespace mayfly::kube
