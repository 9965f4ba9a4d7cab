/*
 * Streaming (INV-STREAM-1, with INV-PIN-1, INV-PUB-3, INV-PUB-4), on x86-TSO.
 *
 * Readers find a key while its block is still being written, pin the block,
 * follow the progress words of its writers and take what these have passed.
 * Publishers write, move their progress on, commit, abort, stall and die; one
 * may stand by for the other. The daemon begins, commits, aborts, expires,
 * adopts, promotes, retires, clears, and gives publication slots, progress
 * records and blocks to the next one. README.md maps each part to the code it
 * stands for and says what is left out.
 *
 * Memory. The daemon stores into a buffer that drains in order, at any time:
 * that is x86-TSO. Payload is stored non-temporally: it arrives at any time
 * until its writer's store fence. A publisher's other stores need no buffer:
 * it decides nothing by what it loads after them, so that their delay is its
 * own. A pin is a locked read-modify-write, which needs none either;
 * pin_retire.pml has the other form, too.
 *
 * Every process loops (but see ROUNDS), blocks have no generation (as if
 * it wrapped with each use), and a publication takes one that nobody remembers
 * (FRESH).
 *
 * Size, by -D: READERS (1 or 2), PUBLISHERS (1 or 2), KEYS (1 or 2), SLOTS (of
 * the publication table, 1 or 2), POSITIONS (of a publication, 1 or 2),
 * STORE_BUFFER (2 stores of the daemon, 3 with STANDBY).
 * Form, by -D: CLEAR and STANDBY (0 or 1); SHARED has both publishers write one
 * publication; RETIRE_AT_ONCE leaves out how the daemon retires, DEATHS=0 that
 * readers die. With ROUNDS, a publisher opens so many publications and may
 * stand still for ever while it writes, so that a reader that waits for ever is
 * an invalid end state.
 * Mutants, by -D, one at a time: see run.sh.
 */

#ifndef READERS
#define READERS 1
#endif
#ifndef KEYS
#define KEYS 1
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef POSITIONS
#define POSITIONS 1
#endif
#ifndef CLEAR
#define CLEAR 1
#endif
#ifndef STANDBY
#define STANDBY 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef STORE_BUFFER
#define STORE_BUFFER 3
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 2
#endif
#define BLOCKS 2

/* --- Words --------------------------------------------------------------- */

/* A residence word: block and state, seen together. */
#define kFree 0
#define kPending 1
#define kReady 2
#define kRetiring 3
#define RESIDENCE(block, state) (((block) << 2) | (state))
#define STATE_OF(word) ((word) & 3)
#define BLOCK_OF(word) ((word) >> 2)

/* The words beside it: the key, and aux, which says what publication writes
 * the block, and where in it. Generation 0: one that cannot be followed. They
 * change only while the residence is zero, and here together with it. */
#define TAG(generation, key, position, slot) \
  (((generation) << 4) | ((key) << 2) | ((position) << 1) | (slot))
#define GENERATION_OF(tag_word) ((tag_word) >> 4)
#define KEY_OF(tag_word) (((tag_word) >> 2) & 3)
#define POSITION_OF(tag_word) (((tag_word) >> 1) & 1)
#define SLOT_OF(tag_word) ((tag_word) & 1)

/* A progress word: how many leading positions its writer is done with. */
#define WORD(generation, positions) (((generation) << 2) | (positions))
#define POSITIONS_OF(word) ((word) & 3)
#define OF(generation, word) (((word) >> 2) == (generation))

/* A word of the publication table: a publication and its writers, as bits; 0:
 * it has ended. The generation is stored before the writers come, and none are
 * left when it changes, so that they are one word here. */
#define RECORD(generation, writers) (((generation) << 2) | (writers))
#define WRITERS_OF(word) ((word) & 3)

/* Keys are 1 and 2. A block's bytes are the key that they belong to; 0: torn,
 * as they are from the first store of their writer to the last. */
#define kTorn 0

/* What all processes see. */
byte residence = 0;
byte tag = 0;
byte bytes[BLOCKS];
byte pins[READERS * BLOCKS];
#define CELL(reader, block) pins[(reader) * BLOCKS + (block)]
byte progress[PUBLISHERS]; /* One record each, for all its publications. */
byte table[SLOTS];         /* of publications */

/* Ghosts: readers that take each block for whole; the generation that each
 * reader remembers; how often each is in the daemon's store buffer. */
