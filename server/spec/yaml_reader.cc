#include "server/spec/yaml_reader.h"

#include <algorithm>
#include <exception>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "mayfly/base/text.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"  // IWYU pragma: keep

namespace mayfly {
namespace {

// Ends parsing; what is wrong has been reported.
struct Stop : std::exception {};

std::string Cut(absl::string_view text) {
  constexpr size_t kLongest = 60;
  return text.size() <= kLongest ? std::string(text) : absl::StrCat(text.substr(0, kLongest), "...");
}

// Builds the tree from yaml-cpp's events, which tell what its Node hides: duplicate keys, quotes, aliases.
class Builder : public YAML::EventHandler {
 public:
  Builder(const SourceFileRef& file, Sink& sink) : file_(file), sink_(sink) {}

  YamlRef root() const { return root_; }

  // Where the innermost list or map begins that is still open; line 0 when there is none.
  SourcePos OpenPos() const { return stack_.empty() ? SourcePos{file_->name} : stack_.back().value->Pos(); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 1) return;
    if (absl::StrContains(file_->text, "\n---")) {
      Fail(mark, "a second document in one file", "write one document to a file, without '---' between");
    }
    Fail(mark, "this does not belong to what stands above", "check its indentation");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto value = New(mark, YamlValue::Kind::kNull);
    if (!stack_.empty() && stack_.back().value->IsMap() && !stack_.back().has_key) {
      Fail(mark, "a key is missing before ':'");
    }
    // yaml-cpp places what is not there at the next token, often lines below.
    if (!stack_.empty() && stack_.back().has_key) {
      value->line = stack_.back().key_line;
      value->column = stack_.back().key_column;
    }
    Add(std::move(value), anchor, 1);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    CheckTag(mark, tag);
    CheckQuotes(mark);
    if (WantsKey()) {
      SetKey(mark, tag == "?", text);
      return;
    }
    auto value = New(mark, YamlValue::Kind::kScalar);
    value->plain = tag == "?";
    value->text = text;
    Add(std::move(value), anchor, 1);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (WantsKey()) Fail(mark, "an alias cannot be a key");
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Fail(mark, "an alias inside the value that it stands for");
    Add(found->second.value, YAML::NullAnchor, found->second.nodes);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlValue::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlValue::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Open_ {
    std::shared_ptr<YamlValue> value;
    YAML::anchor_t anchor = YAML::NullAnchor;
    size_t nodes = 1;
    absl::flat_hash_map<std::string, int> keys;  // With their lines.
    bool has_key = false;
    bool drop = false;  // The key was a duplicate: its value is read and forgotten.
    std::string key;
    int key_line = 0;
    int key_column = 0;
  };
  struct Anchored {
    YamlRef value;
    size_t nodes = 0;
  };

  SourcePos Pos(const YAML::Mark& mark) const { return {file_->name, mark.line + 1, mark.column + 1}; }

  [[noreturn]] void Fail(const YAML::Mark& mark, std::string message, std::string hint = "") {
    sink_.Error(Pos(mark), std::move(message), std::move(hint));
    throw Stop();
  }

  std::shared_ptr<YamlValue> New(const YAML::Mark& mark, YamlValue::Kind kind) {
    auto value = std::make_shared<YamlValue>();
    value->kind = kind;
    value->file = file_;
    value->line = mark.line + 1;
    value->column = mark.column + 1;
    return value;
  }

  bool WantsKey() const { return !stack_.empty() && stack_.back().value->IsMap() && !stack_.back().has_key; }

  void CheckTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    std::string shown = tag;
    if (absl::StartsWith(shown, "tag:yaml.org,2002:")) shown = absl::StrCat("!!", shown.substr(18));
    Fail(mark, absl::StrCat("tags such as '", Cut(shown), "' are not used here"),
         "remove the tag; write text in quotes");
  }

