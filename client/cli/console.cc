#include "client/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/lib/files.h"

namespace mayfly {
namespace {

absl::string_view Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

bool UnicodeLocale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const absl::string_view value = Variable(name);
    if (value.empty()) continue;
    const std::string lower = absl::AsciiStrToLower(value);
    return absl::StrContains(lower, "utf-8") || absl::StrContains(lower, "utf8");
  }
  return false;
}

void Measure(int fd, Look& look) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    look.width = size.ws_col;
    look.height = std::max<int>(size.ws_row, 4);
  }
  // Somebody wants less than there is; what is over the real width would wrap.
  int columns = 0;
  if (absl::SimpleAtoi(Variable("COLUMNS"), &columns) && columns > 0) {
    look.width = look.width > 0 ? std::min(look.width, columns) : columns;
  }
}

Look LookOf(int fd, const Options& options, bool terminal) {
  Look look;
  look.unicode = UnicodeLocale();
  look.width = 0;
  if (terminal) Measure(fd, look);
  const bool plain_terminal = Variable("TERM") == "dumb";
  look.color = options.color == "always" ||
               (options.color == "auto" && terminal && !plain_terminal && Variable("NO_COLOR").empty());
  return look;
}

// The code point at the front of `text`, which is taken off. Bytes that are no UTF-8 count as themselves.
uint32_t TakeCodePoint(absl::string_view& text, size_t& length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length > text.size()) length = 1;
  uint32_t code = length == 1 ? lead : lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3F);
  text.remove_prefix(length);
  return code;
}

int WidthOf(uint32_t c) {
  if ((c >= 0x0300 && c <= 0x036F) || (c >= 0x1AB0 && c <= 0x1AFF) || (c >= 0x20D0 && c <= 0x20FF) ||
      (c >= 0xFE00 && c <= 0xFE0F)) {
    return 0;
  }
  const bool wide = (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) || (c >= 0xAC00 && c <= 0xD7A3) ||
                    (c >= 0xF900 && c <= 0xFAFF) || (c >= 0xFE30 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF60) ||
                    (c >= 0xFFE0 && c <= 0xFFE6) || (c >= 0x1F300 && c <= 0x1FAFF) || (c >= 0x20000 && c <= 0x3FFFD);
  return wide ? 2 : 1;
}

}  // namespace

std::string Paint(const Look& look, Style style, absl::string_view text) {
  if (!look.color || style == Style::kPlain || text.empty()) return std::string(text);
  const char* code = "";
  switch (style) {
    case Style::kPlain:
      break;
    case Style::kBold:
      code = "1";
      break;
    case Style::kDim:
      code = "2";
      break;
    case Style::kGreen:
      code = "32";
      break;
    case Style::kYellow:
      code = "33";
      break;
    case Style::kRed:
      code = "31";
      break;
  }
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

Console::Console(const Options& options) : quiet_(options.quiet) {
  out_is_terminal_ = isatty(1) == 1;
  const bool err_terminal = isatty(2) == 1;
  out_ = LookOf(1, options, out_is_terminal_);
  err_ = LookOf(2, options, err_terminal);
  const absl::string_view ci = Variable("CI");
  interactive_ = err_terminal && Variable("TERM") != "dumb" && (ci.empty() || ci == "false" || ci == "0");
}

Console::Console(int out_fd, int err_fd, Look out, Look err, bool interactive)
    : out_fd_(out_fd), err_fd_(err_fd), out_(out), err_(err), interactive_(interactive) {}

void Console::Out(absl::string_view text) {
  if (!WriteAll(out_fd_, text).ok()) _exit(141);  // As if SIGPIPE, which is ignored for the sake of the sockets.
}

void Console::Note(absl::string_view line) {
  if (!quiet_) Error(line);
}

void Console::Error(absl::string_view line) {
  (void)WriteAll(err_fd_, absl::StrCat(line, "\n"));
}

void Console::Raw(absl::string_view bytes) {
  (void)WriteAll(err_fd_, bytes);
}

void Console::MeasureAgain() {
  if (interactive_) Measure(err_fd_, err_);
}

int Columns(absl::string_view text) {
  int columns = 0;
  size_t length = 0;
  while (!text.empty()) columns += WidthOf(TakeCodePoint(text, length));
  return columns;
}

std::string FitColumns(absl::string_view text, int columns, bool unicode) {
  if (columns <= 0) return "";
  if (Columns(text) <= columns) return std::string(text);
  const absl::string_view ellipsis = unicode ? "…" : ">";
  std::string out;
  int used = 0;
  size_t length = 0;
  while (!text.empty()) {
    const absl::string_view before = text;
    const int width = WidthOf(TakeCodePoint(text, length));
    if (used + width > columns - 1) break;
    out.append(before.data(), length);
    used += width;
  }
  return absl::StrCat(out, ellipsis);
}

std::string PadColumns(absl::string_view text, int columns) {
  std::string out(text);
  const int missing = columns - Columns(text);
  if (missing > 0) out.append(static_cast<size_t>(missing), ' ');
  return out;
}

}  // namespace mayfly