byte holders[BLOCKS];
byte remembered[READERS];
#if READERS > 1
#define GENERATIONS 16
#else
#define GENERATIONS 8
#endif
byte on_its_way[GENERATIONS];

/* What daemon and publishers say to each other.
 *
 * Submissions and replies travel in rings, in order with what their sender
 * stored before. A reply is seen at once here, which is earlier than it could
 * be, and a granted block is begun at once. */
#define kIdle 0
#define kOpen 1      /* between two positions */
#define kBegun 2     /* from here on it may write the block */
#define kCommitted 3 /* ... to here. It has submitted a commit, */
#define kGone 4      /* or an abort, or its process is gone. */
byte publisher_state[PUBLISHERS];
byte publisher_block[PUBLISHERS];
byte publisher_key[PUBLISHERS];
byte publisher_generation[PUBLISHERS]; /* 0: cannot be followed */
byte publisher_slot[PUBLISHERS];
byte publisher_position[PUBLISHERS];

/* What has become of the position, as the daemon sees it. */
#define kNone 0
#define kWriting 1 /* pending in the slot */
#define kWhole 2   /* ready, but its living writer has not ended it */
#define kVoid 3    /* aborted, cleared or superseded: rests until it is ended */
#define kNotOurs 4 /* exists, or in flight elsewhere */
#define kStandby 5
#define kStandbyCommitted 6
byte entry[PUBLISHERS];

/* Whether anything but a progress record has this generation. */
#define IS_REMEMBERED(g)                                       \
  (publisher_generation[0] == g ||                             \
   publisher_generation[PUBLISHERS - 1] == g ||                \
   remembered[0] == g || remembered[READERS - 1] == g ||       \
   OF(g, table[0]) || OF(g, table[SLOTS - 1]) ||               \
   GENERATION_OF(tag) == g || on_its_way[g] > 0)

/* --- Store buffers ------------------------------------------------------- */

#define kAtSlot 0
#define kAtTable 1 /* + slot of the table */
chan daemon_buffer = [STORE_BUFFER] of {
  byte /* where */, byte /* value */, byte /* tag, with a residence */
};
#define STORE_SLOT(word, beside)         \
  daemon_buffer!kAtSlot,word,(beside);   \
  on_its_way[GENERATION_OF(beside)]++
#define STORE_TABLE(slot, word)          \
  daemon_buffer!(kAtTable + slot),(word),0; \
  on_its_way[(word) >> 2]++
#define ROOM(stores) (len(daemon_buffer) <= STORE_BUFFER - (stores))

/* What a record says of a publication that nobody can ask for any more is all
 * the same, but that it is old: fewer states. */
#define kOld WORD(1, POSITIONS)
#define GROW_OLD(q)                                             \
  if                                                            \
  :: progress[q] != 0 && !IS_REMEMBERED(progress[q] >> 2) ->    \
       progress[q] = kOld                                       \
  :: else                                                       \
  fi
#if PUBLISHERS > 1
#define ALL_GROW_OLD GROW_OLD(0); GROW_OLD(1)
#else
#define ALL_GROW_OLD GROW_OLD(0)
#endif

chan payload_buffer[PUBLISHERS] = [1] of { byte /* block */, byte /* key */ };

proctype DaemonBuffer() {
  byte where, value, beside;
end:
  do
  :: d_step {
       daemon_buffer?where,value,beside;
       if
       :: where == kAtSlot ->
            residence = value;
            tag = beside;
            on_its_way[GENERATION_OF(tag)]--
       :: else ->
            table[where - kAtTable] = value;
            on_its_way[value >> 2]--
       fi;
       where = 0;
       value = 0;
       beside = 0;
       ALL_GROW_OLD
     }
  od
}

proctype PayloadBuffer(byte publisher) {
  byte block, value;
end:
  do
  :: d_step {
       payload_buffer[publisher]?block,value;
       /* Nobody writes what somebody reads as whole. */
       assert(holders[block] == 0);
       bytes[block] = value;
       block = 0;
       value = 0
     }
  od
}

/* --- Readers ------------------------------------------------------------- */

bit killed[READERS];
#if DEATHS
#define OR_DIE :: goto die
#else
#define OR_DIE
#endif

/* Whether publisher `p` is done with the position that `seen_tag` names. */
#if defined(MUTANT_GENERATION_IGNORED)
#define PASSED(p) (POSITIONS_OF(progress[p]) > POSITION_OF(seen_tag))
#elif defined(MUTANT_POSITION_IGNORED)
#define PASSED(p)                                  \
  (OF(GENERATION_OF(seen_tag), progress[p]) &&     \
   POSITIONS_OF(progress[p]) > 0)
