/*
 * Streaming (INV-STREAM-1, INV-PIN-1, INV-PUB-3, INV-PUB-4), on x86-TSO.
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
 * pin_retire.pml has the other form.
 *
 * Nothing counts rounds. Generations of blocks wrap, those of publications are
 * taken anew as soon as nobody remembers them (see FRESH).
 *
 * Size, by -D: READERS (1 or 2), KEYS (1 or 2), SLOTS (of the publication
 * table, 1 or 2), POSITIONS (of a publication, 1 or 2), CLEAR (0 or 1),
 * STANDBY (0 or 1). SHARED has both publishers write one publication.
 * WIND_DOWN has everything come to an end some time, publishers also by
 * standing still for ever, so that a reader that waits for ever is an invalid
 * end state.
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
#define BLOCKS 2
#define PUBLISHERS 2
#define STORE_BUFFER 4

/* --- Words --------------------------------------------------------------- */

/* A residence word: generation (wraps modulo 2), block and state. */
#define kFree 0
#define kPending 1
#define kReady 2
#define kRetiring 3
#define RESIDENCE(generation, block, state) \
  (((generation) << 3) | ((block) << 2) | (state))
#define STATE_OF(word) ((word) & 3)
#define BLOCK_OF(word) (((word) >> 2) & 1)

/* An aux word: the publication that writes the slot's block, and where. */
#define AUX(generation, position, slot) \
  (((generation) << 2) | ((position) << 1) | (slot))
#define POSITION_OF(aux_word) (((aux_word) >> 1) & 1)
#define SLOT_OF(aux_word) ((aux_word) & 1)

/* A progress word: how many leading positions the writer is done with. */
#define WORD(generation, positions) (((generation) << 2) | (positions))
#define POSITIONS_OF(word) ((word) & 3)
/* Of aux words and of progress words. 0: of no publication. */
#define GENERATION_OF(word) ((word) >> 2)

/* Keys are 1 and 2. A block's bytes are the key that they belong to; 0: torn,
 * as they are from the first store of their writer to the last. */
#define kTorn 0

/* What all processes see. */
byte residence = 0;
byte key = 0;
byte aux = 0;
byte bytes[BLOCKS];
byte pins[READERS * BLOCKS];
#define CELL(reader, block) pins[(reader) * BLOCKS + (block)]
byte progress[PUBLISHERS]; /* One record each, for all its publications. */
/* The publication table. Bit p of `writers`: publisher p; 0: ended. */
byte table_generation[SLOTS];
byte table_writers[SLOTS];

/* Ghosts: readers that take each block for whole; and the publication whose
 * generation each reader remembers. */
byte holders[BLOCKS];
byte remembered[READERS];

/* --- Store buffers ------------------------------------------------------- */

#define kAtResidence 0
#define kAtKey 1
#define kAtAux 2
#define kAtGeneration 3 /* of slot 0; */
#define kAtSecondGeneration 4 /* of slot 1 */
#define kAtWriters 5 /* likewise */
chan daemon_buffer = [STORE_BUFFER] of { byte /* where */, byte /* value */ };
#define ROOM(stores) (len(daemon_buffer) <= STORE_BUFFER - (stores))

chan payload_buffer[PUBLISHERS] = [1] of { byte /* block */, byte /* key */ };

