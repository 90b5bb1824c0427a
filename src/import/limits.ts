/** Bounds of what another swarm, or a file said to come from one, may ask of this process. */

/** One answer of the other swarm's API. A list of configs holds their contents, 1.3 MB each. */
export const ANSWER_BYTES_MAX = 256 * 1024 * 1024;

/** A saved swarm. */
export const SAVED_BYTES_MAX = 256 * 1024 * 1024;

/** Objects of one kind. */
export const OBJECTS_MAX = 10_000;

/** Networks asked for one by one, since lists hide them (`host` and `bridge`). */
export const HIDDEN_NETWORKS_MAX = 16;

/** Lines told of one object; the rest is counted. */
export const NOTES_MAX = 20;

/** Characters of a line. */
export const LINE_LENGTH_MAX = 400;
