// Small checks from which admission.cc builds what an object may look like.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_SHAPE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_SHAPE_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly::kubernetes::shape {

// OK, or PERMISSION_DENIED with the field's path `at` and what is wrong there. Thread-safe.
using Shape = std::function<absl::Status(const nlohmann::json& value, const std::string& at)>;

absl::Status Refuse(const std::string& at, absl::string_view why);

Shape Text();     // Any, not empty.
Shape AnyText();  // May be empty.
Shape Flag();
Shape Name();    // A DNS label or several with dots between: no path, no wildcard.
Shape Inside();  // A relative path that stays below where it begins.
Shape Whole(int64_t least, int64_t most);
Shape Is(nlohmann::json value);
Shape Among(std::vector<nlohmann::json> values);
Shape ListOf(Shape item, size_t least = 0);
Shape MapOf(Shape item);  // An object with any keys.
Shape Both(Shape first, Shape second);

struct Field {
  std::string name;
  Shape shape;
  bool required = false;
};
// An object with these fields and no others.
Shape Fields(std::vector<Field> fields);
// The same with exactly one of them.
Shape OneOf(std::vector<Field> fields);

}  // namespace mayfly::kubernetes::shape

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_SHAPE_H_
