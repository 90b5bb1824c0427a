/**
 * The few netfilter rules the data path needs, in one table of our own: what leaves for the outside
 * is masqueraded, tunnel packets stay out of connection tracking, and nobody outside reaches a
 * container past its published ports. Everything else never sees netfilter.
 */
import { execFile, spawnSync } from 'node:child_process';
import { SkepError } from '../model/errors.js';

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

  constructor(tunnelPort: number) {
    this.tunnelPort = tunnelPort;
  }

  /** Puts the rules in force, replacing former ones in one transaction. @throws SkepError */
  install(): void {
    nft(`table ${TABLE}\ndelete table ${TABLE}\n${ruleset(this.tunnelPort)}\n`);
    this.listing = runSync('nft', LIST_TABLE).stdout;
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
   * or changed and has been put back. @throws SkepError if that failed
   */
  async check(): Promise<boolean> {
    const table = await run('nft', LIST_TABLE);
    const forwards = await Promise.all(COMMANDS.map((command) => run(command, LIST_FORWARD)));
    if (table.stdout === this.listing && forwards.every(lets)) return false;
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
