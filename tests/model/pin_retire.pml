/*
 * Pin against retire (INV-PIN-1), on x86-TSO.
 *
 * Readers match a key, pin its block, validate and read. Publishers fill
 * granted blocks and commit them. The daemon grants, inserts, makes ready,
 * retires, clears and cleans up after processes that died. README.md maps each
 * part to the code it stands for and says what is left out.
 *
 * Memory. Every process stores into a buffer of its own and a buffer drains in
 * order, at any time: that is x86-TSO. A load reads memory; no process here
 * loads a word that it may have buffered itself, so forwarding is not needed.
 * A full fence waits until the own buffer is empty. One slot of the index
 * stands for all of them: keys take turns in it, and in the blocks.
 *
 * Nothing counts rounds: every process loops for ever and the state space is
 * finite because generations wrap. A proof therefore covers the wrap, too.
 *
 * Size, by -D: SESSIONS, THREADS (of each session; they share its cells),
 * BLOCKS (1 or 2), PUBLISHERS (1 or 2), GENERATIONS, CLEAR (0 or 1),
 * STORE_BUFFER and PIN_BUFFER (stores that the daemon's and a reader's hold).
 * Form, by -D: LOCKED_PINS takes pins by a locked read-modify-write without a
 * fence of its own, as the SDK does on x86. Otherwise a pin is an atomic add
 * that is no barrier, followed by the fence, as elsewhere.
 * Mutants, by -D, one at a time: see run.sh.
 */

#ifndef SESSIONS
#define SESSIONS 1
#endif
#ifndef THREADS
#define THREADS 1
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 1
#endif
#ifndef GENERATIONS
#define GENERATIONS 2
#endif
#ifndef CLEAR
#define CLEAR 1
#endif
#ifndef STORE_BUFFER
#define STORE_BUFFER 3
#endif
#ifndef PIN_BUFFER
#define PIN_BUFFER 2
#endif
#define READERS (SESSIONS * THREADS)

/* --- Words --------------------------------------------------------------- */

/* A residence word: generation, block and state, seen together. */
#define kFree 0
#define kPending 1
#define kReady 2
#define kRetiring 3
#define RESIDENCE(generation, block, state) \
  (((generation) << 3) | ((block) << 2) | (state))
#define STATE_OF(word) ((word) & 3)
#define BLOCK_OF(word) (((word) >> 2) & 1)

/* Two keys; 0 is neither. A block's bytes are the key they belong to. */
#define kKeyA 1
#define kKeyB 2

/* What all processes see. */
byte residence = 0;
byte key = 0;
byte bytes[BLOCKS];
byte pins[SESSIONS * BLOCKS];
#define CELL(session, block) pins[(session) * BLOCKS + (block)]

/* Ghost: validated readers of each block. No process looks at it. */
byte holders[BLOCKS];

/* --- Store buffers ------------------------------------------------------- */

#define kAtResidence 0
#define kAtKey 1
chan daemon_buffer = [STORE_BUFFER] of { byte /* where */, byte /* value */ };

/* An operation on a cell: add or subtract 1 in memory, or store a value. */
#define kAdd 64
#define kSubtract 65
chan pin_buffer[READERS] = [PIN_BUFFER] of {
  byte /* block */, byte /* operation */
};

/* Payload, stored non-temporally: it may be overtaken by the commit. */
chan payload_buffer[PUBLISHERS] = [1] of { byte /* block */, byte /* key */ };

proctype DaemonBuffer() {
  byte where, value;
  do
  :: d_step {
       daemon_buffer?where,value;
       if
       :: where == kAtKey -> key = value
       :: else -> residence = value
       fi;
       where = 0;
       value = 0
     }
  od
}

proctype PinBuffer(byte reader) {
  byte block, operation;
  do
  :: d_step {
       pin_buffer[reader]?block,operation;
       if
       :: operation == kAdd ->
            CELL(reader / THREADS, block) = CELL(reader / THREADS, block) + 1
       :: operation == kSubtract ->
#ifdef MUTANT_PINS_DROPPED_AT_HANGUP
            if
            :: CELL(reader / THREADS, block) == 0 -> skip
            :: else ->
                 CELL(reader / THREADS, block) =
                     CELL(reader / THREADS, block) - 1
            fi
#else
            assert(CELL(reader / THREADS, block) > 0);
            CELL(reader / THREADS, block) = CELL(reader / THREADS, block) - 1
#endif
       :: else -> CELL(reader / THREADS, block) = operation
       fi;
       block = 0;
       operation = 0
     }
  od
}