proctype DaemonBuffer() {
  byte where, value;
end:
  do
  :: d_step {
       daemon_buffer?where,value;
       if
       :: where == kAtKey -> key = value
       :: where == kAtAux -> aux = value
       :: where == kAtResidence -> residence = value
       :: where == kAtGeneration || where == kAtGeneration + 1 ->
            table_generation[where - kAtGeneration] = value
       :: else -> table_writers[where - kAtWriters] = value
       fi;
       where = 0;
       value = 0
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
#define OR_DIE :: goto die

/* Whether publisher `p` is done with the position of `seen_aux`. */
#if defined(MUTANT_GENERATION_IGNORED)
#define PASSED(p) (POSITIONS_OF(progress[p]) > POSITION_OF(seen_aux))
#elif defined(MUTANT_POSITION_IGNORED)
#define PASSED(p)                                             \
  (GENERATION_OF(progress[p]) == GENERATION_OF(seen_aux) &&   \
   POSITIONS_OF(progress[p]) > 0)
#else
#define PASSED(p)                                             \
  (GENERATION_OF(progress[p]) == GENERATION_OF(seen_aux) &&   \
   POSITIONS_OF(progress[p]) > POSITION_OF(seen_aux))
#endif

/* Whether the slot still has the block that was pinned while pending. */
#define STILL_THERE ((residence & ~3) == (seen & ~3) && residence != 0)
#define STILL_PENDING (residence == seen)

#define TAKE_FOR_WHOLE               \
  holding = 1;                       \
  holders[BLOCK_OF(seen)]++;         \
  writers = 0;                       \
  copied = 0;                        \
  seen_aux = 0;                      \
  remembered[me] = 0;                \
  seen = seen & 4 /* The block is all that matters from here on. */

#define FORGET                                                 \
  holders[BLOCK_OF(seen)] = holders[BLOCK_OF(seen)] - holding; \
  holding = 0;                                                 \
  seen = 0;                                                    \
  seen_aux = 0;                                                \
  remembered[me] = 0;                                          \
  wanted = 0;                                                  \
  copied = 0;                                                  \
  writers = 0

proctype Reader(byte me) {
  byte seen, seen_aux, wanted, copied, writers;
  bit holding;
#ifdef MUTANT_PROGRESS_KEPT
  byte kept; /* The generation of which position 0 was seen to be passed. */
#endif

again:
end:
#ifdef MUTANT_PROGRESS_KEPT
  /* Follows a publication before it finds a block of it. */
  if
  :: atomic {
       kept == 0 && table_writers[0] == 1 &&
       GENERATION_OF(progress[0]) == table_generation[0] &&
       POSITIONS_OF(progress[0]) > 0 ->
         kept = table_generation[0];
         remembered[me] = kept
     }
  :: skip
  fi;
#endif
  /* Find: the residence; then the words beside it, which count only if they
   * are the same once the block is pinned. Which key this reader is after is
   * settled by what it finds. */
  if
  :: atomic { residence != 0 -> seen = residence }
  :: atomic { residence != 0 -> goto die }
  fi;
  /* Pin. */
  if
  :: atomic {
       true ->
         if
         :: STATE_OF(seen) == kRetiring -> seen--
         :: else
         fi;
         wanted = key;
         seen_aux = aux;
#ifdef MUTANT_PROGRESS_KEPT
         if
         :: kept != GENERATION_OF(aux) -> kept = 0
         :: else
         fi;
#endif
         remembered[me] = GENERATION_OF(aux);
         CELL(me, BLOCK_OF(seen))++
     }
  OR_DIE
  fi;

  /* Validate under the pin: residence, key, aux, residence. */
  if
  :: STILL_PENDING
  :: atomic { !STILL_PENDING -> goto unpin }
  OR_DIE
  fi;
  if
  :: key == wanted
  :: atomic { key != wanted -> goto unpin }
  OR_DIE
  fi;
#ifndef MUTANT_AUX_UNCHECKED
  if
  :: aux == seen_aux
  :: atomic { aux != seen_aux -> goto unpin }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
       STILL_PENDING && STATE_OF(seen) == kReady ->
         TAKE_FOR_WHOLE;
         goto read
     }
  :: STILL_PENDING && STATE_OF(seen) == kPending
  :: atomic { !STILL_PENDING -> goto unpin }
  OR_DIE
  fi;

follow:
#ifdef MUTANT_PROGRESS_KEPT
  if
  :: kept != 0 && kept == GENERATION_OF(seen_aux) -> kept = 0; goto copy
  :: else
  fi;
#endif
  /* Who writes it: the writers, then the generation, which must be the slot's
   * for them to be believed. Otherwise only the slot tells. */
  if
  :: atomic {
       GENERATION_OF(seen_aux) != 0 && table_writers[SLOT_OF(seen_aux)] != 0 ->
         writers = table_writers[SLOT_OF(seen_aux)]
     }
  :: atomic { !STILL_PENDING -> goto changed }
  OR_DIE
  fi;
  if
  :: table_generation[SLOT_OF(seen_aux)] == GENERATION_OF(seen_aux)
  :: atomic { !STILL_PENDING -> goto changed }
  OR_DIE
  fi;
  /* Waits for each of them, or for another set of them. */
  if
  :: (writers & 1) == 0 || PASSED(0)
  :: atomic {
       table_writers[SLOT_OF(seen_aux)] != writers -> writers = 0; goto follow
     }
  :: atomic { !STILL_PENDING -> goto changed }
  OR_DIE
  fi;
  if
  :: (writers & 2) == 0 || PASSED(1)
  :: atomic {
       table_writers[SLOT_OF(seen_aux)] != writers -> writers = 0; goto follow
     }
  :: atomic { !STILL_PENDING -> goto changed }
  OR_DIE
  fi;

copy:
  if
  :: copied = bytes[BLOCK_OF(seen)]
  OR_DIE
  fi;
  /* Looks at the slot again. */
  if
  :: atomic {
#ifdef MUTANT_NO_SECOND_LOOK
       true ->
#else
       STILL_THERE ->
#endif
         assert(copied == wanted);
         TAKE_FOR_WHOLE;
         goto read
     }
#ifndef MUTANT_NO_SECOND_LOOK
  :: atomic { !STILL_THERE -> goto unpin }
#endif
  OR_DIE
  fi;

changed:
  /* Committed, or gone. */
  if
  :: atomic { STILL_THERE && !STILL_PENDING -> TAKE_FOR_WHOLE; goto read }
  :: atomic { STILL_PENDING -> writers = 0; goto follow }
  :: atomic { !STILL_THERE -> goto unpin }
  OR_DIE
  fi;

read:
  /* In place, as often and for as long as it likes, whatever the slot says. */
  do
  :: d_step { true -> assert(bytes[BLOCK_OF(seen)] == wanted) }
  :: goto unpin
  OR_DIE
  od;

unpin:
  if
  :: atomic {
       true ->
         assert(CELL(me, BLOCK_OF(seen)) > 0);
         CELL(me, BLOCK_OF(seen)) = CELL(me, BLOCK_OF(seen)) - 1;
         FORGET;
         goto again
     }
  OR_DIE
  fi;

die:
  /* Its pins stay until the daemon knows. */
  atomic { FORGET; killed[me] = 1 };
end_dead:
  killed[me] == 0; /* A new process has taken its place. */
  goto again
}

/* --- Publishers ---------------------------------------------------------- */

/* Submissions and replies travel in rings, in order with what their sender
 * stored before. A reply is seen at once here, which is earlier than it could
 * be. */
#define kIdle 0
#define kOpen 1      /* a publication is open, no block is granted */
#define kGranted 2   /* ... one is */
#define kBegun 3     /* from here on it may write the block */
#define kCommitted 4 /* ... to here. It has submitted a commit, */
#define kAborted 5   /* an abort, */
#define kDead 6      /* or its process is gone. */
byte publisher_state[PUBLISHERS];
byte publisher_block[PUBLISHERS];
byte publisher_key[PUBLISHERS];
byte publisher_generation[PUBLISHERS]; /* 0: cannot be followed */
byte publisher_slot[PUBLISHERS];
byte publisher_position[PUBLISHERS];

/* What became of the position, as the daemon sees it; its begin's answer. */
#define kNone 0
#define kWriting 1 /* pending in the slot */
#define kWhole 2   /* ready, but its living writer has not ended it */
#define kVoid 3    /* aborted, cleared or superseded: rests until it is ended */
#define kNotOurs 4 /* exists, or in flight elsewhere */
#define kStandby 5
#define kStandbyCommitted 6
byte entry[PUBLISHERS];

#define DONE_WITH(p) \
  WORD(publisher_generation[p], publisher_position[p] + 1)
/* All positions before are done with. */
#define IN_ORDER(p)                                                    \
  (publisher_generation[p] != 0 &&                                     \
   (publisher_position[p] == 0 ||                                      \
    progress[p] == WORD(publisher_generation[p], publisher_position[p])))
inline MoveOn() {
  if
  :: IN_ORDER(me) -> progress[me] = DONE_WITH(me)
  :: else
  fi
}

#ifdef WIND_DOWN
bit over; /* Nothing new is begun any more. */
#define OR_STAND_STILL :: goto end_stopped
#else
#define OR_STAND_STILL
#endif

proctype Publisher(byte me) {
again:
end:
  /* The first store into a block tears it. */
  if
  :: atomic {
       publisher_state[me] == kGranted ->
         publisher_key[me] = 1;
         goto begin
     }
#if KEYS > 1
  :: atomic {
       publisher_state[me] == kGranted ->
         publisher_key[me] = 2;
         goto begin
     }
#endif
  fi;
begin:
  atomic {
    publisher_state[me] = kBegun;
    assert(holders[publisher_block[me]] == 0);
    bytes[publisher_block[me]] = kTorn
  };

  if
#ifdef MUTANT_PROGRESS_BEFORE_PAYLOAD
  :: atomic {
       MoveOn();
       payload_buffer[me]!publisher_block[me],publisher_key[me]
     }
#else
  :: payload_buffer[me]!publisher_block[me],publisher_key[me]
#endif
  /* An answer that it is not this one's to write: passed unwritten. */
  :: atomic {
       entry[me] == kNotOurs ->
         MoveOn();
         publisher_state[me] = kCommitted;
         goto again
     }
  :: goto abort
  :: goto die
  OR_STAND_STILL
  fi;

  /* The store fence, then the progress, then the commit. */
  if
#ifdef MUTANT_NO_STORE_FENCE
  :: atomic { MoveOn() }
#else
  :: atomic { empty(payload_buffer[me]) -> MoveOn() }
#endif
  :: goto abort
  :: goto die
  OR_STAND_STILL
  fi;
  if
  :: atomic {
       empty(payload_buffer[me]) -> publisher_state[me] = kCommitted; goto again
     }
  :: goto die
  OR_STAND_STILL
  fi;

abort:
  atomic {
    empty(payload_buffer[me]) ->
#ifdef MUTANT_ABORT_PASSED
      MoveOn();
#endif
      publisher_state[me] = kAborted;
      goto again
  };

die:
  /* A process that is gone has stored what it will. */
  atomic { empty(payload_buffer[me]) -> publisher_state[me] = kDead };
  goto again;

#ifdef WIND_DOWN
end_stopped:
  false
#else
  skip
#endif
}

/* --- Daemon -------------------------------------------------------------- */

/* Where a block is, as in the daemon's `state` records. */
#define kBlockFree 0
#define kBlockGranted 1     /* a publisher's, in the slot as pending or not */
#define kBlockInSlot 2      /* ready, under a key */
#define kBlockQuarantined 3 /* out of the index, somebody may still read it */
byte where_is[BLOCKS];
bit generation[BLOCKS];

/* The slot, as the daemon last meant it to be. */
byte slot_state, slot_key, slot_block;
#define SLOT_WORD(state) RESIDENCE(generation[slot_block], slot_block, state)

#define MAY_WRITE(p, block)                                          \
  (publisher_state[p] == kBegun && publisher_block[p] == block &&    \
   progress[p] != DONE_WITH(p))

inline Free(block) {
  /* INV-PIN-1 and INV-PUB-3, at the earliest moment. */
  assert(holders[block] == 0);
  assert(!MAY_WRITE(0, block) && !MAY_WRITE(1, block));
  where_is[block] = kBlockFree
}

/* A generation that nothing remembers: no record, no slot, no reader, no store
 * on its way. All generations are alike, so that the lowest will do. */
#define AUX_BUFFERED(g, position, slot) \
  daemon_buffer??[kAtAux, eval(AUX(g, position, slot))]
#define BUFFERED(g)                                                      \
  (AUX_BUFFERED(g, 0, 0) || AUX_BUFFERED(g, 1, 0) ||                     \
   AUX_BUFFERED(g, 0, 1) || AUX_BUFFERED(g, 1, 1) ||                     \
   daemon_buffer??[kAtGeneration, eval(g)] ||                            \
   daemon_buffer??[kAtSecondGeneration, eval(g)])
#define FRESH(g)                                                          \
  (GENERATION_OF(progress[0]) != g && GENERATION_OF(progress[1]) != g &&  \
   publisher_generation[0] != g && publisher_generation[1] != g &&        \
   GENERATION_OF(aux) != g && table_generation[0] != g &&                 \
   table_generation[SLOTS - 1] != g && remembered[0] != g &&              \
   remembered[READERS - 1] != g && !BUFFERED(g))

inline Open(p, slot) {
#ifdef MUTANT_GENERATION_REUSED
  publisher_generation[p] = 1 + p;
#else
  fresh = 1;
  do
  :: FRESH(fresh) -> break
  :: else -> fresh++
  od;
  publisher_generation[p] = fresh;
  fresh = 0;
#endif
  publisher_slot[p] = slot;
  slot_taken[slot] = slot_taken[slot] | (1 << p);
  daemon_buffer!(kAtGeneration + slot),publisher_generation[p];
  daemon_buffer!(kAtWriters + slot),slot_taken[slot];
  publisher_state[p] = kOpen
}

#ifdef WIND_DOWN
#define MAY_OPEN(p) (publisher_state[p] == kIdle && !over)
#define MAY_GRANT !over
#else
#define MAY_OPEN(p) (publisher_state[p] == kIdle)
#define MAY_GRANT true
#endif

#ifdef SHARED
/* The second one joins a publication that is open, unless it has been one of
 * its writers before. */
#define OPEN(p, other)                                                \
  :: atomic {                                                         \
       MAY_OPEN(p) && slot_taken[0] == 0 && ROOM(2) ->                \
         Open(p, 0);                                                  \
         position_begun = 0                                           \
     }                                                                \
  :: atomic {                                                         \
       MAY_OPEN(p) && slot_taken[0] != 0 && ROOM(1) &&                \
       GENERATION_OF(progress[p]) != publisher_generation[other] ->   \
         publisher_generation[p] = publisher_generation[other];       \
         slot_taken[0] = 3;                                           \
         daemon_buffer!kAtWriters,3;                                  \
         publisher_state[p] = kOpen                                   \
     }
#else
#define OPEN(p, other)                                           \
  :: atomic {                                                    \
       MAY_OPEN(p) && slot_taken[0] == 0 && ROOM(2) -> Open(p, 0) \
     }                                                           \
  OPEN_SECOND(p)
#if SLOTS > 1
#define OPEN_SECOND(p)                                           \
  :: atomic {                                                    \
       MAY_OPEN(p) && slot_taken[1] == 0 && ROOM(2) -> Open(p, 1) \
     }
#else
/* No slot is left: it cannot be followed, only waited for. */
#define OPEN_SECOND(p)                                               \
  :: atomic {                                                        \
       MAY_OPEN(p) && slot_taken[0] != 0 -> publisher_state[p] = kOpen \
     }
#endif
#endif

#define GRANT(p, block)                                          \
  :: atomic {                                                    \
       publisher_state[p] == kOpen && MAY_GRANT &&               \
       publisher_position[p] < POSITIONS &&                      \
       where_is[block] == kBlockFree ->                          \
         where_is[block] = kBlockGranted;                        \
         publisher_block[p] = block;                             \
         publisher_state[p] = kGranted                           \
     }

inline Close(p) {
  if
  :: publisher_generation[p] != 0 ->
       slot_taken[publisher_slot[p]] =
           slot_taken[publisher_slot[p]] & ~(1 << p);
       daemon_buffer!(kAtWriters + publisher_slot[p]),
           slot_taken[publisher_slot[p]]
  :: else
  fi;
  publisher_generation[p] = 0;
  publisher_slot[p] = 0;
  publisher_position[p] = 0;
  publisher_state[p] = kIdle
}
#define CLOSE(p)                                                       \
  :: atomic {                                                          \
       publisher_state[p] == kOpen && publisher_position[p] > 0 &&     \
       ROOM(1) ->                                                      \
         Close(p)                                                      \
     }

/* The position is at its end; the block is in the slot, or `victim`. One whose
 * process is gone begins no other. */
inline Settle(p) {
  if
  :: publisher_state[p] == kDead -> publisher_position[p] = POSITIONS
  :: else -> publisher_position[p]++
  fi;
  publisher_block[p] = 0;
  publisher_key[p] = 0;
  entry[p] = kNone;
  publisher_state[p] = kOpen
}

inline Insert(p) {
  slot_state = kPending;
  slot_key = publisher_key[p];
  slot_block = publisher_block[p];
  generation[slot_block] = 1 - generation[slot_block];
  daemon_buffer!kAtAux,
      AUX(publisher_generation[p], publisher_position[p], publisher_slot[p]);
  daemon_buffer!kAtResidence,SLOT_WORD(kPending);
  entry[p] = kWriting
}

/* The slot of `p` becomes ready. Whoever stands by has written for nothing,
 * and its block goes back when it has ended. */
inline MakeReady(p, other) {
  daemon_buffer!kAtResidence,SLOT_WORD(kReady);
  slot_state = kReady;
  where_is[slot_block] = kBlockInSlot;
  entry[p] = kWhole;
  if
  :: entry[other] == kStandby || entry[other] == kStandbyCommitted ->
#ifdef MUTANT_STANDBY_FREED
       where_is[publisher_block[other]] = kBlockFree;
#endif
       entry[other] = kVoid
  :: else
  fi
}

inline EraseSlot() {
  daemon_buffer!kAtResidence,0;
  slot_state = kFree;
  slot_key = 0;
  slot_block = 0
}

#ifdef MUTANT_STANDBY_READY_TOO_SOON
#define MAY_BE_READY(p) (entry[p] == kStandby || entry[p] == kStandbyCommitted)
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
/* Stores that it takes: the key stays, since both have the same. */
#define ABORT_ROOM(other) \
  ROOM((entry[other] >= kStandby -> 4 : 1))

/* Once a block is out of the index: fence, then look at the pins. */
#ifdef MUTANT_NO_ABORT_FENCE
#define FENCE skip
#else
#define FENCE empty(daemon_buffer)
#endif
inline Scan() {
  busy = (CELL(0, victim) != 0)
#if READERS > 1
  ;
  busy = (busy || CELL(1, victim) != 0)
#endif
}
inline FreeOrQuarantine() {
  if
#ifndef MUTANT_ABORT_IGNORES_PINS
  :: busy -> where_is[victim] = kBlockQuarantined
#endif
  :: else -> Free(victim)
  fi;
  busy = 0;
  victim = 0
}

#ifdef MUTANT_DEATH_ADOPTS_ALL
#define ADOPTED(p) true
#elif defined(MUTANT_DEATH_ADOPTS_NOTHING)
#define ADOPTED(p) (publisher_state[p] != kDead && progress[p] == DONE_WITH(p))
#else
#define ADOPTED(p)                                                     \
  (publisher_generation[p] != 0 && progress[p] == DONE_WITH(p))
#endif
/* To be taken for committed: by the ring, or as its writer died, by its
 * progress. */
#define COMMITS(p)                      \
  (publisher_state[p] == kCommitted ||  \
   (publisher_state[p] == kDead && ADOPTED(p)))
#define GIVES_UP(p)                     \
  (publisher_state[p] == kAborted ||    \
   (publisher_state[p] == kDead && !ADOPTED(p)))
#define ENDED(p) (publisher_state[p] >= kCommitted)

#ifdef SHARED
#define FIRST_BEGIN (position_begun == 0)
#define BEGIN_NOT_FIRST(p)                                        \
  :: atomic {                                                     \
       publisher_state[p] >= kBegun && entry[p] == kNone &&       \
       position_begun != 0 -> entry[p] = kNotOurs                 \
     }
#else
#define FIRST_BEGIN true
#define BEGIN_NOT_FIRST(p)
#endif

#define SERVE(p, other)                                                   \
  /* Begin: key and aux first, then the pending residence. */             \
  :: atomic {                                                             \
       publisher_state[p] >= kBegun && entry[p] == kNone &&               \
       slot_state == kFree && FIRST_BEGIN && ROOM(3) ->                   \
         daemon_buffer!kAtKey,publisher_key[p];                           \
         Insert(p);                                                       \
         position_begun = 1                                               \
     }                                                                    \
  BEGIN_NOT_FIRST(p)                                                      \
  /* The key is there: not this one's to write, or as a standby. */       \
  :: atomic {                                                             \
       publisher_state[p] >= kBegun && entry[p] == kNone &&               \
       slot_state >= kPending && slot_key == publisher_key[p] &&          \
       FIRST_BEGIN ->                                                     \
         position_begun = 1;                                              \
         entry[p] = kNotOurs                                              \
     }                                                                    \
  :: atomic {                                                             \
       STANDBY && publisher_state[p] >= kBegun && entry[p] == kNone &&    \
       slot_state == kPending && slot_key == publisher_key[p] &&          \
       FIRST_BEGIN ->                                                     \
         entry[p] = kStandby                                              \
     }                                                                    \
  /* Commit, or death with a progress that has passed it. */              \
  :: atomic {                                                             \
       COMMITS(p) && entry[p] == kWriting && ROOM(1) ->                   \
         MakeReady(p, other);                                             \
         Settle(p)                                                        \
     }                                                                    \
  :: atomic { ENDED(p) && entry[p] == kWhole -> Settle(p) }               \
  :: atomic {                                                             \
       COMMITS(p) && entry[p] == kStandby -> entry[p] = kStandbyCommitted \
     }                                                                    \
  /* Abort, or death without it. */                                       \
  :: atomic {                                                             \
       GIVES_UP(p) && entry[p] == kWriting && ABORT_ROOM(other) ->        \
         /* What a reader took for whole is whole in the index, too. */   \
         assert(publisher_state[p] != kDead ||                            \
                holders[publisher_block[p]] == 0);                        \
         REMOVE_WRITER_FIRST(p);                                          \
         AbortSlot(p, other)                                              \
     }                                                                    \
  :: atomic { GIVES_UP(p) && entry[p] == kStandby -> entry[p] = kVoid }   \
  /* What came to nothing goes back when its writer is done with it. */   \
  :: atomic {                                                             \
       ENDED(p) && (entry[p] == kVoid || entry[p] == kNotOurs) ->         \
         victim = publisher_block[p];                                     \
         Settle(p)                                                        \
     };                                                                   \
     FENCE;                                                               \
     Scan();                                                              \
     atomic { FreeOrQuarantine() }                                        \
  /* No progress for too long, as it seems. The writer may live. */       \
  EXPIRE(p, other)                                                        \
  /* Clear. */                                                            \
  :: atomic {                                                             \
       CLEAR && entry[p] == kWriting && ROOM(1) ->                        \
         CLEAR_STANDBY(other);                                            \
         EraseSlot();                                                     \
         entry[p] = kVoid                                                 \
     }

#ifdef MUTANT_STANDBY_OUTLIVES_CLEAR
#define CLEAR_STANDBY(other) skip
#else
#define CLEAR_STANDBY(other)                       \
  if                                               \
  :: entry[other] >= kStandby -> entry[other] = kVoid \
  :: else                                          \
  fi
#endif

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
       publisher_state[p] == kBegun && ADOPTED(p) &&                      \
       entry[p] == kWriting && ROOM(1) ->                                 \
         MakeReady(p, other)                                              \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && ADOPTED(p) &&                      \
       entry[p] == kStandby -> entry[p] = kStandbyCommitted               \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && !ADOPTED(p) &&                     \
       entry[p] == kWriting && ABORT_ROOM(other) ->                       \
         AbortSlot(p, other);                                             \
         EXPIRED(p)                                                       \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[p] == kBegun && !ADOPTED(p) &&                     \
       entry[p] == kStandby ->                                            \
         entry[p] = kVoid;                                                \
         EXPIRED(p)                                                       \
     }
