#include "tools/support/table.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace kvferry::tools {
namespace {

// Columns that `text` takes on a terminal: bytes that continue a UTF-8
// character take none.
size_t Width(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(),
      [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void Pad(std::string* line, size_t count) { line->append(count, ' '); }

}  // namespace

std::string Printable(const std::string& text) {
  std::string printable = text;
  for (char& c : printable) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  // C1 controls, U+0080 to U+009F, are 0xc2 and a byte below 0xa0 in UTF-8.
  for (size_t i = 0; i + 1 < printable.size(); ++i) {
    if (static_cast<unsigned char>(printable[i]) == 0xc2 &&
        static_cast<unsigned char>(printable[i + 1]) < 0xa0) {
      printable.replace(i, 2, "?");
    }
  }
  return printable;
}

Table::Table(std::vector<std::string> titles) {
  for (std::string& title : titles) {
    right_.push_back(title[0] == '>');
    if (right_.back()) title.erase(0, 1);
  }
  rows_.push_back(std::move(titles));
}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(right_.size());
  for (std::string& cell : cells) cell = Printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<size_t> widths(right_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      const size_t padding = widths[i] - Width(row[i]);
      if (right_[i]) Pad(&line, padding);
      line += row[i];
      if (!right_[i]) Pad(&line, padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

void Properties::Add(std::string name, std::string value) {
  pairs_.emplace_back(std::move(name), Printable(value));
}

std::string Properties::Render() const {
  size_t width = 0;
  for (const auto& [name, value] : pairs_) {
    width = std::max(width, Width(name));
  }
  std::string text;
  for (const auto& [name, value] : pairs_) {
    text += name;
    Pad(&text, width - Width(name) + 2);
    text += value + "\n";
  }
  return text;
}

}  // namespace kvferry::tools
