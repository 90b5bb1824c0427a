// Turns the BPF object into a C++ header: the instructions of each program and, for each place that
// loads a map, which map. User space creates or takes over the maps itself (sizes come from options,
// pinned maps are kept), so nothing else of the object is needed and no ELF reader ships.
// usage: embed.mjs OBJECT HEADER
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

const SHT_PROGBITS = 1;
const SHT_SYMTAB = 2;
const SHT_REL = 9;
const SHF_EXECINSTR = 4n;
const INSN_BYTES = 8;
const DIGEST_CHARACTERS = 32;
const LD_IMM64 = 0x18;

const [objectPath, headerPath] = process.argv.slice(2);
const elf = readFileSync(objectPath);
if (elf.readUInt32BE(0) !== 0x7f454c46 || elf[4] !== 2 || elf[5] !== 1) {
  throw new Error(`${objectPath} is no 64-bit little-endian ELF object`);
}

const text = (table, offset) => {
  const start = table + offset;
  return elf.toString('utf8', start, elf.indexOf(0, start));
};
const sectionTable = Number(elf.readBigUInt64LE(0x28));
const sectionCount = elf.readUInt16LE(0x3c);
const sections = Array.from({ length: sectionCount }, (_, index) => {
  const at = sectionTable + index * 64;
  return {
    index,
    nameAt: elf.readUInt32LE(at),
    type: elf.readUInt32LE(at + 4),
    flags: elf.readBigUInt64LE(at + 8),
    offset: Number(elf.readBigUInt64LE(at + 24)),
    size: Number(elf.readBigUInt64LE(at + 32)),
    info: elf.readUInt32LE(at + 44),
    link: elf.readUInt32LE(at + 40),
  };
});
const names = sections[elf.readUInt16LE(0x3e)].offset;
for (const section of sections) section.name = text(names, section.nameAt);
const mapsSection = sections.find((section) => section.name === '.maps');
const symbolTable = sections.find((section) => section.type === SHT_SYMTAB);
const symbolNames = sections[symbolTable.link].offset;

const symbol = (index) => {
  const at = symbolTable.offset + index * 24;
  return {
    name: text(symbolNames, elf.readUInt32LE(at)),
    section: elf.readUInt16LE(at + 6),
  };
};
const functionIn = (section) => {
  const count = symbolTable.size / 24;
  for (let index = 0; index < count; index++) {
    const kind = elf[symbolTable.offset + index * 24 + 4] & 0xf;
    if (kind === 2 && symbol(index).section === section) return symbol(index).name;
  }
  throw new Error(`no function in section ${sections[section].name}`);
};

const programs = sections
  .filter((s) => s.type === SHT_PROGBITS && (s.flags & SHF_EXECINSTR) !== 0n && s.size > 0)
  .map((section) => {
    const relocations = sections
      .filter((s) => s.type === SHT_REL && s.info === section.index)
      .flatMap((s) =>
        Array.from({ length: s.size / 16 }, (_, index) => {
          const at = s.offset + index * 16;
          const insn = Number(elf.readBigUInt64LE(at)) / INSN_BYTES;
          const target = symbol(elf.readUInt32LE(at + 12));
          if (target.section !== mapsSection?.index) {
            throw new Error(`${section.name}: "${target.name}" is no map; only maps may be used`);
          }
          if (elf[section.offset + insn * INSN_BYTES] !== LD_IMM64) {
            throw new Error(`${section.name}: instruction ${insn} does not load a map`);
          }
          return { insn, map: target.name };
        }),
      );
    return { section, relocations, name: functionIn(section.index) };
  });

const digestOf = ({ section, relocations }) =>
  createHash('sha256')
    .update(elf.subarray(section.offset, section.offset + Number(section.size)))
    .update(JSON.stringify(relocations))
    .digest('hex')
    .slice(0, DIGEST_CHARACTERS);

const lines = ['// Made by native/bpf/embed.mjs.', '#pragma once', ''];
lines.push('#include <cstdint>', '', 'namespace skep::datapath::embedded {', '');
lines.push('struct Relocation { uint32_t instruction; const char* map; };');
lines.push('struct Program {', '  const char* name;', '  const char* section;');
lines.push('  /// Of the instructions and of which maps they load.', '  const char* digest;');
lines.push('  const uint64_t* instructions;', '  uint32_t instruction_count;');
lines.push('  const Relocation* relocations;', '  uint32_t relocation_count;', '};', '');
for (const { section, relocations, name } of programs) {
  lines.push(`inline constexpr uint64_t ${name}_code[] = {`);
  for (let at = 0; at < section.size; at += INSN_BYTES) {
    lines.push(`0x${elf.readBigUInt64LE(section.offset + at).toString(16)}ull,`);
  }
  lines.push('};', `inline constexpr Relocation ${name}_maps[] = {`);
  for (const { insn, map } of relocations) lines.push(`{ ${insn}, "${map}" },`);
  lines.push('};', '');
}
lines.push('inline constexpr Program kPrograms[] = {');
for (const program of programs) {
  const { section, relocations, name } = program;
  const insns = section.size / INSN_BYTES;
  lines.push(`{ "${name}", "${section.name}", "${digestOf(program)}",`);
  lines.push(`  ${name}_code, ${insns}, ${name}_maps,`);
  lines.push(`  ${relocations.length} },`);
}
lines.push('};', '', '}  // namespace skep::datapath::embedded', '');
writeFileSync(headerPath, lines.join('\n'));
