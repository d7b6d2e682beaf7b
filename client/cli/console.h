// Where a verb's words go: data to standard output, everything else to standard error.
#ifndef MAYFLY_CLIENT_CLI_CONSOLE_H_
#define MAYFLY_CLIENT_CLI_CONSOLE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/cli/options.h"

namespace mayfly {

enum class Style { kPlain, kBold, kDim, kGreen, kYellow, kRed };

// How a line may look on one of the two outputs.
struct Look {
  int width = 80;   // Columns; 0: unlimited.
  int height = 24;  // Rows, for what is redrawn.
  bool color = false;
  bool unicode = true;  // Glyphs beyond ASCII.
};

// `text` in `style`, or as it is without colour.
std::string Paint(const Look& look, Style style, absl::string_view text);

class Console {
 public:
  // For the process's own descriptors 1 and 2, with what environment and flags say about colour and animation.
  explicit Console(const Options& options);
  Console(int out_fd, int err_fd, Look out, Look err, bool interactive);

  // Data. A reader that went away ends the program quietly, as the shell expects.
  void Out(absl::string_view text);
  // A line for people, unless --quiet; a newline is added.
  void Note(absl::string_view line);
  // As Note, also under --quiet: errors and what to do about them.
  void Error(absl::string_view line);
  // Bytes for standard error as they are: the redrawn block of progress.
  void Raw(absl::string_view bytes);

  // Standard error is a terminal that may be redrawn (not under CI, not quiet).
  bool interactive() const { return interactive_; }
  bool out_is_terminal() const { return out_is_terminal_; }
  bool quiet() const { return quiet_; }
  const Look& out() const { return out_; }
  const Look& err() const { return err_; }
  // After SIGWINCH.
  void MeasureAgain();

 private:
  int out_fd_ = 1;
  int err_fd_ = 2;
  Look out_;
  Look err_;
  bool interactive_ = false;
  bool out_is_terminal_ = false;
  bool quiet_ = false;
};

// `text` cut to `columns` terminal columns, the last one an ellipsis when something was cut. `text` holds no escapes.
std::string FitColumns(absl::string_view text, int columns, bool unicode);
// Terminal columns that `text` takes: wide characters count two, combining ones none.
int Columns(absl::string_view text);
// `text` filled with blanks to `columns`.
std::string PadColumns(absl::string_view text, int columns);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_CONSOLE_H_
