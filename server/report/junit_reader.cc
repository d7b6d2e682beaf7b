#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <pugixml.hpp>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/report/junit.h"

namespace mayfly {
namespace {

// The name without a namespace prefix.
absl::string_view LocalName(const pugi::xml_node& node) {
  const absl::string_view name = node.name();
  const size_t colon = name.rfind(':');
  return colon == absl::string_view::npos ? name : name.substr(colon + 1);
}

std::string Place(absl::string_view bytes, absl::string_view name, ptrdiff_t offset) {
  const absl::string_view before = bytes.substr(0, std::clamp<ptrdiff_t>(offset, 0, bytes.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n');
  const size_t column = start == absl::string_view::npos ? before.size() + 1 : before.size() - start;
  return absl::StrCat(EscapeLine(name), ":", line, ":", column);
}

// pugixml takes some 64 bytes a node and 40 an attribute, whatever they hold: both are counted before it sees them.
absl::Status CheckSize(absl::string_view bytes, absl::string_view name, const JunitLimits& limits) {
  if (bytes.size() > limits.bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(EscapeLine(name), ": ", HumanSize(bytes.size()),
                                                     " are too much for a JUnit file, at most ",
                                                     HumanSize(limits.bytes)));
  }
  const size_t tags = std::count(bytes.begin(), bytes.end(), '<');
  size_t attributes = 0;
  for (size_t i = 1; i < bytes.size(); ++i) attributes += (bytes[i] == '"' || bytes[i] == '\'') && bytes[i - 1] == '=';
  if (tags + attributes > limits.elements) {
    return absl::ResourceExhaustedError(absl::StrCat(EscapeLine(name), ": ", tags + attributes,
                                                     " tags and attributes are too many for a JUnit file, at most ",
                                                     limits.elements));
  }
  return absl::OkStatus();
}

// All text of an element: a CDATA section that holds "]]>" is written as two.
std::string Body(const pugi::xml_node& node) {
  std::string out;
  for (const pugi::xml_node& child : node.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) out += child.value();
  }
  return out;
}

class Reader {
 public:
  Reader(absl::string_view bytes, absl::string_view name, const JunitLimits& limits)
      : bytes_(bytes), name_(name), limits_(limits) {}

  absl::StatusOr<JunitFile> Read(const pugi::xml_node& root) {
    MAYFLY_RETURN_IF_ERROR(ReadSuite(root, "", 0));
    return std::move(file_);
  }

 private:
  absl::Status ReadSuite(const pugi::xml_node& node, const std::string& outer, int depth) {
    if (depth > limits_.depth) {
      return absl::ResourceExhaustedError(absl::StrCat(Place(bytes_, name_, node.offset_debug()),
                                                       ": suites are nested more than ", limits_.depth, " deep"));
    }
    JunitSuite suite;
    const std::string own = Text(node.attribute("name").value());
    const bool is_root = LocalName(node) == "testsuites";
    suite.name = is_root || own.empty() ? outer : outer.empty() ? own : absl::StrCat(outer, " / ", own);
    const std::string name = suite.name;
    // A suite's own cases come before those of the suites in it, so that the order is the file's.
    for (const pugi::xml_node& child : node.children()) {
      if (LocalName(child) == "testcase") suite.cases.push_back(ReadCase(child));
    }
    suite.seconds = Seconds(node.attribute("time").value());
    if (!suite.cases.empty()) file_.suites.push_back(std::move(suite));
    for (const pugi::xml_node& child : node.children()) {
      if (LocalName(child) == "testsuite" || LocalName(child) == "testsuites") {
        MAYFLY_RETURN_IF_ERROR(ReadSuite(child, name, depth + 1));
      }
    }
    return absl::OkStatus();
  }

  JunitCase ReadCase(const pugi::xml_node& node) {
    JunitCase test;
    test.classname = Text(node.attribute("classname").value());
    test.name = Text(node.attribute("name").value());
    test.file = Text(node.attribute("file").value());
    test.seconds = Seconds(node.attribute("time").value());
    // Some tools say it only so.
    const absl::string_view status = node.attribute("status").value();
    if (status == "skipped" || status == "disabled" || status == "notrun") test.outcome = JunitCase::Outcome::kSkipped;
    for (const pugi::xml_node& child : node.children()) ReadResult(child, test);
    return test;
  }

  void ReadResult(const pugi::xml_node& child, JunitCase& test) {
    const absl::string_view what = LocalName(child);
    if (what == "failure") {
      Worsen(child, JunitCase::Outcome::kFailed, test);
    } else if (what == "error") {
      Worsen(child, JunitCase::Outcome::kError, test);
    } else if (what == "skipped") {
      Worsen(child, JunitCase::Outcome::kSkipped, test);
    } else if (what == "flakyFailure" || what == "flakyError") {
      test.flaky = true;
      if (test.outcome == JunitCase::Outcome::kPassed && test.message.empty()) Describe(child, test);
    } else if (what == "rerunFailure" || what == "rerunError") {
      test.flaky = true;
    } else if (what == "system-out") {
      test.system_out = Text(Body(child));
    } else if (what == "system-err") {
      test.system_err = Text(Body(child));
    }
  }

  // The first failure or error says what happened, whatever stands before or after it.
  void Worsen(const pugi::xml_node& child, JunitCase::Outcome outcome, JunitCase& test) {
    const bool decided = test.outcome == JunitCase::Outcome::kFailed || test.outcome == JunitCase::Outcome::kError;
    if (decided) return;
    test.outcome = outcome;
    Describe(child, test);
  }

