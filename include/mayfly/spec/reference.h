// References in templates: ${cart.url}, ${cart.port.metrics}, ${self.port}, ${env.name}, ${env.KEY}; "$${" is a literal
// "${". Parsed here once for the loader, which checks them, and the planner, which fills them in.
#ifndef MAYFLY_SPEC_REFERENCE_H_
#define MAYFLY_SPEC_REFERENCE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace mayfly {

struct Reference {
  std::string target;    // A service's name, "self" or "env".
  std::string property;  // "host", "port", "address", an output; below env: "name" or a variable.
  std::string port;      // Of ${x.port.metrics} and ${x.address.metrics}; otherwise empty.
  std::string text;      // As written, "${" and "}" included.
  int occurrence = 0;    // How many references with the same text come before it.
};

struct TemplatePiece {
  std::string literal;  // Comes before the reference.
  bool has_reference = false;
  Reference reference;
};

struct ParsedTemplate {
  struct Problem {
    std::string message;
    std::string hint;
    std::string at;  // The part of the text that is to blame.
  };
  std::vector<TemplatePiece> pieces;
  std::vector<Problem> problems;  // Empty when the text is good.
};

ParsedTemplate ParseTemplate(absl::string_view text);

// The references of a text; what cannot be parsed is left out.
std::vector<Reference> ReferencesOf(absl::string_view text);

}  // namespace mayfly

#endif  // MAYFLY_SPEC_REFERENCE_H_
