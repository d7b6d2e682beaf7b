#include "server/spec/shape_check.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"
#include "server/spec/scalars.h"
#include "server/spec/shape_text.h"

namespace mayfly {
namespace {

bool IsTextual(Form form) {
  return form == Form::kText || form == Form::kTemplate || form == Form::kPath;
}

YamlValue::Kind KindOf(const Shape& shape) {
  switch (shape.form) {
    case Form::kList:
      return YamlValue::Kind::kList;
    case Form::kMap:
    case Form::kTable:
      return YamlValue::Kind::kMap;
    default:
      return YamlValue::Kind::kScalar;
  }
}

class Checker {
 public:
  explicit Checker(Sink& sink) : sink_(sink) {}

  void Check(const Shape& shape, const YamlValue& value, const std::string& what) {
    if (value.IsNull()) {
      const bool own = field_ != nullptr && what == absl::StrCat("'", field_->key, "'");
      sink_.Error(value.Pos(), absl::StrCat(what, " has no value"),
                  absl::StrCat("write ", own ? Example() : Expected(shape),
                               shape.form == Form::kTemplate ? "; \"\" is an empty one" : ", or leave the key out"));
      return;
    }
    switch (shape.form) {
      case Form::kEither:
        if (shape.shorthand == "*" && value.IsScalar() && NeedsValue(shape, value)) return;
        if (const Shape& chosen = Chosen(shape, value); chosen.form == Form::kCommand || value.kind == KindOf(chosen)) {
          Check(chosen, value, what);
        } else {
          Is(KindOf(chosen), shape, value, what);
        }
        return;
      case Form::kTable:
        if (Is(YamlValue::Kind::kMap, shape, value, what) && !shape.deferred) Keys(*shape.table, value);
        return;
      case Form::kMap:
        if (Is(YamlValue::Kind::kMap, shape, value, what)) Map(shape, value);
        return;
      case Form::kList:
        if (Is(YamlValue::Kind::kList, shape, value, what)) List(shape, value, what);
        return;
      case Form::kCommand:
        Command(shape, value, what);
        return;
      default:
        if (Is(YamlValue::Kind::kScalar, shape, value, what)) Scalar(shape, value);
    }
  }

  void Required(const Shape& shape, const YamlValue& value) {
    if (shape.form == Form::kEither) {
      Required(Chosen(shape, value), value);
    } else if (shape.form == Form::kList && value.IsList()) {
      for (const YamlRef& item : value.items) Required(*shape.item, *item);
    } else if (shape.form == Form::kMap && value.IsMap()) {
      for (const YamlEntry& entry : value.entries) Required(*shape.item, *entry.value);
    } else if (shape.form == Form::kTable && value.IsMap() && !shape.deferred) {
      for (const FieldInfo& field : shape.table->fields()) {
        const YamlValue* found = value.Find(field.key);
        if (found != nullptr) Required(field.shape, *found);
        if (found != nullptr || !field.required) continue;
        sink_.Error(value.Pos(), absl::StrCat(shape.table->noun(), " has no '", field.key, "'"),
                    absl::StrCat("write ", field.key, ": ", field.example));
      }
    }
  }

 private:
  void Keys(const TableInfo& table, const YamlValue& map) {
    const size_t before = sink_.size();
    for (const YamlEntry& entry : map.entries) {
      const FieldInfo* field = table.Find(entry.key);
      if (field == nullptr) {
        UnknownKey(table, map, entry);
      } else {
        const FieldInfo* outer = std::exchange(field_, field);
        Check(field->shape, *entry.value, absl::StrCat("'", entry.key, "'"));
        field_ = outer;
      }
    }
    if (table.rule() && sink_.size() == before) table.rule()(map, sink_);
  }

  bool Is(YamlValue::Kind kind, const Shape& shape, const YamlValue& value, const std::string& what) {
    if (value.kind == kind) return true;
    sink_.Error(value.Pos(), absl::StrCat(what, " must be ", Expected(shape), ", not ", DescribeKind(value)),
                HintForKind(shape, value));
    return false;
  }

  std::string Example() const { return field_ == nullptr ? "" : absl::StrCat(field_->key, ": ", field_->example); }

  std::string HintForKind(const Shape& shape, const YamlValue& value) {
    if (shape.form == Form::kList && value.IsScalar()) return absl::StrCat("write [", FlowText(value), "]");
    if (shape.form == Form::kMap && value.IsList() && field_ != nullptr)
      return absl::StrCat("write key: value in each line, without '- ': ", Example());
    if (shape.form == Form::kList && value.IsMap()) return "write '- ' before each entry, or [a, b]";
    return field_ == nullptr || field_->example.empty() ? "" : absl::StrCat("write ", Example());
  }

  // `health: http` names a key that needs a value of its own.
  bool NeedsValue(const Shape& shape, const YamlValue& value) {
    const FieldInfo* key = shape.other->table->Find(value.text);
    if (key == nullptr || absl::c_linear_search(shape.item->words, value.text)) return false;
    sink_.Error(value.Pos(), absl::StrCat("'", value.text, "' needs a value here"),
                absl::StrCat("write ", field_->key, ": {", value.text, ": ", key->example, "}"));
    return true;
  }

