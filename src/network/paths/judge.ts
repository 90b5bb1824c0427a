/**
 * What one round of probes says about a path. Pure: the round's results in, a finding out.
 */
import { SEARCH_BYTES, SEARCH_SIZES } from './limits.js';

/** How a probe's checksum came to be: by an offload where the packet meets one, or beforehand. */
export type ProbeWay = 'offloaded' | 'summed';

/** One probe of a round that is over. */
export interface ProbeResult {
  readonly way: ProbeWay;
  /** Length of the IP packet. */
  readonly packetBytes: number;
  /** It came through unchanged. */
  readonly passed: boolean;
}

/** What a round found. */
export type Finding =
  | { readonly kind: 'good' }
  /** Nothing passed. */
  | { readonly kind: 'silent' }
  /** Packets pass, but not those whose checksum an offload completes. */
  | { readonly kind: 'offload' }
  /** Packets up to `passes` bytes pass, from `fails` bytes on they do not. */
  | { readonly kind: 'size'; readonly passes: number; readonly fails: number };

/**
 * Judges a round. A size passes if one of its probes did; without `summed` ones nothing can be said of
 * offloads.
 */
export function judge(results: readonly ProbeResult[]): Finding {
  const passed = (wanted: ProbeWay) =>
    new Set(results.filter((each) => each.passed && each.way === wanted).map(sizeOf));
  const offloaded = passed('offloaded');
  const summed = passed('summed');
  const lost = [...new Set(results.map(sizeOf))].filter((bytes) => !offloaded.has(bytes));
  if (lost.length === 0) return { kind: 'good' };
  if (offloaded.size + summed.size === 0) return { kind: 'silent' };
  if (lost.some((bytes) => summed.has(bytes))) return { kind: 'offload' };
  const passes = Math.max(...offloaded, ...summed);
  const above = lost.filter((bytes) => bytes > passes);
  // A smaller one was lost while a larger one passed: chance, not size.
  if (above.length === 0) return { kind: 'good' };
  return { kind: 'size', passes, fails: Math.min(...above) };
}

function sizeOf({ packetBytes }: ProbeResult): number {
  return packetBytes;
}

/** Sizes to try next, ascending; none once the largest that passes is known. */
export function sizesBetween(passes: number, fails: number): readonly number[] {
  const gap = fails - passes;
  if (gap <= SEARCH_BYTES) return [];
  const sizes = new Set<number>();
  for (let index = 1; index <= SEARCH_SIZES; index += 1) {
    sizes.add(passes + Math.floor((gap * index) / (SEARCH_SIZES + 1)));
  }
  return [...sizes].filter((bytes) => bytes > passes && bytes < fails);
}