proctype PayloadBuffer(byte publisher) {
  byte block, value;
  do
  :: d_step {
       payload_buffer[publisher]?block,value;
       /* INV-PIN-1: a block is not rewritten under a validated pin. */
       assert(holders[block] == 0);
       bytes[block] = value;
       block = 0;
       value = 0
     }
  od
}

/* --- Readers ------------------------------------------------------------- */

/* A session is killed as a whole, at any point, by whichever of its threads is
 * chosen. Its stores that are in buffers still arrive; it is gone when they
 * have and all its threads stopped. */
bit killed[SESSIONS];
byte stopped[SESSIONS];
#define SESSION (me / THREADS)
#define ALIVE (killed[SESSION] == 0)
#define OR_DIE                                      \
  :: atomic { ALIVE -> killed[SESSION] = 1; goto die } \
  :: atomic { !ALIVE -> goto die }

#ifdef MUTANT_PENDING_VALIDATED
#define USABLE(word) (STATE_OF(word) >= kPending)
#else
#define USABLE(word) (STATE_OF(word) >= kReady)
#endif
/* A retiring block may yet be restored: it is what the reader hopes to find
 * ready when it looks again. Looking again is the same as looking later. */
#define AS_READY(word) ((STATE_OF(word) == kRetiring) -> ((word) - 1) : (word))

#if defined(MUTANT_BLOCK_UNCHECKED)
#define SAME(word) ((word | 4) == (seen | 4))
#elif defined(MUTANT_STATE_UNCHECKED)
#define SAME(word) ((word | 3) == (seen | 3))
#else
#define SAME(word) (word == seen)
#endif

/* Lowers the cell. In buffers this is seen at any later time. */
#if defined(LOCKED_PINS)
#define LOWER                                                \
  assert(CELL(SESSION, BLOCK_OF(seen)) > 0);                 \
  CELL(SESSION, BLOCK_OF(seen)) = CELL(SESSION, BLOCK_OF(seen)) - 1
#define CAN_LOWER empty(pin_buffer[me])
#elif defined(MUTANT_NON_ATOMIC_PINS)
#define LOWER pin_buffer[me]!BLOCK_OF(seen),((loaded + 63) % 64); loaded = 0
#define CAN_LOWER nfull(pin_buffer[me])
#else
#define LOWER pin_buffer[me]!BLOCK_OF(seen),kSubtract
#define CAN_LOWER nfull(pin_buffer[me])
#endif

#define LET_GO                                                   \
  holders[BLOCK_OF(seen)] = holders[BLOCK_OF(seen)] - holding;   \
  holding = 0;                                                   \
  seen = 0;                                                      \
  wanted = 0

#define FAIL seen = seen & 4; wanted = 0; goto unpin