  void UnknownKey(const TableInfo& table, const YamlValue& map, const YamlEntry& entry) {
    std::vector<std::string> free;
    std::string meant;
    for (const FieldInfo& field : table.fields()) {
      if (absl::c_linear_search(field.mistaken, entry.key)) meant = field.key;
      if (map.Find(field.key) == nullptr) free.push_back(field.key);
    }
    if (meant.empty()) meant = Nearest(entry.key, free);
    const SourcePos pos = {map.file == nullptr ? "" : map.file->name, entry.line, entry.column};
    const bool few = table.fields().size() <= 8;
    sink_.Error(
        pos,
        absl::StrCat("unknown key '", EscapeLine(absl::string_view(entry.key).substr(0, 60)), "' in ", table.noun()),
        !meant.empty() ? absl::StrCat("did you mean '", meant, "'?")
        : few          ? absl::StrCat("there are ",
                                      absl::StrJoin(table.fields(), ", ",
                                                    [](std::string* out, const FieldInfo& f) { out->append(f.key); }))
                       : "`mayfly schema` and docs/envspec.md list all keys");
  }

  void Map(const Shape& shape, const YamlValue& map) {
    for (const YamlEntry& entry : map.entries) {
      const SourcePos pos = {map.file == nullptr ? "" : map.file->name, entry.line, entry.column};
      if (absl::Status status = CheckText(Of(shape.key), entry.key); !status.ok())
        ErrorWithHint(pos, status.message(), sink_);
      Check(*shape.item, *entry.value, absl::StrCat("'", EscapeLine(absl::string_view(entry.key).substr(0, 60)), "'"));
    }
  }

  void List(const Shape& shape, const YamlValue& list, const std::string& what) {
    for (const YamlRef& item : list.items) Check(*shape.item, *item, absl::StrCat("an entry of ", what));
  }

  void Command(const Shape& shape, const YamlValue& value, const std::string& what) {
    if (value.IsScalar()) {
      const CommandWords split = SplitCommand(value.text);
      if (!split.error.empty()) sink_.Error(LocateInScalar(value, split.at), split.error, split.hint);
      return;
    }
    if (!Is(YamlValue::Kind::kList, shape, value, what)) return;
    if (value.items.empty())
      sink_.Error(value.Pos(), absl::StrCat(what, " is an empty list"), "write the program and its arguments");
    List(ListOf(Of(Form::kTemplate)), value, what);
    if (!value.items.empty() && value.items[0]->IsScalar() && absl::StrContains(value.items[0]->text, " ")) {
      sink_.Warning(
          value.items[0]->Pos(),
          absl::StrCat("the program's name '", EscapeLine(value.items[0]->text.substr(0, 60)), "' has a space in it"),
          "one word to an entry: [a, b]; or write the command as one text without [ ]");
    }
  }

  void Scalar(const Shape& shape, const YamlValue& value) {
    if (value.plain && IsTextual(shape.form)) {
      if (const std::string why = AmbiguousPlain(value); !why.empty()) {
        sink_.Error(value.Pos(), absl::StrCat("'", value.text, "' without quotes ", why),
                    absl::StrCat("write \"", value.text, "\""));
        return;
      }
    }
    if (value.plain && shape.form == Form::kMode) {
      PlainMode(value);
      return;
    }
    const absl::Status status = CheckText(shape, value.text);
    if (status.ok()) return;
    const bool has_hint = absl::StrContains(status.message(), ": write ");
    if (has_hint || field_ == nullptr || field_->example.empty()) {
      ErrorWithHint(value.Pos(), status.message(), sink_);
    } else {
      sink_.Error(value.Pos(), std::string(status.message()), absl::StrCat("such as ", Example()));
    }
  }

  void PlainMode(const YamlValue& value) {
    const std::string text = EscapeLine(absl::string_view(value.text).substr(0, 40));
    const int number = static_cast<int>(ParseInt(value.text).value_or(-1));
    const bool decimal = number > 0 && number <= 07777;
    sink_.Error(value.Pos(),
                absl::StrCat("'", text, "' without quotes is octal to some YAML readers and decimal to others"),
                decimal ? absl::StrFormat("write \"0%o\" if that was decimal, \"0%s\" if it was octal", number, text)
                        : absl::StrCat("write \"", text, "\""));
  }

  Sink& sink_;
  const FieldInfo* field_ = nullptr;  // The innermost key that is being checked: its example is the best hint.
};

}  // namespace

void ErrorWithHint(const SourcePos& pos, absl::string_view sentence, Sink& sink) {
  const size_t split = sentence.rfind(": write ");
  if (split == absl::string_view::npos) {
    sink.Error(pos, std::string(sentence));
    return;
  }
  sink.Error(pos, std::string(sentence.substr(0, split)), std::string(sentence.substr(split + 2)));
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates, absl::string_view plural) {
  const std::string near = Nearest(word, candidates);
  if (!near.empty()) return absl::StrCat("did you mean '", near, "'?");
  if (candidates.empty()) return absl::StrCat("there are no ", plural);
  constexpr size_t kMost = 8;
  if (candidates.size() > kMost) return "";
  if (candidates.size() == 1) return absl::StrCat("there is only '", candidates[0], "'");
  return absl::StrCat("there are ", absl::StrJoin(candidates, ", "));
}

void CheckShape(const Shape& shape, const YamlValue& value, const std::string& what, Sink& sink) {
  Checker(sink).Check(shape, value, what);
}

void CheckRequired(const Shape& shape, const YamlValue& value, Sink& sink) {
  Checker(sink).Required(shape, value);
}

const Shape& Chosen(const Shape& either, const YamlValue& value) {
  const bool list_command = either.item->form == Form::kCommand && value.IsList();
  return list_command || value.kind == KindOf(*either.item) ? *either.item : *either.other;
}

}  // namespace mayfly
