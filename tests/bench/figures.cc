#include "tests/bench/figures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "mayfly/base/version.h"

namespace mayfly::bench {

void Figures::Add(std::string measure, std::string unit, std::vector<double> samples, std::optional<Goal> goal) {
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  rows_.push_back({std::move(measure), std::move(unit), std::move(samples), std::move(sorted), std::move(goal)});
}

double Figures::At(const Row& row, const std::string& at) {
  const auto quantile = [&](double share) {
    return row.sorted[std::min<size_t>(row.sorted.size() - 1, static_cast<size_t>(share * row.sorted.size()))];
  };
  if (at == "min") return row.sorted.front();
  if (at == "max") return row.sorted.back();
  return quantile(at == "median" ? 0.5 : at == "p95" ? 0.95 : 0.99);
}

bool Figures::Reached(const Row& row) {
  const double figure = At(row, row.goal->at);
  return row.goal->at_least ? figure >= row.goal->value : figure <= row.goal->value;
}

void Figures::Print() const {
  size_t width = 7;
  for (const Row& row : rows_) width = std::max(width, row.measure.size());
  const auto pad = [&](const std::string& text) { return text + std::string(width - text.size(), ' '); };
  absl::PrintF("%s  %-6s %6s %10s %10s %10s %10s  %-18s %s\n", pad("measure"), "unit", "n", "min", "median", "p95",
               "p99", "goal", "ok");
  for (const Row& row : rows_) {
    const std::string goal =
        row.goal ? absl::StrFormat("%s %s %g", row.goal->at, row.goal->at_least ? ">=" : "<=", row.goal->value) : "";
    absl::PrintF("%s  %-6s %6d %10.3f %10.3f %10.3f %10.3f  %-18s %s\n", pad(row.measure), row.unit, row.samples.size(),
                 At(row, "min"), At(row, "median"), At(row, "p95"), At(row, "p99"), goal,
                 row.goal ? (Reached(row) ? "yes" : "NO") : "");
  }
}

absl::Status Figures::WriteJson(const std::string& path) const {
  nlohmann::ordered_json json = {{"bench", bench_}, {"commit", std::string(Commit())}};
  json["rows"] = nlohmann::ordered_json::array();
  for (const Row& row : rows_) {
    nlohmann::ordered_json out = {{"measure", row.measure}, {"unit", row.unit}, {"n", row.samples.size()}};
    for (const char* at : {"min", "median", "p95", "p99", "max"}) out[at] = At(row, at);
    out["goal"] = nullptr;
    out["ok"] = nullptr;
    if (row.goal) {
      out["goal"] = absl::StrFormat("%s %s %g", row.goal->at, row.goal->at_least ? ">=" : "<=", row.goal->value);
      out["ok"] = Reached(row);
    }
    std::vector<double> samples;
    for (const double sample : row.samples) samples.push_back(std::round(sample * 1e4) / 1e4);
    out["samples"] = samples;
    json["rows"].push_back(out);
  }
  std::ofstream file(path);
  file << json.dump(1) << "\n";
  file.close();
  return file ? absl::OkStatus() : absl::UnknownError(absl::StrCat(path, " cannot be written"));
}

int Figures::Finish(int argc, char** argv) const {
  Print();
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) != "--json") continue;
    if (const absl::Status status = WriteJson(argv[i + 1]); !status.ok()) {
      absl::FPrintF(stderr, "%s\n", status.ToString());
      return 1;
    }
  }
  return 0;
}

}  // namespace mayfly::bench
