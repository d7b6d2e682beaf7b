// The rows of a bench: a table for people and, with --json FILE, what ./dev bench promises to scripts.
#ifndef MAYFLY_TESTS_BENCH_FIGURES_H_
#define MAYFLY_TESTS_BENCH_FIGURES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace mayfly::bench {

// What a row must reach, at "median", "p95", "p99" or "max".
struct Goal {
  std::string at;
  double value = 0;
  bool at_least = false;  // The figure must not be lower, instead of not higher.
};

class Figures {
 public:
  explicit Figures(std::string bench) : bench_(std::move(bench)) {}

  // One row; `samples` must not be empty.
  void Add(std::string measure, std::string unit, std::vector<double> samples, std::optional<Goal> goal = std::nullopt);

  // Prints the table on stdout and writes the file when the program's arguments have --json FILE. The exit code: 0,
  // also when a goal is missed, for a figure is written as it is; 1 when the file cannot be written.
  int Finish(int argc, char** argv) const;

 private:
  struct Row {
    std::string measure;
    std::string unit;
    std::vector<double> samples;  // As they came.
    std::vector<double> sorted;
    std::optional<Goal> goal;
  };

  static double At(const Row& row, const std::string& at);
  static bool Reached(const Row& row);
  void Print() const;
  absl::Status WriteJson(const std::string& path) const;

  const std::string bench_;
  std::vector<Row> rows_;
};

}  // namespace mayfly::bench

#endif  // MAYFLY_TESTS_BENCH_FIGURES_H_
