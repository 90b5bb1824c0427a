/**
 * Limits of templates. They come with services, secrets and configs, hence from anybody who may
 * create these; whatever they say must end soon and fit into memory. Go has none but the depths.
 */

/** Nodes evaluated by one expansion. */
export const STEPS_MAX = 200_000;
/** Bytes written by one expansion: a config of 1000 KiB may take in a few secrets. */
export const OUTPUT_BYTES_MAX = 4 << 20;
/** Bytes of all strings made on the way by functions. */
export const WORK_BYTES_MAX = 64 << 20;
/** Control structures and parentheses inside each other. */
export const NESTING_MAX = 100;
/** `{{template}}` inside `{{template}}` (Go: 100,000, more than a stack here holds). */
export const TEMPLATE_DEPTH_MAX = 100;
/** Arguments and stages of one pipeline. */
export const PIPELINE_MAX = 1_000;
/** Variables in force at one place. */
export const VARIABLES_MAX = 1_000;
/** Characters of an error message, which becomes part of a task's status. */
export const MESSAGE_MAX = 2_000;
/** Width and precision in printf, as in Go. */
export const PRINTF_WIDTH_MAX = 1_000_000;
/** Digits after the point: as many as the language can give. */
export const PRINTF_DIGITS_MAX = 100;