  // yaml-cpp ends a quoted text at the end of the file without a word.
  void CheckQuotes(const YAML::Mark& mark) {
    const std::string& text = file_->text;
    const size_t begin = static_cast<size_t>(std::max(mark.pos, 0));
    if (begin >= text.size() || (text[begin] != '"' && text[begin] != '\'')) return;
    const char quote = text[begin];
    for (size_t i = begin + 1; i < text.size(); ++i) {
      if (quote == '"' && text[i] == '\\') {
        ++i;
      } else if (text[i] == quote) {
        return;  // '' inside single quotes ends one piece and begins another, which is closed or not in its turn.
      }
    }
    Fail(mark, "a quote is not closed", "close it at the end of the text");
  }

  void SetKey(const YAML::Mark& mark, bool plain, const std::string& key) {
    Open_& top = stack_.back();
    if (plain && key == "<<") {
      Fail(mark, "merge keys ('<<') are not read", "put shared defaults under 'types' of the envspec.yml");
    }
    top.has_key = true;
    top.key = key;
    top.key_line = mark.line + 1;
    top.key_column = mark.column + 1;
    const auto [before, fresh] = top.keys.try_emplace(key, top.key_line);
    top.drop = !fresh;
    if (top.drop) {
      sink_.Error(Pos(mark), absl::StrCat("duplicate key '", Cut(key), "'"),
                  absl::StrCat("it is already set in line ", before->second));
    }
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlValue::Kind kind) {
    CheckTag(mark, tag);
    if (WantsKey()) Fail(mark, "a key must be plain text, not a list or a map");
    if (stack_.size() >= static_cast<size_t>(kMaxYamlDepth)) {
      Fail(mark, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels"));
    }
    Open_ open;
    open.value = New(mark, kind);
    open.anchor = anchor;
    stack_.push_back(std::move(open));
  }

  void Close() {
    Open_ done = std::move(stack_.back());
    stack_.pop_back();
    Add(std::move(done.value), done.anchor, done.nodes);
  }

  void Add(YamlRef value, YAML::anchor_t anchor, size_t nodes) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = {value, nodes};
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open_& top = stack_.back();
    top.nodes += nodes;
    if (top.nodes > kMaxYamlNodes) {
      sink_.Error(value->Pos(), absl::StrCat("more than ", kMaxYamlNodes, " values once aliases are expanded"));
      throw Stop();
    }
    if (top.value->IsList()) {
      top.value->items.push_back(std::move(value));
      return;
    }
    if (!top.drop) top.value->entries.push_back({top.key, top.key_line, top.key_column, std::move(value)});
    top.has_key = false;
  }

