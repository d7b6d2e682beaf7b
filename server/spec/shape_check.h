// Does a value have its shape? All that is wrong goes to the sink, each with its place and what to write instead.
#ifndef MAYFLY_SERVER_SPEC_SHAPE_CHECK_H_
#define MAYFLY_SERVER_SPEC_SHAPE_CHECK_H_

#include <string>

#include "absl/strings/string_view.h"
#include "server/spec/shape.h"

namespace mayfly {

// `what` names the value in messages: "'port'". The depth of a shape bounds the recursion; no file can deepen it.
void CheckShape(const Shape& shape, const YamlValue& value, const std::string& what, Sink& sink);

// Are all required keys there, in `value` and below? Apart from CheckShape because a type, and a service before its
// type is merged in, may be partial.
void CheckRequired(const Shape& shape, const YamlValue& value, Sink& sink);

// The alternative of a kEither that `value` takes.
const Shape& Chosen(const Shape& either, const YamlValue& value);

// Splits "... is not a duration: write 90s, 5m" into message and hint at the last ": write ".
void ErrorWithHint(const SourcePos& pos, absl::string_view sentence, Sink& sink);

// "did you mean 'port'?", or the list of what there is when it is short, or "".
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates, absl::string_view plural);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SHAPE_CHECK_H_