  void Describe(const pugi::xml_node& child, JunitCase& test) {
    test.type = Text(child.attribute("type").value());
    test.message = Text(child.attribute("message").value());
    test.text = Text(Body(child));
    // Surefire puts the trace of a flaky failure into a child.
    if (test.text.empty()) test.text = Text(Body(child.child("stackTrace")));
  }

  std::string Text(absl::string_view text) const {
    text = absl::StripAsciiWhitespace(text);
    if (text.size() <= limits_.text) return std::string(text);
    // The end of a trace or an output says more than its middle.
    const absl::string_view head = text.substr(0, limits_.text / 2);
    const absl::string_view tail = text.substr(text.size() - limits_.text / 2);
    return absl::StrCat(head, "\n[", text.size() - head.size() - tail.size(), " bytes left out]\n", tail);
  }

  // "1,234.5" and "NaN" exist.
  static double Seconds(absl::string_view text) {
    double seconds = 0;
    const std::string plain = absl::StrReplaceAll(text, {{",", ""}});
    constexpr double kMost = 1e9;  // Thirty years: more is a mistake, and would make a report unreadable.
    return absl::SimpleAtod(plain, &seconds) && seconds > 0 && seconds <= kMost ? seconds : 0;
  }

  const absl::string_view bytes_;
  const absl::string_view name_;
  const JunitLimits& limits_;
  JunitFile file_;
};

}  // namespace

absl::StatusOr<JunitFile> ParseJunit(absl::string_view bytes, absl::string_view name, const JunitLimits& limits) {
  MAYFLY_RETURN_IF_ERROR(CheckSize(bytes, name, limits));
  const auto bad = [&](ptrdiff_t offset, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(Place(bytes, name, offset), ": ", what));
  };
  if (absl::StripAsciiWhitespace(bytes).empty()) return bad(0, "the file is empty");
  pugi::xml_document document;
  const pugi::xml_parse_result result =
      document.load_buffer(bytes.data(), bytes.size(), pugi::parse_default, pugi::encoding_auto);
  if (result.status == pugi::status_out_of_memory) return absl::ResourceExhaustedError("no memory for a JUnit file");
  if (!result)
    return bad(result.offset, absl::StrCat("not well-formed XML: ", absl::AsciiStrToLower(result.description())));
  for (const pugi::xml_node& node : document.children()) {
    if (node.type() != pugi::node_element) continue;
    if (LocalName(node) == "testsuites" || LocalName(node) == "testsuite") {
      return Reader(bytes, name, limits).Read(node);
    }
    return bad(node.offset_debug(), absl::StrCat("the root element is <", EscapeLine(LocalName(node).substr(0, 40)),
                                                 ">, not <testsuites> or <testsuite>"));
  }
  return bad(0, "no XML element in it");
}

namespace {

absl::Status CannotRead(const std::string& path, int error) {
  return ErrnoStatus(error, absl::StrCat("JUnit file '", EscapeLine(path), "' cannot be read"));
}

// At most one byte more than `most`, which tells that there is more.
absl::StatusOr<std::string> ReadBytes(int fd, const std::string& path, size_t most) {
  std::string bytes;
  char buffer[65536];
  while (bytes.size() <= most) {
    const ssize_t size = read(fd, buffer, std::min(sizeof(buffer), most + 1 - bytes.size()));
    if (size < 0) return CannotRead(path, errno);
    if (size == 0) break;
    bytes.append(buffer, size);
  }
  return bytes;
}

// Surefire and Gradle write a file per class.
absl::StatusOr<JunitFile> ReadFolder(const std::string& path, JunitLimits limits) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    std::error_code ignored;
    const bool regular = entry.symlink_status(ignored).type() == std::filesystem::file_type::regular;
    if (regular && entry.path().extension() == ".xml") names.push_back(entry.path().string());
  }
  if (error) return CannotRead(path, error.value());
  if (names.empty()) return absl::NotFoundError(absl::StrCat("no JUnit file *.xml in '", EscapeLine(path), "'"));
  std::sort(names.begin(), names.end());
  std::vector<JunitFile> files;
  for (const std::string& name : names) {
    const auto size = std::filesystem::file_size(name, error);
    MAYFLY_ASSIGN_OR_RETURN(JunitFile file, ReadJunitFile(name, limits));
    files.push_back(std::move(file));
    limits.bytes -= std::min<size_t>(limits.bytes, error ? 0 : size);
  }
  return MergeJunit(files);
}

}  // namespace

absl::StatusOr<JunitFile> ReadJunitFile(const std::string& path, const JunitLimits& limits) {
  // A test job chose what lies there: neither a pipe nor a link may make the reader wait or look elsewhere.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return CannotRead(path, errno);
  struct stat info = {};
  absl::StatusOr<std::string> bytes = absl::InvalidArgumentError("");
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (regular) bytes = ReadBytes(fd, path, limits.bytes);
  close(fd);
  if (S_ISDIR(info.st_mode)) return ReadFolder(path, limits);
  if (!regular) {
    return absl::InvalidArgumentError(absl::StrCat("JUnit file '", EscapeLine(path), "' is not a regular file"));
  }
  if (!bytes.ok()) return bytes.status();
  return ParseJunit(*bytes, path, limits);
}

}  // namespace mayfly