#else
#define PASSED(p)                                  \
  (OF(GENERATION_OF(seen_tag), progress[p]) &&     \
   POSITIONS_OF(progress[p]) > POSITION_OF(seen_tag))
#endif

/* What the slot says now of the block that was found in it. */
#define UNCHANGED (residence == seen)
#define THERE \
  (STATE_OF(residence) != kFree && BLOCK_OF(residence) == BLOCK_OF(seen))

#define LOWER                                                       \
  assert(CELL(me, BLOCK_OF(seen)) > 0);                             \
  CELL(me, BLOCK_OF(seen)) = CELL(me, BLOCK_OF(seen)) - 1
#define FORGET                                                      \
  holders[BLOCK_OF(seen)] = holders[BLOCK_OF(seen)] - holding;      \
  holding = 0;                                                      \
  seen = 0;                                                         \
  seen_tag = 0;                                                     \
  copied = 0;                                                       \
  writers = 0;                                                      \
  remembered[me] = 0;                                               \
  ALL_GROW_OLD
#define FAIL LOWER; FORGET; goto again

/* The block and its key are all that matters from here on. */
#define TAKE_FOR_WHOLE                     \
  holding = 1;                             \
  holders[BLOCK_OF(seen)]++;               \
  seen = RESIDENCE(BLOCK_OF(seen), 0);     \
  seen_tag = TAG(0, KEY_OF(seen_tag), 0, 0); \
  copied = 0;                              \
  writers = 0;                             \
  remembered[me] = 0;                      \
  ALL_GROW_OLD;                            \
  goto read

/* Besides what it waits for: committed, or gone. */
#define OR_CHANGED                                      \
  :: atomic { THERE && !UNCHANGED -> TAKE_FOR_WHOLE }   \
  :: atomic { !THERE -> FAIL }

#define MY_RECORD table[SLOT_OF(seen_tag)]
#define AWAIT(progress_has_passed)                                         \
  if                                                                       \
  :: progress_has_passed                                                   \
  :: atomic {                                                              \
       MY_RECORD != RECORD(GENERATION_OF(seen_tag), writers) ->            \
         writers = 0;                                                      \
         goto follow                                                       \
     }                                                                     \
  OR_CHANGED                                                               \
  fi;

proctype Reader(byte me) {
  byte seen, seen_tag, copied, writers;
  bit holding;
#ifdef MUTANT_PROGRESS_KEPT
  byte kept; /* The generation of which position 0 was seen to be passed. */
#endif

end:
again:
#ifdef MUTANT_PROGRESS_KEPT
  /* Follows a publication before it finds a block of it. */
  if
  :: atomic {
       WRITERS_OF(table[0]) == 1 && OF(table[0] >> 2, progress[0]) &&
       POSITIONS_OF(progress[0]) > 0 ->
         kept = table[0] >> 2;
         remembered[me] = kept
     }
  :: kept = 0
  fi;
#endif
  /* Find. The words beside the residence count only if they are the same once
   * the block is pinned: read them as it is pinned. Which key this reader is
   * after is settled by what it finds. A retiring block may yet be restored. */
  atomic {
    STATE_OF(residence) != kFree ->
      seen = residence;
      if
      :: STATE_OF(seen) == kRetiring -> seen--
      :: else
      fi
  };
  /* Pin. */
  atomic {
    CELL(me, BLOCK_OF(seen))++;
    seen_tag = tag;
    remembered[me] = GENERATION_OF(tag)
  };

  /* Validate under the pin: residence, the words beside it, residence. The
   * process may die. Where it does so makes no difference to others. */
  if
  :: UNCHANGED
  :: atomic { !UNCHANGED -> FAIL }
  OR_DIE
  fi;
#ifndef MUTANT_TAG_UNCHECKED
  if
  :: tag == seen_tag
  :: atomic { tag != seen_tag -> FAIL }
  fi;
#endif
  if
  :: atomic { UNCHANGED && STATE_OF(seen) == kReady -> TAKE_FOR_WHOLE }
  :: UNCHANGED && STATE_OF(seen) == kPending
  :: atomic { !UNCHANGED -> FAIL }
  fi;

#ifdef MUTANT_PROGRESS_KEPT
  if
  :: kept != 0 && kept == GENERATION_OF(seen_tag) -> goto copy
  :: else
  fi;
#endif
follow:
  /* Who writes it, if the table still says so of this publication. Else only
   * the slot of the index tells. */
  if
  :: atomic {
       OF(GENERATION_OF(seen_tag), MY_RECORD) && WRITERS_OF(MY_RECORD) != 0 ->
         writers = WRITERS_OF(MY_RECORD)
     }
  OR_CHANGED
  fi;
  /* Waits until they have passed it, or are others. */
#ifdef SHARED
  AWAIT((writers & 1) == 0 || PASSED(0))
  AWAIT((writers & 2) == 0 || PASSED(1))
#else
  AWAIT(PASSED(writers - 1))
#endif

copy:
  copied = bytes[BLOCK_OF(seen)];
  /* Looks at the slot again. */
  if
#ifdef MUTANT_NO_SECOND_LOOK
  :: atomic { true -> assert(copied == KEY_OF(seen_tag)); TAKE_FOR_WHOLE }
#else
  :: atomic { THERE -> assert(copied == KEY_OF(seen_tag)); TAKE_FOR_WHOLE }
  :: atomic { !THERE -> FAIL }
#endif
  fi;

read:
  /* In place, as often and for as long as it likes, whatever the slot says. */
  do
  :: d_step { true -> assert(bytes[BLOCK_OF(seen)] == KEY_OF(seen_tag)) }
  :: atomic { true -> FAIL }
  OR_DIE
  od;

die:
  /* Its pins stay until the daemon knows. */
  atomic { FORGET; killed[me] = 1 };
end_dead:
  killed[me] == 0; /* A new process has taken its place. */
  goto again
}

