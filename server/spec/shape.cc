#include "server/spec/shape.h"

namespace mayfly {

Shape Int(int64_t min, int64_t max) {
  return {Form::kInt, static_cast<double>(min), static_cast<double>(max)};
}
Shape Number(double min, double max) {
  return {Form::kNumber, min, max};
}

Shape Words(std::vector<std::string> words) {
  Shape shape = {Form::kWord};
  shape.words = std::move(words);
  return shape;
}

Shape ListOf(Shape item) {
  Shape shape = {Form::kList};
  shape.item = std::make_shared<Shape>(std::move(item));
  return shape;
}

Shape MapOf(Form key, Shape item) {
  Shape shape = {Form::kMap};
  shape.key = key;
  shape.item = std::make_shared<Shape>(std::move(item));
  return shape;
}

Shape Object(const TableInfo& table) {
  Shape shape = {Form::kTable};
  shape.table = &table;
  return shape;
}

Shape Either(Shape item, Shape other, std::string shorthand) {
  Shape shape = {Form::kEither};
  shape.item = std::make_shared<Shape>(std::move(item));
  shape.other = std::make_shared<Shape>(std::move(other));
  shape.shorthand = std::move(shorthand);
  return shape;
}

const FieldInfo* TableInfo::Find(absl::string_view key) const {
  for (const FieldInfo& field : fields_) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

}  // namespace mayfly
