#include "server/engine/kubernetes/admission_shape.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::kubernetes::shape {
namespace {

using nlohmann::json;

std::string Shown(const json& value) {
  constexpr size_t kLongest = 80;
  if (value.is_object()) return "an object";
  if (value.is_array()) return value.empty() ? "an empty list" : "a list";
  return EscapeLine(value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, kLongest));
}

// "spec.containers", "metadata.labels['a/b']".
std::string Below(const std::string& at, const std::string& key) {
  const bool plain = key.find_first_of("./[]'\" ") == std::string::npos && !key.empty();
  if (!plain) return absl::StrCat(at, "['", EscapeLine(key), "']");
  return at.empty() ? EscapeLine(key) : absl::StrCat(at, ".", EscapeLine(key));
}

absl::Status NeedsObject(const json& value, const std::string& at) {
  if (value.is_object()) return absl::OkStatus();
  return Refuse(at, absl::StrCat("must be an object, not ", Shown(value)));
}

absl::Status CheckFields(const std::vector<Field>& fields, const json& value, const std::string& at) {
  MAYFLY_RETURN_IF_ERROR(NeedsObject(value, at));
  for (auto it = value.begin(); it != value.end(); ++it) {
    const std::string& key = it.key();
    const bool known = std::any_of(fields.begin(), fields.end(), [&key](const Field& f) { return f.name == key; });
    if (!known) return Refuse(Below(at, key), "mayfly never sets this");
  }
  for (const Field& field : fields) {
    const auto item = value.find(field.name);
    if (item != value.end()) {
      MAYFLY_RETURN_IF_ERROR(field.shape(*item, Below(at, field.name)));
    } else if (field.required) {
      return Refuse(Below(at, field.name), "must be set");
    }
  }
  return absl::OkStatus();
}

Shape Texts(size_t least) {
  return [least](const json& value, const std::string& at) {
    if (!value.is_string()) return Refuse(at, absl::StrCat("must be text, not ", Shown(value)));
    return value.get_ref<const std::string&>().size() < least ? Refuse(at, "must not be empty") : absl::OkStatus();
  };
}

}  // namespace

absl::Status Refuse(const std::string& at, absl::string_view why) {
  return absl::PermissionDeniedError(absl::StrCat(at, at.empty() ? "" : ": ", why));
}

Shape Text() {
  return Texts(1);
}

Shape AnyText() {
  return Texts(0);
}

Shape Flag() {
  return [](const json& value, const std::string& at) {
    if (value.is_boolean()) return absl::OkStatus();
    return Refuse(at, absl::StrCat("must be true or false, not ", Shown(value)));
  };
}

Shape Name() {
  return [](const json& value, const std::string& at) {
    bool fits = value.is_string();
    if (fits) {
      for (const absl::string_view label : absl::StrSplit(value.get_ref<const std::string&>(), '.')) {
        fits = fits && CheckName(label, 253).ok();
      }
    }
    return fits ? absl::OkStatus() : Refuse(at, absl::StrCat("must be a DNS name, not ", Shown(value)));
  };
}

Shape Inside() {
  return [](const json& value, const std::string& at) {
    bool fits = value.is_string();
    if (fits) {
      const std::string& path = value.get_ref<const std::string&>();
      fits = !path.empty() && path[0] != '/';
      for (const absl::string_view part : absl::StrSplit(path, '/')) fits = fits && part != "..";
    }
    return fits ? absl::OkStatus() : Refuse(at, absl::StrCat("must be a path inside, not ", Shown(value)));
  };
}

Shape Whole(int64_t least, int64_t most) {
  return [least, most](const json& value, const std::string& at) {
    if (value.is_number_integer() && value.get<int64_t>() >= least && value.get<int64_t>() <= most) {
      return absl::OkStatus();
    }
    return Refuse(at, absl::StrCat("must be from ", least, " to ", most, ", not ", Shown(value)));
  };
}

Shape Is(json value) {
  return Among({std::move(value)});
}

Shape Among(std::vector<json> values) {
  return [values = std::move(values)](const json& value, const std::string& at) {
    if (std::find(values.begin(), values.end(), value) != values.end()) return absl::OkStatus();
    const auto dump = [](std::string* out, const json& one) { out->append(one.dump()); };
    return Refuse(at, absl::StrCat("must be ", absl::StrJoin(values, " or ", dump), ", not ", Shown(value)));
  };
}

Shape ListOf(Shape item, size_t least) {
  return [item = std::move(item), least](const json& value, const std::string& at) {
    if (!value.is_array()) return Refuse(at, absl::StrCat("must be a list, not ", Shown(value)));
    if (value.size() < least) return Refuse(at, "must not be empty");
    for (size_t i = 0; i < value.size(); ++i) {
      MAYFLY_RETURN_IF_ERROR(item(value[i], absl::StrCat(at, "[", i, "]")));
    }
    return absl::OkStatus();
  };
}

Shape MapOf(Shape item) {
  return [item = std::move(item)](const json& value, const std::string& at) {
    MAYFLY_RETURN_IF_ERROR(NeedsObject(value, at));
    for (const auto& [key, one] : value.items()) MAYFLY_RETURN_IF_ERROR(item(one, Below(at, key)));
    return absl::OkStatus();
  };
}

Shape Both(Shape first, Shape second) {
  return [first = std::move(first), second = std::move(second)](const json& value, const std::string& at) {
    MAYFLY_RETURN_IF_ERROR(first(value, at));
    return second(value, at);
  };
}

Shape Fields(std::vector<Field> fields) {
  return
      [fields = std::move(fields)](const json& value, const std::string& at) { return CheckFields(fields, value, at); };
}

Shape OneOf(std::vector<Field> fields) {
  return [fields = std::move(fields)](const json& value, const std::string& at) {
    MAYFLY_RETURN_IF_ERROR(CheckFields(fields, value, at));
    return value.size() == 1 ? absl::OkStatus() : Refuse(at, "must say exactly one thing");
  };
}

}  // namespace mayfly::kubernetes::shape