/* --- Publishers ---------------------------------------------------------- */

#define DONE_WITH(p) WORD(publisher_generation[p], publisher_position[p] + 1)
/* Progress goes in order, so it stays behind a position that was given up. */
#define IN_ORDER(p)                     \
  (publisher_generation[p] != 0 &&      \
   (publisher_position[p] == 0 ||       \
    progress[p] == WORD(publisher_generation[p], publisher_position[p])))
inline MoveOn() {
  if
  :: IN_ORDER(me) -> progress[me] = DONE_WITH(me)
  :: else
  fi
}

#ifdef ROUNDS
byte rounds[PUBLISHERS]; /* publications opened so far */
#define OR_STAND_STILL :: goto end_stopped
#else
#define OR_STAND_STILL
#endif

proctype Publisher(byte me) {
end:
again:
  publisher_state[me] == kBegun;

  if
#ifdef MUTANT_PROGRESS_BEFORE_PAYLOAD
  :: atomic {
       MoveOn();
       payload_buffer[me]!publisher_block[me],publisher_key[me]
     }
#else
  :: payload_buffer[me]!publisher_block[me],publisher_key[me]
#endif
  /* The daemon has answered that it is not this one's to write. */
  :: atomic {
       entry[me] == kNotOurs ->
         MoveOn();
         publisher_state[me] = kCommitted;
         goto again
     }
  /* Aborts, or dies. */
  :: atomic {
       true ->
#ifdef MUTANT_ABORT_PASSED
         MoveOn();
#endif
         publisher_state[me] = kGone;
         goto again
     }
  OR_STAND_STILL
  fi;

  /* The store fence, then the progress. */
#ifdef MUTANT_NO_STORE_FENCE
  atomic { true -> MoveOn() };
#else
  atomic { empty(payload_buffer[me]) -> MoveOn() };
#endif

  /* Commits, or dies before. What it has stored arrives. */
  if
  :: atomic {
       empty(payload_buffer[me]) -> publisher_state[me] = kCommitted; goto again
     }
  :: atomic {
       empty(payload_buffer[me]) -> publisher_state[me] = kGone; goto again
     }
  OR_STAND_STILL
  fi;

#ifdef ROUNDS
end_stopped:
  false
#else
  skip
#endif
}

/* --- Daemon -------------------------------------------------------------- */

/* Where a block is, as in the daemon's `state` records. */
#define kBlockFree 0
#define kBlockGranted 1     /* a publisher's, in the index as pending or not */
#define kBlockReady 2       /* in the index, under a key */
#define kBlockQuarantined 3 /* out of the index, somebody may still read it */
byte where_is[BLOCKS];

/* The slot, as the daemon last meant it to be. */
byte slot_state, slot_key, slot_block, slot_tag;

