#ifndef KVFERRY_TOOLS_SUPPORT_TABLE_H_
#define KVFERRY_TOOLS_SUPPORT_TABLE_H_

#include <string>
#include <vector>

namespace kvferry::tools {

// `text` with every control character replaced: names come from other
// processes and must not move a terminal's cursor.
std::string Printable(const std::string& text);

// Text in aligned columns under a line of titles.
class Table {
 public:
  // A title that starts with '>' aligns its column to the right.
  explicit Table(std::vector<std::string> titles);

  // REQUIRES  as many cells as titles
  void AddRow(std::vector<std::string> cells);

  bool empty() const { return rows_.size() == 1; }
  // One line a row, each with its line end.
  std::string Render() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // the titles are the first
};

// Names and values, one pair a line, values aligned.
class Properties {
 public:
  void Add(std::string name, std::string value);
  std::string Render() const;

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_TABLE_H_
