/**
 * Limits and defaults of the self-test of paths, each with its unit and reason.
 */

/** UDP port of the self-test, on the nodes' addresses inside the ingress network only. */
export const PATH_PORT = 7949;

/** A nonce nobody can guess: an answer proves that the probe was seen. */
export const NONCE_BYTES = 16;

/** Length of a probe's content, bytes: an answer fits the shortest one, the longest fits a datagram. */
export const PROBE_BYTES_MIN = 64;
export const PROBE_BYTES_MAX = 65_507;

/** IPv4 and UDP header before the content, bytes. */
export const PROBE_HEADER_BYTES = 28;

/** A packet between small and full, of odd length: checksums of those take a way of their own. */
export const MIDDLE_PACKET_BYTES = 577;

/** How often rounds are begun and ended. */
export const PATH_TICK_MS = 250;

/** Rounds begun in one tick; with more peers each is looked at more rarely. */
export const ROUNDS_PER_TICK = 4;

/** An answer must be there within this. */
export const ANSWER_MS = 700;

/** Pause between rounds with a peer whose path is good, and with one whose path is not. */
export const GOOD_PAUSE_MS = 5000;
export const BAD_PAUSE_MS = 500;
/** Pause once it is known what is wrong. */
export const KNOWN_PAUSE_MS = 2000;

/** Rounds in a row that must find the same fault: single lost packets mean nothing. */
export const STRIKES = 3;

/** Probes of each size and way once something was lost: all of them must be lost again to count. */
export const COPIES = 2;

/** Sizes tried between the largest that passed and the smallest that did not, in one round. */
export const SEARCH_SIZES = 7;
/** The largest size that passes is known once no more than this lies between, bytes. */
export const SEARCH_BYTES = 4;

/** Probes of one peer answered in a second: a round of a peer that searches has 30. */
export const ANSWERS_PER_SECOND = 64;

/** A peer whose probes arrived within this is heard. */
export const HEARD_MS = 10_000;