#if PUBLISHERS > 1
#define NOBODY_MAY_WRITE(block) (!MAY_WRITE(0, block) && !MAY_WRITE(1, block))
#else
#define NOBODY_MAY_WRITE(block) (!MAY_WRITE(0, block))
#endif
#define MAY_WRITE(p, block)                                           \
  (publisher_state[p] == kBegun && publisher_block[p] == block &&     \
   entry[p] != kWhole)
inline Free(block) {
  /* INV-PIN-1 and INV-PUB-3, at the earliest moment. */
  assert(holders[block] == 0);
  assert(NOBODY_MAY_WRITE(block));
  where_is[block] = kBlockFree;
  bytes[block] = kTorn /* so that nobody is right by luck */
}

/* A generation that nothing remembers: no record, slot, reader or store on its
 * way. All are alike, so that the lowest will do; to have fewer states, even
 * ones are the first publisher's and odd ones the second's. */
#define FRESH(p, g)                                            \
  (!IS_REMEMBERED(g) && !OF(g, progress[p]))

inline Open(p, slot) {
#ifdef MUTANT_GENERATION_REUSED
  publisher_generation[p] = 2 + p;
#else
  fresh = 2 + p;
  do
  :: FRESH(p, fresh) -> break
  :: else -> fresh = fresh + 2
  od;
  assert(fresh < GENERATIONS);
  publisher_generation[p] = fresh;
  fresh = 0;
#endif
  publisher_slot[p] = slot;
  slot_writers[slot] = 1 + p;
  STORE_TABLE(slot, RECORD(publisher_generation[p], 1 + p))
}

#ifdef ROUNDS
#define MAY_OPEN(p) \
  (publisher_state[p] == kIdle && A_BLOCK_IS_FREE && rounds[p] < ROUNDS)
#define COUNT_ROUND(p) rounds[p]++
#else
#define MAY_OPEN(p) (publisher_state[p] == kIdle && A_BLOCK_IS_FREE)
#define COUNT_ROUND(p) skip
#endif

/* The first store into the block tears it. */
inline Begin(p) {
  if
  :: publisher_state[p] == kIdle -> COUNT_ROUND(p)
  :: else
  fi;
  publisher_block[p] = (where_is[0] == kBlockFree -> 0 : 1);
  where_is[publisher_block[p]] = kBlockGranted;
  assert(holders[publisher_block[p]] == 0);
  bytes[publisher_block[p]] = kTorn;
  publisher_key[p] = 1;
#if KEYS > 1
  if
  :: true
  :: publisher_key[p] = 2
  fi;
#endif
  publisher_state[p] = kBegun
}

#define A_BLOCK_IS_FREE \
  (where_is[0] == kBlockFree || where_is[1] == kBlockFree)

#ifdef SHARED
/* The second one joins the first's publication while it is open, unless it was
 * one of its writers before. Either may be the first to begin the position. */
#define OPEN(p, other)                                            \
  :: atomic {                                                            \
       MAY_OPEN(p) && p == 0 && slot_writers[0] == 0 &&          \
       ROOM(1) ->                                                        \
         Open(p, 0);                                                     \
         begun = 0;                                                      \
         Begin(p)                                                 \
     }                                                                   \
  :: atomic {                                                            \
       MAY_OPEN(p) && p == 1 && slot_writers[0] != 0 &&          \
       ROOM(1) &&                                                        \
       !OF(publisher_generation[other], progress[p]) ->                  \
         publisher_generation[p] = publisher_generation[other];          \
         slot_writers[0] = 3;                                            \
         STORE_TABLE(0, RECORD(publisher_generation[p], 3));             \
         Begin(p)                                                 \
     }
#elif SLOTS > 1
/* Each has a slot of its own. With standbys, the second one begins only what
 * the first is writing. */
#define OPEN(p, other)                                                   \
  :: atomic {                                                            \
       MAY_OPEN(p) && ROOM(1) &&                                 \
       (p == 0 || !STANDBY || entry[other] == kWriting) ->               \
         Open(p, p);                                                     \
         Begin(p)                                                        \
     }
#else
/* They take turns. Without a slot, one cannot be followed, only waited for. */
#define OPEN(p, other)                                             \
  :: atomic {                                                      \
       MAY_OPEN(p) && slot_writers[0] == 0 && ROOM(1) ->   \
         Open(p, 0);                                               \
         Begin(p)                                                  \
     }                                                             \
  :: atomic {                                                      \
       MAY_OPEN(p) && slot_writers[0] != 0 -> Begin(p)     \
     }
