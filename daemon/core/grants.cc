// Blocks that sessions hold ahead of use: handed out, asked for again.

#include <algorithm>

#include "base/check.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ReplyRecord;
using protocol::ReplyType;

void NamespaceCore::RecallWanted() {
  for (uint32_t area = 0; area < areas_.size(); ++area) {
    if (!areas_[area].wants_recall) continue;
    areas_[area].wants_recall = false;
    Recall(area);
  }
}

void NamespaceCore::Recall(uint32_t area) {
  for (auto& [id, session] : sessions_) {
    if (session.grants.empty()) continue;
    Recall(id, session, area);
  }
}

void NamespaceCore::Recall(uint16_t id, Session& session, uint32_t area) {
  Grants& grants = session.grants[area];
  if (grants.recalled || grants.blocks.empty()) return;
  // The room that its next run's answers may need is not for this.
  if (session.sink->Room() <= protocol::kBlocksPerRunMax) return;
  ReplyRecord record{};
  record.type = static_cast<uint8_t>(ReplyType::kRecall);
  record.group = static_cast<uint8_t>(blocks_.area_group(area));
  record.pool = static_cast<uint8_t>(PoolNumberOf(area));
  record.count = static_cast<uint32_t>(grants.blocks.size());
  session.sink->Push(record);
  grants.recalled = true;
  pokes_.push_back(id);
}

void NamespaceCore::TopUp(uint16_t id, Session& session, uint64_t now_ms) {
  if (session.revoked) return;
  for (uint32_t area = 0; area < session.grants.size(); ++area) {
    // Of a memory that is gone: asked for when there was no room to.
    if (!session.grants[area].stale.empty()) Recall(id, session, area);
    if (!session.handles.empty()) TopUpArea(id, session, area, now_ms);
  }
}

void NamespaceCore::TopUpArea(uint16_t id, Session& session, uint32_t area,
                              uint64_t now_ms) {
  Grants& grants = session.grants[area];
  const bool in_gpu = area >= groups_.size();
  // Most sessions publish into one memory, or none.
  if (in_gpu && !grants.wanted) return;
  const uint32_t target = areas_[area].grant_target;
  const auto holds =
      static_cast<uint32_t>(grants.blocks.size() - grants.stale.size());
  // Below half, so that grants travel in full records.
  if (grants.recalled || holds >= (target + 1) / 2) return;
  const uint32_t missing = target - holds;
  // A pool is kept below its watermark, not emptied for this.
  if (!in_gpu && blocks_.free_count(area) < missing &&
      now_ms >= areas_[area].dry_until_ms) {
    MakeRoom(area, missing, now_ms);
  }
  uint32_t left = std::min(missing, blocks_.free_count(area));
  while (left > 0 && session.sink->Room() > protocol::kBlocksPerRunMax) {
    ReplyRecord record{};
    record.type = static_cast<uint8_t>(ReplyType::kGrant);
    record.group = static_cast<uint8_t>(blocks_.area_group(area));
    record.pool = static_cast<uint8_t>(PoolNumberOf(area));
    while (left > 0 && record.count < protocol::kBlocksPerReply) {
      const uint32_t block = blocks_.Grant(area, id);
      KVFERRY_CHECK(block != kNoBlock);
      grants.blocks.insert(block);
      record.blocks[record.count++] = block;
      --left;
    }
    session.sink->Push(record);
  }
}

}  // namespace kvferry::core
