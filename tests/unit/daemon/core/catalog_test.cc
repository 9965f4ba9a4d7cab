#include "daemon/core/catalog.h"

#include "gmock/gmock.h"
#include "protocol/limits.h"
#include "tests/support/status_matchers.h"

namespace kvferry::core {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

NamespaceSpec Spec(const std::string& name) {
  NamespaceSpec spec;
  spec.name = name;
  spec.model = "llama";
  spec.groups = {OpaqueGroup(16, 65536, 2)};
  return spec;
}

class CatalogTest : public testing::Test {
 protected:
  Catalog catalog_{64 * kMiB, {.allow_create = true, .quota_bytes = 32 * kMiB}};

  auto Attach(const NamespaceSpec& spec, bool create = true) {
    return catalog_.Attach({.spec = spec, .create = create});
  }
};

TEST_F(CatalogTest, TheFirstAttachMakesTheNamespaceTheSecondEntersIt) {
  const auto first = Attach(Spec("a"));
  const auto second = Attach(Spec("a"));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(first->created);
  EXPECT_FALSE(second->created);
  EXPECT_EQ(first->id, second->id);
  EXPECT_EQ(catalog_.reserved_bytes(), 32 * kMiB);
}

TEST_F(CatalogTest, AnotherPageSizeIsRefusedWithBothNamed) {
  ASSERT_THAT(Attach(Spec("a")), IsOk());
  NamespaceSpec other = Spec("a");
  other.groups[0] = OpaqueGroup(16, 131072, 2);
  EXPECT_THAT(Attach(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("page_bytes is 131072 here"),
                             HasSubstr("65536 in the namespace"))));
}

TEST_F(CatalogTest, AnotherSliceCountIsRefusedWithBothNamed) {
  ASSERT_THAT(Attach(Spec("a")), IsOk());
  NamespaceSpec other = Spec("a");
  other.groups[0].slice_count = 4;
  EXPECT_THAT(Attach(other), StatusIs(absl::StatusCode::kFailedPrecondition,
                                      AllOf(HasSubstr("slice_count is 4 here"),
                                            HasSubstr("2 in the namespace"))));
}

TEST_F(CatalogTest, AnotherModelIsRefusedWithBothFingerprints) {
  ASSERT_THAT(Attach(Spec("a")), IsOk());
  NamespaceSpec other = Spec("a");
  other.model = "qwen";
  EXPECT_THAT(Attach(other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("model is qwen here, llama"),
                             HasSubstr("fingerprint"))));
}

TEST_F(CatalogTest, AnUnknownNameIsNotMadeUnlessAsked) {
  EXPECT_THAT(Attach(Spec("a"), /*create=*/false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"a\"")));
  EXPECT_THAT(catalog_.Attach({.spec = Spec("a"), .accept_existing = true}),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(CatalogTest, TheTemplateMayForbidIt) {
  Catalog closed(kMiB, {.allow_create = false});
  EXPECT_THAT(
      closed.Attach({.spec = Spec("a"), .create = true}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("allow_create")));
}

TEST_F(CatalogTest, TheBudgetIsTheLimit) {
  ASSERT_THAT(Attach(Spec("a")), IsOk());
  ASSERT_THAT(Attach(Spec("b")), IsOk());
  EXPECT_THAT(Attach(Spec("c")), StatusIs(absl::StatusCode::kResourceExhausted,
                                          HasSubstr("0 are left")));
  catalog_.Remove(catalog_.FindByName("a")->id);
  EXPECT_THAT(Attach(Spec("c")), IsOk());
}

TEST_F(CatalogTest, SpecificationsBeyondTheLimitsNameTheField) {
  NamespaceSpec spec = Spec("a");
  spec.groups[0].slice_count = 65;
  EXPECT_THAT(Attach(spec), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("groups[0].slice_count is 65")));
  spec = Spec("a b");
  EXPECT_THAT(Attach(spec), StatusIs(absl::StatusCode::kInvalidArgument));
  spec = Spec("a");
  spec.groups[0].head_bytes = 1u << 31;
  EXPECT_THAT(Attach(spec), StatusIs(absl::StatusCode::kInvalidArgument));
  spec.groups.clear();
  EXPECT_THAT(Attach(spec), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("group count is 0")));
}

TEST_F(CatalogTest, AQuotaThatHoldsNoBlockIsRefused) {
  EXPECT_THAT(
      catalog_.Create(Spec("a"), 4096),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("hold no block")));
}

}  // namespace
}  // namespace kvferry::core
