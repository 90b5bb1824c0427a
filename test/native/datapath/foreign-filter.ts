/** Filters of some other agent on a node's interfaces: each counts what it sees and decides nothing. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { compileBpf, compileTool } from './compile-bpf.js';
import type { WorldNode } from './world.js';

/** Where a filter hangs: a priority on a side of the clsact qdisc, or a place on the tcx ingress hook. */
export type ForeignPlace =
  | { readonly kind: 'clsact'; readonly side: 'ingress' | 'egress'; readonly priority: number }
  | { readonly kind: 'tcx'; readonly at: 'first' | 'last' };

/** One that hangs somewhere. */
export interface ForeignFilter {
  /** Packets it has seen. */
  count(): number;
}

/** Builds and attaches them. */
export class ForeignFilters {
  readonly #object: string;
  readonly #tool: string;
  #made = 0;

  constructor(t: Pick<Test, 'teardown'>) {
    const directory = mkdtempSync(path.join(tmpdir(), 'skep-foreign-'));
    t.teardown(() => rmSync(directory, { recursive: true }));
    this.#object = compileBpf('foreign-filter', directory);
    this.#tool = compileTool('tcx-attach', directory);
  }

  attach(node: WorldNode, device: string, place: ForeignPlace): ForeignFilter {
    const pins = `${node.directory}/foreign-${this.#made++}`;
    node.run('mkdir', pins);
    node.run('bpftool', 'prog', 'load', this.#object, `${pins}/program`, 'pinmaps', pins);
    if (place.kind === 'tcx') {
      node.run(this.#tool, `${pins}/program`, device, `${pins}/link`, place.at);
    } else {
      const where = ['dev', device, place.side, 'prio', String(place.priority)];
      const what = ['bpf', 'da', 'object-pinned', `${pins}/program`];
      node.run('tc', 'filter', 'add', ...where, 'protocol', 'all', ...what);
    }
    return {
      count: () => {
        const key = ['key', '0', '0', '0', '0'];
        const row = node.run('bpftool', '-j', 'map', 'lookup', 'pinned', `${pins}/seen`, ...key);
        const { value } = JSON.parse(row) as { readonly value: readonly string[] };
        return Buffer.from(value.map(Number)).readUIntLE(0, 6);
      },
    };
  }
}