#endif

#ifdef MUTANT_WRITER_REMOVED_FIRST
#define REMOVE_WRITER_FIRST(p)                                 \
  slot_taken[0] = slot_taken[0] & ~(1 << p);                   \
  daemon_buffer!kAtWriters,slot_taken[0]
#else
#define REMOVE_WRITER_FIRST(p) skip
#endif

proctype Daemon() {
  bit busy, position_begun;
  byte victim, fresh;
  byte slot_taken[SLOTS]; /* of the publication table; as its `writers` */

end:
  do
  OPEN(0, 1)
  OPEN(1, 0)
  GRANT(0, 0)
  GRANT(0, 1)
  GRANT(1, 0)
  GRANT(1, 1)
  SERVE(0, 1)
  SERVE(1, 0)
  CLOSE(0)
  CLOSE(1)

  /* Retire: mark, fence, scan; then restore, or erase and free. A standby that
   * is committed does not wait for a ready one. */
  :: atomic {
       slot_state == kReady && ROOM(1) ->
         victim = slot_block;
         daemon_buffer!kAtResidence,SLOT_WORD(kRetiring)
     };
     empty(daemon_buffer);
     Scan();
     atomic {
       if
       :: busy -> daemon_buffer!kAtResidence,SLOT_WORD(kReady)
#if CLEAR
       :: busy -> where_is[victim] = kBlockQuarantined; EraseSlot()
#endif
       :: !busy -> EraseSlot(); Free(victim)
       fi;
       busy = 0;
       victim = 0
     }

  /* A quarantined block is out of the index long since: scanning is enough. */
  :: atomic { where_is[0] == kBlockQuarantined -> victim = 0 };
     Scan();
     atomic { FreeOrQuarantine() }
  :: atomic { where_is[1] == kBlockQuarantined -> victim = 1 };
     Scan();
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

#ifdef WIND_DOWN
  :: atomic { !over -> over = 1 }
#else
  /* Audit: the slot is what its tables say, and a ready block is whole. */
  :: d_step {
       empty(daemon_buffer) ->
         assert(slot_state == kFree || key == slot_key);
         if
         :: slot_state == kFree -> assert(residence == 0)
         :: else -> assert(residence == SLOT_WORD(slot_state))
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