#endif

/* A publication goes on, or ends. */
#if POSITIONS > 1
#define GO_ON(p)                                                  \
  :: atomic { publisher_state[p] == kOpen && A_BLOCK_IS_FREE -> Begin(p) }
#else
#define GO_ON(p)
#endif

#define NOW_WRITTEN(p)                                                 \
  (slot_writers[publisher_slot[p]] == 0 -> 0 :                         \
   RECORD(publisher_generation[p], slot_writers[publisher_slot[p]]))
inline Close(p) {
  if
  :: publisher_generation[p] != 0 ->
       slot_writers[publisher_slot[p]] =
           slot_writers[publisher_slot[p]] & ~(1 << p);
       STORE_TABLE(publisher_slot[p], NOW_WRITTEN(p))
  :: else
  fi;
  publisher_generation[p] = 0;
  publisher_slot[p] = 0;
  publisher_position[p] = 0;
  publisher_state[p] = kIdle;
  ALL_GROW_OLD
}

/* The position is at its end; its block is ready, or `victim`. */
inline Settle(p) {
  publisher_block[p] = 0;
  publisher_key[p] = 0;
  entry[p] = kNone;
  if
  :: Close(p)
#if POSITIONS > 1
  :: publisher_position[p] + 1 < POSITIONS ->
       publisher_position[p]++;
       publisher_state[p] = kOpen
#endif
  fi
}

/* The key and aux first, then the residence. */
inline Insert(p) {
  slot_state = kPending;
  slot_key = publisher_key[p];
  slot_block = publisher_block[p];
  slot_tag = TAG(publisher_generation[p], publisher_key[p],
                 publisher_position[p], publisher_slot[p]);
  STORE_SLOT(RESIDENCE(slot_block, kPending), slot_tag);
  entry[p] = kWriting
}

/* The block of `p`, in the slot, becomes ready. Whoever stands by has written
 * for nothing; its block goes back when it has ended. */
inline MakeReady(p, other) {
  /* Nobody looks at the aux word of a ready block. */
  slot_tag = TAG(0, slot_key, 0, 0);
  STORE_SLOT(RESIDENCE(slot_block, kReady), slot_tag);
  slot_state = kReady;
  where_is[slot_block] = kBlockReady;
  publisher_block[p] = 0;
  publisher_key[p] = 0;
  entry[p] = kWhole;
  if
  :: entry[other] >= kStandby ->
#ifdef MUTANT_STANDBY_FREED
       where_is[publisher_block[other]] = kBlockFree;
#endif
       entry[other] = kVoid
  :: else
  fi
}

inline EmptySlot() {
  slot_state = kFree;
  slot_key = 0;
  slot_block = 0;
  slot_tag = 0
}
inline EraseSlot() {
  STORE_SLOT(0, 0);
  EmptySlot()
}

#ifdef MUTANT_STANDBY_READY_TOO_SOON
#define MAY_BE_READY(p) (entry[p] >= kStandby)
#else
#define MAY_BE_READY(p) (entry[p] == kStandbyCommitted)
#endif
/* The slot of `p` is emptied; `other` takes its place if it stands by. */
inline AbortSlot(p, other) {
  EraseSlot();
  entry[p] = kVoid;
  if
  :: MAY_BE_READY(other) -> Insert(other); MakeReady(other, p)
  :: else ->
       if
       :: entry[other] == kStandby -> Insert(other)
       :: else
       fi
  fi
}
#define ABORT_ROOM(other) ROOM((entry[other] >= kStandby -> 3 : 1))

/* Once a block is out of the index: fence, then look at the pins. */
#ifdef MUTANT_NO_ABORT_FENCE
#define FENCE skip
#else
#define FENCE empty(daemon_buffer)
#endif
/* Reads the cells, one load a step; the last decides. */
#if READERS > 1
#define SCAN atomic { busy = (CELL(0, victim) != 0) };
#define BUSY (busy || CELL(1, victim) != 0)
#else
#define SCAN
#define BUSY (CELL(0, victim) != 0)
#endif
inline FreeOrQuarantine() {
  if
#ifndef MUTANT_ABORT_IGNORES_PINS
  :: BUSY -> where_is[victim] = kBlockQuarantined
  :: !BUSY -> Free(victim)
#else
  :: true -> where_is[victim] = kBlockFree
#endif
  fi;
  busy = 0;
  victim = 0
}

#define HAS_PASSED(p) \
  (publisher_generation[p] != 0 && progress[p] == DONE_WITH(p))
