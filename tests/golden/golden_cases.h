// Many small golden cases in one readable text file:
//   === unknown-key
//   --- services/cart/service.yml
//   ...
//   --- expected
//   ...
// Text before the first "--- " line of a case is its envspec.yml. A path followed by " escaped" holds C escapes (\x07,
// \r, \n) for bytes that no editor shows. Everything after "--- expected" is what
// comes out.
#ifndef MAYFLY_TESTS_GOLDEN_GOLDEN_CASES_H_
#define MAYFLY_TESTS_GOLDEN_GOLDEN_CASES_H_

#include <ostream>
#include <string>
#include <vector>

namespace mayfly {

struct GoldenPart {
  std::string title;  // "services/cart/service.yml", "expected", "expected plan".
  std::string text;
};

struct GoldenCase {
  friend void PrintTo(const GoldenCase& one, std::ostream* out) { *out << one.file << ": " << one.name; }

  std::string file;  // That it stands in.
  std::string name;
  std::vector<GoldenPart> parts;

  // The input files, in the notation of tests/support/spec_case.h, escapes resolved.
  std::string Input() const;
};

// The cases of every *.txt in a folder of the source tree, in order of file.
std::vector<GoldenCase> ReadGoldenCases(const std::string& folder);

// True when MAYFLY_UPDATE_GOLDENS=1: the caller hands in what comes out, and it is written.
bool UpdatingGoldens();

// Sets the part of that title, "expected" or "expected plan", of one case in its file.
void WriteGoldenPart(const GoldenCase& golden, const std::string& title, const std::string& text);

std::string ReadWhole(const std::string& path);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_GOLDEN_GOLDEN_CASES_H_
