/** BPF objects and tools in C that tests bring along, built where they run. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A source file of these tests; only what tsc makes is below dist. */
export function sourceOf(name: string): string {
  return fileURLToPath(new URL(`../../../../test/native/datapath/${name}`, import.meta.url));
}

/** Builds `NAME.bpf.c` of this directory; where the object is. */
export function compileBpf(name: string, directory: string): string {
  const multiarch = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  const object = path.join(directory, `${name}.o`);
  execFileSync('clang', [
    ...['-O2', '-g', '-target', 'bpf', `-I/usr/include/${multiarch}`],
    ...['-c', sourceOf(`${name}.bpf.c`), '-o', object],
  ]);
  return object;
}

/** Builds `NAME.c` of this directory; where the program is. */
export function compileTool(name: string, directory: string): string {
  const tool = path.join(directory, name);
  execFileSync('gcc', ['-O2', '-Wall', '-o', tool, sourceOf(`${name}.c`)]);
  return tool;
}