proctype Reader(byte me) {
  byte seen, wanted;
  bit holding;
#ifdef MUTANT_NON_ATOMIC_PINS
  byte loaded;
#endif

again:
  /* Find: the residence, then the key. Which key this reader is after is
   * settled by what it finds; after another one it would be here again. */
  if
  :: atomic { ALIVE && USABLE(residence) -> seen = AS_READY(residence) }
  OR_DIE
  fi;

  /* Pin. */
#if defined(LOCKED_PINS)
  if
  :: atomic { ALIVE && key != 0 -> wanted = key }
  OR_DIE
  fi;
  if
  :: atomic {
       ALIVE && empty(pin_buffer[me]) ->
         CELL(SESSION, BLOCK_OF(seen)) = CELL(SESSION, BLOCK_OF(seen)) + 1
     }
  OR_DIE
  fi;
#elif defined(MUTANT_NON_ATOMIC_PINS)
  if
  :: atomic { ALIVE && key != 0 -> wanted = key }
  OR_DIE
  fi;
  if
  :: atomic {
       ALIVE && empty(pin_buffer[me]) -> loaded = CELL(SESSION, BLOCK_OF(seen))
     }
  OR_DIE
  fi;
  if
  :: atomic {
       ALIVE && nfull(pin_buffer[me]) ->
         pin_buffer[me]!BLOCK_OF(seen),(loaded + 1);
         loaded = 0
     }
  OR_DIE
  fi;
#else
  if
  :: atomic {
       ALIVE && key != 0 && nfull(pin_buffer[me]) ->
         wanted = key;
         pin_buffer[me]!BLOCK_OF(seen),kAdd
     }
  OR_DIE
  fi;
#endif

  /* Fence. */
#if !defined(LOCKED_PINS) && !defined(MUTANT_NO_CLIENT_FENCE)
  if
  :: ALIVE && empty(pin_buffer[me])
  OR_DIE
  fi;
#endif

  /* Validate under the pin: the residence, the key, the residence again. Only
   * then did the key stand there with this residence. */
#ifndef MUTANT_KEY_BEFORE_RESIDENCE
  if
  :: ALIVE && SAME(residence)
  :: atomic { ALIVE && !SAME(residence) -> FAIL }
  OR_DIE
  fi;
#endif
#ifndef MUTANT_GENERATION_ONLY
  if
  :: ALIVE && key == wanted
  :: atomic { ALIVE && key != wanted -> FAIL }
  OR_DIE
  fi;
#endif
  if
  :: atomic {
#ifdef MUTANT_RESIDENCE_BEFORE_KEY
       ALIVE ->
#else
       ALIVE && SAME(residence) ->
#endif
         holding = 1;
         holders[BLOCK_OF(seen)]++;
         seen = seen & 4 /* The block is all that matters from here on. */
     }
#ifndef MUTANT_RESIDENCE_BEFORE_KEY
  :: atomic { ALIVE && !SAME(residence) -> FAIL }
#endif
  OR_DIE
  fi;

  /* Read as often and for as long as it likes. */
  do
  :: d_step { ALIVE -> assert(bytes[BLOCK_OF(seen)] == wanted) }
#ifdef MUTANT_NON_ATOMIC_PINS
  :: ALIVE -> break
#else
  :: atomic { ALIVE && CAN_LOWER -> LOWER; LET_GO; goto again }
#endif
  OR_DIE
  od;

unpin:
#ifdef MUTANT_NON_ATOMIC_PINS
  if
  :: atomic {
       ALIVE && empty(pin_buffer[me]) -> loaded = CELL(SESSION, BLOCK_OF(seen))
     }
  OR_DIE
  fi;
#endif
  if
  :: atomic { ALIVE && CAN_LOWER -> LOWER; LET_GO; goto again }
  OR_DIE
  fi;

die:
  atomic {
#ifdef MUTANT_NON_ATOMIC_PINS
    loaded = 0;
#endif
    LET_GO
  };
  atomic { empty(pin_buffer[me]) -> stopped[SESSION]++ };
  ALIVE; /* A new process has taken its place. */
  goto again
}

/* --- Publishers ---------------------------------------------------------- */

/* Submissions and replies travel in rings, in order with what their sender
 * stored before. A reply is seen at once here, which is earlier than it could
 * be; a commit waits for the payload instead of following it in a buffer. */
#define kIdle 0
#define kGranted 1
#define kBegun 2
#define kCommitted 3
#define kEnded 4 /* aborted, or the process is gone */
byte publisher_state[PUBLISHERS];
byte publisher_block[PUBLISHERS];
byte publisher_key[PUBLISHERS];

proctype Publisher(byte me) {
again:
  publisher_state[me] == kGranted;
  if
  :: atomic { publisher_key[me] = kKeyA; publisher_state[me] = kBegun }
  :: atomic { publisher_key[me] = kKeyB; publisher_state[me] = kBegun }
  :: goto end_it
  fi;
  if
  :: payload_buffer[me]!publisher_block[me],publisher_key[me]
  :: goto end_it
  fi;
  if
#ifdef MUTANT_COMMIT_BEFORE_PAYLOAD
  :: atomic { publisher_state[me] = kCommitted; goto again }
#else
  :: atomic {
       empty(payload_buffer[me]) -> publisher_state[me] = kCommitted; goto again
     }
#endif
  :: goto end_it
  fi;

end_it:
  /* Aborts, or dies: either counts when its stores have arrived. */
  atomic { empty(payload_buffer[me]) -> publisher_state[me] = kEnded };
  goto again
}

/* --- Daemon -------------------------------------------------------------- */

