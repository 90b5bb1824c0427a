/**
 * The few netfilter rules the data path needs, in one table of our own: what leaves for the outside
 * is masqueraded, tunnel packets stay out of connection tracking, and nobody outside reaches a
 * container past its published ports. Everything else never sees netfilter.
 */
import { execFile, spawnSync } from 'node:child_process';
import { SkepError } from '../model/errors.js';
import { loadAddon } from './addon.js';

const TABLE = 'inet skep';
const HOST_DEVICE = 'sw-h0';
const COMMAND_TIMEOUT_MS = 10_000;
/** One command a family; an engine that does IPv6 restricts forwarding of it in the same way. */
const COMMANDS = ['iptables', 'ip6tables'] as const;
type Iptables = (typeof COMMANDS)[number];

/** The table for a tunnel port, as nft reads it. Exported for the test that shows it to an operator. */
export function ruleset(tunnelPort: number): string {
  return [
    `table ${TABLE} {`,
    '  chain untracked_in {',
    '    type filter hook prerouting priority raw; policy accept;',
    `    udp dport ${tunnelPort} notrack`,
    '  }',
    '  chain untracked_out {',
    '    type filter hook output priority raw; policy accept;',
    `    udp dport ${tunnelPort} notrack`,
    '  }',
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    `    iifname "${HOST_DEVICE}" oifname "${HOST_DEVICE}" drop`,
    `    oifname "${HOST_DEVICE}" ct state established,related accept`,
    `    oifname "${HOST_DEVICE}" drop`,
    '  }',
    '  chain outgoing {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    iifname "${HOST_DEVICE}" oifname != "${HOST_DEVICE}" masquerade`,
    '  }',
    '}',
  ].join('\n');
}

/**
 * Our netfilter rules on this host. Other tools flush rules they do not know; {@link check} finds
 * that out and puts ours back.
 */
export class NetfilterRules {
  private readonly tunnelPort: number;
  /** The table as nft lists it when all is well. */
  private listing = '';
  /** Whether nf_tables counts changes of iptables' rules as its own. */
  private countsIptables = false;
  /** Number of the last change at which all was well. */
  private wellAt: number | undefined;

  constructor(tunnelPort: number) {
    this.tunnelPort = tunnelPort;
  }

  /** Puts the rules in force, replacing former ones in one transaction. @throws SkepError */
  install(): void {
    nft(`table ${TABLE}\ndelete table ${TABLE}\n${ruleset(this.tunnelPort)}\n`);
    this.listing = runSync('nft', LIST_TABLE).stdout;
    this.countsIptables = COMMANDS.every(writesNftables);
    this.wellAt = undefined;
    for (const command of COMMANDS) {
      if (!restricts(runSync(command, LIST_FORWARD))) continue;
      for (const rule of FORWARD_RULES) {
        if (iptables(command, '-C', rule) || iptables(command, '-I', rule)) continue;
        throw new SkepError(
          'failed_precondition',
          `${command} refused a rule in its FORWARD chain`,
        );
      }
    }
  }

  /**
   * Compares what is in force with what should be, without blocking. True if something was missing
   * or changed and has been put back. While nobody changes any rule, no process is started for it: each of
   * the three costs more than everything else that is looked at. @throws SkepError if putting back failed
   */
  async check(): Promise<boolean> {
    // Asked first: what changes while it is looked at is looked at again.
    const generation = this.countsIptables ? rulesetGeneration() : undefined;
    if (generation !== undefined && generation === this.wellAt) return false;
    const table = await run('nft', LIST_TABLE);
    const forwards = await Promise.all(COMMANDS.map((command) => run(command, LIST_FORWARD)));
    if (table.stdout === this.listing && forwards.every(lets)) {
      this.wellAt = generation;
      return false;
    }
    this.install();
    return true;
  }

  /** Takes the rules out. No error if they are gone. @throws SkepError */
  remove(): void {
    nft(`table ${TABLE}\ndelete table ${TABLE}\n`);
    for (const command of COMMANDS) {
      if (!restricts(runSync(command, LIST_FORWARD))) continue;
      for (const rule of FORWARD_RULES) {
        while (iptables(command, '-C', rule)) if (!iptables(command, '-D', rule)) break;
      }
    }
  }
}

const LIST_TABLE = ['list', 'table', ...TABLE.split(' ')];
const LIST_FORWARD = ['-w', '5', '-S', 'FORWARD'];

/**
 * Docker Engine sets the policy of iptables' FORWARD chain to DROP; these let our traffic through
 * it. Written as `iptables -S` lists them.
 */
const FORWARD_RULES: readonly (readonly string[])[] = [
  ['-i', HOST_DEVICE, '-j', 'ACCEPT'],
  ['-o', HOST_DEVICE, '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'],
];

interface Outcome {
  readonly ok: boolean;
  readonly stdout: string;
}

/** True if iptables' FORWARD chain holds anything; without iptables nobody's policy is in our way. */
function restricts(forward: Outcome): boolean {
  return forward.ok && forward.stdout.trim() !== '-P FORWARD ACCEPT';
}

/** True if the chain lets our traffic through, as it is or by our rules. */
function lets(forward: Outcome): boolean {
  const lines = new Set(forward.stdout.split('\n'));
  const allowed = FORWARD_RULES.every((rule) => lines.has(`-A FORWARD ${rule.join(' ')}`));
  return !restricts(forward) || allowed;
}

/** False for iptables of the old kind, whose rules nf_tables knows nothing of; true where there is none. */
function writesNftables(command: Iptables): boolean {
  const { ok, stdout } = runSync(command, ['--version']);
  return !ok || stdout.includes('nf_tables');
}

/** Number of the last change of any rule of this network namespace; undefined if the kernel does not say. */
function rulesetGeneration(): number | undefined {
  const { rulesetGeneration: ask } = loadAddon() as { rulesetGeneration: () => number };
  try {
    return ask();
  } catch {
    return undefined;
  }
}

/** Runs one iptables command on FORWARD; true if it succeeded. */
function iptables(command: Iptables, verb: '-C' | '-I' | '-D', rule: readonly string[]): boolean {
  return runSync(command, ['-w', '5', verb, 'FORWARD', ...rule]).ok;
}

function runSync(command: string, args: readonly string[]): Outcome {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS });
  const ok = result.error === undefined && result.status === 0;
  return { ok, stdout: ok ? result.stdout : '' };
}

async function run(command: string, args: readonly string[]): Promise<Outcome> {
  return await new Promise((resolve) => {
    execFile(command, args, { timeout: COMMAND_TIMEOUT_MS }, (error, stdout) => {
      resolve(error === null ? { ok: true, stdout } : { ok: false, stdout: '' });
    });
  });
}

function nft(script: string): void {
  const result = spawnSync('nft', ['-f', '-'], {
    input: script,
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  if (result.error !== undefined) {
    throw new SkepError('failed_precondition', `nft cannot be run: ${result.error.message}`, {
      cause: result.error,
    });
  }
  if (result.status !== 0) {
    throw new SkepError('failed_precondition', `nft refused the rules: ${result.stderr.trim()}`);
  }
}
