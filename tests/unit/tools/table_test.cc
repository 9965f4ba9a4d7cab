#include "tools/support/table.h"

#include <gtest/gtest.h>

#include "tools/support/json.h"

namespace kvferry::tools {
namespace {

TEST(TableTest, AlignsColumnsAndLeavesNoTrailingBlanks) {
  Table table({"NAME", ">COUNT", "NOTE"});
  table.AddRow({"a", "1", ""});
  table.AddRow({"longer", "12,345", "x"});

  EXPECT_EQ(table.Render(),
            "NAME     COUNT  NOTE\n"
            "a            1\n"
            "longer  12,345  x\n");
}

TEST(TableTest, CountsCharactersNotBytes) {
  Table table({"NAME", "X"});
  table.AddRow({"b\xc3\xa4r", "1"});

  EXPECT_EQ(table.Render(),
            "NAME  X\n"
            "b\xc3\xa4r   1\n");
}

// Goal    A client's name cannot move the cursor of who lists sessions.
TEST(TableTest, ReplacesControlCharacters) {
  EXPECT_EQ(Printable("a\x1b[2Jb\nc\x7f"), "a?[2Jb?c?");
  EXPECT_EQ(Printable("a\xc2\x9b"
                      "2J"),
            "a?2J");
  EXPECT_EQ(Printable("b\xc3\xa4r"), "b\xc3\xa4r");
}

TEST(PropertiesTest, AlignsValues) {
  Properties properties;
  properties.Add("a", "1");
  properties.Add("longer", "2");

  EXPECT_EQ(properties.Render(), "a       1\nlonger  2\n");
}

TEST(JsonTextTest, EscapesAndReplacesWhatIsNotUtf8) {
  Json json;
  json["quote"] = "a\"b\\c\n\x01";
  json["bytes"] = "x\xffy";

  EXPECT_EQ(
      JsonText(json),
      "{\"quote\":\"a\\\"b\\\\c\\n\\u0001\",\"bytes\":\"x\xef\xbf\xbdy\"}");
}

}  // namespace
}  // namespace kvferry::tools
