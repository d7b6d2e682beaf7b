// The decoding table: which keys there are, what each may hold, what it means. One table per kind of map drives
// checking and decoding, the JSON Schema (schema.h) and the reference page (reference_page.h).
#ifndef MAYFLY_SERVER_SPEC_SHAPE_H_
#define MAYFLY_SERVER_SPEC_SHAPE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/spec/sink.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

class TableInfo;

// What one value may be.
enum class Form {
  kText,      // One line, without references.
  kTemplate,  // Text that may hold ${...}; numbers and true/false count as text.
  kName,      // A DNS label of at most 40 characters.
  kNode,      // A name, or <service>.<job>.
  kVariable,  // [A-Za-z_][A-Za-z0-9_]*
  kOutput,    // As kVariable, with '-' too; not host, port, address.
  kBool,
  kInt,     // From `min` to `max`.
  kNumber,  // From `min` to `max`.
  kDuration,
  kSize,
  kMode,         // A file mode: "0644", in quotes.
  kRegex,        // RE2.
  kSignal,       // TERM or SIGTERM.
  kWord,         // One of `words`.
  kGrpcService,  // true, or the name of a gRPC service; may be empty.
  kPortRef,      // A port's number or name.
  kHttpPath,     // Begins with '/'.
  kPath,         // Of a file or folder, relative or absolute.
  kInnerPath,    // Relative, and not out of its folder.
  kHostPort,     // host:port
  kCommand,      // A text of words or a list of templates.
  kList,         // Of `item`.
  kMap,          // From `key` to `item`.
  kTable,        // A map with the keys of `table`.
  kEither,       // `item`, or `other` when the value is not of item's kind. With `shorthand`, `item` means {shorthand:
                 // item}.
};

struct Shape {
  Form form = Form::kText;
  double min = 0;
  double max = 0;
  std::vector<std::string> words;
  const TableInfo* table = nullptr;  // Not owned; tables live for ever.
  bool partial = false;              // kMap: of types, which lack what a service must have.
  bool deferred = false;             // kTable: the keys are checked by another call.
  Form key = Form::kName;
  std::shared_ptr<const Shape> item;
  std::shared_ptr<const Shape> other;
  std::string shorthand;  // "*": the text is itself the key, and its value true.
};

Shape Int(int64_t min, int64_t max);
Shape Number(double min, double max);
Shape Words(std::vector<std::string> words);
Shape ListOf(Shape item);
Shape MapOf(Form key, Shape item);
Shape Object(const TableInfo& table);
Shape Either(Shape item, Shape other, std::string shorthand = "");
inline Shape Of(Form form) {
  return {form};
}

struct FieldInfo {
  std::string key;
  Shape shape;
  std::string doc;       // For the reference page and for editors.
  std::string fallback;  // What holds when it is not set; empty: nothing.
  std::string example;   // In flow form.
  bool required = false;
  std::vector<std::string> mistaken;  // What people coming from elsewhere write instead: "depends_on".
};

class TableInfo {
 public:
  TableInfo(std::string name, std::string noun, std::string doc)
      : name_(std::move(name)), noun_(std::move(noun)), doc_(std::move(doc)) {}

  const std::string& name() const { return name_; }  // "service", "health": the section of the reference page.
  const std::string& noun() const { return noun_; }  // In messages: "the service", "'health'".
  const std::string& doc() const { return doc_; }
  const std::vector<FieldInfo>& fields() const { return fields_; }
  const FieldInfo* Find(absl::string_view key) const;

  // Keys that exclude each other across layers: setting one drops the others that came from below.
  void SetExclusive(std::vector<std::string> keys) { exclusive_ = std::move(keys); }
  const std::vector<std::string>& exclusive() const { return exclusive_; }

  // Rules between keys of one layer; called with a map whose keys and values have been checked.
  using Rule = std::function<void(const YamlValue& map, Sink& sink)>;
  void SetRule(Rule rule) { rule_ = std::move(rule); }
  const Rule& rule() const { return rule_; }

 protected:
  std::string name_;
  std::string noun_;
  std::string doc_;
  std::vector<FieldInfo> fields_;
  std::vector<std::string> exclusive_;
  Rule rule_;
};

// A table whose fields know how to set a T.
template <class T>
class Table : public TableInfo {
 public:
  using Setter = std::function<void(T& target, const YamlValue& value)>;
  using TableInfo::TableInfo;

  Table& Add(FieldInfo field, Setter set) {
    fields_.push_back(std::move(field));
    setters_.push_back(std::move(set));
    return *this;
  }

  // `target` with everything set that `map` has. The map has passed CheckShape and its shorthands are spelled out
  // (Merge does that).
  T Bind(const YamlValue& map, T target) const {
    for (size_t i = 0; i < fields_.size(); ++i) {
      const YamlValue* value = map.Find(fields_[i].key);
      if (value != nullptr && !value->IsNull()) setters_[i](target, *value);
    }
    return target;
  }

 private:
  std::vector<Setter> setters_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SHAPE_H_