/* Where a block is, as in the daemon's `state` records. */
#define kBlockFree 0
#define kBlockGranted 1
#define kBlockInSlot 2      /* pending or ready, under a key */
#define kBlockVoided 3      /* cleared while its live publisher wrote it */
#define kBlockQuarantined 4 /* out of the index, somebody may still read it */
byte where_is[BLOCKS];
byte generation[BLOCKS];

/* The slot, as the daemon last meant it to be. */
byte slot_state, slot_key, slot_block, slot_publisher;
#define SLOT_WORD(state) RESIDENCE(generation[slot_block], slot_block, state)

inline Free(block) {
  assert(holders[block] == 0); /* INV-PIN-1, at the earliest moment */
  where_is[block] = kBlockFree
}

inline EraseSlot() {
  slot_state = kFree;
  slot_key = 0;
  slot_block = 0;
  slot_publisher = 0
}

#define GRANT(publisher, block)                                         \
  :: atomic {                                                           \
       publisher_state[publisher] == kIdle &&                           \
       where_is[block] == kBlockFree ->                                 \
         where_is[block] = kBlockGranted;                               \
         publisher_block[publisher] = block;                            \
         publisher_state[publisher] = kGranted                          \
     }

/* The daemon has read `publisher`'s begin, and its commit or abort if any. */
#define IN_SLOT(publisher)                                  \
  (slot_state == kPending && slot_publisher == publisher && \
   voided[publisher] == 0)
#define ENDED(publisher) (publisher_state[publisher] == kEnded)

inline Settle(publisher) {
  publisher_block[publisher] = 0;
  publisher_key[publisher] = 0;
  publisher_state[publisher] = kIdle
}

#define SERVE(publisher)                                                  \
  /* Begin: the key first, then the pending residence. */                 \
  :: atomic {                                                             \
       (publisher_state[publisher] == kBegun ||                           \
        publisher_state[publisher] == kCommitted) &&                      \
       voided[publisher] == 0 && slot_state == kFree &&                   \
       len(daemon_buffer) <= STORE_BUFFER - 2 ->                          \
         slot_state = kPending;                                           \
         slot_key = publisher_key[publisher];                             \
         slot_block = publisher_block[publisher];                         \
         slot_publisher = publisher;                                      \
         where_is[slot_block] = kBlockInSlot;                             \
         generation[slot_block] =                                         \
             (generation[slot_block] + 1) % GENERATIONS;                  \
         daemon_buffer!kAtKey,slot_key;                                   \
         daemon_buffer!kAtResidence,SLOT_WORD(kPending)                   \
     }                                                                    \
  /* Commit. */                                                           \
  :: atomic {                                                             \
       publisher_state[publisher] == kCommitted && IN_SLOT(publisher) &&  \
       nfull(daemon_buffer) ->                                            \
         daemon_buffer!kAtResidence,SLOT_WORD(kReady);                    \
         slot_state = kReady;                                             \
         slot_publisher = 0;                                              \
         Settle(publisher)                                                \
     }                                                                    \
  /* Abort or death while pending. */                                     \
  :: atomic {                                                             \
       ENDED(publisher) && IN_SLOT(publisher) &&                          \
       nfull(daemon_buffer) ->                                            \
         daemon_buffer!kAtResidence,0;                                    \
         Free(slot_block);                                                \
         EraseSlot();                                                     \
         Settle(publisher)                                                \
     }                                                                    \
  /* Abort or death before the begin was served. */                       \
  :: atomic {                                                             \
       ENDED(publisher) && !IN_SLOT(publisher) &&                         \
       voided[publisher] == 0 ->                                          \
         Free(publisher_block[publisher]);                                \
         Settle(publisher)                                                \
     }                                                                    \
  /* Clear of a pending block. Its publisher may still write it, so it */ \
  /* rests until that one acknowledges or is gone. */                     \
  :: atomic {                                                             \
       CLEAR && publisher_state[publisher] >= kBegun &&                   \
       IN_SLOT(publisher) && nfull(daemon_buffer) ->                      \
         daemon_buffer!kAtResidence,0;                                    \
         voided[publisher] = 1;                                           \
         VOID(slot_block);                                                \
         EraseSlot()                                                      \
     }                                                                    \
  :: atomic {                                                             \
       publisher_state[publisher] >= kCommitted &&                        \
       voided[publisher] == 1 ->                                          \
         voided[publisher] = 0;                                           \
         SETTLE_VOID(publisher_block[publisher]);                         \
         Settle(publisher)                                                \
     }