/* By the ring; or its writer died, by its progress. No abort has passed that,
 * so a death and an abort need not be told apart. */
#if defined(MUTANT_DEATH_ADOPTS_ALL)
#define COMMITS(p) ENDED(p)
#elif defined(MUTANT_DEATH_ADOPTS_NOTHING)
#define COMMITS(p) (publisher_state[p] == kCommitted)
#else
#define COMMITS(p) \
  (publisher_state[p] == kCommitted || (ENDED(p) && HAS_PASSED(p)))
#endif
#define GIVES_UP(p) (ENDED(p) && !COMMITS(p))
#define ENDED(p) (publisher_state[p] >= kCommitted)

#ifdef SHARED
/* Who begins the position of the publication first has it. */
#define UNBEGUN(p) (publisher_state[p] >= kBegun && entry[p] == kNone && !begun)
#define NOT_OURS(p)                                                     \
  (publisher_state[p] >= kBegun && entry[p] == kNone &&                 \
   (begun ||                                                            \
    (slot_state != kFree && slot_key == publisher_key[p])))
#define BEGUN begun = 1
#else
#define UNBEGUN(p) (publisher_state[p] >= kBegun && entry[p] == kNone)
#define NOT_OURS(p) false
#define BEGUN skip
#endif

#define SERVE(p, other)                                                   \
  /* Begin. */                                                            \
  :: atomic {                                                             \
       UNBEGUN(p) && (p == 0 || !STANDBY) && slot_state == kFree &&       \
       ROOM(1) ->                                                         \
         Insert(p);                                                       \
         BEGUN                                                            \
     }                                                                    \
  :: atomic { NOT_OURS(p) -> entry[p] = kNotOurs; BEGUN }                 \
  :: atomic {                                                             \
       STANDBY && UNBEGUN(p) && slot_state == kPending &&                 \
       slot_key == publisher_key[p] -> entry[p] = kStandby                \
     }                                                                    \
  /* Commit, or death with a progress that has passed it. */              \
  :: atomic {                                                             \
       COMMITS(p) && entry[p] == kWriting && ROOM(2) ->                   \
         MakeReady(p, other);                                             \
         Settle(p)                                                        \
     }                                                                    \
  :: atomic { ENDED(p) && entry[p] == kWhole && ROOM(1) -> Settle(p) }    \
  :: atomic {                                                             \
       COMMITS(p) && entry[p] == kStandby -> entry[p] = kStandbyCommitted \
     }                                                                    \
  /* Abort, or death without it. */                                       \
  :: atomic {                                                             \
       GIVES_UP(p) && entry[p] == kWriting && ABORT_ROOM(other) ->        \
         /* What a reader took for whole is whole in the index, too. */   \
         assert(holders[publisher_block[p]] == 0);                        \
         REMOVE_WRITER_FIRST(p);                                          \
         AbortSlot(p, other)                                              \
     }                                                                    \
  :: atomic { GIVES_UP(p) && entry[p] == kStandby -> entry[p] = kVoid }   \
  /* What came to nothing goes back when its writer is done with it. */   \
  :: atomic {                                                             \
       ENDED(p) && (entry[p] == kVoid || entry[p] == kNotOurs) &&         \
       ROOM(1) ->                                                         \
         victim = publisher_block[p];                                     \
         Settle(p)                                                        \
     };                                                                   \
     FENCE;                                                               \
     SCAN                                                                 \
     atomic { FreeOrQuarantine() }                                        \
  EXPIRE(p, other)                                                        \
  CLEAR_PENDING(p, other)

/* Its time is over: no progress for too long, as it seems. It may live, and go
 * on writing. */
#ifdef MUTANT_STALL_FREES
#define EXPIRED(p) where_is[publisher_block[p]] = kBlockFree
#else
#define EXPIRED(p) skip
#endif
#ifdef MUTANT_NO_DEADLINE
#define EXPIRE(p, other)
#else
#define EXPIRE(p, other)                                                  \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && HAS_PASSED(p) &&                      \
       entry[p] == kWriting && ROOM(1) -> MakeReady(p, other)             \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && HAS_PASSED(p) &&                      \
       entry[p] == kStandby -> entry[p] = kStandbyCommitted               \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && !HAS_PASSED(p) &&                     \
       entry[p] == kWriting && ABORT_ROOM(other) ->                       \
         AbortSlot(p, other);                                             \
         EXPIRED(p)                                                       \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && !HAS_PASSED(p) &&                     \
       entry[p] == kStandby ->                                            \
         entry[p] = kVoid;                                                \
         EXPIRED(p)                                                       \
     }
