#include "daemon/control/access.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <utility>
#include <vector>

namespace kvferry::control {
namespace {

constexpr uid_t kStranger = 54321;

Peer MakePeer(uid_t uid, gid_t gid, std::vector<gid_t> groups = {}) {
  Peer peer;
  peer.uid = uid;
  peer.gid = gid;
  peer.groups = std::move(groups);
  return peer;
}

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    config_.namespaces.push_back(
        {"llama", {false, {}, {500}}, {false, {1001}, {}}});
  }
  config::Config config_;
};

TEST_F(AccessTest, RootAndTheDaemonsUserMayEverything) {
  for (const uid_t uid : {uid_t{0}, ::geteuid()}) {
    const Peer peer = MakePeer(uid, 99);
    EXPECT_TRUE(IsOperator(peer));
    EXPECT_TRUE(MayPublish(config_, "llama", peer));
    EXPECT_TRUE(MayRead(config_, "other", peer));
  }
}

TEST_F(AccessTest, StrangersMayNothing) {
  const Peer peer = MakePeer(kStranger, 99);

  EXPECT_FALSE(IsOperator(peer));
  EXPECT_FALSE(MayRead(config_, "llama", peer));
  EXPECT_FALSE(MayPublish(config_, "llama", peer));
  EXPECT_FALSE(MayRead(config_, "other", peer));
}

TEST_F(AccessTest, PublishingIncludesReadingButNotTheReverse) {
  const Peer publisher = MakePeer(1001, 99);
  EXPECT_TRUE(MayPublish(config_, "llama", publisher));
  EXPECT_TRUE(MayRead(config_, "llama", publisher));

  const Peer reader = MakePeer(kStranger, 500);
  EXPECT_TRUE(MayRead(config_, "llama", reader));
  EXPECT_FALSE(MayPublish(config_, "llama", reader));
}

TEST_F(AccessTest, SupplementaryGroupsCount) {
  EXPECT_TRUE(MayRead(config_, "llama", MakePeer(kStranger, 99, {7, 500})));
  EXPECT_FALSE(MayRead(config_, "llama", MakePeer(kStranger, 99, {7})));
}

TEST_F(AccessTest, AnEntryOfItsOwnReplacesTheTemplate) {
  config_.default_publish.everybody = true;
  const Peer peer = MakePeer(kStranger, 99);

  EXPECT_TRUE(MayPublish(config_, "other", peer));
  EXPECT_FALSE(MayRead(config_, "llama", peer));
}

}  // namespace
}  // namespace kvferry::control