#ifdef MUTANT_PENDING_REUSED
#define VOID(block) Free(block)
#define SETTLE_VOID(block) skip
#else
#define VOID(block) where_is[block] = kBlockVoided
#define SETTLE_VOID(block) Free(block)
#endif

/* Reads every session's cell of `victim`, one load a step. */
inline Scan() {
  busy = (CELL(0, victim) != 0)
#if SESSIONS > 1
  ;
  busy = (busy || CELL(1, victim) != 0)
#endif
}

#define REMOVE_SESSION(session)                                      \
  :: atomic {                                                        \
       killed[session] == 1 && stopped[session] == THREADS ->        \
         CELL(session, 0) = 0;                                       \
         CELL(session, BLOCKS - 1) = 0;                              \
         stopped[session] = 0;                                       \
         killed[session] = 0                                         \
     }

proctype Daemon() {
  bit voided[PUBLISHERS];
  bit busy;
  byte victim;

  do
  GRANT(0, 0)
#if BLOCKS > 1
  GRANT(0, 1)
#endif
#if PUBLISHERS > 1
  GRANT(1, 0)
#if BLOCKS > 1
  GRANT(1, 1)
#endif
#endif
  SERVE(0)
#if PUBLISHERS > 1
  SERVE(1)
#endif

  /* Retire: mark, fence, scan; then restore, or erase and free. */
#ifdef MUTANT_SCAN_BEFORE_MARK
  :: atomic { slot_state == kReady -> victim = slot_block };
     Scan();
     daemon_buffer!kAtResidence,SLOT_WORD(kRetiring);
     empty(daemon_buffer);
#else
  :: atomic {
       slot_state == kReady && nfull(daemon_buffer) ->
         victim = slot_block;
         daemon_buffer!kAtResidence,SLOT_WORD(kRetiring)
     };
#ifndef MUTANT_NO_DAEMON_FENCE
     empty(daemon_buffer);
#endif
     Scan();
#endif
     if
     :: atomic {
          busy && nfull(daemon_buffer) ->
            daemon_buffer!kAtResidence,SLOT_WORD(kReady);
            busy = 0;
            victim = 0
        }
     :: atomic {
          busy && CLEAR && nfull(daemon_buffer) ->
            daemon_buffer!kAtResidence,0;
            where_is[victim] = kBlockQuarantined;
            EraseSlot();
            busy = 0;
            victim = 0
        }
     :: atomic {
          !busy && nfull(daemon_buffer) ->
            daemon_buffer!kAtResidence,0;
            Free(victim);
            EraseSlot();
            victim = 0
        }
     fi

  /* A quarantined block was marked and fenced already: scanning is enough. */
#if CLEAR
  :: atomic { where_is[0] == kBlockQuarantined -> victim = 0 };
     Scan();
     atomic {
       if
       :: busy -> busy = 0
       :: else -> Free(victim)
       fi;
       victim = 0
     }
#if BLOCKS > 1
  :: atomic { where_is[1] == kBlockQuarantined -> victim = 1 };
     Scan();
     atomic {
       if
       :: busy -> busy = 0
       :: else -> Free(victim)
       fi;
       victim = 0
     }
#endif
#endif

  REMOVE_SESSION(0)
#if SESSIONS > 1
  REMOVE_SESSION(1)
#endif
#ifdef MUTANT_PINS_DROPPED_AT_HANGUP
  :: atomic { CELL(0, 0) > 0 -> CELL(0, 0) = 0 }
#endif

  /* Audit: what was retired is restored, with its generation, or erased. */
  :: d_step {
       empty(daemon_buffer) ->
         assert(slot_state == kFree || key == slot_key);
         assert(slot_state == kFree || where_is[slot_block] == kBlockInSlot);
         if
         :: slot_state == kFree -> assert(residence == 0)
         :: else -> assert(residence == SLOT_WORD(slot_state))
         fi
     }
  od
}

init {
  atomic {
    byte i = 0;
    run Daemon();
    run DaemonBuffer();
    for (i : 0 .. READERS - 1) {
      run Reader(i);
      run PinBuffer(i)
    }
    for (i : 0 .. PUBLISHERS - 1) {
      run Publisher(i);
      run PayloadBuffer(i)
    }
    i = 0
  }
}
