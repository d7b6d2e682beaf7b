#include "client/cli/live_block.h"

#include "absl/strings/str_cat.h"

namespace mayfly {

std::string LiveBlock::Draw(const std::vector<std::string>& lines) {
  // The cursor stays visible and no mode is switched, so that a kill at any instant leaves a usable terminal.
  std::string out = "\r";
  if (drawn_ > 0) absl::StrAppend(&out, "\x1b[", drawn_, "A");
  for (const std::string& line : lines) absl::StrAppend(&out, line, "\x1b[K\n");
  absl::StrAppend(&out, "\x1b[J");
  drawn_ = lines.size();
  return out;
}

}  // namespace mayfly
