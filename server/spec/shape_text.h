// What one scalar may be: its text against its shape, and the shape in words.
#ifndef MAYFLY_SERVER_SPEC_SHAPE_TEXT_H_
#define MAYFLY_SERVER_SPEC_SHAPE_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "server/spec/shape.h"

namespace mayfly {

// INVALID_ARGUMENT with a sentence for the user, as in scalars.h; OK for shapes of lists and maps. Quotes have been
// dealt with.
absl::Status CheckText(const Shape& shape, const std::string& text);

// "a whole number from 1 to 65535", "a duration such as 90s", "a list of names".
std::string Expected(const Shape& shape);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SHAPE_TEXT_H_
