/** Bounds of what compose files may ask of the machine that reads them. */

/** Bytes of one compose, `.env` or env file; the largest known stacks have some ten thousand. */
export const FILE_BYTES_MAX = 1 << 20;

/** Files that include and extend each other, one within the other. */
export const INCLUDE_DEPTH_MAX = 16;

/** Compose files of one stack, included ones counted. */
export const FILES_MAX = 256;

/** Times a YAML alias may be expanded, against files that grow without bound. */
export const ALIASES_MAX = 1000;

/** Variables within variables (`${A:-${B:-c}}`). */
export const SUBSTITUTION_DEPTH_MAX = 16;

/** Ports of one range; Swarm has no ranges, each becomes a port of its own. */
export const PORT_RANGE_MAX = 1024;

/** Longest name of a secret or config in a swarm. */
export const OBJECT_NAME_LENGTH_MAX = 64;