  const SourceFileRef file_;
  Sink& sink_;
  int documents_ = 0;
  YamlRef root_;
  std::vector<Open_> stack_;
  std::map<YAML::anchor_t, Anchored> anchors_;
};

struct Explained {
  std::string message;
  std::string hint;
};

// yaml-cpp's messages in the words of somebody who writes YAML.
Explained Explain(const std::string& message, const std::string& line, int column) {
  if (absl::StrContains(line, "${") && absl::StrContains(message, "flow")) {
    return {"'${' inside [...] or {...} begins a map", "put the whole value in quotes: \"${...}\""};
  }
  if (message == "illegal map value") {
    const std::string before = line.substr(0, std::max(column - 1, 0));
    if (!absl::StrContains(before, ": ") && before.find_first_of("{[") == std::string::npos) {
      return {"a key below a key that has its value already",
              "check the indentation of this line and of the one above"};
    }
    return {"a second ':' in one line", "put a value that holds ': ' in quotes, or begin a new line for an inner map"};
  }
  if (message == "end of map not found" || message == "end of sequence not found") {
    return {"this does not fit what stands above", "check its indentation, and the ':' after each key"};
  }
  if (message == "end of sequence flow not found") return {"a '[' is not closed", "add the missing ',' or ']'"};
  if (message == "end of map flow not found") return {"a '{' is not closed", "add the missing ',' or '}'"};
  if (message == "illegal EOF in scalar") return {"a quote is not closed"};
  if (message == "illegal flow end") return {"a closing bracket without its opening one"};
  if (message == "illegal block entry") {
    return {"'- ' cannot begin a list here", "begin the list in a new line, or write [a, b]"};
  }
  if (message == "unknown token") return {"a value cannot begin with this character", "put it in quotes"};
  if (message == "the referenced anchor is not defined")
    return {"no anchor of that name", "write & before its definition"};
  if (absl::StartsWith(message, "unknown escape character")) {
    return {"unknown escape in double quotes", "write \\\\ for a backslash, or use single quotes"};
  }
  return {absl::StrCat("not valid YAML: ", message)};
}

// Length of the well-formed UTF-8 sequence at the front, 0 when there is none or it is a control character.
size_t CleanLength(absl::string_view s) {
  const unsigned char lead = s[0];
  if (lead < 0x80) return lead >= 0x20 || lead == '\n' || lead == '\r' || lead == '\t' ? (lead != 0x7F) : 0;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

// What yaml-cpp would read in silence or report badly.
bool CheckText(const SourceFile& file, Sink& sink) {
  if (file.text.size() > kMaxSpecBytes) {
    sink.Error({file.name, 0, 0},
               absl::StrCat("larger than ", HumanSize(kMaxSpecBytes), ", the limit for a spec file"));
    return false;
  }
  if (absl::StartsWith(file.text, "\xFF\xFE") || absl::StartsWith(file.text, "\xFE\xFF")) {
    sink.Error({file.name, 1, 1}, "the file is UTF-16", "save it as UTF-8");
    return false;
  }
  int line = 1;
  size_t line_start = 0;
  bool indent = true;
  for (size_t i = 0; i < file.text.size();) {
    const size_t length = CleanLength(absl::string_view(file.text).substr(i));
    const SourcePos pos = {file.name, line, static_cast<int>(i - line_start) + 1};
    if (length == 0) {
      const unsigned char byte = file.text[i];
      const bool control = byte < 0x20 || byte == 0x7F;
      sink.Error(pos,
                 control ? absl::StrFormat("control character 0x%02x", byte)
                         : absl::StrFormat("byte 0x%02x is not UTF-8", byte),
                 control ? "remove it, or write it as an escape in double quotes" : "save the file as UTF-8");
      return false;
    }
    const char c = file.text[i];
    if (c == '\t' && indent) {
      // A tab before a comment or at the end of an empty line harms nobody.
      const size_t first = file.text.find_first_not_of("\t ", i);
      if (first != std::string::npos && !absl::StrContains("#\r\n", file.text.substr(first, 1))) {
        sink.Error(pos, "a tab in the indentation", "indent with spaces");
        return false;
      }
    }
    indent = c == '\n' || (indent && (c == ' ' || c == '\t'));
    i += length;
    if (c == '\n') {
      ++line;
      line_start = i;
    }
  }
  return true;
}

}  // namespace

YamlRef ReadYaml(const SourceFileRef& file, Sink& sink) {
  sink.AddFile(file);
  if (!CheckText(*file, sink)) return nullptr;
  Builder builder(file, sink);
  try {
    std::istringstream in(file->text);
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
    return nullptr;
  } catch (const YAML::Exception& e) {
    SourcePos pos = {file->name, e.mark.line + 1, e.mark.column + 1};
    const Explained explained = Explain(e.msg, file->Line(pos.line), pos.column);
    // What is not closed is found out at the end of the file; where it began is of more use.
    if (absl::StrContains(explained.message, "is not closed") && builder.OpenPos().line > 0) pos = builder.OpenPos();
    sink.Error(pos, explained.message, explained.hint);
    return nullptr;
  } catch (const std::exception& e) {
    sink.Error({file->name, 0, 0}, absl::StrCat("cannot be read as YAML: ", e.what()));
    return nullptr;
  }
  if (builder.root() == nullptr || builder.root()->IsNull()) {
    sink.Error({file->name, 0, 0}, "the file is empty");
    return nullptr;
  }
  return builder.root();
}

}  // namespace mayfly
