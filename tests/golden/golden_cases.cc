#include "tests/golden/golden_cases.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mayfly {
namespace {

std::vector<GoldenCase> Parse(const std::string& file, const std::string& text) {
  std::vector<GoldenCase> cases;
  for (const absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
    if (absl::StartsWith(line, "=== ")) {
      cases.push_back({file, std::string(line.substr(4)), {{"envspec.yml", ""}}});
    } else if (!cases.empty() && absl::StartsWith(line, "--- ")) {
      cases.back().parts.push_back({std::string(line.substr(4)), ""});
    } else if (!cases.empty()) {
      absl::StrAppend(&cases.back().parts.back().text, line, "\n");
    }
  }
  return cases;
}

std::string Print(const std::vector<GoldenCase>& cases) {
  std::string out;
  for (const GoldenCase& one : cases) {
    absl::StrAppend(&out, "=== ", one.name, "\n");
    for (size_t i = 0; i < one.parts.size(); ++i) {
      if (i > 0) absl::StrAppend(&out, "--- ", one.parts[i].title, "\n");
      absl::StrAppend(&out, one.parts[i].text);
    }
  }
  return out;
}

}  // namespace

std::string ReadWhole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string GoldenCase::Input() const {
  std::string out;
  for (const GoldenPart& part : parts) {
    if (absl::StartsWith(part.title, "expected") || (&part == &parts[0] && part.text.empty())) continue;
    absl::string_view path = part.title;
    if (!absl::ConsumeSuffix(&path, " escaped")) {
      absl::StrAppend(&out, "--- ", path, "\n", part.text);
      continue;
    }
    std::string bytes;
    absl::CUnescape(absl::StripSuffix(part.text, "\n"), &bytes);
    absl::StrAppend(&out, "--- ", path, "\n", bytes, "\n");
  }
  return std::string(absl::StripSuffix(out, "\n"));
}

std::vector<GoldenCase> ReadGoldenCases(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  std::vector<GoldenCase> cases;
  for (const std::string& file : files) {
    for (GoldenCase& one : Parse(file, ReadWhole(file))) cases.push_back(std::move(one));
  }
  return cases;
}

bool UpdatingGoldens() {
  const char* update = std::getenv("MAYFLY_UPDATE_GOLDENS");
  return update != nullptr && absl::string_view(update) == "1";
}

void WriteGoldenPart(const GoldenCase& golden, const std::string& title, const std::string& text) {
  std::vector<GoldenCase> cases = Parse(golden.file, ReadWhole(golden.file));
  for (GoldenCase& one : cases) {
    if (one.name != golden.name) continue;
    auto part = std::find_if(one.parts.begin(), one.parts.end(), [&](const GoldenPart& p) { return p.title == title; });
    if (part == one.parts.end()) part = one.parts.insert(part, {title, ""});
    part->text = text;
  }
  std::ofstream(golden.file, std::ios::binary) << Print(cases);
}

}  // namespace mayfly