#endif

/* Standbys first: none takes the place of what is cleared. */
#if CLEAR
#define CLEAR_PENDING(p, other)                                           \
  :: atomic {                                                             \
       entry[p] == kWriting && ROOM(1) ->                                 \
         if                                                               \
         :: entry[other] >= kStandby -> entry[other] = kVoid              \
         :: else                                                          \
         fi;                                                              \
         EraseSlot();                                                     \
         entry[p] = kVoid                                                 \
     }
#else
#define CLEAR_PENDING(p, other)
#endif

#ifdef MUTANT_WRITER_REMOVED_FIRST
#define REMOVE_WRITER_FIRST(p)                       \
  slot_writers[0] = slot_writers[0] & ~(1 << p);     \
  STORE_TABLE(0, NOW_WRITTEN(p))
#else
#define REMOVE_WRITER_FIRST(p) skip
#endif

proctype Daemon() {
  bit busy, begun;
  byte victim, fresh;
  byte slot_writers[SLOTS]; /* as the table's */

end:
  do
#if PUBLISHERS > 1
  OPEN(0, 1)
  OPEN(1, 0)
  GO_ON(0)
  GO_ON(1)
  SERVE(0, 1)
  SERVE(1, 0)
#else
  OPEN(0, 0)
  GO_ON(0)
  SERVE(0, 0)
#endif

#ifdef RETIRE_AT_ONCE
  /* Retire: a block that nobody has pinned. */
  :: atomic {
       slot_state == kReady && empty(daemon_buffer) &&
       CELL(0, slot_block) == 0 && CELL(READERS - 1, slot_block) == 0 ->
         residence = 0;
         tag = 0;
         Free(slot_block);
         EmptySlot();
         ALL_GROW_OLD
     }
#if CLEAR
  :: atomic {
       slot_state == kReady && ROOM(1) ->
         where_is[slot_block] = kBlockQuarantined;
         EraseSlot()
     }
#endif
#else
  /* Retire: mark, fence, scan; then restore, or erase and free. */
  :: atomic {
       slot_state == kReady && ROOM(1) ->
         victim = slot_block;
         STORE_SLOT(RESIDENCE(slot_block, kRetiring), slot_tag)
     };
     empty(daemon_buffer);
     SCAN
     atomic {
       if
       :: BUSY -> STORE_SLOT(RESIDENCE(slot_block, kReady), slot_tag)
#if CLEAR
       :: BUSY -> where_is[victim] = kBlockQuarantined; EraseSlot()
#endif
       :: !BUSY -> EraseSlot(); Free(victim)
       fi;
       busy = 0;
       victim = 0
     }

#endif

  /* A quarantined block is out of the index: once that is seen by all, scanning
   * is enough. */
  :: atomic {
       where_is[0] == kBlockQuarantined && empty(daemon_buffer) -> victim = 0
     };
     SCAN
     atomic { FreeOrQuarantine() }
  :: atomic {
       where_is[1] == kBlockQuarantined && empty(daemon_buffer) -> victim = 1
     };
     SCAN
     atomic { FreeOrQuarantine() }

  /* The end of a reader's session, once its process is gone. */
  :: atomic {
       killed[0] == 1 ->
         CELL(0, 0) = 0;
         CELL(0, 1) = 0;
         killed[0] = 0
     }
#if READERS > 1
  :: atomic {
       killed[1] == 1 ->
         CELL(1, 0) = 0;
         CELL(1, 1) = 0;
         killed[1] = 0
     }
#endif

#ifndef ROUNDS
  /* Audit: the slot is what its tables say, and a ready block is whole. */
  :: d_step {
       empty(daemon_buffer) ->
         if
         :: slot_state == kFree -> assert(residence == 0)
         :: else ->
              assert(residence == RESIDENCE(slot_block, slot_state));
              assert(tag == slot_tag)
         fi;
         assert(slot_state != kReady || bytes[slot_block] == slot_key)
     }
#endif
  od
}

init {
  atomic {
    byte i = 0;
    run Daemon();
    run DaemonBuffer();
    for (i : 0 .. READERS - 1) {
      run Reader(i)
    }
    for (i : 0 .. PUBLISHERS - 1) {
      run Publisher(i);
      run PayloadBuffer(i)
    }
    i = 0
  }
}
